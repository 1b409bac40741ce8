//! The peers that the program has called, so that they are no strangers when they connect by themselves.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use twolane_id::PublicKey;

/// A bounded number of peers, the latest of them always.
#[derive(Debug)]
pub(super) struct Called {
    /// Those before the last change of halves, and those since.
    halves: Mutex<(HashSet<PublicKey>, HashSet<PublicKey>)>,
    half: usize,
}

impl Called {
    /// `half`: the number of peers that are remembered at least. At most twice that number are.
    pub(super) fn new(half: usize) -> Self {
        Self { halves: Mutex::default(), half }
    }

    pub(super) fn insert(&self, peer: PublicKey) {
        let mut halves = self.lock();
        if halves.1.len() >= self.half && !halves.1.contains(&peer) {
            halves.0 = std::mem::take(&mut halves.1);
        }
        halves.1.insert(peer);
    }

    pub(super) fn contains(&self, peer: &PublicKey) -> bool {
        let halves = self.lock();
        halves.0.contains(peer) || halves.1.contains(peer)
    }

    fn lock(&self) -> MutexGuard<'_, (HashSet<PublicKey>, HashSet<PublicKey>)> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use twolane_id::SecretKey;

    use super::*;

    #[test]
    fn a_bounded_number_of_called_peers_is_remembered_and_the_latest_of_them_always() {
        let (called, keys) = (Called::new(3), (0..20).map(|seed| SecretKey::from_bytes(&[seed; 32]).public_key()));
        let keys: Vec<_> = keys.collect();
        for (at, key) in keys.iter().enumerate() {
            called.insert(*key);
            called.insert(*key);
            let remembered = keys.iter().filter(|key| called.contains(key)).count();
            assert!(remembered <= 6, "{remembered} after {at}");
            assert!(keys[at.saturating_sub(2)..=at].iter().all(|key| called.contains(key)), "the last three");
        }
    }
}
