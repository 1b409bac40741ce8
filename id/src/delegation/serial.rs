//! The serial of a certificate.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ParseSerialError;
use crate::{
    RandomnessError,
    key::text::{self, Flaw},
};

/// The serial of a certificate: 16 bytes, usually random. The owner uses it to revoke the certificate.
///
/// The text form is 32 lower-case hexadecimal digits, and only those are read. serde uses the text form too.
///
/// ```
/// use twolane_id::Serial;
///
/// let serial: Serial = "000102030405060708090a0b0c0d0e0f".parse()?;
/// assert_eq!(serial.to_bytes()[15], 15);
/// # Ok::<(), twolane_id::delegation::ParseSerialError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; Self::LENGTH]);

impl Serial {
    /// The length of a serial in bytes. It is long enough that two random serials are never equal in practice.
    pub const LENGTH: usize = 16;

    /// The length of the text form in characters, all of which are ASCII.
    pub const HEX_LENGTH: usize = 32;

    /// Makes a serial from 16 bytes. Any 16 bytes are valid.
    pub fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// Returns the 16 bytes.
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        self.0
    }

    /// Returns the 16 bytes, borrowed.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    pub(super) fn try_random() -> Result<Self, RandomnessError> {
        let mut bytes = [0; Self::LENGTH];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl From<[u8; Self::LENGTH]> for Serial {
    fn from(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; Self::HEX_LENGTH];
        formatter.pad(HEXLOWER.encode_mut_str(&self.0, &mut buffer))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = ParseSerialError;

    fn from_str(text: &str) -> Result<Self, ParseSerialError> {
        text::check(text, Self::HEX_LENGTH, text::is_hex)?;
        let mut bytes = [0; Self::LENGTH];
        HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).map_err(|partial| {
            let index = partial.error.position;
            ParseSerialError::Character { found: text.chars().nth(index).unwrap_or_default(), position: index + 1 }
        })?;
        Ok(Self(bytes))
    }
}

impl From<Flaw> for ParseSerialError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Length { found } => Self::Length { found },
            Flaw::Character { found, position } => Self::Character { found, position },
        }
    }
}

impl Serialize for Serial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Serial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer, "a serial of 32 lower-case hexadecimal digits")
    }
}

#[cfg(test)]
mod tests;
