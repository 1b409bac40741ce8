//! A peer as the lab sees it: the process, and everything that it has said.

use std::{net::SocketAddr, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    fault::{Fault, ensure},
    parts,
    peer::{Command, Config, Done, Said},
    process::Process,
    world::Machine,
};

/// A peer is bound in milliseconds; on a machine that is out of breath, its process takes a while to start.
const READY: Duration = Duration::from_secs(20);

/// The last try may begin just before the time is over.
const ASKING: Duration = Duration::from_secs(10);

/// A peer in its namespace. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) machine: Machine,
    pub(super) id52: String,
    pub(super) sockets: Vec<SocketAddr>,
    process: Process<Said>,
    /// All of it, in its order.
    log: Vec<Said>,
    /// Whether this case lets connections break.
    forgives: bool,
}

impl Actor {
    /// Starts a peer on a machine, and waits until it is bound.
    pub(super) async fn start(name: &str, machine: &Machine, config: &Config) -> Result<Self, Fault> {
        let process = Process::start(&machine.netns, name, parts::PEER, config)?;
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

    /// From now on a connection may break without ending the case.
    pub(super) fn forgive(&mut self) {
        self.forgives = true;
    }

    pub(super) async fn tell(&mut self, command: &Command) -> Result<(), Fault> {
        self.process.tell(command).await
    }

    /// Waits until it has said what `wanted` takes, from the beginning of its life on.
    pub(super) async fn wait<T>(
        &mut self,
        what: &str,
        within: Duration,
        wanted: impl FnMut(&Said) -> Option<T>,
    ) -> Result<T, Fault> {
        self.wait_until(what, Instant::now() + within, within, wanted).await
    }

    /// Looks at everything that was said by now, and waits for nothing.
    pub(super) fn log(&mut self) -> Result<&[Said], Fault> {
        while let Some(said) = self.process.said_already() {
            self.take(said)?;
        }
        Ok(&self.log)
    }

    /// Waits until a relay knows it, and returns the ticket: its key and that relay.
    pub(super) async fn online(&mut self, within: Duration) -> Result<String, Fault> {
        let what = format!("{} online", self.process.name());
        self.wait(&what, within, |said| match said {
            Said::Online { ticket, .. } => Some(ticket.clone()),
            _ => None,
        })
        .await
    }

    /// Whether it has said last that data goes directly.
    pub(super) fn says_direct(&mut self) -> Result<Option<bool>, Fault> {
        Ok(self.log()?.iter().rev().find_map(|said| match said {
            Said::Path { direct, .. } => Some(*direct),
            _ => None,
        }))
    }

    /// Asks a peer until it answers, as programs do that are in a hurry; how many tries it took, and when it answered.
    pub(super) async fn ask(&mut self, peer: &str, within: Duration) -> Result<(u32, u64), Fault> {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.tell(&Command::Ask { peer: peer.to_owned(), within_ms }).await?;
        let asked = self.wait("the end of asking", within + ASKING, |said| match said {
            Said::Asked { ok, tries, at_ns, last_error } => Some((*ok, *tries, *at_ns, last_error.clone())),
            _ => None,
        });
        let (ok, tries, at_ns, error) = asked.await?;
        ensure(ok, || format!("no answer in {within:?} and {tries} tries: {}", error.unwrap_or_default()))?;
        Ok((tries, at_ns))
    }

    /// Ends its conversation.
    pub(super) async fn stop(&mut self, within: Duration) -> Result<Done, Fault> {
        self.tell(&Command::Stop).await?;
        let done = self.wait("the end of the conversation", within, |said| match said {
            Said::Done(done) => Some(done.clone()),
            _ => None,
        });
        let done = done.await?;
        // The next conversation has an end of its own.
        self.log.retain(|said| !matches!(said, Said::Done(_)));
        Ok(done)
    }

    /// Switches its machine off, as it were.
    pub(super) async fn kill(self) -> Result<(), Fault> {
        self.process.kill().await
    }

    pub(super) async fn end(self) -> Result<(), Fault> {
        self.process.end().await
    }

    async fn wait_until<T>(
        &mut self,
        what: &str,
        until: Instant,
        after: Duration,
        mut wanted: impl FnMut(&Said) -> Option<T>,
    ) -> Result<T, Fault> {
        if let Some(found) = self.log()?.iter().find_map(&mut wanted) {
            return Ok(found);
        }
        loop {
            let said = match timeout_at(until, self.process.next()).await {
                Ok(said) => said?,
                Err(_) => return Err(Fault::Late { what: what.to_owned(), after }),
            };
            let found = wanted(&said);
            self.take(said)?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
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
