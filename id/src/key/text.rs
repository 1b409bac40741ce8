//! Texts over a fixed alphabet, which is what every value here has.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{
    Deserializer,
    de::{Error, Visitor},
};

/// Why a text cannot be decoded, before its meaning is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Length { found: usize },
    Character { found: char, position: usize },
}

/// Checks that `text` is `length` characters of an ASCII alphabet. Afterwards its bytes are its
/// characters, so a decoder, which counts bytes, and a person, who counts characters, mean the
/// same.
pub(crate) fn check(text: &str, length: usize, is_symbol: fn(char) -> bool) -> Result<(), Flaw> {
    let found = text.chars().count();
    if found != length {
        return Err(Flaw::Length { found });
    }
    match text.chars().enumerate().find(|(_, character)| !is_symbol(*character)) {
        Some((index, found)) => Err(Flaw::Character { found, position: index + 1 }),
        None => Ok(()),
    }
}

/// A digit of base32hex (RFC 4648, section 7) in either case.
pub(crate) fn is_base32hex(character: char) -> bool {
    matches!(character, '0'..='9' | 'a'..='v' | 'A'..='V')
}

/// A lower-case hexadecimal digit.
pub(crate) fn is_hex(character: char) -> bool {
    matches!(character, '0'..='9' | 'a'..='f')
}

/// Deserializes whatever is parsed from a string, borrowed or not.
pub(crate) fn deserialize<'de, D, T>(deserializer: D, expecting: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Text<T>(&'static str, PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(expecting, PhantomData))
}
