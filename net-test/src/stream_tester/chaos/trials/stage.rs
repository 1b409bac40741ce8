//! The tools of the trials: endpoints on loopback, and slow links between them.

use std::{fmt, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use rand::{Rng, RngExt, rngs::StdRng};
use tokio::time::timeout;
use twolane::{Builder, Endpoint, Limits, SecretKey, Ticket};

use super::Trials;
use crate::stream_tester::chaos::{
    link::{Link, Shape, V4, V6},
    shutdown::shut_down,
};

/// Maximum time for a step that takes almost no time on an idle machine.
pub const SOON: Duration = Duration::from_secs(10);
const SHUTDOWN: Duration = Duration::from_secs(2);

/// The state of one trial.
#[derive(Debug)]
pub struct Stage {
    pub rng: StdRng,
    trials: Arc<Trials>,
}

impl Stage {
    pub fn new(rng: StdRng, trials: Arc<Trials>) -> Self {
        Self { rng, trials }
    }

    pub fn key(&mut self) -> SecretKey {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        SecretKey::from_bytes(&bytes)
    }

    /// Returns two keys, the smaller one first.
    pub fn keys(&mut self) -> [SecretKey; 2] {
        let mut keys = [self.key(), self.key()];
        keys.sort_by_key(|key| *key.public_key().as_bytes());
        keys
    }

    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        self.rng.random_range(least..=most)
    }

    pub fn ms_between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    /// Returns the builder of an endpoint at the end of a link, with an address of this family.
    pub fn builder(&mut self, at: SocketAddr) -> Builder {
        self.trials.lives.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Endpoint::builder().bind_addr(at).offline().secret_key(self.key())
    }

    /// Binds two endpoints without a link between them. The second one has these limits.
    pub async fn neighbours(&mut self, limits: Limits) -> Result<[Endpoint; 2], String> {
        Ok([bind(self.builder(V4)).await?, bind(self.builder(V4).limits(limits)).await?])
    }

    /// Binds two endpoints with a link between them, and makes the ticket with which the first reaches the second.
    /// The second one has these limits.
    pub async fn linked(&mut self, shape: Shape, limits: Limits) -> Result<Linked, String> {
        let (near, far) = (bind(self.builder(V6)).await?, bind(self.builder(V4).limits(limits)).await?);
        let (link, ticket) = link_to(&far, shape).await?;
        Ok(Linked { near, far, link, ticket })
    }
}

/// Two endpoints with a link between them.
#[derive(Debug)]
pub struct Linked {
    pub near: Endpoint,
    pub far: Endpoint,
    pub link: Link,
    /// The ticket of `far` over the link, for `near`.
    pub ticket: Ticket,
}

pub async fn bind(builder: Builder) -> Result<Endpoint, String> {
    builder.bind().await.map_err(|error| format!("no endpoint: {error}"))
}

/// Starts a link to an endpoint. Returns the link and a ticket with its address.
pub async fn link_to(endpoint: &Endpoint, shape: Shape) -> Result<(Link, Ticket), String> {
    let socket = endpoint.status().sockets.first().copied().ok_or("an endpoint has no socket")?;
    let link = Link::start(socket, shape).await.map_err(|error| format!("no link: {error}"))?;
    let ticket = Ticket::new(endpoint.id()).with_addr(link.addr()).map_err(|error| format!("no ticket: {error}"))?;
    Ok((link, ticket))
}

/// Shuts endpoints down, and checks that no task goes on after that.
pub async fn close<const N: usize>(endpoints: [Endpoint; N]) -> Result<(), String> {
    let mut closing = tokio::task::JoinSet::new();
    for endpoint in endpoints {
        closing.spawn(async move { shut_down(&endpoint, SHUTDOWN).await });
    }
    let mut faults = Vec::new();
    while let Some(closed) = closing.join_next().await {
        match closed {
            Ok((_, 0)) => {}
            Ok((report, left)) => faults.push(format!("{left} tasks went on after the shutdown: {report:?}")),
            Err(error) => faults.push(error.to_string()),
        }
    }
    none_of(&faults, N as u64)
}

/// Waits at most [`SOON`] for a step that takes almost no time.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    within(SOON, what, future).await
}

pub async fn within<T>(bound: Duration, what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    timeout(bound, future).await.map_err(|_| format!("{what} took longer than {bound:?}"))
}

/// Makes a description of an error that must not occur.
pub fn not<E: fmt::Debug>(what: &str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error:?}")
}

/// Returns the first descriptions of the faults of `rounds` rounds. One defect shows in many rounds.
pub fn none_of(faults: &[String], rounds: u64) -> Result<(), String> {
    const TOLD: usize = 3;
    let told = faults.iter().take(TOLD).cloned().collect::<Vec<_>>().join("; ");
    ensure(faults.is_empty(), || format!("in {} rounds of {rounds}: {told}", faults.len()))
}

pub fn ensure(holds: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(seen()) }
}
