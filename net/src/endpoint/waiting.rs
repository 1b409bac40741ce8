//! Connections whose handshake is done, and that wait for the peer's HELLO or for the answer of the rules. Their
//! number has a limit, with the same shares as for handshakes. Pure.
//!
//! A handshake costs the peer as much as this endpoint, but a silent connection costs the peer nothing. Therefore
//! a silent connection makes room for later ones. A connection whose peer has sent HELLO waits for the rules of
//! this endpoint, and keeps its place until they answer. If such connections could be pushed out as well, peers
//! that come back all at once, and are more than there are places, would push each other out for ever.

use std::collections::BTreeMap;

use super::source::Source;

/// The number of a waiting connection. Numbers are in the order of arrival.
pub(super) type WaitingId = u64;

/// The result for a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// The connection waits.
    Taken(WaitingId),
    /// The connection waits in the place of another one, which has to be closed.
    InPlaceOf(/* gone */ WaitingId, WaitingId),
    /// The connection is refused, because the peers of all connections that could make room have sent HELLO.
    Refused,
}

#[derive(Debug)]
pub(super) struct Waiting {
    max: usize,
    max_per_source: usize,
    next: WaitingId,
    /// The source of each connection, and whether its peer has sent HELLO.
    all: BTreeMap<WaitingId, (Source, bool)>,
}

impl Waiting {
    pub(super) fn new(max: usize, max_per_source: usize) -> Self {
        Self { max: max.max(1), max_per_source: max_per_source.max(1), next: 0, all: BTreeMap::new() }
    }

    /// Adds a connection after its handshake.
    pub(super) fn enter(&mut self, source: Source) -> Entry {
        let same_source = |other: &Source| *other == source;
        let same_class = |other: &Source| source.class().is_some() && other.class() == source.class();
        let count = |of: &dyn Fn(&Source) -> bool| self.all.values().filter(|(other, _)| of(other)).count();
        // The narrowest limit that is reached decides which connections may have to make room.
        let crowd: Option<&dyn Fn(&Source) -> bool> = if count(&same_source) >= self.max_per_source {
            Some(&same_source)
        } else if count(&same_class) >= self.max.div_ceil(2) {
            Some(&same_class)
        } else if self.all.len() >= self.max {
            Some(&|_| true)
        } else {
            None
        };
        let gone = match crowd {
            None => None,
            Some(of) => match self.all.iter().find(|(_, (other, spoke))| of(other) && !spoke) {
                Some((oldest, _)) => Some(*oldest),
                None => return Entry::Refused,
            },
        };
        let id = self.next;
        self.next += 1;
        self.all.insert(id, (source, false));
        match gone {
            None => Entry::Taken(id),
            Some(gone) => {
                self.all.remove(&gone);
                Entry::InPlaceOf(gone, id)
            }
        }
    }

    /// Records that the peer's HELLO has come on a connection.
    pub(super) fn spoke(&mut self, id: WaitingId) {
        if let Some((_, spoke)) = self.all.get_mut(&id) {
            *spoke = true;
        }
    }

    /// Removes a connection that was admitted or turned away, or has ended.
    pub(super) fn left(&mut self, id: WaitingId) {
        self.all.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn source(n: u8) -> Source {
        Source::ip(IpAddr::from([10, 0, 0, n]))
    }

    fn relayed(n: u8) -> Source {
        Source::Relayed(iroh::SecretKey::from_bytes(&[n; 32]).public())
    }

    #[test]
    fn the_oldest_that_has_said_nothing_makes_room() {
        let mut waiting = Waiting::new(3, 10);
        for n in 0..3 {
            assert_eq!(waiting.enter(source(n)), Entry::Taken(n.into()));
        }
        waiting.spoke(0);
        assert_eq!(waiting.enter(source(3)), Entry::InPlaceOf(1, 3));
        // Its place was given away already.
        waiting.left(1);
        waiting.left(2);
        assert_eq!(waiting.enter(source(4)), Entry::Taken(4));
    }

    #[test]
    fn whoever_has_said_hello_keeps_its_place() {
        let mut waiting = Waiting::new(2, 10);
        for n in 0..2 {
            waiting.enter(source(n));
            waiting.spoke(n.into());
        }
        assert_eq!(waiting.enter(source(2)), Entry::Refused);
        waiting.left(1);
        assert_eq!(waiting.enter(source(2)), Entry::Taken(2));
    }

    #[test]
    fn silent_ones_of_one_source_or_class_make_room_for_each_other_and_not_for_more() {
        let mut waiting = Waiting::new(10, 2);
        for id in 0..2 {
            assert_eq!(waiting.enter(source(1)), Entry::Taken(id));
        }
        assert_eq!(waiting.enter(source(1)), Entry::InPlaceOf(0, 2));
        for n in 0..5 {
            assert_eq!(waiting.enter(relayed(n)), Entry::Taken(3 + u64::from(n)));
        }
        assert_eq!(waiting.enter(relayed(9)), Entry::InPlaceOf(3, 8));
        // Other sources are not affected.
        for n in 2..5 {
            assert!(matches!(waiting.enter(source(n)), Entry::Taken(_)));
        }
    }

    /// Any number of relayed keys connects after one silent peer from another source.
    #[test]
    fn any_number_of_silent_keys_does_not_push_out_one_that_has_yet_to_speak_from_elsewhere() {
        let mut waiting = Waiting::new(10, 2);
        let Entry::Taken(honest) = waiting.enter(source(1)) else { panic!("there is room") };
        for n in 0..200 {
            if let Entry::InPlaceOf(gone, _) = waiting.enter(relayed(n)) {
                assert_ne!(gone, honest);
            }
        }
        assert!(waiting.all.contains_key(&honest));
    }
}
