//! The honest peers. One stays connected. The other, the newcomer, makes a new connection for each request, from
//! another address.

use std::{
    error::Error,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use iroh::{
    EndpointAddr,
    endpoint::{ConnectionError, VarInt},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, task::JoinSet, time::timeout};
use twolane::{Endpoint, PublicKey, SecretKey, Ticket};

use super::{
    raid::{self, Trouble},
    victim::REQUESTS,
};
use crate::{
    cli::Problem,
    exit::Exit,
    output::in_one_line,
    wire::{self, close},
};

/// The number of requests in flight on the connection that stays. They keep the endpoint busy while an answer
/// travels. With a single request at a time, the rate would depend on latency alone.
const AT_A_TIME: usize = 8;
const LEN: usize = 64;
/// Maximum time for a request before it counts as failed. The limits for the slowest request are far below.
const DEADLINE: Duration = Duration::from_secs(10);
/// The number of requests of the other peer after which the newcomer connects. So the newcomer's share of the
/// process's work is constant: both ends of a handshake cost as much as about 80 requests. In a debug build the
/// newcomer connects 20 times a second.
const VISIT_AFTER: u64 = 800;
/// Maximum time between two connections of the newcomer.
const VISIT_EVERY: Duration = Duration::from_millis(150);
/// The newcomer's address. It differs from the hostile peers' address, so that limits per address do not affect the
/// newcomer.
const NEWCOMER: &str = "127.0.0.2:0";
const BODY: [u8; LEN] = [0x61; LEN];

/// The requests of one kind since the last look.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    pub done: u64,
    /// The time of the slowest request. The age of requests that are still in flight counts too.
    pub slowest_ms: f64,
    /// The number of connections that were closed with BUSY.
    pub turned_away: u64,
    /// The number of failed requests since the start.
    pub failed: u64,
    pub first_failure: Option<String>,
}

/// The honest peers. They stop when this is dropped.
pub struct Honest {
    endpoint: Endpoint,
    newcomer: iroh::Endpoint,
    /// The times when the connection between the staying peer and the victim began, as each end reports it.
    since: [OnceLock<Instant>; 2],
    stays: Arc<Log>,
    comes: Arc<Log>,
    tasks: JoinSet<()>,
}

impl Honest {
    pub async fn start(victim: &Ticket) -> Result<Self, Problem> {
        let unusable = |what: &str, error: &(dyn Error + 'static)| Problem::because(Exit::Failure, what, error);
        let endpoint = Endpoint::builder().offline().bind().await;
        let endpoint = endpoint.map_err(|error| unusable("no endpoint for the honest peer", &error))?;
        // The newcomer uses raw iroh, so that it has no memory of the last connection and no delay before the next
        // one.
        let newcomer = raid::bind(NEWCOMER, SecretKey::generate(), None).await;
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
        Ok(Self { endpoint, newcomer, since: Default::default(), stays, comes, tasks })
    }

    /// Returns the requests of the peer that stays, and those of the newcomer.
    pub fn look(&self) -> (Requests, Requests) {
        (self.stays.look(), self.comes.look())
    }

    pub fn id(&self) -> PublicKey {
        self.endpoint.id()
    }

    pub fn newcomer(&self) -> [u8; 32] {
        *self.newcomer.id().as_bytes()
    }

    /// Returns whether the staying peer and the victim still have their first connection, and no other.
    pub fn is_undisturbed(&self, victim: &Endpoint) -> bool {
        let ends = [(victim, self.endpoint.id()), (&self.endpoint, victim.id())];
        ends.iter().zip(&self.since).all(|((end, peer), since)| {
            let info = end.peer(peer);
            info.is_some_and(|info| *since.get_or_init(|| info.since) == info.since && info.connections == 1)
        })
    }

    pub async fn end(mut self, within: Duration) {
        self.tasks.shutdown().await;
        let (_, _) = tokio::join!(self.endpoint.shutdown(within), timeout(within, self.newcomer.close()));
    }
}

#[derive(Debug)]
struct Log {
    book: Mutex<Book>,
    /// Wakes the newcomer.
    visit: Notify,
}

#[derive(Debug, Default)]
struct Book {
    requests: Requests,
    /// The number of requests that were done since the start.
    total: u64,
    /// The start of the request in flight in each place.
    began: Vec<Option<Instant>>,
}

impl Log {
    fn new(places: usize) -> Self {
        let book = Book { began: vec![None; places], ..Book::default() };
        Self { book: Mutex::new(book), visit: Notify::new() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a request and records it. Returns whether to go on: a request that failed has decided the scene.
    async fn time(&self, place: usize, request: impl Future<Output = Outcome>) -> bool {
        let began = Instant::now();
        self.book().began[place] = Some(began);
        let outcome = request.await;
        let mut book = self.book();
        book.began[place] = None;
        let Book { requests, total, .. } = &mut *book;
        requests.slowest_ms = requests.slowest_ms.max(age_ms(began));
        match outcome {
            Outcome::Done => {
                if total.is_multiple_of(VISIT_AFTER) {
                    self.visit.notify_one();
                }
                *total += 1;
                requests.done += 1;
            }
            Outcome::TurnedAway => requests.turned_away += 1,
            Outcome::Failed(failure) => {
                requests.failed += 1;
                requests.first_failure.get_or_insert(failure);
                return false;
            }
        }
        true
    }

    fn look(&self) -> Requests {
        let mut book = self.book();
        let mut seen = book.requests.clone();
        seen.slowest_ms = book.began.iter().flatten().map(|began| age_ms(*began)).fold(seen.slowest_ms, f64::max);
        let kept = Requests { failed: seen.failed, first_failure: seen.first_failure.clone(), ..Requests::default() };
        book.requests = kept;
        seen
    }
}

fn age_ms(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

enum Outcome {
    Done,
    TurnedAway,
    Failed(String),
}

/// Makes a connection and a request on it, reads the answer, and closes the connection.
async fn visit(newcomer: &iroh::Endpoint, to: &EndpointAddr, nonce: [u8; 16]) -> Outcome {
    let asking = async {
        let connection = newcomer.connect(to.clone(), twolane::ALPN).await.map_err(Box::new)?;
        let _control = raid::say_hello(&connection, nonce).await?;
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_all(&[wire::header(REQUESTS, b""), BODY.to_vec()].concat()).await?;
        let _ = send.finish();
        raid::accepted(&mut recv).await?;
        raid::read_exactly(&mut recv, &BODY[..]).await?;
        connection.close(VarInt::from_u32(close::DONE as u32), b"");
        Ok(())
    };
    match timeout(DEADLINE, asking).await {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(trouble)) if is_busy(&trouble) => Outcome::TurnedAway,
        Ok(Err(trouble)) => Outcome::Failed(in_one_line(&trouble)),
        Err(_) => Outcome::Failed(format!("a newcomer had no answer within {DEADLINE:?}")),
    }
}

/// Returns whether the endpoint closed the connection because it has the maximum number of peers.
fn is_busy(trouble: &Trouble) -> bool {
    let end = trouble.connection_error();
    matches!(end, Some(ConnectionError::ApplicationClosed(end)) if end.error_code.into_inner() == close::BUSY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_not_over_counts_by_its_age() {
        let log = Log::new(2);
        log.book().began[1] = Instant::now().checked_sub(Duration::from_millis(20));
        assert!(log.look().slowest_ms >= 20.0);
        log.book().began[1] = None;
        assert_eq!(log.look(), Requests::default());
    }
}
