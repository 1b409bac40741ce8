//! The rules of an [`AccessList`](super::AccessList), without locks and watchers. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use twolane_id::{PublicKey, delegation::Pattern};

use super::{Identity, Verdict, acted_for::ActedFor};
use crate::protocol::Protocol;

#[cfg(test)]
mod tests;

/// Maximum number of nodes whose owner is remembered, at about 100 bytes each.
const REMEMBERED: usize = 4096;

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
    /// Whether keys without an entry need a certificate.
    certificate: bool,
    keys: HashMap<PublicKey, Said>,
    /// The protocols that only certain keys may use.
    protocols: BTreeMap<String, (Pattern, HashSet<PublicKey>)>,
    acted_for: ActedFor,
}

impl Rules {
    pub(super) fn new(others: bool) -> Self {
        Self {
            others,
            certificate: false,
            keys: HashMap::new(),
            protocols: BTreeMap::new(),
            acted_for: ActedFor::new(REMEMBERED),
        }
    }

    pub(super) fn require_certificate(&mut self, required: bool) -> bool {
        std::mem::replace(&mut self.certificate, required) != required
    }

    pub(super) fn allow(&mut self, key: PublicKey) -> bool {
        self.keys.insert(key, Said::Allowed) != Some(Said::Allowed)
    }

    pub(super) fn deny(&mut self, key: PublicKey) -> bool {
        self.keys.insert(key, Said::Denied) != Some(Said::Denied)
    }

    pub(super) fn forget(&mut self, key: &PublicKey) -> bool {
        // Both, and not only the first that there is.
        let (said, acted) = (self.keys.remove(key).is_some(), self.acted_for.forget(key));
        said || acted
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

    /// Returns whether it is known that the peer acts for the owner whom its certificate names.
    pub(super) fn knows(&self, identity: &Identity) -> bool {
        identity.owner_unscoped().is_none_or(|owner| self.acted_for.owner(&identity.peer) == Some(owner))
    }

    /// Remembers for which owner the peer acts.
    pub(super) fn remember(&mut self, identity: &Identity) {
        if let Some(owner) = identity.owner_unscoped() {
            let keys = &self.keys;
            self.acted_for.saw(identity.peer, owner, |owner| keys.get(owner) == Some(&Said::Denied));
        }
    }

    /// Returns whether an entry or a list names the peer, or the owner whom its certificate names, and does not deny
    /// it.
    pub(super) fn names(&self, identity: &Identity) -> bool {
        let owner = identity.owner_unscoped();
        !self.is_denied(identity)
            && (self.is_allowed(identity.peer, owner)
                || self.protocols.values().any(|(_, keys)| has(keys, identity.peer, owner)))
    }

    /// Decides about a connection. A key that may use some protocol may connect, since it could not use the protocol
    /// otherwise.
    pub(super) fn connection(&self, identity: &Identity) -> Verdict {
        if self.is_denied(identity) {
            denied()
        } else if self.names(identity) {
            Verdict::Allow
        } else if !self.others {
            Verdict::refuse("the key is not on the list of keys that may connect")
        } else if self.certificate && identity.delegation.is_none() {
            Verdict::refuse("a certificate of an owner is required")
        } else {
            Verdict::Allow
        }
    }

    /// Decides about a stream. If the protocol matches several patterns, the list of the most specific one decides.
    pub(super) fn stream(&self, identity: &Identity, protocol: &Protocol) -> Verdict {
        let owner = identity.owner_for(protocol);
        if self.is_denied(identity) {
            return denied();
        }
        let matching = self.protocols.values().filter(|(pattern, _)| pattern.matches(protocol.as_str()));
        let allowed = match matching.max_by_key(|(pattern, _)| precision(pattern)) {
            Some((_, keys)) => has(keys, identity.peer, owner),
            None => {
                let named = self.is_allowed(identity.peer, owner);
                if self.others && !named && self.certificate && owner.is_none() {
                    let text = format!("a certificate of an owner is required, with a scope that covers {protocol}");
                    return Verdict::Refuse(text.into());
                }
                self.others || named
            }
        };
        if allowed {
            Verdict::Allow
        } else {
            Verdict::Refuse(format!("the key is not on the list of keys that may use {protocol}").into())
        }
    }

    /// Returns whether the peer is denied: by its key, or by an owner for whom it acts now, or acted before, for
    /// whatever protocol. Without the memory, a node of a denied owner would come back by not showing its certificate.
    fn is_denied(&self, identity: &Identity) -> bool {
        let denied = |key: &PublicKey| self.keys.get(key) == Some(&Said::Denied);
        let owners = [identity.owner_unscoped(), self.acted_for.owner(&identity.peer)];
        denied(&identity.peer) || owners.iter().flatten().any(denied)
    }

    fn is_allowed(&self, peer: PublicKey, owner: Option<PublicKey>) -> bool {
        [Some(peer), owner].iter().flatten().any(|key| self.keys.get(key) == Some(&Said::Allowed))
    }
}

fn has(keys: &HashSet<PublicKey>, peer: PublicKey, owner: Option<PublicKey>) -> bool {
    keys.contains(&peer) || owner.is_some_and(|owner| keys.contains(&owner))
}

/// Orders the patterns that match one protocol: the longer the part before the star, the more specific, and a name
/// without a star is the most specific.
fn precision(pattern: &Pattern) -> (usize, bool) {
    match pattern.as_str().strip_suffix('*') {
        Some(beginning) => (beginning.len(), false),
        None => (pattern.as_str().len(), true),
    }
}

fn denied() -> Verdict {
    Verdict::refuse("the key is on the list of denied keys")
}
