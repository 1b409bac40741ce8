//! The early flights of the last minutes. A flight is what a dialler sends before its handshake is done. Anybody on
//! the path can record it and send it again, so no flight is acted on twice. Pure.
//!
//! TLS is in front of this record: a server takes each session once, so a copy of a flight finds no session. The
//! record holds even if a session can be used twice.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use twolane_id::PublicKey;

use crate::wire::control::Nonce;

/// Minimum time for which a flight is remembered. TLS takes early data only if the age of the ticket, as the dialler
/// counts it, is at most a minute off (RFC 8446, section 8.3; rustls has this minute as a constant). So a copy of a
/// flight is taken for early at most two minutes after the flight.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(180);
/// Maximum number of flights in each half of the record: at most 1.4 MB for both halves, if each flight is of another
/// peer. It allows 22 flights a second. A flight that finds the half full is not acted on before its handshake is
/// done, which costs it one round trip.
const MOST: usize = 4_096;
/// Maximum number of flights of one peer in each half: one every three seconds. Without it, a peer that dials again
/// and again would leave no place to the others.
pub(crate) const MOST_OF_PEER: usize = 64;

/// What becomes of a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its requests may be handled before the handshake is done.
    First,
    /// A flight with these numbers has come before.
    Again,
    /// It could not be told from a copy: it has no number, or there is no place to remember it.
    Unknown,
}

/// A flight, among those of one peer: the dialler's instance, and the number of its dial.
type Flight = (Nonce, u64);

/// The flights that were acted on. Two halves take turns, so that no flight needs a timer of its own.
#[derive(Debug)]
pub(crate) struct Flights {
    /// The time at which `recent` was begun.
    since: Instant,
    recent: Half,
    older: Half,
}

#[derive(Debug, Default)]
struct Half {
    flights: HashMap<PublicKey, Vec<Flight>>,
    len: usize,
}

impl Flights {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, recent: Half::default(), older: Half::default() }
    }

    /// Decides about a flight of `peer`, whose HELLO has this nonce and this DIAL. A flight that is the first with
    /// these numbers is remembered.
    pub(crate) fn take(&mut self, peer: PublicKey, nonce: Nonce, dial: u64, now: Instant) -> Verdict {
        if now.saturating_duration_since(self.since) >= REMEMBERED {
            self.older = std::mem::take(&mut self.recent);
            self.since = now;
        }
        let flight = (nonce, dial);
        if self.recent.has(&peer, &flight) || self.older.has(&peer, &flight) {
            return Verdict::Again;
        }
        if dial == 0 || !self.recent.has_room(&peer) {
            return Verdict::Unknown;
        }
        self.recent.flights.entry(peer).or_default().push(flight);
        self.recent.len += 1;
        Verdict::First
    }
}

impl Half {
    fn has(&self, peer: &PublicKey, flight: &Flight) -> bool {
        self.flights.get(peer).is_some_and(|flights| flights.contains(flight))
    }

    fn has_room(&self, peer: &PublicKey) -> bool {
        self.len < MOST && self.flights.get(peer).is_none_or(|flights| flights.len() < MOST_OF_PEER)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use twolane_id::SecretKey;

    use super::{
        Verdict::{Again, First, Unknown},
        *,
    };

    fn peer(n: u64) -> PublicKey {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        SecretKey::from_bytes(&seed).public_key()
    }

    #[test]
    fn every_flight_has_the_verdict_of_the_table() {
        let (a, b) = (peer(1), peer(2));
        let begin = Instant::now();
        let mut flights = Flights::new(begin);
        // The second at which the flight comes, its peer, its instance, its dial, and the verdict.
        let table = [
            (0, a, 1, 10, First),
            (0, a, 1, 10, Again),
            (1, a, 1, 11, First),
            // Another instance counts from another number, which can be the same one.
            (1, a, 2, 10, First),
            (1, b, 1, 10, First),
            // A dialler that does not number its dials.
            (2, a, 3, 0, Unknown),
            (2, a, 3, 0, Unknown),
            (179, a, 1, 10, Again),
            // The halves take turns: what was recent is older now.
            (180, a, 1, 11, Again),
            (359, b, 1, 10, Again),
            (359, a, 1, 12, First),
            // They take turns again, and the first flights are forgotten.
            (360, a, 1, 12, Again),
            (360, a, 1, 10, First),
        ];
        for (at, peer, nonce, dial, verdict) in table {
            let now = begin + Duration::from_secs(at);
            assert_eq!(flights.take(peer, [nonce; 16], dial, now), verdict, "after {at} s: {nonce}, {dial}");
        }
    }

    #[test]
    fn a_peer_that_dials_again_and_again_leaves_room_for_others() {
        let now = Instant::now();
        let mut flights = Flights::new(now);
        for dial in 1..=MOST_OF_PEER as u64 {
            assert_eq!(flights.take(peer(1), [1; 16], dial, now), First);
        }
        assert_eq!(flights.take(peer(1), [1; 16], 1_000, now), Unknown);
        assert_eq!(flights.take(peer(1), [1; 16], 1, now), Again, "a copy is known also when there is no room");
        assert_eq!(flights.take(peer(2), [1; 16], 1, now), First);
        assert_eq!(flights.take(peer(1), [1; 16], 1_000, now + REMEMBERED), First);
    }

    #[test]
    fn a_bounded_number_of_flights_is_remembered_and_none_is_acted_on_beyond_it() {
        let now = Instant::now();
        let mut flights = Flights::new(now);
        let peers: Vec<_> = (0..=(MOST / MOST_OF_PEER) as u64).map(peer).collect();
        let mut first = 0;
        for peer in &peers {
            for dial in 1..=MOST_OF_PEER as u64 {
                first += usize::from(flights.take(*peer, [1; 16], dial, now) == First);
            }
        }
        assert_eq!((first, flights.recent.len), (MOST, MOST));
        assert_eq!(flights.take(peer(1_000), [1; 16], 1, now), Unknown);
    }

    proptest! {
        /// Flights of a few peers, many of them copies, at any times.
        #[test]
        fn no_flight_is_the_first_twice_within_the_time_in_which_tls_takes_it_for_early(
            comes in prop::collection::vec((0..3usize, 0..2u8, 0..90u64, 0..40u64), 0..400),
        ) {
            let peers = [1, 2, 3].map(peer);
            let begin = Instant::now();
            let (mut flights, mut acted_on, mut now) = (Flights::new(begin), HashMap::new(), begin);
            for (of, nonce, dial, later) in comes {
                now += Duration::from_secs(later);
                if flights.take(peers[of], [nonce; 16], dial, now) == First {
                    let before = acted_on.insert((of, nonce, dial), now);
                    prop_assert!(before.is_none_or(|before| now - before >= REMEMBERED));
                    prop_assert!(dial > 0);
                }
                prop_assert!(flights.recent.len <= MOST && flights.older.len <= MOST);
            }
        }
    }
}
