//! Encoding of claims to bytes and back, in the layout that the documentation of the module lists.

use super::{Delegation, DelegationError, Pattern, Serial, certificate::Claims, time};
use crate::{PublicKey, SecretKey, Signature};

/// The domain of certificates: the prefix of the bytes of a certificate when they are signed. A signature over a
/// message ([`SecretKey::sign`]) has a domain of its own ([`MESSAGE_DOMAIN`](crate::MESSAGE_DOMAIN)), and is therefore
/// never one over a certificate. A program that signs bytes without a domain ([`SecretKey::sign_raw`]) has to refuse
/// those that begin with this prefix, unless it has chosen them itself.
pub const CONTEXT: &[u8] = b"twolane delegation v1\0";

const VERSION: u8 = 1;

/// Encodes the claims, which are in canonical order, and signs them.
pub(super) fn encode(claims: &Claims, owner: &SecretKey) -> Vec<u8> {
    let mut signed = CONTEXT.to_vec();
    signed.push(VERSION);
    signed.extend(claims.owner.as_bytes());
    signed.extend(claims.node.as_bytes());
    signed.extend(claims.not_before.to_be_bytes());
    signed.extend(claims.expires.to_be_bytes());
    signed.extend(claims.serial.as_bytes());
    // Neither count exceeds 16, and no pattern exceeds 255 bytes, so the casts lose nothing.
    signed.push(claims.scope.len() as u8);
    for pattern in &claims.scope {
        signed.push(pattern.as_str().len() as u8);
        signed.extend(pattern.as_str().as_bytes());
    }
    signed.push(claims.audience.len() as u8);
    for peer in &claims.audience {
        signed.extend(peer.as_bytes());
    }
    let signature = owner.sign_raw(&signed);
    let mut bytes = signed.split_off(CONTEXT.len());
    bytes.extend(signature.as_bytes());
    bytes
}

/// Decodes the claims from their one encoding, and checks the signature.
pub(super) fn decode(bytes: &[u8]) -> Result<Claims, DelegationError> {
    let (len, max) = (bytes.len(), Delegation::MAX_LEN);
    if len > max {
        return Err(DelegationError::TooLong { len, max });
    }
    let mut reader = Reader { bytes, rest: bytes };
    let [found] = reader.array("version")?;
    if found != VERSION {
        return Err(DelegationError::Version { found });
    }
    let owner = reader.key("owner")?;
    let node = reader.key("node")?;
    if owner == node {
        return Err(DelegationError::OwnerIsNode { owner });
    }
    let not_before = u64::from_be_bytes(reader.array("beginning")?);
    let expires = u64::from_be_bytes(reader.array("expiry")?);
    if expires > time::MAX {
        return Err(DelegationError::NotCanonical { what: "its expiry is after the year 9999" });
    }
    if not_before >= expires {
        return Err(DelegationError::NotCanonical { what: "it expires before it begins" });
    }
    let serial = Serial::from_bytes(reader.array("serial")?);
    let scope = reader.scope()?;
    let audience = reader.audience()?;

    let body = reader.before();
    let signature = Signature::from_bytes(&reader.array("signature")?);
    if !reader.rest.is_empty() {
        return Err(DelegationError::NotCanonical { what: "there are bytes after the signature" });
    }
    owner.verify_raw(&[CONTEXT, body].concat(), &signature).map_err(|_| DelegationError::BadSignature { owner })?;
    Ok(Claims { owner, node, not_before, expires, serial, scope, audience })
}

struct Reader<'a> {
    bytes: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, part: &'static str) -> Result<&'a [u8], DelegationError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(DelegationError::Truncated { found: self.bytes.len(), part });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, part: &'static str) -> Result<[u8; N], DelegationError> {
        let Some((taken, rest)) = self.rest.split_first_chunk() else {
            return Err(DelegationError::Truncated { found: self.bytes.len(), part });
        };
        self.rest = rest;
        Ok(*taken)
    }

    fn key(&mut self, which: &'static str) -> Result<PublicKey, DelegationError> {
        PublicKey::from_bytes(&self.array(which)?).map_err(|error| DelegationError::BadKey { which, error })
    }

    fn scope(&mut self) -> Result<Vec<Pattern>, DelegationError> {
        let [count] = self.array("scope")?;
        if count == 0 {
            return Err(DelegationError::NotCanonical { what: "its scope is empty" });
        }
        if usize::from(count) > Delegation::MAX_SCOPE {
            return Err(DelegationError::NotCanonical { what: "its scope has more than 16 patterns" });
        }
        let mut scope = Vec::with_capacity(count.into());
        for _ in 0..count {
            let [len] = self.array("scope")?;
            let text = self.take(len.into(), "scope")?;
            let pattern = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            scope.push(pattern.ok_or(DelegationError::NotCanonical { what: "its scope has what is no pattern" })?);
        }
        strictly_ascending(&scope, "its scope is not sorted, or has a pattern twice")?;
        Ok(scope)
    }

    fn audience(&mut self) -> Result<Vec<PublicKey>, DelegationError> {
        let [count] = self.array("audience")?;
        if usize::from(count) > Delegation::MAX_AUDIENCE {
            return Err(DelegationError::NotCanonical { what: "its audience has more than 16 keys" });
        }
        let mut audience = Vec::with_capacity(count.into());
        for _ in 0..count {
            audience.push(self.key("audience")?);
        }
        strictly_ascending(&audience, "its audience is not sorted, or has a key twice")?;
        Ok(audience)
    }

    /// Returns all bytes that have been read.
    fn before(&self) -> &'a [u8] {
        let len = self.bytes.len() - self.rest.len();
        &self.bytes[..len]
    }
}

fn strictly_ascending<T: Ord>(items: &[T], what: &'static str) -> Result<(), DelegationError> {
    if items.is_sorted_by(|one, next| one < next) { Ok(()) } else { Err(DelegationError::NotCanonical { what }) }
}

#[cfg(test)]
mod tests;
