//! Which protocols: one, a family, or all.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ParsePatternError;
use crate::key::text;

/// A pattern of protocol names: `chat/1` is that protocol, `chat/*` every one whose name begins with `chat/`, and `*`
/// every one.
///
/// 1 to 255 visible ASCII characters, of which only the last may be a `*`. Letters are compared as they are. The star
/// stands for any characters, and for none: `chat*` covers `chat/1`, `chatter/1` and `chat` itself, so a family is
/// best written with its slash. Patterns sort byte by byte.
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
    /// The longest pattern in characters, which are bytes here: as long as the longest name of a protocol.
    pub const MAX_LEN: usize = 255;

    /// Whether `protocol`, a name such as `chat/1`, is one of those.
    pub fn matches(&self, protocol: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => protocol.starts_with(beginning),
            None => protocol == self.0,
        }
    }

    /// The text.
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
