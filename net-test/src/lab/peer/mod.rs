//! A peer of a case: a twolane endpoint in a namespace, in a process of its own (`lab peer`).
//!
//! The peer serves a transfer and requests. On command it begins a conversation with another peer: a transfer that is
//! checked by its hash, and requests one after the other, until a command ends both.

mod heavy;
mod messages;
mod serve;
mod talk;

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use twolane::{Access, Endpoint, Event, Identity, PathKind, SecretKey, Ticket, Verdict};

#[cfg(test)]
pub use self::messages::Gap;
pub use self::messages::{Command, Config, Done, Reach, ReadEnd, Said};
use super::{fault::Fault, parts};
use crate::output::in_one_line;

/// Maximum time to wait for a relay. Some cases have none for a while.
const ONLINE: Duration = Duration::from_secs(120);
const SHUTDOWN: Duration = Duration::from_secs(3);

/// Runs `lab peer` until its input ends.
pub async fn run(config: Config) -> Result<(), Fault> {
    let endpoint = bind(config).await?;
    serve::serve(&endpoint)?;
    heavy::serve(&endpoint)?;
    let sockets = endpoint.status().sockets;
    parts::say(&Said::Ready { id52: endpoint.id52(), sockets });

    let mut events = endpoint.events();
    let mut commands = parts::commands::<Command>();
    let (mut tasks, mut stop) = (JoinSet::new(), CancellationToken::new());
    let told: [_; 3] = std::array::from_fn(|_| CancellationToken::new());
    tasks.spawn(online(endpoint.clone()));
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Talk { peer }) => {
                    stop = CancellationToken::new();
                    tasks.spawn(talk::talk(endpoint.clone(), peer, stop.clone()));
                }
                Some(Command::Stop) => stop.cancel(),
                Some(Command::Many { peer, requests, bytes, within_ms }) => {
                    let (peer, within) = (ticket(&peer)?, Duration::from_millis(within_ms));
                    tasks.spawn(heavy::many(endpoint.clone(), peer, requests, bytes, within));
                }
                Some(Command::ComeBack { peer, rounds }) => {
                    tasks.spawn(talk::come_back(endpoint.clone(), ticket(&peer)?, rounds));
                }
                Some(Command::Bulk { peer, lanes }) => {
                    tasks.spawn(heavy::bulk(endpoint.clone(), ticket(&peer)?, lanes, told.clone()));
                }
                Some(Command::Begin) => told[0].cancel(),
                Some(Command::FailOne) => told[1].cancel(),
                Some(Command::FinishBulk) => told[2].cancel(),
                Some(Command::Ask { peer, within_ms }) => {
                    tasks.spawn(talk::ask(endpoint.clone(), peer, Duration::from_millis(within_ms)));
                }
                None => break,
            },
            Some(event) = events.next() => tell(&event),
            Some(_) = tasks.join_next() => {}
        }
    }
    tasks.abort_all();
    endpoint.shutdown(SHUTDOWN).await;
    Ok(())
}

fn ticket(peer: &str) -> Result<Ticket, Fault> {
    peer.parse().map_err(|error| Fault::lab("the peer's name", error))
}

/// Access rules that take the configured times to decide.
struct Slow(Mutex<VecDeque<u64>>);

impl Access for Slow {
    async fn connection(&self, _: &Identity) -> Verdict {
        parts::say(&Said::Ruling);
        let ms = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        sleep(Duration::from_millis(ms.unwrap_or_default())).await;
        Verdict::Allow
    }
}

async fn bind(config: Config) -> Result<Endpoint, Fault> {
    let Reach { relay, root, nameserver, directory } = config.reach;
    let mut builder = Endpoint::builder().n0(false).mdns(config.mdns);
    if let Some(key) = config.key {
        builder = builder.secret_key(SecretKey::from_bytes(&key));
    }
    if let Some(port) = config.port {
        builder = builder.bind_addr((Ipv4Addr::UNSPECIFIED, port).into());
    }
    if !config.rules_ms.is_empty() {
        builder = builder.access(Slow(Mutex::new(config.rules_ms.into())));
    }
    if let Some(relay) = relay {
        builder = builder.relay(relay);
    }
    if let Some(root) = root {
        builder = builder.trust_root(root);
    }
    if let Some(nameserver) = nameserver {
        builder = builder.nameserver(nameserver);
    }
    if let Some((pkarr, origin)) = directory {
        builder = builder.directory(pkarr, origin);
    }
    builder.bind().await.map_err(|error| Fault::lab("no endpoint", in_one_line(&error)))
}

async fn online(endpoint: Endpoint) {
    if endpoint.online(ONLINE).await {
        parts::say(&Said::Online { ticket: endpoint.ticket().relay_only().to_string() });
    }
}

fn tell(event: &Event) {
    if let Event::PathChanged { path, .. } = event {
        parts::say(&Said::Path { direct: *path == PathKind::Direct });
    }
}

/// Returns the duration in milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
