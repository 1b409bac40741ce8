//! Where secret keys are kept.
//!
//! | where | for | module |
//! | --- | --- | --- |
//! | a file, mode 0600 | services, and everything else in doubt | [`file`](mod@file) |
//! | an environment variable | containers, services configured from outside | [`env`](mod@env) |
//! | the system's keyring | programs of a person who is logged in | `keyring` (a feature) |
//!
//! In the first two a key is text: 64 lower-case hexadecimal digits, with any white space around
//! them. So is the entry in the keyring, where people look at it with the system's own tools.
//!
//! A key that cannot be read is an error, never a reason to make another one: only
//! [`file::load_or_create`] makes keys, and only where there is no file at all.

pub mod env;
pub mod file;
#[cfg(feature = "keyring")]
pub mod keyring;

use std::str;

use crate::{ParseSecretKeyError, SecretKey};

/// Reads the stored form of a key, which people may have edited: white space around it is theirs.
fn parse_stored(bytes: &[u8]) -> Result<SecretKey, ParseSecretKeyError> {
    let bytes = bytes.trim_ascii();
    match str::from_utf8(bytes) {
        Ok(text) => SecretKey::from_hex(text),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let characters = str::from_utf8(valid).map_or(0, |text| text.chars().count());
            Err(ParseSecretKeyError::Character { position: characters + 1 })
        }
    }
}
