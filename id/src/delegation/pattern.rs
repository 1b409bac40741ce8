//! Patterns of protocol names: one protocol, a family, or all protocols.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ParsePatternError;
use crate::key::text;

/// A pattern of protocol names. `chat/1` covers that protocol, `chat/*` every protocol whose name begins with
/// `chat/`, and `*` every protocol.
///
/// A pattern has 1 to 255 visible ASCII characters, of which only the last may be a `*`. The comparison of letters
/// is case-sensitive. The star stands for any number of characters, including none: `chat*` covers `chat/1`,
/// `chatter/1` and `chat` itself, so write a family with its slash. Patterns sort byte by byte.
///
/// ```
/// use twolane_id::Pattern;
///
/// let chat: Pattern = "chat/*".parse()?;
/// assert!(chat.matches("chat/1") && chat.matches("chat/2"));
/// assert!(!chat.matches("chatter/1"));
/// assert!("ch*t/1".parse::<Pattern>().is_err());
/// # Ok::<(), twolane_id::delegation::ParsePatternError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// Maximum length of a pattern in characters, each of which is one byte. It equals the maximum length of a
    /// protocol name.
    pub const MAX_LEN: usize = 255;

    /// Returns whether the pattern covers `protocol`, a protocol name such as `chat/1`.
    pub fn matches(&self, protocol: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => protocol.starts_with(beginning),
            None => protocol == self.0,
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, ParsePatternError> {
        let len = text.len();
        if len == 0 {
            return Err(ParsePatternError::Empty);
        }
        if let Some((index, found)) = text.chars().enumerate().find(|(_, c)| !c.is_ascii_graphic()) {
            return Err(ParsePatternError::Character { found, position: index + 1 });
        }
        if len > Self::MAX_LEN {
            return Err(ParsePatternError::TooLong { len, max: Self::MAX_LEN });
        }
        match text.find('*') {
            Some(index) if index + 1 < len => Err(ParsePatternError::Star { position: index + 1 }),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Pattern({})", self.0)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer, "a pattern of protocol names, such as chat/*")
    }
}

#[cfg(test)]
mod tests;
