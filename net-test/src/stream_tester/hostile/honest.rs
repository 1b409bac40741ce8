//! The honest peers: one that stays connected, and a newcomer that connects anew for each request, from another address.

use std::{
    error::Error,
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use iroh::{
    EndpointAddr,
    endpoint::{ConnectionError, QuicTransportConfig, VarInt},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, task::JoinSet, time::timeout};
use twolane::{Endpoint, PublicKey, SecretKey, Ticket};

use super::{
    raid::{self, Trouble},
    victim::REQUESTS,
    wire,
};
use crate::{cli::Problem, exit::Exit, output::in_one_line};

/// Requests under way at a time on the connection that stays. Enough to keep the endpoint busy while one answer travels;
/// with one, the rate would be a measure of latency.
const AT_A_TIME: usize = 8;
/// A request's length.
const LEN: usize = 64;
/// A request that takes longer has failed. Slow ones are judged by their time long before.
const DEADLINE: Duration = Duration::from_secs(10);
/// The newcomer connects after so many requests of the other one, so that its part in the process's work is always the same:
/// both ends of a handshake cost as much as some 80 requests. 20 a second, in a debug build.
const VISIT_AFTER: u64 = 800;
/// Or after so long.
const VISIT_EVERY: Duration = Duration::from_millis(150);
/// The newcomer's address is not the hostile peers', so that limits for one address are not its.
const NEWCOMER: &str = "127.0.0.2:0";
/// The codes DONE and BUSY of the end of a connection (WIRE.md, section 12).
const DONE: u32 = 0x100;
const BUSY: u64 = 0x106;
/// What each request says.
const BODY: [u8; LEN] = [0x61; LEN];

/// What the requests of one kind came to since the last look.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Requests {
    pub(super) done: u64,
    /// The longest that one took, in milliseconds, those included that are not over.
    pub(super) slowest_ms: f64,
    /// Requests of peers that were told that there are too many.
    pub(super) turned_away: u64,
    /// Requests that failed since the start.
    pub(super) failed: u64,
    pub(super) first_failure: Option<String>,
}

/// The honest peers. Dropped, they stop.
pub(super) struct Honest {
    endpoint: Endpoint,
    newcomer: iroh::Endpoint,
    victim: PublicKey,
    since: OnceLock<Instant>,
    stays: Arc<Log>,
    comes: Arc<Log>,
    tasks: JoinSet<()>,
}

impl Honest {
    /// Connects, and starts.
    pub(super) async fn start(victim: &Ticket) -> Result<Self, Problem> {
        let unusable = |what: &str, error: &(dyn Error + 'static)| Problem::because(Exit::Failure, what, error);
        let endpoint = Endpoint::builder().offline().bind().await;
        let endpoint = endpoint.map_err(|error| unusable("no endpoint for the honest peer", &error))?;
        // On iroh alone: it knows nothing of its last visit, and waits for nothing before the next.
        let newcomer = raid::bind(NEWCOMER, SecretKey::generate(), QuicTransportConfig::builder().build()).await;
        let newcomer = newcomer.map_err(|error| unusable("no newcomer on 127.0.0.2", &error))?;
        timeout(DEADLINE, endpoint.connect(victim.clone()))
            .await
            .map_err(|late| unusable("the honest peer did not connect", &late))?
            .map_err(|error| unusable("the honest peer did not connect", &error))?;
        let (stays, comes) = (Arc::new(Log::new(AT_A_TIME)), Arc::new(Log::new(1)));
        let mut tasks = JoinSet::new();
        for place in 0..AT_A_TIME {
            let (endpoint, victim, log) = (endpoint.clone(), victim.clone(), Arc::clone(&stays));
            let ask = async move || {
                let body = Bytes::from_static(&BODY);
                match endpoint.request(victim.clone(), REQUESTS, body, DEADLINE).await {
                    Ok(answer) if answer == BODY[..] => Outcome::Done,
                    Ok(_) => Outcome::Failed("another answer than the right one".to_owned()),
                    Err(error) => Outcome::Failed(in_one_line(&error)),
                }
            };
            tasks.spawn(async move { while log.time(place, ask()).await {} });
        }
        let (visitor, log, other, to) = (newcomer.clone(), Arc::clone(&comes), Arc::clone(&stays), victim.to_addr());
        tasks.spawn(async move {
            let nonce = rand::random();
            while log.time(0, visit(&visitor, &to, nonce)).await {
                let _ = timeout(VISIT_EVERY, other.visit.notified()).await;
            }
        });
        Ok(Self { endpoint, newcomer, victim: victim.peer(), since: OnceLock::new(), stays, comes, tasks })
    }

    /// Of the peer that stays, and of the newcomer.
    pub(super) fn look(&self) -> (Requests, Requests) {
        (self.stays.look(), self.comes.look())
    }

    pub(super) fn id(&self) -> PublicKey {
        self.endpoint.id()
    }

    pub(super) fn newcomer(&self) -> [u8; 32] {
        *self.newcomer.id().as_bytes()
    }

    /// Whether the peer that stays has the connection that it began with, and no other.
    pub(super) fn is_undisturbed(&self) -> bool {
        let info = self.endpoint.peer(&self.victim);
        info.is_some_and(|info| *self.since.get_or_init(|| info.since) == info.since && info.connections == 1)
    }

    /// Stops, and closes.
    pub(super) async fn end(mut self, within: Duration) {
        self.tasks.shutdown().await;
        let (_, _) = tokio::join!(self.endpoint.shutdown(within), timeout(within, self.newcomer.close()));
    }
}

/// Requests of one kind, written by those who send them.
#[derive(Debug)]
struct Log {
    origin: Instant,
    /// When the request under way in each place began, in microseconds since the origin. 0: none is.
    began: Vec<AtomicU64>,
    slowest: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
    /// It is time for the newcomer.
    visit: Notify,
    turned_away: AtomicU64,
    failed: AtomicU64,
    first_failure: OnceLock<String>,
}

impl Log {
    fn new(places: usize) -> Self {
        Self {
            origin: Instant::now(),
            began: (0..places).map(|_| AtomicU64::new(0)).collect(),
            slowest: AtomicU64::new(0),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            visit: Notify::new(),
            turned_away: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            first_failure: OnceLock::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// One request. False once one has failed: that has decided the scene.
    async fn time(&self, place: usize, request: impl Future<Output = Outcome>) -> bool {
        let began = self.now();
        self.began[place].store(began, Relaxed);
        let outcome = request.await;
        self.began[place].store(0, Relaxed);
        self.slowest.fetch_max(self.now() - began, Relaxed);
        match outcome {
            Outcome::Done => {
                if self.total.fetch_add(1, Relaxed).is_multiple_of(VISIT_AFTER) {
                    self.visit.notify_one();
                }
                self.done.fetch_add(1, Relaxed)
            }
            Outcome::TurnedAway => self.turned_away.fetch_add(1, Relaxed),
            Outcome::Failed(failure) => {
                self.failed.fetch_add(1, Relaxed);
                let _ = self.first_failure.set(failure);
                return false;
            }
        };
        true
    }

    fn look(&self) -> Requests {
        let under_way = self.began.iter().map(|began| began.load(Relaxed)).filter(|began| *began > 0);
        let oldest = under_way.min().map_or(0, |began| self.now().saturating_sub(began));
        Requests {
            done: self.done.swap(0, Relaxed),
            slowest_ms: self.slowest.swap(0, Relaxed).max(oldest) as f64 / 1e3,
            turned_away: self.turned_away.swap(0, Relaxed),
            failed: self.failed.load(Relaxed),
            first_failure: self.first_failure.get().cloned(),
        }
    }
}

enum Outcome {
    Done,
    TurnedAway,
    Failed(String),
}

/// A connection, a request on it, its answer, and the end of the connection.
async fn visit(newcomer: &iroh::Endpoint, to: &EndpointAddr, nonce: [u8; 16]) -> Outcome {
    let asking = async {
        let connection = newcomer.connect(to.clone(), twolane::ALPN).await.map_err(Box::new)?;
        let mut control = connection.open_uni().await?;
        control.write_all(&[vec![wire::KIND_CONTROL], wire::hello(1, nonce, &[])].concat()).await?;
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_all(&[wire::header(REQUESTS), BODY.to_vec()].concat()).await?;
        let _ = send.finish();
        raid::read_exactly(&mut recv, &[&[0], &BODY[..]].concat()).await?;
        connection.close(VarInt::from_u32(DONE), b"");
        Ok(())
    };
    match timeout(DEADLINE, asking).await {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(trouble)) if is_busy(&trouble) => Outcome::TurnedAway,
        Ok(Err(trouble)) => Outcome::Failed(in_one_line(&trouble)),
        Err(_) => Outcome::Failed(format!("a newcomer had no answer within {DEADLINE:?}")),
    }
}

/// Whether the endpoint said that it has as many peers as it may.
fn is_busy(trouble: &Trouble) -> bool {
    let end = trouble.connection_error();
    matches!(end, Some(ConnectionError::ApplicationClosed(close)) if close.error_code.into_inner() == BUSY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_not_over_counts_by_its_age() {
        let log = Log::new(2);
        log.began[1].store(1, Relaxed);
        std::thread::sleep(Duration::from_millis(20));
        assert!(log.look().slowest_ms >= 19.0);
        log.began[1].store(0, Relaxed);
        assert_eq!(log.look(), Requests::default());
    }
}
