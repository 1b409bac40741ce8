//! For which owner a node has acted, so that a node of a denied owner stays denied when it shows no certificate. Pure.

use std::collections::HashMap;

use twolane_id::PublicKey;

/// The owner whose certificate each node has shown last.
#[derive(Debug, Clone)]
pub(super) struct ActedFor {
    /// With the number of the showing, in order.
    nodes: HashMap<PublicKey, (PublicKey, u64)>,
    next: u64,
    max: usize,
}

impl ActedFor {
    /// `max`: maximum number of nodes that are remembered. Keys and certificates cost nothing: without the limit,
    /// whoever makes new ones would fill the memory.
    pub(super) fn new(max: usize) -> Self {
        Self { nodes: HashMap::new(), next: 0, max }
    }

    /// Returns the owner whose certificate the node has shown last.
    pub(super) fn owner(&self, node: &PublicKey) -> Option<PublicKey> {
        self.nodes.get(node).map(|(owner, _)| *owner)
    }

    /// Remembers that the node has shown a certificate of the owner. `is_denied` says which owners are denied: a node
    /// of such an owner does not get rid of it by a certificate of another one, and is forgotten last.
    pub(super) fn saw(&mut self, node: PublicKey, owner: PublicKey, is_denied: impl Fn(&PublicKey) -> bool) {
        if self.nodes.get(&node).is_some_and(|(before, _)| is_denied(before)) {
            return;
        }
        if self.nodes.len() >= self.max && !self.nodes.contains_key(&node) {
            let oldest = self.nodes.iter().min_by_key(|(_, (owner, shown))| (is_denied(owner), *shown));
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.nodes.remove(&oldest);
            }
        }
        self.nodes.insert(node, (owner, self.next));
        self.next += 1;
    }

    /// Forgets the owner of a node. Returns whether there was one.
    pub(super) fn forget(&mut self, node: &PublicKey) -> bool {
        self.nodes.remove(node).is_some()
    }
}

#[cfg(test)]
mod tests {
    use twolane_id::SecretKey;

    use super::*;

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_bytes(&[seed; 32]).public_key()
    }

    #[test]
    fn a_bounded_number_of_nodes_is_remembered_and_those_of_denied_owners_longest() {
        let (denied, other, mut acted) = (key(1), key(2), ActedFor::new(4));
        let is_denied = |owner: &PublicKey| *owner == denied;
        let nodes: Vec<_> = (10..16).map(key).collect();
        acted.saw(nodes[0], denied, is_denied);
        for node in &nodes[1..] {
            acted.saw(*node, other, is_denied);
        }
        assert_eq!(acted.nodes.len(), 4);
        let remembered: Vec<_> = nodes.iter().map(|node| acted.owner(node)).collect();
        let (denied, other) = (Some(denied), Some(other));
        assert_eq!(remembered, [denied, None, None, other, other, other], "the oldest of the others are gone");
    }

    #[test]
    fn a_node_leaves_a_denied_owner_only_when_it_is_forgotten() {
        let (denied, other, node, mut acted) = (key(1), key(2), key(3), ActedFor::new(4));
        acted.saw(node, other, |_| false);
        acted.saw(node, denied, |_| false);
        assert_eq!(acted.owner(&node), Some(denied), "the last one counts");
        acted.saw(node, other, |owner| *owner == denied);
        assert_eq!(acted.owner(&node), Some(denied));
        assert!(acted.forget(&node) && !acted.forget(&node));
        acted.saw(node, other, |owner| *owner == denied);
        assert_eq!(acted.owner(&node), Some(other));
    }
}
