//! What was last heard of peers: it outlives their connections, since the peer may not know yet that those are gone. Pure.

use std::collections::HashMap;

use twolane_id::PublicKey;

use super::table::Generation;
use crate::wire::control::Nonce;

/// What is known of a peer's instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) nonce: Nonce,
    /// Its latest handshake, by this side's count.
    pub(crate) generation: Generation,
    /// The largest number of its dials.
    pub(crate) dial: u64,
}

impl Heard {
    /// Takes over what a HELLO says. False if it is of an instance that was there before the one that is known: a HELLO
    /// may be late, or its connection may have waited for the rules.
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

/// What was heard of peers that have no row in the table: of so many, and of as many before them. Where this side has lost a
/// connection to a peer that is forgotten, and the peer has not, the next dial is taken for one that overlaps with the peer's.
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
