//! The peers' instances that were last heard of. They are remembered longer than the connections, since the peer may
//! not know yet that those are gone. Pure.

use std::collections::HashMap;

use twolane_id::PublicKey;

use super::table::Generation;
use crate::wire::control::Nonce;

/// A peer's instance, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) nonce: Nonce,
    /// The generation of its latest handshake, as counted by this side.
    pub(crate) generation: Generation,
    /// The largest known number of its dials.
    pub(crate) dial: u64,
}

impl Heard {
    /// Takes over what a HELLO says. Returns false if the HELLO is from an instance that existed before the known
    /// one: a HELLO may be late, or its connection may have waited for the rules.
    pub(crate) fn hear(known: &mut Option<Self>, news: Self) -> bool {
        match known {
            Some(known) if known.nonce == news.nonce => {
                known.generation = known.generation.max(news.generation);
                known.dial = known.dial.max(news.dial);
                true
            }
            Some(known) if known.generation > news.generation => false,
            _ => {
                *known = Some(news);
                true
            }
        }
    }
}

/// The instances of peers that have no row in the table: of `max` peers, and of up to as many before them. If a peer
/// is forgotten, and this side has lost a connection to it that the peer has not lost, the next dial counts as
/// overlapping with the peer's dial.
#[derive(Debug)]
pub(crate) struct Memory {
    max: usize,
    recent: HashMap<PublicKey, Heard>,
    older: HashMap<PublicKey, Heard>,
}

impl Memory {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, recent: HashMap::new(), older: HashMap::new() }
    }

    pub(crate) fn put(&mut self, peer: PublicKey, heard: Heard) {
        if self.recent.len() >= self.max {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(peer, heard);
    }

    pub(crate) fn get(&self, peer: &PublicKey) -> Option<Heard> {
        self.recent.get(peer).or_else(|| self.older.get(peer)).copied()
    }
}

#[cfg(test)]
mod tests {
    use twolane_id::SecretKey;

    use super::*;

    fn heard(nonce: u8, generation: Generation, dial: u64) -> Heard {
        Heard { nonce: [nonce; 16], generation, dial }
    }

    #[test]
    fn of_one_instance_the_largest_numbers_are_kept_and_a_later_one_replaces_them() {
        let mut known = None;
        assert!(Heard::hear(&mut known, heard(1, 5, 20)));
        assert!(Heard::hear(&mut known, heard(1, 4, 30)));
        assert_eq!(known, Some(heard(1, 5, 30)));
        assert!(Heard::hear(&mut known, heard(2, 6, 1)));
        assert_eq!(known, Some(heard(2, 6, 1)));
    }

    #[test]
    fn an_instance_whose_handshakes_were_all_earlier_is_gone() {
        let mut known = Some(heard(2, 6, 1));
        assert!(!Heard::hear(&mut known, heard(1, 5, 20)));
        assert_eq!(known, Some(heard(2, 6, 1)));
    }

    #[test]
    fn a_bounded_number_of_peers_is_remembered_and_the_latest_of_them_always() {
        const MAX: usize = 5;
        let mut memory = Memory::new(MAX);
        let peers: Vec<_> = (0..32).map(|n| SecretKey::from_bytes(&[n; 32]).public_key()).collect();
        for peer in &peers {
            memory.put(*peer, heard(1, 1, 1));
        }
        assert!(memory.recent.len() + memory.older.len() <= 2 * MAX);
        assert!(memory.get(&peers[0]).is_none());
        assert!(peers[peers.len() - MAX..].iter().all(|peer| memory.get(peer).is_some()));
    }
}
