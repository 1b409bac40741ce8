//! The honest peer: requests of 64 bytes, eight at a time, without a pause.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use twolane::{Endpoint, PublicKey, Ticket};

use crate::{cli::Problem, exit::Exit, output::in_one_line, stream_tester::hostile::victim::REQUESTS};

/// Requests under way at a time. Enough to keep the endpoint busy while one answer travels; with one, the share would
/// be a measure of latency.
const AT_A_TIME: usize = 8;
/// A request's length.
const LEN: usize = 64;
/// A request that takes longer has failed. They take under a millisecond; the rest is for a machine that does others'
/// work.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// What the honest peer has done. Dropped, it stops.
pub(super) struct Honest {
    endpoint: Endpoint,
    victim: PublicKey,
    since: Option<Instant>,
    done: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    first_failure: Arc<OnceLock<String>>,
    tasks: JoinSet<()>,
}

impl Honest {
    /// Connects, and starts.
    pub(super) async fn start(victim: Ticket) -> Result<Self, Problem> {
        let unusable =
            |what: &str, error: &(dyn std::error::Error + 'static)| Problem::because(Exit::Failure, what, error);
        let endpoint = Endpoint::builder().offline().bind().await;
        let endpoint = endpoint.map_err(|error| unusable("no endpoint for the honest peer", &error))?;
        let connected = timeout(CONNECT, endpoint.connect(victim.clone())).await;
        connected
            .map_err(|late| unusable("the honest peer did not connect", &late))?
            .map_err(|error| unusable("the honest peer did not connect", &error))?;
        let peer = victim.peer();
        let (done, failed, first_failure) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default(), Arc::default());
        let mut tasks = JoinSet::new();
        for _ in 0..AT_A_TIME {
            let (endpoint, victim) = (endpoint.clone(), victim.clone());
            let (done, failed, first) =
                (Arc::clone(&done), Arc::clone(&failed), Arc::<OnceLock<String>>::clone(&first_failure));
            tasks.spawn(async move {
                let body = Bytes::from_static(&[0x61; LEN]);
                loop {
                    let failure = match endpoint.request(victim.clone(), REQUESTS, body.clone(), DEADLINE).await {
                        Ok(answer) if answer == body => {
                            done.fetch_add(1, Relaxed);
                            continue;
                        }
                        Ok(_) => "another answer than the right one".to_owned(),
                        Err(error) => in_one_line(&error),
                    };
                    // It goes on with one less: what failed has decided the scene.
                    failed.fetch_add(1, Relaxed);
                    let _ = first.set(failure);
                    return;
                }
            });
        }
        let since = endpoint.peer(&peer).map(|info| info.since);
        Ok(Self { endpoint, victim: peer, since, done, failed, first_failure, tasks })
    }

    /// Requests a second, over so long a time.
    pub(super) async fn rate(&self, window: Duration) -> f64 {
        let (started, before) = (Instant::now(), self.done.load(Relaxed));
        sleep(window).await;
        let done = self.done.load(Relaxed) - before;
        done as f64 / started.elapsed().as_secs_f64()
    }

    /// Stops, and closes.
    pub(super) async fn end(mut self, within: Duration) {
        self.tasks.shutdown().await;
        self.endpoint.shutdown(within).await;
    }

    pub(super) fn id(&self) -> PublicKey {
        self.endpoint.id()
    }

    /// How many requests failed, and why the first did.
    pub(super) fn failures(&self) -> (u64, Option<String>) {
        (self.failed.load(Relaxed), self.first_failure.get().cloned())
    }

    /// Whether it has the connection that it began with, and no other.
    pub(super) fn is_undisturbed(&self) -> bool {
        self.endpoint.peer(&self.victim).is_some_and(|info| Some(info.since) == self.since && info.connections == 1)
    }
}
