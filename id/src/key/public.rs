//! The public key and its text, the id52.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_DNSSEC;
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{
    InvalidPublicKey, ParsePublicKeyError, Signature, VerifyError, domain,
    text::{self, Flaw},
};

/// An Ed25519 public key (RFC 8032, section 5.1): the name of a peer.
///
/// Its text form, written by [`Display`](fmt::Display) and read by [`FromStr`], is the *id52*: the 32 bytes in
/// base32hex (RFC 4648, section 7) without padding. It always has 52 characters, and the last one is `0` or `g`. It
/// is written in lower case and read in either case. [`Debug`] shows the first ten characters, for logs.
///
/// Every value of this type is a valid key: canonically encoded, on the curve, and not of small order. Two keys
/// therefore name the same peer exactly when their bytes are equal. Copying, comparing and hashing a key cost the
/// same as for 32 bytes. Keys sort in the same order as their id52s.
///
/// With serde, a key is the id52 in human-readable formats, and 32 bytes in other formats.
///
/// ```
/// use twolane_id::PublicKey;
///
/// let key: PublicKey = "QTD9G0C2M45BFLABVR9SIP07787E2SNJRAJ269DF08D6HTO7A4D0".parse()?;
/// assert_eq!(key.to_string(), "qtd9g0c2m45bflabvr9sip07787e2snjraj269df08d6hto7a4d0");
/// assert_eq!(format!("{key:?}"), "PublicKey(qtd9g0c2m4..)");
/// # Ok::<(), twolane_id::ParsePublicKeyError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; Self::LENGTH]);

impl PublicKey {
    /// The length of a public key in bytes.
    pub const LENGTH: usize = 32;

    /// The length of an id52 in characters, all of which are ASCII.
    pub const ID52_LENGTH: usize = 52;

    /// Reads a key from the 32 bytes of RFC 8032, section 5.1.2: the compressed point, little-endian.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidPublicKey`], which names the requirement that the bytes do not meet.
    ///
    /// ```
    /// use twolane_id::{InvalidPublicKey, PublicKey, SecretKey};
    ///
    /// let key = SecretKey::generate().public_key();
    /// assert_eq!(PublicKey::from_bytes(key.as_bytes()), Ok(key));
    /// assert_eq!(PublicKey::from_bytes(&[0; 32]), Err(InvalidPublicKey::SmallOrder));
    /// ```
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Result<Self, InvalidPublicKey> {
        if !is_reduced(bytes) {
            return Err(InvalidPublicKey::NotCanonical);
        }
        let point = VerifyingKey::from_bytes(bytes).map_err(|_| InvalidPublicKey::NotOnCurve)?;
        // This check also refuses the other kind of second encoding, "minus zero": x is zero only in two points,
        // which have the orders 1 and 2.
        if point.is_weak() {
            return Err(InvalidPublicKey::SmallOrder);
        }
        Ok(Self(*bytes))
    }

    /// Returns the 32 bytes, in the form that [`from_bytes`](Self::from_bytes) reads.
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        self.0
    }

    /// Returns the 32 bytes, borrowed.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// Checks that `signature` was made by [`SecretKey::sign`](crate::SecretKey::sign) with the secret of this key, for
    /// exactly this context and this message. The call copies the message once.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError`] without a reason, because no reason for a mismatch would be reliable. A signature that
    /// was made for another context, or without one, is refused like any other.
    ///
    /// ```
    /// let secret = twolane_id::SecretKey::generate();
    /// let signature = secret.sign("example.org payment", b"pay 10");
    /// assert!(secret.public_key().verify("example.org payment", b"pay 10", &signature).is_ok());
    /// assert!(secret.public_key().verify("example.org payment", b"pay 100", &signature).is_err());
    /// assert!(secret.public_key().verify("example.org letter", b"pay 10", &signature).is_err());
    /// ```
    pub fn verify(&self, context: &str, message: &[u8], signature: &Signature) -> Result<(), VerifyError> {
        self.verify_raw(&domain::signed_bytes(context, message), signature)
    }

    /// Checks that `signature` was made by [`SecretKey::sign_raw`](crate::SecretKey::sign_raw) with the secret of this
    /// key, over exactly `message`. A raw signature does not say for which purpose it was made.
    ///
    /// Verification follows RFC 8032, section 5.1.7, without its optional cofactor, and is strict: it refuses a
    /// scalar S that is not reduced, and also a nonce point R of small order. Without the secret, a valid signature
    /// cannot be turned into a different valid one.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError`] without a reason, because no reason for a mismatch would be reliable.
    ///
    /// ```
    /// let secret = twolane_id::SecretKey::generate();
    /// let signature = secret.sign_raw(b"pay 10");
    /// assert!(secret.public_key().verify_raw(b"pay 10", &signature).is_ok());
    /// assert!(secret.public_key().verify_raw(b"pay 100", &signature).is_err());
    /// ```
    pub fn verify_raw(&self, message: &[u8], signature: &Signature) -> Result<(), VerifyError> {
        VerifyingKey::from_bytes(&self.0)
            .and_then(|key| key.verify_strict(message, &signature.to_dalek()))
            .map_err(|_| VerifyError { key: *self })
    }

    /// Takes a key that was just derived from a secret, and is therefore valid: the point is S times the base
    /// point, and S is not zero modulo the group's order because of the bits set in RFC 8032, section 5.1.5.
    pub(super) fn from_derived(key: &VerifyingKey) -> Self {
        Self(key.to_bytes())
    }

    /// Calls `with` with the id52, which lives on the stack.
    fn with_id52<R>(&self, with: impl FnOnce(&str) -> R) -> R {
        let mut buffer = [0; Self::ID52_LENGTH];
        with(BASE32_DNSSEC.encode_mut_str(&self.0, &mut buffer))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_id52(|id52| formatter.pad(id52))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ten characters are 50 bits: enough to distinguish the peers in a log, and still readable.
        self.with_id52(|id52| write!(formatter, "PublicKey({id52:.10}..)"))
    }
}

impl FromStr for PublicKey {
    type Err = ParsePublicKeyError;

    fn from_str(text: &str) -> Result<Self, ParsePublicKeyError> {
        text::check(text, Self::ID52_LENGTH, text::is_base32hex)?;
        let mut bytes = [0; Self::LENGTH];
        if BASE32_DNSSEC.decode_mut(text.as_bytes(), &mut bytes).is_err() {
            let found = text.chars().next_back().unwrap_or_default();
            return Err(ParsePublicKeyError::TrailingBits { found });
        }
        Ok(Self::from_bytes(&bytes)?)
    }
}

impl From<Flaw> for ParsePublicKeyError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Length { found } => Self::Length { found },
            Flaw::Character { found, position } => Self::Character { found, position },
        }
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.with_id52(|id52| serializer.serialize_str(id52))
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            text::deserialize(deserializer, "an id52")
        } else {
            let bytes = <[u8; Self::LENGTH]>::deserialize(deserializer)?;
            Self::from_bytes(&bytes).map_err(D::Error::custom)
        }
    }
}

/// Returns whether the y coordinate (all bits but the top bit, which is the sign of x) is less than 2^255 - 19.
fn is_reduced(bytes: &[u8; PublicKey::LENGTH]) -> bool {
    let [first, middle @ .., last] = bytes;
    !(*first >= 0xed && middle.iter().all(|byte| *byte == 0xff) && last & 0x7f == 0x7f)
}

#[cfg(test)]
mod tests;
