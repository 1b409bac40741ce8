//! The certificate and its verification.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::{DelegationBuilder, DelegationError, Pattern, Serial, format, time};
use crate::PublicKey;

/// A certificate by which an owner's key states that a node's key acts for it.
///
/// Every value of this type is well-formed and has the signature of the owner that it names.
/// [`verify`](Self::verify) checks whether it holds *here and now*. The [module](super) lists all checks that a
/// peer has to make.
///
/// Two certificates are equal if their bytes are equal. The text form is written by [`Display`](fmt::Display) and
/// read by [`FromStr`](std::str::FromStr), and serde uses it too. [`Debug`] shows the fields without the signature.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Delegation {
    pub(super) claims: Claims,
    /// The whole certificate, including the signature.
    pub(super) bytes: Vec<u8>,
}

/// The statement of an owner, in canonical order.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Claims {
    pub(super) owner: PublicKey,
    pub(super) node: PublicKey,
    /// Seconds since 1970, less than `expires`.
    pub(super) not_before: u64,
    /// Seconds since 1970, at most [`time::MAX`].
    pub(super) expires: u64,
    pub(super) serial: Serial,
    pub(super) scope: Vec<Pattern>,
    pub(super) audience: Vec<PublicKey>,
}

/// The circumstances in which a certificate is shown. The peer to which it is shown knows all of them itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// The current time, by this machine's clock.
    pub now: SystemTime,
    /// Maximum difference between the owner's clock and this machine's clock. The certificate holds for this duration
    /// longer at both ends. One minute tolerates clocks that are set by a network; zero tolerates no difference.
    pub skew: Duration,
    /// The key of the peer that shows the certificate, as proved by the handshake of the connection. Never a key
    /// from a message.
    pub node: PublicKey,
    /// The key of the peer that checks the certificate: the local key.
    pub audience: PublicKey,
}

impl Delegation {
    /// Maximum length of a whole certificate in bytes. With 16 audience keys, 1373 bytes remain for the scope.
    pub const MAX_LEN: usize = 2048;

    /// Maximum number of patterns in a scope. A node that needs more than 16 families of protocols needs a wider
    /// pattern, or two certificates.
    pub const MAX_SCOPE: usize = 16;

    /// Maximum number of audience keys. For more peers, issue a certificate without an audience, or several
    /// certificates.
    pub const MAX_AUDIENCE: usize = 16;

    /// Begins a certificate for `node`.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use twolane_id::{Delegation, SecretKey};
    ///
    /// let (owner, node) = (SecretKey::generate(), SecretKey::generate());
    /// let delegation = Delegation::build(node.public_key())
    ///     .scope("mail/1".parse()?)
    ///     .expires(SystemTime::now() + Duration::from_secs(3600))
    ///     .sign(&owner)?;
    /// assert_eq!(Delegation::from_bytes(delegation.as_bytes())?, delegation);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build(node: PublicKey) -> DelegationBuilder {
        DelegationBuilder::new(node)
    }

    /// Reads a certificate. Checks its structure, that it has the one canonical encoding, and the owner's
    /// signature.
    ///
    /// # Errors
    ///
    /// Returns [`DelegationError`], which names the first flaw. After an error, nothing that the bytes claim is to
    /// be trusted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DelegationError> {
        let claims = format::decode(bytes)?;
        Ok(Self { claims, bytes: bytes.to_vec() })
    }

    /// Returns the whole certificate, in the form that [`from_bytes`](Self::from_bytes) reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// Returns the whole certificate, borrowed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the key that has issued and signed the certificate.
    pub fn owner(&self) -> PublicKey {
        self.claims.owner
    }

    /// Returns the key that acts for the owner.
    pub fn node(&self) -> PublicKey {
        self.claims.node
    }

    /// Returns the protocols for which the node acts for the owner: 1 to [`MAX_SCOPE`](Self::MAX_SCOPE) patterns,
    /// ascending.
    pub fn scope(&self) -> &[Pattern] {
        &self.claims.scope
    }

    /// Returns the peers towards which the node acts for the owner: up to [`MAX_AUDIENCE`](Self::MAX_AUDIENCE)
    /// keys, ascending. An empty list means any peer.
    pub fn audience(&self) -> &[PublicKey] {
        &self.claims.audience
    }

    /// Returns the first moment at which the certificate holds, in whole seconds.
    pub fn not_before(&self) -> SystemTime {
        time::to_system(self.claims.not_before)
    }

    /// Returns the first moment at which the certificate no longer holds, in whole seconds, at most
    /// 9999-12-31T23:59:59Z.
    pub fn expires(&self) -> SystemTime {
        time::to_system(self.claims.expires)
    }

    /// Returns the serial, which identifies this certificate among those of the owner. The owner needs it for
    /// revocation.
    pub fn serial(&self) -> Serial {
        self.claims.serial
    }

    /// Checks that the certificate holds in these circumstances: the peer that shows it is the node that it names,
    /// the local key is in the audience or the audience is empty, `now + skew >= not_before`, and
    /// `now - skew < expires`.
    ///
    /// This method checks neither the protocol nor a revocation; use [`permits`](Self::permits) and
    /// [`RevocationList::check`](super::RevocationList::check) for those. A clock before 1970 counts as 1970.
    ///
    /// # Errors
    ///
    /// [`WrongNode`](DelegationError::WrongNode), [`WrongAudience`](DelegationError::WrongAudience),
    /// [`NotYetValid`](DelegationError::NotYetValid) or [`Expired`](DelegationError::Expired); the first one that
    /// applies, in this order.
    pub fn verify(&self, presented: &Presented) -> Result<(), DelegationError> {
        let Claims { node, audience, not_before, expires, .. } = &self.claims;
        let Presented { now, skew, node: presented_by, audience: us } = *presented;
        if presented_by != *node {
            return Err(DelegationError::WrongNode { named: *node, presented_by });
        }
        if !audience.is_empty() && !audience.contains(&us) {
            return Err(DelegationError::WrongAudience { us });
        }
        let since_1970 = time::since_1970(now);
        if since_1970.saturating_add(skew) < Duration::from_secs(*not_before) {
            return Err(DelegationError::NotYetValid { not_before: self.not_before(), now });
        }
        if since_1970.saturating_sub(skew) >= Duration::from_secs(*expires) {
            return Err(DelegationError::Expired { expired: self.expires(), now });
        }
        Ok(())
    }

    /// Returns whether the scope covers `protocol`, a protocol name such as `chat/1`.
    pub fn permits(&self, protocol: &str) -> bool {
        self.claims.scope.iter().any(|pattern| pattern.matches(protocol))
    }
}

impl fmt::Debug for Delegation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Claims { owner, node, serial, scope, audience, .. } = &self.claims;
        formatter
            .debug_struct("Delegation")
            .field("owner", owner)
            .field("node", node)
            .field("scope", scope)
            .field("audience", audience)
            .field("not_before", &format_args!("{}", time::Utc(self.not_before())))
            .field("expires", &format_args!("{}", time::Utc(self.expires())))
            .field("serial", serial)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
