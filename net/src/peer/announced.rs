//! The peers that are connected and that `accept` has not returned yet.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use twolane_id::PublicKey;

#[derive(Debug, Default)]
pub(super) struct Announced {
    waiting: Mutex<VecDeque<PublicKey>>,
    changed: Notify,
}

impl Announced {
    /// Adds a peer that has connected.
    pub(super) fn announce(&self, peer: PublicKey) {
        let mut waiting = self.lock();
        if !waiting.contains(&peer) {
            waiting.push_back(peer);
        }
        drop(waiting);
        self.changed.notify_waiters();
    }

    /// Removes a peer that is gone before it was returned.
    pub(super) fn retract(&self, peer: &PublicKey) {
        self.lock().retain(|waiting| waiting != peer);
    }

    /// Returns the next peer that has connected since this function last returned it. `None` once `closing` is
    /// cancelled.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&self, closing: &CancellationToken) -> Option<PublicKey> {
        loop {
            let changed = self.changed.notified();
            if let Some(peer) = self.lock().pop_front() {
                return Some(peer);
            }
            tokio::select! {
                () = changed => {}
                () = closing.cancelled() => return None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<PublicKey>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
