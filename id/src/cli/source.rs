//! Loading of secret keys from the source that the command line names.

use eyre::{WrapErr, eyre};
use twolane_id::{PublicKey, SecretKey, storage};

use super::{args::Source, failure::Usage, input};

impl Source {
    /// Reads the secret key. The argument parser has ensured that exactly one source is given.
    pub(super) fn load(&self) -> eyre::Result<SecretKey> {
        if let Some(path) = &self.key_file {
            if input::is_stdin(path) {
                let text = input::text_from_stdin()?;
                return SecretKey::from_hex(&text).wrap_err("standard input is not a secret key");
            }
            if self.container_secret {
                return Ok(storage::file::load_container_secret(path)?);
            }
            return Ok(storage::file::load(path)?);
        }
        if let Some(name) = &self.env {
            return storage::env::from_env(name)?
                .ok_or_else(|| eyre!("there is no environment variable {name}: set it to a secret key's 64 digits"));
        }
        if let Some(id52) = &self.keyring {
            return load_from_keyring(&parse_id52(id52)?);
        }
        Err(Usage("no secret key is given: use --key-file, --env or --keyring").into())
    }

    /// Returns whether the key is read from standard input.
    pub(super) fn is_stdin(&self) -> bool {
        self.key_file.as_deref().is_some_and(input::is_stdin)
    }
}

/// Parses an id52 given as an argument.
pub(super) fn parse_id52(text: &str) -> eyre::Result<PublicKey> {
    input::argument(text, "the argument ID52 is not an id52")
}

#[cfg(feature = "keyring")]
pub(super) fn open_keyring() -> eyre::Result<storage::keyring::Keyring> {
    Ok(storage::keyring::Keyring::open("twolane")?)
}

#[cfg(feature = "keyring")]
fn load_from_keyring(id: &PublicKey) -> eyre::Result<SecretKey> {
    Ok(open_keyring()?.load(id)?)
}

#[cfg(not(feature = "keyring"))]
fn load_from_keyring(_: &PublicKey) -> eyre::Result<SecretKey> {
    Err(eyre!(NO_KEYRING))
}

#[cfg(not(feature = "keyring"))]
pub(super) const NO_KEYRING: &str = "this id52 was built without keyring support: use \
    --key-file, or build it with `--features keyring`";
