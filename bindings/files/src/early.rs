//! Data streams that arrive before the offer to which they belong. This module does no I/O.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use twolane::PublicKey;

/// Maximum time for which a stream waits for its offer. The offer should arrive within one round trip.
pub(super) const GATHER: Duration = Duration::from_secs(30);
/// Maximum number of waiting streams of all senders together.
const MAX: usize = 64;
/// Maximum number of waiting streams of one sender: those of two transfers.
const MAX_OF_ONE: usize = 16;

/// The sender, and the id of the transfer.
pub(super) type Key = (PublicKey, [u8; 16]);

/// The streams without an offer, the oldest first.
#[derive(Debug)]
pub(super) struct Early<S>(VecDeque<Waiting<S>>);

#[derive(Debug)]
struct Waiting<S> {
    key: Key,
    stream: S,
    until: Instant,
}

impl<S> Default for Early<S> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<S> Early<S> {
    /// Adds a stream. If there is no room, the oldest stream of the sender with the most streams is dropped.
    pub(super) fn add(&mut self, key: Key, stream: S, now: Instant) {
        if self.of(key.0) == MAX_OF_ONE {
            self.drop_oldest_of(key.0);
        } else if self.0.len() == MAX
            && let Some(most) = self.0.iter().map(|waiting| waiting.key.0).max_by_key(|peer| self.of(*peer))
        {
            self.drop_oldest_of(most);
        }
        self.0.push_back(Waiting { key, stream, until: now + GATHER });
    }

    /// Removes and returns the streams of a transfer whose offer has arrived.
    pub(super) fn take(&mut self, key: Key) -> Vec<S> {
        let (here, others): (VecDeque<_>, _) =
            std::mem::take(&mut self.0).into_iter().partition(|waiting| waiting.key == key);
        self.0 = others;
        here.into_iter().map(|waiting| waiting.stream).collect()
    }

    /// Drops the streams that have waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|waiting| now < waiting.until);
    }

    /// Returns the time at which the next stream has to be dropped.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.0.front().map(|waiting| waiting.until)
    }

    fn of(&self, peer: PublicKey) -> usize {
        self.0.iter().filter(|waiting| waiting.key.0 == peer).count()
    }

    fn drop_oldest_of(&mut self, peer: PublicKey) {
        if let Some(oldest) = self.0.iter().position(|waiting| waiting.key.0 == peer) {
            self.0.remove(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use twolane::SecretKey;

    use super::*;

    fn peer(number: u8) -> PublicKey {
        SecretKey::from_bytes(&[number; 32]).public_key()
    }

    #[test]
    fn a_stream_is_kept_for_its_own_offer_until_its_time_is_over() {
        let (mut early, now, id) = (Early::default(), Instant::now(), [1; 16]);
        early.add((peer(1), id), "one", now);
        early.add((peer(1), id), "two", now + Duration::from_secs(1));
        early.add((peer(2), id), "another's", now + Duration::from_secs(1));
        early.expire(now + GATHER - Duration::from_nanos(1));
        assert_eq!(early.next_expiry(), Some(now + GATHER));
        early.expire(now + GATHER);
        assert_eq!(early.take((peer(1), id)), ["two"]);
        assert!(early.take((peer(1), id)).is_empty());
        assert_eq!(early.take((peer(2), id)), ["another's"]);
        assert_eq!(early.next_expiry(), None);
    }

    #[test]
    fn a_stranger_that_opens_very_many_pushes_out_its_own() {
        let (mut early, now) = (Early::default(), Instant::now());
        let honest = (peer(1), [1; 16]);
        for _ in 1..8 {
            early.add(honest, (), now);
        }
        for stranger in 2..9 {
            for number in 0..100 {
                early.add((peer(stranger), [number; 16]), (), now);
            }
            assert!(early.of(peer(stranger)) <= MAX_OF_ONE && early.0.len() <= MAX);
        }
        assert_eq!(early.take(honest).len(), 7);
    }
}
