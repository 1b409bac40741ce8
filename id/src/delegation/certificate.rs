//! The certificate, and when it is to be believed.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::{DelegationBuilder, DelegationError, Pattern, Serial, format, time};
use crate::PublicKey;

/// A certificate by which an owner's key states that a node's key acts for it.
///
/// Every value of this type is well-formed and bears the signature of the owner that it names. Whether it may be
/// believed *here and now* is what [`verify`](Self::verify) answers; see the [module](super) for all that a peer has to
/// check.
///
/// Two are equal when their bytes are. The text form is written by [`Display`](fmt::Display), read by
/// [`FromStr`](std::str::FromStr), and is what serde sees. [`Debug`] shows the fields without the signature.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Delegation {
    pub(super) claims: Claims,
    /// The whole certificate, signature included.
    pub(super) bytes: Vec<u8>,
}

/// What an owner states. Kept in canonical order.
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

/// The circumstances in which a certificate is shown, all of them known to the peer that it is shown to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// The time, by this machine's clock.
    pub now: SystemTime,
    /// How far the owner's clock and this one may be apart: the certificate holds that much longer at both ends. A
    /// minute forgives clocks that are set by a network; zero forgives nothing.
    pub skew: Duration,
    /// Who shows it: the key that the handshake of the connection has proved. Never a key from a message.
    pub node: PublicKey,
    /// Who looks at it: our own key.
    pub audience: PublicKey,
}

impl Delegation {
    /// The most bytes that a whole certificate may have. With 16 audience keys that leaves 1373 bytes for the scope.
    pub const MAX_LEN: usize = 2048;

    /// The most patterns in a scope. A node that needs more than 16 families of protocols is given a wider pattern, or
    /// two certificates.
    pub const MAX_SCOPE: usize = 16;

    /// The most audience keys. A certificate for more peers than that is one for anybody, or several.
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

    /// Reads a certificate: its structure, that it is written in the one canonical way, and the owner's signature.
    ///
    /// # Errors
    ///
    /// [`DelegationError`] says what is wrong first. Nothing that the bytes claim should be believed then.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DelegationError> {
        let claims = format::decode(bytes)?;
        Ok(Self { claims, bytes: bytes.to_vec() })
    }

    /// The whole certificate, as [`from_bytes`](Self::from_bytes) takes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// The whole certificate, borrowed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Who states it, and has signed it.
    pub fn owner(&self) -> PublicKey {
        self.claims.owner
    }

    /// Who acts for the owner.
    pub fn node(&self) -> PublicKey {
        self.claims.node
    }

    /// The protocols for which the node acts for the owner: 1 to [`MAX_SCOPE`](Self::MAX_SCOPE) patterns, ascending.
    pub fn scope(&self) -> &[Pattern] {
        &self.claims.scope
    }

    /// The peers towards which the node acts for the owner: up to [`MAX_AUDIENCE`](Self::MAX_AUDIENCE) keys, ascending.
    /// None means any peer.
    pub fn audience(&self) -> &[PublicKey] {
        &self.claims.audience
    }

    /// The first moment at which it holds, in whole seconds.
    pub fn not_before(&self) -> SystemTime {
        time::to_system(self.claims.not_before)
    }

    /// The first moment at which it holds no more, in whole seconds, at most 9999-12-31T23:59:59Z.
    pub fn expires(&self) -> SystemTime {
        time::to_system(self.claims.expires)
    }

    /// Which of the owner's certificates this is, for taking it back.
    pub fn serial(&self) -> Serial {
        self.claims.serial
    }

    /// Checks that the certificate holds in these circumstances: the one who shows it is the node that it names, we are
    /// among those it is meant for, `now + skew >= not_before`, and `now - skew < expires`.
    ///
    /// Neither the protocol nor a revocation is looked at: that is for [`permits`](Self::permits) and
    /// [`RevocationList::check`](super::RevocationList::check). A clock before 1970 counts as 1970.
    ///
    /// # Errors
    ///
    /// [`WrongNode`](DelegationError::WrongNode), [`WrongAudience`](DelegationError::WrongAudience),
    /// [`NotYetValid`](DelegationError::NotYetValid) or [`Expired`](DelegationError::Expired); the first that applies, in
    /// this order.
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

    /// Whether the scope covers `protocol`, the name of one, such as `chat/1`.
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
