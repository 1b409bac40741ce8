//! The rules of an [`AccessList`](super::AccessList), without locks and watchers. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use twolane_id::{PublicKey, delegation::Pattern};

use super::{Identity, Verdict};
use crate::protocol::Protocol;

/// The entry of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Allowed,
    Denied,
}

/// The current rules.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Whether keys without an entry are allowed.
    others: bool,
    keys: HashMap<PublicKey, Said>,
    /// The protocols that only certain keys may use.
    protocols: BTreeMap<String, (Pattern, HashSet<PublicKey>)>,
}

impl Rules {
    pub(super) fn new(others: bool) -> Self {
        Self { others, keys: HashMap::new(), protocols: BTreeMap::new() }
    }

    pub(super) fn allow(&mut self, key: PublicKey) -> bool {
        self.keys.insert(key, Said::Allowed) != Some(Said::Allowed)
    }

    pub(super) fn deny(&mut self, key: PublicKey) -> bool {
        self.keys.insert(key, Said::Denied) != Some(Said::Denied)
    }

    pub(super) fn forget(&mut self, key: &PublicKey) -> bool {
        self.keys.remove(key).is_some()
    }

    pub(super) fn restrict(&mut self, pattern: &Pattern) -> bool {
        let mut new = false;
        self.protocols.entry(pattern.to_string()).or_insert_with(|| {
            new = true;
            (pattern.clone(), HashSet::new())
        });
        new
    }

    pub(super) fn unrestrict(&mut self, pattern: &Pattern) -> bool {
        self.protocols.remove(&pattern.to_string()).is_some()
    }

    pub(super) fn allow_for(&mut self, pattern: &Pattern, key: PublicKey) -> bool {
        self.restrict(pattern);
        self.protocols.get_mut(&pattern.to_string()).is_some_and(|(_, keys)| keys.insert(key))
    }

    pub(super) fn revoke_for(&mut self, pattern: &Pattern, key: &PublicKey) -> bool {
        self.protocols.get_mut(&pattern.to_string()).is_some_and(|(_, keys)| keys.remove(key))
    }

    /// Returns the keys that are allowed, in order.
    pub(super) fn allowed(&self) -> Vec<PublicKey> {
        self.with_entry(Said::Allowed)
    }

    /// Returns the keys that are denied, in order.
    pub(super) fn denied(&self) -> Vec<PublicKey> {
        self.with_entry(Said::Denied)
    }

    fn with_entry(&self, entry: Said) -> Vec<PublicKey> {
        sorted(self.keys.iter().filter(|(_, said)| **said == entry).map(|(key, _)| *key))
    }

    /// Returns the patterns that have a list of their own, in order, with the keys on it.
    pub(super) fn lists(&self) -> Vec<(Pattern, Vec<PublicKey>)> {
        self.protocols.values().map(|(pattern, keys)| (pattern.clone(), sorted(keys.iter().copied()))).collect()
    }

    /// Decides about a connection. A key that may use some protocol may connect, since it could not use the protocol
    /// otherwise.
    pub(super) fn connection(&self, identity: &Identity) -> Verdict {
        let owner = identity.owner();
        match self.said(identity.peer, owner) {
            Some(Said::Denied) => denied(),
            Some(Said::Allowed) => Verdict::Allow,
            None => {
                let some = |keys: &HashSet<_>| {
                    keys.contains(&identity.peer) || owner.is_some_and(|owner| keys.contains(&owner))
                };
                if self.others || self.protocols.values().any(|(_, keys)| some(keys)) {
                    Verdict::Allow
                } else {
                    Verdict::refuse("the key is not on the list of keys that may connect")
                }
            }
        }
    }

    /// Decides about a stream. If the protocol matches several patterns, a list of one of them that has the key is
    /// enough.
    pub(super) fn stream(&self, identity: &Identity, protocol: &Protocol) -> Verdict {
        let owner = identity.owner_for(protocol);
        // A denied owner denies every key that acts for it, for whatever protocol.
        if matches!(self.said(identity.peer, identity.owner()), Some(Said::Denied)) {
            return denied();
        }
        let mut restricted = false;
        for (pattern, keys) in self.protocols.values() {
            if !pattern.matches(protocol.as_str()) {
                continue;
            }
            if keys.contains(&identity.peer) || owner.is_some_and(|owner| keys.contains(&owner)) {
                return Verdict::Allow;
            }
            restricted = true;
        }
        let allowed = self.others || self.said(identity.peer, owner) == Some(Said::Allowed);
        if restricted || !allowed {
            return Verdict::Refuse(format!("the key is not on the list of keys that may use {protocol}").into());
        }
        Verdict::Allow
    }

    fn said(&self, peer: PublicKey, owner: Option<PublicKey>) -> Option<Said> {
        let of_owner = owner.and_then(|owner| self.keys.get(&owner)).copied();
        match (self.keys.get(&peer).copied(), of_owner) {
            (Some(Said::Denied), _) | (_, Some(Said::Denied)) => Some(Said::Denied),
            (said, of_owner) => said.or(of_owner),
        }
    }
}

fn denied() -> Verdict {
    Verdict::refuse("the key is on the list of denied keys")
}
