//! Revoked certificates.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Delegation, DelegationError, Serial};
use crate::PublicKey;

/// A list of revoked certificates, each identified by its owner and its serial.
///
/// The owner is part of the identification. An owner that revokes a serial revokes only its own certificates, even
/// if another owner has chosen the same serial. The program has to bring revocations to a peer, and has to make
/// sure that each one comes from the owner.
///
/// The list has no limit of its own. It holds the entries that the program adds, about 50 bytes each. A program
/// that accepts revocations from others should limit their number for each owner, and remove those of expired
/// certificates: an expired certificate needs no revocation. A lookup takes logarithmic time. With serde, the list
/// is a list of pairs.
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
    /// Makes an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Revokes the certificate of `owner` with this serial. Returns `false` if it was already revoked.
    pub fn insert(&mut self, owner: PublicKey, serial: Serial) -> bool {
        self.0.insert((owner, serial))
    }

    /// Removes a revocation. Returns whether there was one.
    pub fn remove(&mut self, owner: PublicKey, serial: Serial) -> bool {
        self.0.remove(&(owner, serial))
    }

    /// Returns whether the certificate of `owner` with this serial is revoked.
    pub fn contains(&self, owner: PublicKey, serial: Serial) -> bool {
        self.0.contains(&(owner, serial))
    }

    /// Checks that a certificate is not revoked.
    ///
    /// # Errors
    ///
    /// [`DelegationError::Revoked`] if it is.
    pub fn check(&self, delegation: &Delegation) -> Result<(), DelegationError> {
        let serial = delegation.serial();
        if self.contains(delegation.owner(), serial) { Err(DelegationError::Revoked { serial }) } else { Ok(()) }
    }

    /// Returns the number of revocations.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over all revocations, ascending by owner, then by serial.
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
