//! Parsing of texts over a fixed alphabet. Every type of this crate has such a text form.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{
    Deserializer,
    de::{Error, Visitor},
};

/// The reason why a text cannot be decoded, found before its meaning is checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Length { found: usize },
    Character { found: char, position: usize },
}

/// Checks that `text` consists of `length` characters of an ASCII alphabet. After this check the number of bytes
/// equals the number of characters, so the positions that a decoder reports in bytes are also positions in
/// characters.
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

/// Returns whether `character` is a digit of base32hex (RFC 4648, section 7) in either case.
pub(crate) fn is_base32hex(character: char) -> bool {
    matches!(character, '0'..='9' | 'a'..='v' | 'A'..='V')
}

/// Returns whether `character` is a lower-case hexadecimal digit.
pub(crate) fn is_hex(character: char) -> bool {
    matches!(character, '0'..='9' | 'a'..='f')
}

/// Deserializes a value that is parsed from a string, borrowed or not.
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
