//! How an owner makes a certificate.

use std::{collections::BTreeSet, time::SystemTime};

use super::{Delegation, IssueError, Pattern, Serial, certificate::Claims, format, time};
use crate::{PublicKey, SecretKey};

/// A certificate that is not signed yet. Made by [`Delegation::build`].
///
/// A scope and an expiry have to be given: neither "everything" nor "for ever" is a good default for what another
/// machine may do in one's name.
#[derive(Debug, Clone)]
#[must_use = "nothing is delegated until it is signed"]
pub struct DelegationBuilder {
    node: PublicKey,
    scope: BTreeSet<Pattern>,
    audience: BTreeSet<PublicKey>,
    not_before: Option<SystemTime>,
    expires: Option<SystemTime>,
    serial: Option<Serial>,
}

impl DelegationBuilder {
    pub(super) fn new(node: PublicKey) -> Self {
        Self { node, scope: BTreeSet::new(), audience: BTreeSet::new(), not_before: None, expires: None, serial: None }
    }

    /// Adds a pattern to the protocols for which the node acts for the owner. At least one is needed, and at most
    /// [`Delegation::MAX_SCOPE`] fit; the same one twice counts once.
    pub fn scope(mut self, pattern: Pattern) -> Self {
        self.scope.insert(pattern);
        self
    }

    /// Adds several patterns, as [`scope`](Self::scope) does one.
    pub fn scopes(mut self, patterns: impl IntoIterator<Item = Pattern>) -> Self {
        self.scope.extend(patterns);
        self
    }

    /// Adds a peer to those towards whom the node acts for the owner. Without any, the certificate is good towards
    /// everybody. At most [`Delegation::MAX_AUDIENCE`] fit; the same one twice counts once.
    pub fn audience(mut self, peer: PublicKey) -> Self {
        self.audience.insert(peer);
        self
    }

    /// The first moment at which the certificate holds, rounded down to a second. By default the moment of signing.
    pub fn not_before(mut self, time: SystemTime) -> Self {
        self.not_before = Some(time);
        self
    }

    /// The first moment at which the certificate holds no more, rounded down to a second. Required. What is later than
    /// the year 9999 is taken for its last second.
    pub fn expires(mut self, time: SystemTime) -> Self {
        self.expires = Some(time);
        self
    }

    /// The serial. By default a random one, which nobody has to keep count of.
    pub fn serial(mut self, serial: impl Into<Serial>) -> Self {
        self.serial = Some(serial.into());
        self
    }

    /// Signs the certificate with the owner's key. The same fields always give the same bytes.
    ///
    /// # Errors
    ///
    /// [`IssueError`] says what the certificate lacks, or what makes no sense in it.
    pub fn sign(self, owner: &SecretKey) -> Result<Delegation, IssueError> {
        let Self { node, scope, audience, not_before, expires, serial } = self;
        let Some(expires) = expires else {
            return Err(IssueError::NoExpiry);
        };
        if scope.is_empty() {
            return Err(IssueError::ScopeEmpty);
        }
        let (found, max) = (scope.len(), Delegation::MAX_SCOPE);
        if found > max {
            return Err(IssueError::TooManyPatterns { found, max });
        }
        let (found, max) = (audience.len(), Delegation::MAX_AUDIENCE);
        if found > max {
            return Err(IssueError::TooManyPeers { found, max });
        }
        if owner.public_key() == node {
            return Err(IssueError::OwnerIsNode);
        }
        let claims = Claims {
            owner: owner.public_key(),
            node,
            not_before: time::to_seconds(not_before.unwrap_or_else(SystemTime::now)),
            expires: time::to_seconds(expires),
            serial: serial.map_or_else(Serial::try_random, Ok)?,
            scope: scope.into_iter().collect(),
            audience: audience.into_iter().collect(),
        };
        if claims.not_before >= claims.expires {
            let (not_before, expires) = (time::to_system(claims.not_before), time::to_system(claims.expires));
            return Err(IssueError::NeverValid { not_before, expires });
        }
        let bytes = format::encode(&claims, owner);
        let (len, max) = (bytes.len(), Delegation::MAX_LEN);
        if len > max {
            return Err(IssueError::TooLong { len, max });
        }
        Ok(Delegation { claims, bytes })
    }
}

#[cfg(test)]
mod tests;
