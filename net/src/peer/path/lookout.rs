//! Looks for silence on connections, with one timer for all connections of an endpoint. Connections that are not in
//! use are not looked at.

use std::{
    collections::{BTreeSet, HashMap},
    future::pending,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, Semaphore},
    time::sleep_until,
};

use super::{
    probe,
    silence::{SilenceDetector, Suspicion},
};
use crate::peer::{
    backoff,
    link::Link,
    peers::Peers,
    table::{Generation, Input},
};

/// Connections that are due within this time are looked at in the same turn.
const TOGETHER: Duration = Duration::from_millis(50);

/// Maximum number of peers that are asked at the same time, each for 3 s at most. An endpoint that has lost its
/// network has lost all of its peers.
const ASKED: usize = 64;

/// The connections that have come into use since they were last looked at.
#[derive(Debug)]
pub(crate) struct Lookout {
    stirred: Mutex<Vec<Weak<Link>>>,
    stir: Notify,
    /// The permits to ask a peer.
    pub(super) asks: Semaphore,
}

impl Default for Lookout {
    fn default() -> Self {
        Self { stirred: Mutex::default(), stir: Notify::new(), asks: Semaphore::new(ASKED) }
    }
}

impl Lookout {
    /// Has a connection looked at from now on.
    pub(in crate::peer) fn stir(&self, link: Weak<Link>) {
        self.stirred.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        self.stir.notify_one();
    }

    fn take(&self) -> Vec<Weak<Link>> {
        std::mem::take(&mut *self.stirred.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Watched {
    link: Weak<Link>,
    silence: SilenceDetector,
    next: Instant,
}

/// The connections in use, ordered by the time of their next look. The cost of a turn depends on the number of
/// connections that are due, and not on the number of the others.
#[derive(Default)]
struct Due {
    watched: HashMap<Generation, Watched>,
    order: BTreeSet<(Instant, Generation)>,
}

impl Due {
    fn first(&self) -> Option<Instant> {
        self.order.first().map(|(next, _)| *next)
    }

    /// Makes a connection due now.
    fn hurry(&mut self, link: &Arc<Link>, now: Instant) {
        let drawn = f64::from(backoff::random()) / f64::from(u32::MAX);
        let new =
            || Watched { link: Arc::downgrade(link), silence: SilenceDetector::new(link.silence(), drawn), next: now };
        let watched = self.watched.entry(link.generation).or_insert_with(new);
        self.order.remove(&(watched.next, link.generation));
        watched.next = now;
        self.order.insert((now, link.generation));
    }

    /// Looks at all connections that are due by `until`. `look` returns the time of the next look, if there is one.
    fn look(&mut self, until: Instant, mut look: impl FnMut(&mut Watched) -> Option<Instant>) {
        let later = self.order.split_off(&(until, Generation::MAX));
        for (_, generation) in std::mem::replace(&mut self.order, later) {
            let Some(watched) = self.watched.get_mut(&generation) else { continue };
            match look(watched) {
                Some(next) => {
                    watched.next = next;
                    self.order.insert((next, generation));
                }
                None => drop(self.watched.remove(&generation)),
            }
        }
    }
}

/// Runs until the endpoint is closed: a shutdown may wait for streams of a peer that is gone.
pub(crate) async fn run(peers: Arc<Peers>) {
    let lookout = &peers.shared.lookout;
    let mut due = Due::default();
    loop {
        tokio::select! {
            () = lookout.stir.notified() => {}
            () = until(due.first()) => {}
            () = peers.closed.cancelled() => return,
        }
        let now = Instant::now();
        for link in lookout.take() {
            if let Some(link) = link.upgrade() {
                due.hurry(&link, now);
            }
        }
        due.look(now + TOGETHER, |watched| watched.look(&peers, now));
    }
}

impl Watched {
    /// Looks at the connection. Returns the time of the next look, or `None` if the connection need not be looked at
    /// again before it is stirred.
    fn look(&mut self, peers: &Arc<Peers>, now: Instant) -> Option<Instant> {
        let link = self.link.upgrade().filter(|link| link.connection().close_reason().is_none())?;
        let observation = link.observe(peers.is_kept(&link.peer()));
        let doubt = self.silence.look(observation, now);
        match doubt {
            // A new connection would serve no caller.
            Some(Suspicion::Dial) if peers.closing.is_cancelled() => {}
            Some(Suspicion::Dial) => {
                tracing::debug!(peer = %link.peer(), "the peer answers on another connection only: it is dialled anew");
                peers.on_seen(&link, Input::Silent(link.generation));
            }
            Some(Suspicion::Ask) => {
                tracing::debug!(peer = %link.peer(), "the peer does not answer: it is asked for its instance");
                peers.shared.tasks.spawn(probe::ask(Arc::clone(peers), Arc::clone(&link)));
            }
            None => {}
        }
        let mut next = self.silence.next();
        if next != Some(SilenceDetector::IN_USE) && !link.carrier.rest(observation.uses) {
            // Data was written since the look.
            next = Some(SilenceDetector::IN_USE);
        }
        next.map(|next| now + next)
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when.into()).await,
        None => pending().await,
    }
}
