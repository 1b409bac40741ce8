//! The signature.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    ParseSignatureError,
    text::{self, Flaw},
};

/// An Ed25519 signature (RFC 8032, section 5.1.6): the point R and the scalar S, 32 bytes each.
///
/// A value can hold any 64 bytes. [`PublicKey::verify`](crate::PublicKey::verify) checks whether they are the
/// signature of a key over a message, for a purpose. [`SecretKey::sign`](crate::SecretKey::sign) makes signatures.
///
/// The text form is 128 lower-case hexadecimal digits, and only those are read. [`Debug`] shows the first sixteen.
/// With serde, a signature is the text in human-readable formats, and 64 bytes in other formats.
///
/// ```
/// use twolane_id::{SecretKey, Signature};
///
/// let signature = SecretKey::generate().sign("example.org letter", b"hello");
/// let copy: Signature = signature.to_string().parse()?;
/// assert_eq!(copy, signature);
/// # Ok::<(), twolane_id::ParseSignatureError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; Self::LENGTH]);

impl Signature {
    /// The length of a signature in bytes.
    pub const LENGTH: usize = 64;

    /// The length of the text form in characters, all of which are ASCII.
    pub const HEX_LENGTH: usize = 128;

    /// Reads a signature from the 64 bytes of RFC 8032: R, then S, both little-endian.
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Self {
        Self(*bytes)
    }

    /// Returns the 64 bytes, in the form that [`from_bytes`](Self::from_bytes) reads.
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        self.0
    }

    /// Returns the 64 bytes, borrowed.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    pub(super) fn to_dalek(self) -> ed25519_dalek::Signature {
        ed25519_dalek::Signature::from_bytes(&self.0)
    }

    /// Calls `with` with the text form, which lives on the stack.
    fn with_hex<R>(&self, with: impl FnOnce(&str) -> R) -> R {
        let mut buffer = [0; Self::HEX_LENGTH];
        with(HEXLOWER.encode_mut_str(&self.0, &mut buffer))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_hex(|hex| formatter.pad(hex))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_hex(|hex| write!(formatter, "Signature({hex:.16}..)"))
    }
}

impl FromStr for Signature {
    type Err = ParseSignatureError;

    fn from_str(text: &str) -> Result<Self, ParseSignatureError> {
        text::check(text, Self::HEX_LENGTH, text::is_hex)?;
        let mut bytes = [0; Self::LENGTH];
        HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).map_err(|partial| {
            let index = partial.error.position;
            let found = text.chars().nth(index).unwrap_or_default();
            ParseSignatureError::Character { found, position: index + 1 }
        })?;
        Ok(Self(bytes))
    }
}

impl From<Flaw> for ParseSignatureError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Length { found } => Self::Length { found },
            Flaw::Character { found, position } => Self::Character { found, position },
        }
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.with_hex(|hex| serializer.serialize_str(hex))
        } else {
            // serde supports arrays of up to 32 elements, so a signature is written as two of them.
            let dalek = self.to_dalek();
            (dalek.r_bytes(), dalek.s_bytes()).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            text::deserialize(deserializer, "a signature of 128 lower-case hexadecimal digits")
        } else {
            let (r, s) = <([u8; 32], [u8; 32])>::deserialize(deserializer)?;
            Ok(Self(ed25519_dalek::Signature::from_components(r, s).to_bytes()))
        }
    }
}

#[cfg(test)]
mod tests;
