//! The probes that an endpoint holds: the newest one of each peer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;
use twolane_id::PublicKey;

/// Maximum number of probes of peers that are not connected. Such a peer may have learnt that this endpoint was
/// restarted, and be about to dial: if its probe is turned away, it gets a direct path 5 s later. A stranger can
/// hold a probe as well, for 3 s.
const STRANGERS: usize = 64;

#[derive(Debug, Default)]
pub(in crate::peer) struct Probes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: HashMap<PublicKey, Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    is_stranger: bool,
    replaced: CancellationToken,
}

impl Probes {
    /// Holds a peer's probe in place of the previous one. Returns `None` if the peer is not connected and
    /// [`STRANGERS`] probes of such peers are held.
    pub(in crate::peer) fn enter(&self, peer: PublicKey, is_connected: bool) -> Option<Held<'_>> {
        let mut state = self.lock();
        // The previous probe is over, whether or not this one is held: its peer has made another one.
        if let Some(before) = state.held.remove(&peer) {
            before.replaced.cancel();
        }
        if !is_connected && state.held.values().filter(|entry| entry.is_stranger).count() >= STRANGERS {
            return None;
        }
        let (number, replaced) = (state.next, CancellationToken::new());
        state.next += 1;
        state.held.insert(peer, Entry { number, is_stranger: !is_connected, replaced: replaced.clone() });
        drop(state);
        Some(Held { probes: self, peer, number, replaced })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A probe, held until it is dropped.
#[derive(Debug)]
pub(in crate::peer) struct Held<'a> {
    probes: &'a Probes,
    peer: PublicKey,
    number: u64,
    replaced: CancellationToken,
}

impl Held<'_> {
    /// Records that the peer is connected now.
    pub(in crate::peer) fn is_connected(&self) {
        if let Some(entry) = self.probes.lock().held.get_mut(&self.peer)
            && entry.number == self.number
        {
            entry.is_stranger = false;
        }
    }

    /// Waits until the peer has made another probe. Cancel-safe.
    pub(in crate::peer) async fn replaced(&self) {
        self.replaced.cancelled().await;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.probes.lock();
        if state.held.get(&self.peer).is_some_and(|entry| entry.number == self.number) {
            state.held.remove(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use twolane_id::SecretKey;

    use super::*;

    fn peer() -> PublicKey {
        SecretKey::generate().public_key()
    }

    #[test]
    fn of_a_peer_the_newest_probe_is_held_and_the_end_of_an_older_one_changes_nothing() {
        let (probes, peer) = (Probes::default(), peer());
        let first = probes.enter(peer, true).unwrap();
        let second = probes.enter(peer, true).unwrap();
        assert!(first.replaced.is_cancelled() && !second.replaced.is_cancelled());
        drop(first);
        let third = probes.enter(peer, true).unwrap();
        assert!(second.replaced.is_cancelled());
        drop((second, third));
        assert!(probes.lock().held.is_empty());
    }

    #[test]
    fn so_many_strangers_are_held_as_there_is_room_for_and_every_peer_that_is_connected() {
        let probes = Probes::default();
        let mut strangers: Vec<_> = (0..STRANGERS).map(|_| probes.enter(peer(), false).unwrap()).collect();
        assert!(probes.enter(peer(), false).is_none());
        let _connected = probes.enter(peer(), true).unwrap();
        // There is room again once one of these peers is connected, and once a probe ends.
        strangers[0].is_connected();
        strangers.push(probes.enter(peer(), false).unwrap());
        assert!(probes.enter(peer(), false).is_none());
        strangers.pop();
        assert!(probes.enter(peer(), false).is_some());
    }
}
