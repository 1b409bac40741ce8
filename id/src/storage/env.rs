//! Keys in environment variables.

use std::{env, ffi::OsString};

use thiserror::Error;
use zeroize::Zeroizing;

use super::parse_stored;
use crate::{ParseSecretKeyError, SecretKey};

/// Reads the secret key in the environment variable `name`: 64 lower-case hexadecimal digits, with any white space
/// around them. Returns `None` if there is no such variable.
///
/// This function wipes its own copy of the text. The environment itself keeps the key until the process ends, and
/// passes it on to child processes.
///
/// # Errors
///
/// [`KeyEnvError`] if the variable exists and does not hold a key. An empty variable is an error too, because it is
/// more often a failed substitution than a request for no key.
///
/// ```
/// use twolane_id::{SecretKey, storage};
///
/// let key = match storage::env::from_env("EXAMPLE_SECRET_KEY")? {
///     Some(key) => key,
///     None => SecretKey::generate(),
/// };
/// # Ok::<(), storage::env::KeyEnvError>(())
/// ```
pub fn from_env(name: &str) -> Result<Option<SecretKey>, KeyEnvError> {
    env::var_os(name).map(|value| from_value(name, value)).transpose()
}

/// The error for an environment variable that exists and does not hold a secret key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyEnvError {
    /// The variable is empty, or has only white space.
    #[error(
        "the environment variable {name} is empty: set it to the 64 digits of a secret key, or \
         unset it"
    )]
    Empty {
        /// The name of the variable.
        name: String,
    },
    /// The value is not the text of a secret key.
    #[error("the environment variable {name} does not hold a secret key")]
    Content {
        /// The name of the variable.
        name: String,
        /// The flaw of the text. It contains nothing of the text.
        source: ParseSecretKeyError,
    },
}

fn from_value(name: &str, value: OsString) -> Result<SecretKey, KeyEnvError> {
    let value = Zeroizing::new(value.into_encoded_bytes());
    if value.trim_ascii().is_empty() {
        return Err(KeyEnvError::Empty { name: name.to_owned() });
    }
    parse_stored(&value).map_err(|source| KeyEnvError::Content { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<SecretKey, KeyEnvError> {
        from_value("KEY", text.into())
    }

    #[test]
    fn a_key_is_read_with_white_space_around_it() {
        let key = SecretKey::generate();
        assert_eq!(value(&key.to_hex()), Ok(key.clone()));
        assert_eq!(value(&format!("  {}\r\n", *key.to_hex())), Ok(key));
    }

    #[test]
    fn an_empty_variable_is_an_error_and_not_the_same_as_none() {
        for text in ["", " ", "\n"] {
            assert_eq!(value(text), Err(KeyEnvError::Empty { name: "KEY".to_owned() }));
        }
        assert_eq!(from_env("TWOLANE_ID_TEST_A_VARIABLE_NOBODY_SETS"), Ok(None));
        assert_eq!(from_env(""), Ok(None));
        assert_eq!(from_env("A=B\0C"), Ok(None));
    }

    #[test]
    fn a_variable_with_something_else_in_it_is_an_error() {
        // `PATH` is set in almost every process.
        let error = from_env("PATH").unwrap_err();
        assert!(matches!(error, KeyEnvError::Content { name, .. } if name == "PATH"));
        let source = ParseSecretKeyError::Length { found: 10 };
        let name = "KEY".to_owned();
        assert_eq!(value("twolane-id"), Err(KeyEnvError::Content { name, source }));
    }

    #[test]
    fn no_error_contains_any_part_of_the_value() {
        let error = value("ZYXWVUTSRQPONMLKJIHGFEDCBA987654321ZYXWVUTSRQPONMLKJIHGFEDCBA9876").unwrap_err();
        let shown = format!("{error} {error:?} {}", std::error::Error::source(&error).unwrap());
        for part in ["ZYX", "987", "'Z'"] {
            assert!(!shown.contains(part), "{shown}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_no_text_is_an_error() {
        use std::os::unix::ffi::OsStringExt;

        let source = ParseSecretKeyError::Character { position: 3 };
        assert_eq!(
            from_value("KEY", OsString::from_vec(vec![b'0', b'1', 0xff, b'3'])),
            Err(KeyEnvError::Content { name: "KEY".to_owned(), source })
        );
    }
}
