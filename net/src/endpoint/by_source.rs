//! Limits the share of connected peers that come from one place to three quarters, so that one machine with any
//! number of keys leaves room for other peers. Pure.

use std::collections::HashMap;

use twolane_id::PublicKey;

use super::source::{Counts, Source};

/// The peers that have inbound connections, by the source of the first of these connections.
#[derive(Debug)]
pub(super) struct PeersBySource {
    most: usize,
    counts: Counts,
    members: HashMap<PublicKey, Member>,
}

#[derive(Debug)]
struct Member {
    source: Source,
    connections: usize,
}

impl PeersBySource {
    /// Creates the counts of an endpoint that allows this number of peers.
    pub(super) fn new(peers: usize) -> Self {
        // Rounded up, so that an endpoint for one peer takes that peer from any source.
        Self { most: peers.saturating_mul(3).div_ceil(4).max(1), counts: Counts::default(), members: HashMap::new() }
    }

    /// Returns whether there is room for a connection of this peer. There always is room for a peer that has a
    /// connection: the new connection replaces the old one, for example after the peer was restarted.
    pub(super) fn has_room(&self, peer: &PublicKey, source: Source) -> bool {
        let (of_source, of_class) = self.counts.of(source);
        self.members.contains_key(peer) || of_source.max(of_class) < self.most
    }

    /// Counts a new connection until [`PeersBySource::left`]. Returns false, and counts nothing, if there are too many
    /// peers from its source already.
    pub(super) fn enter(&mut self, peer: PublicKey, source: Source) -> bool {
        if !self.has_room(&peer, source) {
            return false;
        }
        let counts = &mut self.counts;
        let new = || {
            counts.add(source);
            Member { source, connections: 0 }
        };
        self.members.entry(peer).or_insert_with(new).connections += 1;
        true
    }

    /// Removes a connection that was counted.
    pub(super) fn left(&mut self, peer: &PublicKey) {
        let Some(member) = self.members.get_mut(peer) else { return };
        member.connections -= 1;
        if member.connections == 0 {
            self.counts.remove(member.source);
            self.members.remove(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use twolane_id::SecretKey;

    use super::*;

    fn source(n: u8) -> Source {
        Source::ip(IpAddr::from([10, 0, 0, n]))
    }

    fn peer() -> PublicKey {
        SecretKey::generate().public_key()
    }

    #[test]
    fn one_address_leaves_a_quarter_of_the_places_to_the_others() {
        let mut by_source = PeersBySource::new(8);
        let last = peer();
        assert!((0..5).all(|_| by_source.enter(peer(), source(1))) && by_source.enter(last, source(1)));
        assert!(!by_source.enter(peer(), source(1)));
        assert!(by_source.enter(peer(), source(2)));
        by_source.left(&last);
        assert!(by_source.enter(peer(), source(1)));
    }

    #[test]
    fn networks_of_one_site_count_together() {
        let network = |n| Source::ip(IpAddr::from([0x2001, 0xdb8, 1, n, 0, 0, 0, 1]));
        let mut by_source = PeersBySource::new(4);
        assert!((0..3).all(|n| by_source.enter(peer(), network(n))));
        assert!(!by_source.enter(peer(), network(9)));
        assert!(by_source.enter(peer(), source(1)));
    }

    #[test]
    fn a_peer_that_is_there_may_replace_its_connection_however_full_it_is() {
        let (mut by_source, there) = (PeersBySource::new(1), peer());
        assert!(by_source.enter(there, source(1)));
        assert!(!by_source.enter(peer(), source(1)));
        // From the same source, and from another one: the peer was restarted, and has moved.
        assert!(by_source.enter(there, source(1)) && by_source.enter(there, source(2)));
        by_source.left(&there);
        by_source.left(&there);
        assert!(!by_source.enter(peer(), source(1)), "one of its connections is there");
        by_source.left(&there);
        assert!(by_source.counts.is_empty() && by_source.members.is_empty());
        assert!(by_source.enter(peer(), source(1)));
    }
}
