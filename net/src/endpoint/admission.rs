//! Decides which inbound handshakes are taken: a limited number at a time, a limited number from one source, at
//! most half from one class of sources, and under pressure only those from sources that packets are known to
//! reach. Pure.

use super::source::{Counts, Source};

/// What to do with a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Take it. It is counted until [`Admission::ended`].
    Take,
    /// Ask its dialler to prove the address first, and to come again.
    Retry,
    /// Refuse it.
    Refuse,
}

/// The handshakes that are under way.
#[derive(Debug)]
pub(super) struct Admission {
    max: usize,
    max_per_source: usize,
    under_way: usize,
    counts: Counts,
}

impl Admission {
    pub(super) fn new(max: usize, max_per_source: usize) -> Self {
        let counts = Counts::default();
        Self { max: max.max(1), max_per_source: max_per_source.max(1), under_way: 0, counts }
    }

    fn max_per_class(&self) -> usize {
        self.max.div_ceil(2)
    }

    /// Decides about a new handshake, and counts it if it is taken. `validated` is whether packets are known to reach
    /// its source.
    pub(super) fn decide(&mut self, source: Source, validated: bool) -> Decision {
        let decision = self.weigh(source, validated);
        if decision == Decision::Take {
            self.under_way += 1;
            self.counts.add(source);
        }
        decision
    }

    /// Returns what would be decided about a handshake now.
    pub(super) fn weigh(&self, source: Source, validated: bool) -> Decision {
        if self.under_way >= self.max {
            return Decision::Refuse;
        }
        let (of_source, of_class) = self.counts.of(source);
        // An attacker that forges addresses can fill up the count of any other address. A handshake from such an
        // address is therefore asked to prove the address before it may be refused.
        let pressure = self.under_way >= self.max.div_ceil(2)
            || of_source >= self.max_per_source.div_ceil(2)
            || of_class >= self.max_per_class().div_ceil(2);
        if pressure && !validated {
            return Decision::Retry;
        }
        if of_source >= self.max_per_source || of_class >= self.max_per_class() {
            return Decision::Refuse;
        }
        Decision::Take
    }

    /// Records that a handshake that was taken has ended, successfully or not.
    pub(super) fn ended(&mut self, source: Source) {
        self.under_way = self.under_way.saturating_sub(1);
        self.counts.remove(source);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn source(n: u8) -> Source {
        Source::ip(IpAddr::from([10, 0, 0, n]))
    }

    #[test]
    fn handshakes_are_taken_up_to_the_limit_and_again_when_one_has_ended() {
        let mut admission = Admission::new(4, 4);
        for n in 0..4 {
            assert_eq!(admission.decide(source(n), true), Decision::Take);
        }
        assert_eq!(admission.decide(source(9), true), Decision::Refuse);
        admission.ended(source(0));
        assert_eq!(admission.decide(source(9), true), Decision::Take);
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let mut admission = Admission::new(100, 3);
        for _ in 0..3 {
            assert_eq!(admission.decide(source(1), true), Decision::Take);
        }
        assert_eq!(admission.decide(source(1), true), Decision::Refuse);
        assert_eq!(admission.decide(source(2), true), Decision::Take);
    }

    #[test]
    fn from_half_of_a_limit_on_an_address_has_to_prove_that_packets_reach_it() {
        let mut admission = Admission::new(4, 100);
        assert_eq!(admission.decide(source(1), false), Decision::Take);
        assert_eq!(admission.decide(source(2), false), Decision::Take);
        assert_eq!(admission.decide(source(3), false), Decision::Retry);
        assert_eq!(admission.decide(source(3), true), Decision::Take);
        let mut admission = Admission::new(100, 4);
        assert_eq!(admission.decide(source(1), false), Decision::Take);
        assert_eq!(admission.decide(source(1), false), Decision::Take);
        assert_eq!(admission.decide(source(1), false), Decision::Retry);
        assert_eq!(admission.decide(source(2), false), Decision::Take);
    }

    #[test]
    fn a_forged_address_does_not_lock_out_the_one_who_has_it() {
        let mut admission = Admission::new(100, 4);
        for _ in 0..50 {
            admission.decide(source(1), false);
        }
        assert_eq!(admission.decide(source(1), true), Decision::Take);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_a_mapped_address_as_ipv4() {
        let in_network = |last: u16| Source::ip(IpAddr::from([0x2001, 0xdb8, 1, 2, 3, 4, 5, last]));
        assert_eq!(in_network(1), in_network(2));
        assert_ne!(in_network(1), Source::ip(IpAddr::from([0x2001, 0xdb8, 1, 3, 3, 4, 5, 1])));
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, 0x0001]);
        assert_eq!(Source::ip(mapped), source(1));
    }

    fn relayed(n: u8) -> Source {
        Source::Relayed(iroh::SecretKey::from_bytes(&[n; 32]).public())
    }

    #[test]
    fn keys_behind_relays_and_the_networks_of_one_site_leave_half_of_the_places_to_others() {
        let network = |n: u16| Source::ip(IpAddr::from([0x2001, 0xdb8, 1, n, 0, 0, 0, 1]));
        let mut admission = Admission::new(10, 100);
        for n in 0..5 {
            assert_eq!(admission.decide(relayed(n), true), Decision::Take);
        }
        assert_eq!(admission.decide(relayed(9), true), Decision::Refuse);
        for n in 0..5 {
            assert_eq!(admission.decide(network(n), true), Decision::Take);
            admission.ended(network(n));
        }
        for n in 0..4 {
            assert_eq!(admission.decide(source(n), true), Decision::Take);
        }
        admission.ended(relayed(0));
        assert_eq!(admission.decide(relayed(9), true), Decision::Take);

        let mut admission = Admission::new(10, 100);
        for n in 0..5 {
            assert_eq!(admission.decide(network(n), true), Decision::Take);
        }
        assert_eq!(admission.decide(network(9), false), Decision::Retry);
        assert_eq!(admission.decide(network(9), true), Decision::Refuse);
        let elsewhere = Source::ip(IpAddr::from([0x2001, 0xdb8, 2, 1, 0, 0, 0, 1]));
        assert_eq!(admission.decide(elsewhere, true), Decision::Take);
    }

    #[test]
    fn a_handshake_that_is_only_weighed_takes_no_place() {
        let mut admission = Admission::new(1, 1);
        for _ in 0..3 {
            assert_eq!(admission.weigh(source(1), true), Decision::Take);
        }
        assert_eq!(admission.decide(source(1), true), Decision::Take);
        assert_eq!(admission.weigh(source(2), true), Decision::Refuse);
    }

    #[test]
    fn what_has_ended_leaves_nothing_behind() {
        let mut admission = Admission::new(4, 4);
        for source in [source(1), relayed(1), Source::ip(IpAddr::from([1; 16])), Source::Other] {
            admission.decide(source, true);
            admission.ended(source);
        }
        assert!(admission.counts.is_empty());
        assert_eq!(admission.under_way, 0);
    }
}
