//! The builder with which an owner makes a certificate.

use std::{collections::BTreeSet, time::SystemTime};

use super::{Delegation, IssueError, Pattern, Serial, certificate::Claims, format, time};
use crate::{PublicKey, SecretKey};

/// A certificate that is not signed yet. [`Delegation::build`] makes one.
///
/// A scope and an expiry are required: neither "everything" nor "for ever" is a good default for the rights of
/// another machine.
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

    /// Adds a pattern to the protocols for which the node acts for the owner. At least one pattern is needed, and
    /// at most [`Delegation::MAX_SCOPE`] fit. A repeated pattern counts once.
    pub fn scope(mut self, pattern: Pattern) -> Self {
        self.scope.insert(pattern);
        self
    }

    /// Adds several patterns, like repeated calls of [`scope`](Self::scope).
    pub fn scopes(mut self, patterns: impl IntoIterator<Item = Pattern>) -> Self {
        self.scope.extend(patterns);
        self
    }

    /// Adds a peer towards which the node acts for the owner. Without any such peer, the certificate is valid
    /// towards everybody. At most [`Delegation::MAX_AUDIENCE`] peers fit. A repeated peer counts once.
    pub fn audience(mut self, peer: PublicKey) -> Self {
        self.audience.insert(peer);
        self
    }

    /// Sets the first moment at which the certificate holds, rounded down to a second. The default is the moment of
    /// signing.
    pub fn not_before(mut self, time: SystemTime) -> Self {
        self.not_before = Some(time);
        self
    }

    /// Sets the first moment at which the certificate no longer holds, rounded down to a second. This field is
    /// required. A time after the year 9999 is replaced by the last second of that year.
    pub fn expires(mut self, time: SystemTime) -> Self {
        self.expires = Some(time);
        self
    }

    /// Sets the serial. The default is a random serial, for which no counter is needed.
    pub fn serial(mut self, serial: impl Into<Serial>) -> Self {
        self.serial = Some(serial.into());
        self
    }

    /// Signs the certificate with the owner's key. The same fields always give the same bytes.
    ///
    /// # Errors
    ///
    /// Returns [`IssueError`], which names the missing or invalid part of the certificate.
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
