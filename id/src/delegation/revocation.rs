//! Revoked certificates: one by its serial, all of a node, or all from before some time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    time::SystemTime,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Delegation, DelegationError, ParseRevocationError, ParseRevocationListError, Serial, time};
use crate::{PublicKey, key::text};

/// What an owner revokes.
///
/// The text form is one of these lines, and serde uses it too:
///
/// ```text
/// certificate OWNER SERIAL
/// node OWNER NODE
/// before OWNER 2030-05-01T12:00:00Z
/// ```
///
/// The keys are id52s, the serial has 32 hexadecimal digits, and the time is one of RFC 3339 in UTC.
///
/// ```
/// use twolane_id::delegation::Revocation;
///
/// # let [owner, node] = [1, 2].map(|seed| twolane_id::SecretKey::from_bytes(&[seed; 32]).public_key());
/// let lost = Revocation::Node { owner, node };
/// assert_eq!(lost.to_string(), format!("node {owner} {node}"));
/// assert_eq!(lost.to_string().parse(), Ok(lost));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Revocation {
    /// The certificate of the owner with this serial.
    Certificate {
        /// The key that has signed the certificate.
        owner: PublicKey,
        /// The serial of the certificate.
        serial: Serial,
    },
    /// Every certificate of the owner for this node, those that are still to be signed included: a machine that was
    /// lost.
    Node {
        /// The key that has signed the certificates.
        owner: PublicKey,
        /// The key that they are for.
        node: PublicKey,
    },
    /// Every certificate of the owner that began to hold before this time, whatever its serial: a list of serials that
    /// was lost, or an owner's key that was in other hands until then. The begin is [`Delegation::not_before`], which
    /// is the time of signing unless the owner has set another one.
    Before {
        /// The key that has signed the certificates.
        owner: PublicKey,
        /// The time. A part of a second counts as a whole one.
        time: SystemTime,
    },
}

impl Revocation {
    /// Returns the owner whose certificates are revoked.
    pub fn owner(&self) -> PublicKey {
        match self {
            Self::Certificate { owner, .. } | Self::Node { owner, .. } | Self::Before { owner, .. } => *owner,
        }
    }
}

impl fmt::Display for Revocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { owner, serial } => write!(formatter, "certificate {owner} {serial}"),
            Self::Node { owner, node } => write!(formatter, "node {owner} {node}"),
            Self::Before { owner, time } => {
                write!(formatter, "before {owner} {}", time::Utc(time::to_system(time::to_seconds_up(*time))))
            }
        }
    }
}

impl FromStr for Revocation {
    type Err = ParseRevocationError;

    fn from_str(text: &str) -> Result<Self, ParseRevocationError> {
        let mut words = text.split_ascii_whitespace();
        let (Some(kind), Some(owner), Some(what), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(ParseRevocationError::Words { found: text.split_ascii_whitespace().count() });
        };
        let owner: PublicKey = owner.parse().map_err(|error| ParseRevocationError::Owner { error })?;
        match kind {
            "certificate" => {
                let serial: Serial = what.parse().map_err(|error| ParseRevocationError::Serial { error })?;
                Ok(Self::Certificate { owner, serial })
            }
            "node" => {
                let node: PublicKey = what.parse().map_err(|error| ParseRevocationError::Node { error })?;
                Ok(Self::Node { owner, node })
            }
            "before" => {
                let time = humantime::parse_rfc3339(what).map_err(|_| ParseRevocationError::Time)?;
                Ok(Self::Before { owner, time })
            }
            _ => Err(ParseRevocationError::Kind),
        }
    }
}

impl Serialize for Revocation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Revocation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer, "a revocation, such as `node OWNER NODE`")
    }
}

/// A list of revoked certificates.
///
/// Each entry names its owner. An owner that revokes something revokes only its own certificates, even if another
/// owner has chosen the same serial. The program has to bring revocations to a peer, and has to make sure that each
/// one comes from the owner.
///
/// The list has no limit of its own. It holds the entries that the program adds, about 100 bytes each. A program
/// that accepts revocations from others should limit their number for each owner, and remove those of expired
/// certificates: an expired certificate needs no revocation. A lookup takes logarithmic time.
///
/// The text form has an entry in each line, and serde uses a list of such lines. Empty lines, and lines that begin
/// with `#`, are skipped. [`storage::revocations`](crate::storage::revocations) keeps a list in a file.
///
/// ```
/// # use std::time::{Duration, SystemTime};
/// # use twolane_id::{Delegation, SecretKey};
/// use twolane_id::{RevocationList, delegation::Revocation};
///
/// # let (owner, node) = (SecretKey::generate(), SecretKey::generate().public_key());
/// # let hour = SystemTime::now() + Duration::from_secs(3600);
/// # let delegation = Delegation::build(node).scope("*".parse()?).expires(hour).sign(&owner)?;
/// let mut revoked = RevocationList::new();
/// revoked.check(&delegation)?;
///
/// revoked.insert(delegation.owner(), delegation.serial());
/// assert!(revoked.check(&delegation).is_err());
///
/// // Without the serial: the machine is lost, or all of its owner's certificates are.
/// let node = Revocation::Node { owner: delegation.owner(), node: delegation.node() };
/// assert!(RevocationList::from_iter([node]).check(&delegation).is_err());
/// let before = Revocation::Before { owner: delegation.owner(), time: SystemTime::now() + Duration::from_secs(1) };
/// assert!(RevocationList::from_iter([before]).check(&delegation).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevocationList {
    certificates: BTreeSet<(PublicKey, Serial)>,
    nodes: BTreeSet<(PublicKey, PublicKey)>,
    /// In seconds since 1970, rounded up.
    before: BTreeMap<PublicKey, u64>,
}

impl RevocationList {
    /// Makes an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry. Returns `false` if it adds nothing to the list. Of two times of one owner, the later one counts.
    pub fn revoke(&mut self, what: Revocation) -> bool {
        match what {
            Revocation::Certificate { owner, serial } => self.certificates.insert((owner, serial)),
            Revocation::Node { owner, node } => self.nodes.insert((owner, node)),
            Revocation::Before { owner, time } => {
                let time = time::to_seconds_up(time);
                let later = self.before.get(&owner).is_none_or(|before| time > *before);
                if later {
                    self.before.insert(owner, time);
                }
                later
            }
        }
    }

    /// Takes an entry back. Returns whether the list had exactly this entry.
    pub fn take_back(&mut self, what: Revocation) -> bool {
        match what {
            Revocation::Certificate { owner, serial } => self.certificates.remove(&(owner, serial)),
            Revocation::Node { owner, node } => self.nodes.remove(&(owner, node)),
            Revocation::Before { owner, time } => {
                let has = self.before.get(&owner) == Some(&time::to_seconds_up(time));
                has && self.before.remove(&owner).is_some()
            }
        }
    }

    /// Revokes the certificate of `owner` with this serial. Returns `false` if it was already on the list.
    pub fn insert(&mut self, owner: PublicKey, serial: Serial) -> bool {
        self.revoke(Revocation::Certificate { owner, serial })
    }

    /// Removes the entry of a certificate. Returns whether there was one.
    pub fn remove(&mut self, owner: PublicKey, serial: Serial) -> bool {
        self.take_back(Revocation::Certificate { owner, serial })
    }

    /// Returns whether the certificate of `owner` with this serial is on the list by its serial.
    pub fn contains(&self, owner: PublicKey, serial: Serial) -> bool {
        self.certificates.contains(&(owner, serial))
    }

    /// Checks that a certificate is not revoked.
    ///
    /// # Errors
    ///
    /// [`DelegationError::Revoked`], [`DelegationError::NodeRevoked`] or [`DelegationError::RevokedBefore`], the first
    /// one that applies, in this order.
    pub fn check(&self, delegation: &Delegation) -> Result<(), DelegationError> {
        let (owner, serial, node) = (delegation.owner(), delegation.serial(), delegation.node());
        if self.contains(owner, serial) {
            return Err(DelegationError::Revoked { serial });
        }
        if self.nodes.contains(&(owner, node)) {
            return Err(DelegationError::NodeRevoked { node });
        }
        match self.before.get(&owner) {
            Some(before) if time::to_seconds(delegation.not_before()) < *before => {
                Err(DelegationError::RevokedBefore { before: time::to_system(*before) })
            }
            _ => Ok(()),
        }
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.certificates.len() + self.nodes.len() + self.before.len()
    }

    /// Returns whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterates over all entries: certificates, then nodes, then times, each ascending by owner.
    pub fn iter(&self) -> impl Iterator<Item = Revocation> {
        let certificates = self.certificates.iter().copied();
        let certificates = certificates.map(|(owner, serial)| Revocation::Certificate { owner, serial });
        let nodes = self.nodes.iter().copied().map(|(owner, node)| Revocation::Node { owner, node });
        let before = self.before.iter();
        let before = before.map(|(owner, time)| Revocation::Before { owner: *owner, time: time::to_system(*time) });
        certificates.chain(nodes).chain(before)
    }
}

impl fmt::Display for RevocationList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|entry| writeln!(formatter, "{entry}"))
    }
}

impl FromStr for RevocationList {
    type Err = ParseRevocationListError;

    fn from_str(text: &str) -> Result<Self, ParseRevocationListError> {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let entries = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let parse = |(number, line): (usize, &str)| {
            line.parse::<Revocation>().map_err(|error| ParseRevocationListError { line: number, error })
        };
        entries.map(parse).collect()
    }
}

impl Extend<Revocation> for RevocationList {
    fn extend<I: IntoIterator<Item = Revocation>>(&mut self, revoked: I) {
        revoked.into_iter().for_each(|entry| {
            self.revoke(entry);
        });
    }
}

impl FromIterator<Revocation> for RevocationList {
    fn from_iter<I: IntoIterator<Item = Revocation>>(revoked: I) -> Self {
        let mut list = Self::new();
        list.extend(revoked);
        list
    }
}

impl Serialize for RevocationList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for RevocationList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Revocation>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
