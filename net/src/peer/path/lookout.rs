//! Looks for silence on connections, with one timer for all connections of an endpoint. Connections that are not in
//! use are not looked at.

use std::{
    collections::HashMap,
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
    silence::{Doubt, Silence},
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
    silence: Silence,
    next: Instant,
}

/// Runs until the endpoint is closed: a shutdown may wait for streams of a peer that is gone.
pub(crate) async fn run(peers: Arc<Peers>) {
    let lookout = &peers.shared.lookout;
    let mut watched = HashMap::<Generation, Watched>::new();
    loop {
        let next = watched.values().map(|watched| watched.next).min();
        tokio::select! {
            () = lookout.stir.notified() => {}
            () = until(next) => {}
            () = peers.closed.cancelled() => return,
        }
        let now = Instant::now();
        for link in lookout.take() {
            let Some(found) = link.upgrade() else { continue };
            let drawn = f64::from(backoff::random()) / f64::from(u32::MAX);
            let new = || Watched { link, silence: Silence::new(found.silence(), drawn), next: now };
            watched.entry(found.generation).or_insert_with(new).next = now;
        }
        watched.retain(|_, watched| watched.next > now + TOGETHER || watched.look(&peers, now));
    }
}

impl Watched {
    /// Looks at the connection. Returns false if it need not be looked at again before it is stirred.
    fn look(&mut self, peers: &Arc<Peers>, now: Instant) -> bool {
        let Some(link) = self.link.upgrade().filter(|link| link.connection().close_reason().is_none()) else {
            return false;
        };
        let sight = link.sight(peers.is_kept(&link.peer()));
        let doubt = self.silence.look(sight, now);
        match doubt {
            // A new connection would serve no caller.
            Some(Doubt::Dial) if peers.closing.is_cancelled() => {}
            Some(Doubt::Dial) => {
                tracing::debug!(peer = %link.peer(), "the peer answers elsewhere and not here: it is dialled anew");
                peers.on_seen(&link, Input::Silent(link.generation));
            }
            Some(Doubt::Ask) => {
                tracing::debug!(peer = %link.peer(), "no answer has come: the peer is asked which instance of it is there");
                peers.shared.tasks.spawn(probe::ask(Arc::clone(peers), Arc::clone(&link)));
            }
            None => {}
        }
        let mut next = self.silence.next();
        if next != Some(Silence::IN_USE) && !link.carrier.rest(sight.uses) {
            // Data was written since the look.
            next = Some(Silence::IN_USE);
        }
        self.next = now + next.unwrap_or_default();
        next.is_some()
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when.into()).await,
        None => pending().await,
    }
}
