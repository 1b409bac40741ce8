//! The peers that the program keeps connected, also while no stream is open to them.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use twolane_id::PublicKey;

/// The number of [`Kept`] values of each peer. Never 0.
#[derive(Debug, Default)]
pub(super) struct KeptPeers(Mutex<HashMap<PublicKey, usize>>);

impl KeptPeers {
    pub(super) fn contains(&self, id: &PublicKey) -> bool {
        self.lock().contains_key(id)
    }

    pub(super) fn keep(self: &Arc<Self>, id: PublicKey) -> Kept {
        *self.lock().entry(id).or_default() += 1;
        Kept { peers: Arc::clone(self), id }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PublicKey, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request to keep a peer connected, until it is dropped.
#[derive(Debug)]
pub(crate) struct Kept {
    peers: Arc<KeptPeers>,
    id: PublicKey,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Entry::Occupied(mut kept) = self.peers.lock().entry(self.id) {
            *kept.get_mut() -= 1;
            if *kept.get() == 0 {
                kept.remove();
            }
        }
    }
}
