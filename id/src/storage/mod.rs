//! Storage of secret keys, and of revocations.
//!
//! | where | for | module |
//! | --- | --- | --- |
//! | a file, mode 0600 | services, and everything else in doubt | [`file`](mod@file) |
//! | an environment variable | containers, services configured from outside | [`env`](mod@env) |
//! | the system's keyring | programs of a person who is logged in | `keyring` (a feature) |
//!
//! A key in a file or in an environment variable is text: 64 lower-case hexadecimal digits, with any white space
//! around them. The entry in the keyring has the same form, because people look at it with the system's own tools.
//!
//! The module [`revocations`] keeps a list of revoked certificates in a file.
//!
//! A key that cannot be read is an error, and never a reason to generate another one. Only [`file::load_or_create`]
//! generates keys, and only if no file exists.

pub mod env;
pub mod file;
#[cfg(feature = "keyring")]
pub mod keyring;
pub mod revocations;

use std::str;

use crate::{ParseSecretKeyError, SecretKey};

/// Reads the stored form of a key. White space around it is allowed, because people may have edited the stored
/// text.
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
