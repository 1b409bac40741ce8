//! Protocol names.

use std::{cmp::Ordering, fmt, hash, str::FromStr, sync::Arc};

/// The name of a protocol, such as `chat/1`: 1 to 255 visible ASCII characters.
///
/// By convention a name ends with a version, so that two versions can be served side by side. Names are compared
/// byte by byte.
///
/// ```
/// use twolane::Protocol;
///
/// const MAIL: Protocol = Protocol::from_static("mail/1");
/// assert_eq!(MAIL, Protocol::new("mail/1")?);
/// assert!(Protocol::new("mail 1").is_err());
/// # Ok::<(), twolane::InvalidProtocol>(())
/// ```
#[derive(Clone)]
pub struct Protocol(Name);

/// The storage of a name. It is cloned several times for each stream, on both sides.
#[derive(Clone)]
enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

/// Why a name is not a valid protocol name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProtocol {
    /// The name is empty.
    #[error("the protocol name is empty: choose a name such as chat/1")]
    Empty,
    /// The name is too long.
    #[error("the protocol name has {len} characters, and the limit is {}", Protocol::MAX_LEN)]
    TooLong {
        /// The length of the name, in bytes.
        len: usize,
    },
    /// The name has a character that is not visible ASCII.
    #[error("character {at} of the protocol name {name:?} is not visible ASCII (no spaces, no accents)")]
    Character {
        /// The name.
        name: String,
        /// Position of the first such character, in bytes from 0.
        at: usize,
    },
}

impl From<std::convert::Infallible> for InvalidProtocol {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl Protocol {
    /// Maximum length of a name, in characters. Each character is one byte.
    pub const MAX_LEN: usize = 255;

    /// Creates a protocol from a name that is known at compile time.
    ///
    /// # Panics
    ///
    /// Panics if the name is not valid. In a `const` that is a compile error.
    pub const fn from_static(name: &'static str) -> Self {
        assert!(invalid_at(name.as_bytes()).is_none(), "a protocol name is 1 to 255 visible ASCII characters");
        assert!(
            !name.is_empty() && name.len() <= Self::MAX_LEN,
            "a protocol name is 1 to 255 visible ASCII characters"
        );
        Self(Name::Static(name))
    }

    /// Creates a protocol from a name that is known only at run time.
    ///
    /// # Errors
    ///
    /// [`InvalidProtocol`] says which rule the name breaks.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidProtocol> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(InvalidProtocol::Empty);
        }
        if name.len() > Self::MAX_LEN {
            return Err(InvalidProtocol::TooLong { len: name.len() });
        }
        match invalid_at(name.as_bytes()) {
            Some(at) => Err(InvalidProtocol::Character { name: name.to_owned(), at }),
            None => Ok(Self(Name::Shared(name.into()))),
        }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Static(name) => name,
            Name::Shared(name) => name,
        }
    }
}

impl PartialEq for Protocol {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Protocol {}

impl PartialOrd for Protocol {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Protocol {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl hash::Hash for Protocol {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// Returns the position of the first byte that is not visible ASCII.
const fn invalid_at(name: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < name.len() {
        if !name[at].is_ascii_graphic() {
            return Some(at);
        }
        at += 1;
    }
    None
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = InvalidProtocol;

    fn from_str(name: &str) -> Result<Self, InvalidProtocol> {
        Self::new(name)
    }
}

impl TryFrom<&str> for Protocol {
    type Error = InvalidProtocol;

    fn try_from(name: &str) -> Result<Self, InvalidProtocol> {
        Self::new(name)
    }
}

impl TryFrom<String> for Protocol {
    type Error = InvalidProtocol;

    fn try_from(name: String) -> Result<Self, InvalidProtocol> {
        Self::new(name)
    }
}

impl From<&Self> for Protocol {
    fn from(protocol: &Self) -> Self {
        protocol.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_of_a_name_has_its_own_error() {
        assert_eq!(Protocol::new(""), Err(InvalidProtocol::Empty));
        assert_eq!(Protocol::new("x".repeat(256)), Err(InvalidProtocol::TooLong { len: 256 }));
        assert!(Protocol::new("x".repeat(255)).is_ok());
        for name in ["mail 1", "mail\n", "caf\u{e9}/1", "\u{7f}"] {
            assert!(matches!(Protocol::new(name), Err(InvalidProtocol::Character { .. })), "{name:?}");
        }
    }
}
