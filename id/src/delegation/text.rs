//! The text form: `delegation`, followed by the bytes in base32hex.

use std::{fmt, str::FromStr};

use data_encoding::{BASE32_DNSSEC, DecodeKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Delegation, DelegationError, TextFlaw};
use crate::key::text;

/// The prefix that identifies the text. All of its letters are in the alphabet of base32hex, so browsers and double
/// clicks treat the whole text as one word.
const PREFIX: &str = "delegation";

/// Maximum length of a text: the prefix, and one character for every five bits.
const MAX_TEXT_LEN: usize = PREFIX.len() + (Delegation::MAX_LEN * 8).div_ceil(5);

impl fmt::Display for Delegation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(PREFIX)?;
        formatter.write_str(&BASE32_DNSSEC.encode(&self.bytes))
    }
}

impl FromStr for Delegation {
    type Err = DelegationError;

    fn from_str(text: &str) -> Result<Self, DelegationError> {
        Self::from_bytes(&decode(text).map_err(|flaw| DelegationError::BadText { flaw })?)
    }
}

fn decode(text: &str) -> Result<Vec<u8>, TextFlaw> {
    let Some((prefix, digits)) = text.split_at_checked(PREFIX.len()) else {
        return Err(TextFlaw::Prefix);
    };
    if !prefix.eq_ignore_ascii_case(PREFIX) {
        return Err(TextFlaw::Prefix);
    }
    // The length is checked before the text is scanned, because the text may come from a peer.
    if text.len() > MAX_TEXT_LEN {
        return Err(TextFlaw::TooLong { len: text.len(), max: MAX_TEXT_LEN });
    }
    if let Some((index, found)) = digits.chars().enumerate().find(|(_, digit)| !text::is_base32hex(*digit)) {
        return Err(TextFlaw::Character { found, position: PREFIX.len() + index + 1 });
    }
    BASE32_DNSSEC.decode(digits.as_bytes()).map_err(|error| match error.kind {
        DecodeKind::Trailing => TextFlaw::TrailingBits { found: digits.chars().next_back().unwrap_or_default() },
        _ => TextFlaw::Cut { len: text.len() },
    })
}

impl Serialize for Delegation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Delegation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer, "a delegation in its text form")
    }
}

#[cfg(test)]
mod tests;
