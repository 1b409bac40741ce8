//! Which certificates have been taken back.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Delegation, DelegationError, Serial};
use crate::PublicKey;

/// The certificates that are not to be believed any more, each named by its owner and its serial.
///
/// The owner is part of the name: who revokes a serial takes back their own certificates with it, and nobody else's,
/// even if another owner has chosen the same serial. How a revocation reaches a peer is the program's matter; it has to
/// make sure that it comes from the owner.
///
/// The list has no bound of its own. It holds what the program puts in, some 50 bytes each, so a program that takes
/// revocations from others bounds their number for each owner, and removes those whose certificates have expired: an
/// expired certificate needs no revocation. Looking one up takes logarithmic time. With serde it is a list of pairs.
///
/// ```
/// # use std::time::{Duration, SystemTime};
/// # use twolane_id::{Delegation, SecretKey};
/// use twolane_id::RevocationList;
///
/// # let (owner, node) = (SecretKey::generate(), SecretKey::generate().public_key());
/// # let hour = SystemTime::now() + Duration::from_secs(3600);
/// # let delegation = Delegation::build(node).scope("*".parse()?).expires(hour).sign(&owner)?;
/// let mut revoked = RevocationList::new();
/// revoked.check(&delegation)?;
///
/// revoked.insert(delegation.owner(), delegation.serial());
/// assert!(revoked.check(&delegation).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevocationList(BTreeSet<(PublicKey, Serial)>);

impl RevocationList {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Revokes the certificate of `owner` with this serial. Whether it was not revoked before.
    pub fn insert(&mut self, owner: PublicKey, serial: Serial) -> bool {
        self.0.insert((owner, serial))
    }

    /// Takes a revocation back. Whether there was one.
    pub fn remove(&mut self, owner: PublicKey, serial: Serial) -> bool {
        self.0.remove(&(owner, serial))
    }

    /// Whether the certificate of `owner` with this serial is revoked.
    pub fn contains(&self, owner: PublicKey, serial: Serial) -> bool {
        self.0.contains(&(owner, serial))
    }

    /// Checks that a certificate is not revoked.
    ///
    /// # Errors
    ///
    /// [`DelegationError::Revoked`].
    pub fn check(&self, delegation: &Delegation) -> Result<(), DelegationError> {
        let serial = delegation.serial();
        if self.contains(delegation.owner(), serial) { Err(DelegationError::Revoked { serial }) } else { Ok(()) }
    }

    /// How many are revoked.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is revoked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, ascending by owner, then by serial.
    pub fn iter(&self) -> impl Iterator<Item = (PublicKey, Serial)> {
        self.0.iter().copied()
    }
}

impl Extend<(PublicKey, Serial)> for RevocationList {
    fn extend<I: IntoIterator<Item = (PublicKey, Serial)>>(&mut self, revoked: I) {
        self.0.extend(revoked);
    }
}

impl FromIterator<(PublicKey, Serial)> for RevocationList {
    fn from_iter<I: IntoIterator<Item = (PublicKey, Serial)>>(revoked: I) -> Self {
        Self(revoked.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
