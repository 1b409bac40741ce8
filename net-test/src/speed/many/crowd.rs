//! A hub, and its peers in another process: the commands for the two processes, and what each does.

use std::{
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    task::JoinSet,
    time::timeout,
};

use crate::{
    child::Child,
    report::print,
    speed::{
        Broken,
        half::Usage,
        side::{Service, Side, Watched},
        work::{close, repeat},
    },
};

/// Maximum time to wait for an answer. 3,000 peers connect in 20 s.
const PATIENCE: Duration = Duration::from_secs(300);

/// A command for a child process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    Usage,
    /// For peers: bind this number of endpoints.
    Bind(usize),
    /// For peers: connect all endpoints, this number at a time. Each one waits for the answer to its first byte.
    Connect(usize),
    /// For the hub: look at all connections once a second, for this time.
    Watch(Duration),
    /// For peers: send requests for this time, with this number in flight. Each request is of the next peer.
    Requests(usize, Duration),
    /// For both: shut down within this time.
    End(Duration),
}

/// An answer of a child process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Address(String),
    Used(Used),
    Bound,
    /// A number per second.
    Rate(f64),
    /// The time that the shutdown took, in seconds.
    Ended(f64),
    /// So many connections.
    Seen(usize),
}

/// The resources that a process has used since it started.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Used {
    pub usage: Usage,
    /// The number of times that its threads have waited (voluntary context switches).
    pub wakes: u64,
}

impl Used {
    fn now() -> Result<Self, Broken> {
        let mut wakes = 0;
        for thread in fs::read_dir("/proc/self/task")? {
            // A thread may end while its file is read.
            let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            wakes += count.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
        }
        Ok(Self { usage: Usage::now(), wakes })
    }
}

/// Returns the number of datagrams that all processes of this machine have sent.
pub fn datagrams() -> Result<u64, Broken> {
    let snmp = fs::read_to_string("/proc/net/snmp")?;
    sent(&snmp).ok_or_else(|| Broken::msg("the kernel does not count datagrams"))
}

fn sent(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, counts) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "OutDatagrams")?;
    counts.split_whitespace().nth(at)?.parse().ok()
}

/// Runs the hub: prints its address, and obeys commands.
pub async fn hub<S: Watched>() -> Result<(), Broken> {
    let (server, address) = S::serve().await?;
    let mut server = Some(server);
    say(&Said::Address(address))?;
    obeying(async |ask| match (ask, server.take()) {
        (Ask::End(within), Some(ending)) => {
            let began = Instant::now();
            S::end(ending, within).await;
            Ok(Said::Ended(began.elapsed().as_secs_f64()))
        }
        (Ask::Watch(time), Some(watched)) => {
            let seen = S::watch(&watched, time).await;
            server = Some(watched);
            Ok(Said::Seen(seen))
        }
        (Ask::Usage, still) => {
            server = still;
            Ok(Said::Used(Used::now()?))
        }
        (other, _) => Err(Broken::msg(format!("a hub cannot {other:?}"))),
    })
    .await
}

/// Runs the peers of a hub: obeys commands.
pub async fn peers<S: Side>(hub: &str) -> Result<(), Broken> {
    let mut all = Vec::<S>::new();
    obeying(async |ask| match ask {
        Ask::Usage => Ok(Said::Used(Used::now()?)),
        Ask::Bind(count) => {
            while all.len() < count {
                all.push(S::client(hub).await?);
            }
            Ok(Said::Bound)
        }
        Ask::Connect(at_a_time) => Ok(Said::Rate(connected(&all, at_a_time).await?)),
        Ask::Requests(in_flight, time) => {
            let (all, next) = (Arc::<[S]>::from(all.as_slice()), Arc::new(AtomicUsize::new(0)));
            let message = Bytes::from_static(&[7; 64]);
            let pace = repeat(in_flight, Instant::now() + time, move || {
                let peer = all[next.fetch_add(1, Relaxed) % all.len()].clone();
                let message = message.clone();
                async move {
                    let answer = peer.request(message.clone()).await?;
                    if answer == message { Ok(()) } else { Err(Broken::msg("an answer is not what was sent")) }
                }
            });
            Ok(Said::Rate(pace.await?.rate))
        }
        Ask::Watch(_) => Err(Broken::msg("peers have no connections to look at")),
        Ask::End(_) => {
            let began = Instant::now();
            close(std::mem::take(&mut all)).await?;
            Ok(Said::Ended(began.elapsed().as_secs_f64()))
        }
    })
    .await
}

/// Connects all peers. Returns the number of connections per second.
async fn connected<S: Side>(all: &[S], at_a_time: usize) -> Result<f64, Broken> {
    let began = Instant::now();
    let mut left = all.iter();
    let mut connecting = JoinSet::new();
    loop {
        while connecting.len() < at_a_time
            && let Some(peer) = left.next().cloned()
        {
            connecting.spawn(async move { peer.first(Service::Echo, Bytes::from_static(b"here")).await.map(drop) });
        }
        match connecting.join_next().await {
            Some(connected) => connected??,
            None => return Ok(all.len() as f64 / began.elapsed().as_secs_f64()),
        }
    }
}

async fn obeying(mut answer: impl AsyncFnMut(Ask) -> Result<Said, Broken>) -> Result<(), Broken> {
    let mut asked = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = asked.next_line().await? {
        say(&answer(serde_json::from_str(&line)?).await?)?;
    }
    Ok(())
}

fn say(said: &Said) -> Result<(), Broken> {
    print(&serde_json::to_string(said)?);
    Ok(())
}

/// A process with a hub or with its peers. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process(Child<Said>);

impl Process {
    /// Starts a hub. Returns it and its address.
    pub async fn hub<S: Side>() -> Result<(Self, String), Broken> {
        let mut hub = Self::start("a hub", &["--hub", S::NAME])?;
        match hub.answer().await? {
            Said::Address(address) => Ok((hub, address)),
            other => Err(Broken::msg(format!("a hub that starts says {other:?}"))),
        }
    }

    /// Starts a process with peers of the hub.
    pub fn peers<S: Side>(hub: &str) -> Result<Self, Broken> {
        Self::start("peers", &["--peers-of", hub, "--of", S::NAME])
    }

    fn start(name: &str, arguments: &[&str]) -> Result<Self, Broken> {
        Ok(Self(Child::start(name, Command::new(env::current_exe()?).arg("many").args(arguments))?))
    }

    pub async fn ask(&mut self, ask: Ask) -> Result<Said, Broken> {
        self.0.tell(&ask).await?;
        self.answer().await
    }

    pub async fn used(&mut self) -> Result<Used, Broken> {
        match self.ask(Ask::Usage).await? {
            Said::Used(used) => Ok(used),
            other => Err(Broken::msg(format!("{} that was asked for its usage says {other:?}", self.0.name()))),
        }
    }

    /// Sends a command whose answer is a number, and returns that number.
    pub async fn number(&mut self, ask: Ask) -> Result<f64, Broken> {
        match self.ask(ask).await? {
            Said::Rate(number) | Said::Ended(number) => Ok(number),
            other => Err(Broken::msg(format!("{} that was asked to {ask:?} says {other:?}", self.0.name()))),
        }
    }

    /// The hub has looked at this number of connections.
    pub async fn watch(&mut self, time: Duration) -> Result<usize, Broken> {
        match self.ask(Ask::Watch(time)).await? {
            Said::Seen(seen) => Ok(seen),
            other => Err(Broken::msg(format!("{} that was asked to look says {other:?}", self.0.name()))),
        }
    }

    pub async fn kill(self) -> Result<(), Broken> {
        Ok(self.0.kill().await?)
    }

    async fn answer(&mut self) -> Result<Said, Broken> {
        let name = self.0.name().to_owned();
        Ok(timeout(PATIENCE, self.0.next()).await.map_err(|_| Broken::msg(format!("{name} did not answer")))??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sent_datagrams_are_found_by_their_name() {
        let snmp = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams NoPorts InErrors OutDatagrams\nUdp: 7 0 0 42\n";
        assert_eq!(sent(snmp), Some(42));
        assert_eq!(sent("Tcp: A\nTcp: 1\n"), None);
    }
}
