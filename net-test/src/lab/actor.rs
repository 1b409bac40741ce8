//! A peer as the lab sees it: the peer's process, and everything that it has reported.

use std::{net::SocketAddr, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    fault::{Fault, ensure},
    parts,
    peer::{Command, Config, Done, Said},
    process,
    world::Machine,
};
use crate::child::Child;

/// Maximum time to wait until a peer is bound. Binding takes milliseconds, but a process starts slowly on a busy
/// machine.
const READY: Duration = Duration::from_secs(20);

/// Extra time to wait for the result of [`Actor::ask`]. The last try may begin just before the time is over.
const ASKING: Duration = Duration::from_secs(10);

/// The result of [`Actor::come_back`].
#[derive(Debug, Clone, PartialEq)]
pub struct CameBack {
    /// The milliseconds of both requests on each connection.
    pub rounds: Vec<[f64; 2]>,
    /// Requests that were sent early since the start of the peer, and how often the other peer dropped them.
    pub early: u64,
    pub rejected: u64,
}

/// A peer process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Actor {
    pub machine: Machine,
    pub id52: String,
    pub sockets: Vec<SocketAddr>,
    process: Child<Said>,
    log: Vec<Said>,
    /// Broken connections do not end the case.
    forgives: bool,
}

impl Actor {
    /// Starts a peer, and waits until its endpoint is bound.
    pub async fn start(name: &str, machine: &Machine, config: &Config) -> Result<Self, Fault> {
        let process = process::start(&machine.netns, name, parts::PEER, config)?;
        let mut actor = Self {
            machine: machine.clone(),
            id52: String::new(),
            sockets: Vec::new(),
            process,
            log: Vec::new(),
            forgives: false,
        };
        let (id52, sockets) = actor
            .wait("an endpoint that is bound", READY, |said| match said {
                Said::Ready { id52, sockets } => Some((id52.clone(), sockets.clone())),
                _ => None,
            })
            .await?;
        (actor.id52, actor.sockets) = (id52, sockets);
        Ok(actor)
    }

    /// Lets connections break from now on without ending the case.
    pub fn forgive(&mut self) {
        self.forgives = true;
    }

    pub async fn tell(&mut self, command: &Command) -> Result<(), Fault> {
        Ok(self.process.tell(command).await?)
    }

    /// Waits for a line for which `wanted` returns `Some`. Lines since the start of the peer count.
    pub async fn wait<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Said) -> Option<T>,
    ) -> Result<T, Fault> {
        let until = Instant::now() + within;
        if let Some(found) = self.log()?.iter().find_map(&mut wanted) {
            return Ok(found);
        }
        loop {
            let said = match timeout_at(until, self.process.next()).await {
                Ok(said) => said?,
                Err(_) => return Err(Fault::Late { what: what.to_owned(), after: within }),
            };
            let found = wanted(&said);
            self.take(said)?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    /// Returns everything that the peer has reported by now.
    pub fn log(&mut self) -> Result<&[Said], Fault> {
        while let Some(said) = self.process.said_already() {
            self.take(said)?;
        }
        Ok(&self.log)
    }

    /// Waits until a relay knows the peer. Returns the peer's ticket, which has its key and that relay.
    pub async fn online(&mut self, within: Duration) -> Result<String, Fault> {
        let what = format!("{} online", self.process.name());
        self.wait(&what, within, |said| match said {
            Said::Online { ticket, .. } => Some(ticket.clone()),
            _ => None,
        })
        .await
    }

    /// Returns the peer's latest report about its path: `true` for a direct path.
    pub fn says_direct(&mut self) -> Result<Option<bool>, Fault> {
        Ok(self.log()?.iter().rev().find_map(|said| match said {
            Said::Path { direct, .. } => Some(*direct),
            _ => None,
        }))
    }

    /// Asks another peer until it answers. Returns the number of tries and the time of the answer.
    pub async fn ask(&mut self, peer: &str, within: Duration) -> Result<(u32, u64), Fault> {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.tell(&Command::Ask { peer: peer.to_owned(), within_ms }).await?;
        let asked = self.wait("the end of asking", within + ASKING, |said| match said {
            Said::Asked { ok, tries, at_ns, last_error } => Some((*ok, *tries, *at_ns, last_error.clone())),
            _ => None,
        });
        let (ok, tries, at_ns, error) = asked.await?;
        // The answer is removed, so that the next request waits for its own.
        self.log.retain(|said| !matches!(said, Said::Asked { .. }));
        ensure(ok, || format!("no answer in {within:?} and {tries} tries: {}", error.unwrap_or_default()))?;
        Ok((tries, at_ns))
    }

    /// Lets the peer ask another one twice on each of `rounds` connections.
    pub async fn come_back(&mut self, peer: &str, rounds: u64, within: Duration) -> Result<CameBack, Fault> {
        self.tell(&Command::ComeBack { peer: peer.to_owned(), rounds }).await?;
        let came = self.wait("the last connection", within, |said| match said {
            Said::CameBack { rounds, early, rejected } => {
                Some(CameBack { rounds: rounds.clone(), early: *early, rejected: *rejected })
            }
            _ => None,
        });
        let came = came.await?;
        self.log.retain(|said| !matches!(said, Said::CameBack { .. }));
        Ok(came)
    }

    /// Ends the conversation, and returns its results.
    pub async fn stop(&mut self, within: Duration) -> Result<Done, Fault> {
        self.tell(&Command::Stop).await?;
        let done = self.wait("the end of the conversation", within, |said| match said {
            Said::Done(done) => Some(done.clone()),
            _ => None,
        });
        let done = done.await?;
        // The result is removed, so that the next conversation waits for its own.
        self.log.retain(|said| !matches!(said, Said::Done(_)));
        Ok(done)
    }

    pub async fn kill(self) -> Result<(), Fault> {
        Ok(self.process.kill().await?)
    }

    pub async fn end(self) -> Result<(), Fault> {
        Ok(self.process.end(process::END).await?)
    }

    fn take(&mut self, said: Said) -> Result<(), Fault> {
        let fault = match &said {
            Said::Broken { what, .. } if !self.forgives => Some(Fault::Wrong(what.clone())),
            _ => None,
        };
        self.log.push(said);
        fault.map_or(Ok(()), Err)
    }
}
