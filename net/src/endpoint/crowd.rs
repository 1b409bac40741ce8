//! How many of the connected peers may come from one place: no more than three quarters, so that one machine with any number of
//! keys leaves room for everybody else. Pure.

use super::source::{Counts, Source};

/// The inbound connections that are there, by where they come from.
#[derive(Debug)]
pub(super) struct Crowd {
    most: usize,
    counts: Counts,
}

impl Crowd {
    /// For an endpoint that takes so many peers.
    pub(super) fn new(peers: usize) -> Self {
        // Rounded up: an endpoint for one peer takes that one from anywhere.
        Self { most: peers.saturating_mul(3).div_ceil(4).max(1), counts: Counts::default() }
    }

    /// A connection comes in. False if there are too many from its place already; else it counts until [`Crowd::left`].
    pub(super) fn enter(&mut self, source: Source) -> bool {
        let (of_source, of_class) = self.counts.of(source);
        let fits = of_source.max(of_class) < self.most;
        if fits {
            self.counts.add(source);
        }
        fits
    }

    /// One that was let in is gone.
    pub(super) fn left(&mut self, source: Source) {
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
    fn one_address_leaves_a_quarter_of_the_places_to_the_others() {
        let mut crowd = Crowd::new(8);
        assert!((0..6).all(|_| crowd.enter(source(1))));
        assert!(!crowd.enter(source(1)));
        assert!(crowd.enter(source(2)));
        crowd.left(source(1));
        assert!(crowd.enter(source(1)));
    }

    #[test]
    fn networks_of_one_site_count_together() {
        let network = |n| Source::ip(IpAddr::from([0x2001, 0xdb8, 1, n, 0, 0, 0, 1]));
        let mut crowd = Crowd::new(4);
        assert!((0..3).all(|n| crowd.enter(network(n))));
        assert!(!crowd.enter(network(9)));
        assert!(crowd.enter(source(1)));
    }

    #[test]
    fn an_endpoint_for_one_peer_takes_it_from_anywhere_and_what_has_left_leaves_nothing() {
        let mut crowd = Crowd::new(1);
        assert!(crowd.enter(source(1)));
        assert!(!crowd.enter(source(1)));
        crowd.left(source(1));
        assert!(crowd.counts.is_empty());
    }
}
