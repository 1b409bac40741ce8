//! The places of inbound connections: among the handshakes under way, among the connections that wait to be
//! admitted, and among the peers of one source. Dropping a place gives it back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;
use twolane_id::PublicKey;

use super::{
    admission::Admission,
    by_source::PeersBySource,
    source::Source,
    waiting::{Entry, Waiting, WaitingId},
};

/// A connection that counts among those of its source until it is dropped.
pub(super) struct CountedConnection {
    pub(super) by_source: Arc<Mutex<PeersBySource>>,
    pub(super) peer: PublicKey,
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        lock(&self.by_source).left(&self.peer);
    }
}

pub(super) fn lock(by_source: &Mutex<PeersBySource>) -> MutexGuard<'_, PeersBySource> {
    by_source.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connections that wait until they are admitted.
pub(super) struct Pending(Mutex<(Waiting, HashMap<WaitingId, CancellationToken>)>);

/// The place of a connection among the pending connections. Dropping it gives the place back.
pub(super) struct PendingSlot {
    pending: Arc<Pending>,
    id: WaitingId,
    /// Cancelled when the place was given to another connection.
    pub(super) given_up: CancellationToken,
}

impl Pending {
    pub(super) fn new(max: usize, max_per_source: usize) -> Self {
        Self(Mutex::new((Waiting::new(max, max_per_source), HashMap::new())))
    }

    pub(super) fn enter(this: &Arc<Self>, source: Source) -> Option<PendingSlot> {
        let mut inside = this.lock();
        let (waiting, slots) = &mut *inside;
        let id = match waiting.enter(source) {
            Entry::Taken(id) => id,
            Entry::InPlaceOf(gone, id) => {
                if let Some(gone) = slots.remove(&gone) {
                    gone.cancel();
                }
                id
            }
            Entry::Refused => return None,
        };
        let given_up = CancellationToken::new();
        slots.insert(id, given_up.clone());
        Some(PendingSlot { pending: Arc::clone(this), id, given_up })
    }

    fn lock(&self) -> MutexGuard<'_, (Waiting, HashMap<WaitingId, CancellationToken>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingSlot {
    pub(super) fn spoke(&self) {
        self.pending.lock().0.spoke(self.id);
    }
}

impl Drop for PendingSlot {
    fn drop(&mut self) {
        let mut inside = self.pending.lock();
        inside.0.left(self.id);
        inside.1.remove(&self.id);
    }
}

/// The place of a handshake among those under way. Dropping it gives the place back.
pub(super) struct HandshakeSlot {
    pub(super) admission: Arc<Mutex<Admission>>,
    pub(super) source: Source,
}

impl Drop for HandshakeSlot {
    fn drop(&mut self) {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner).ended(self.source);
    }
}
