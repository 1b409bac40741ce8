//! Keys in the operating system's keyring (feature `keyring`).
//!
//! | system | keyring |
//! | --- | --- |
//! | Linux, BSD | the Secret Service of the desktop session: GNOME Keyring, KWallet, KeePassXC |
//! | macOS | the user's login keychain |
//! | Windows | the Credential Manager |
//!
//! A key is stored under a service, which is the name of the program or family of programs, and under its own id52.
//!
//! A store that would lose the key is refused and keeps no copy of it: the kernel's keyring of Linux (lost after a
//! reboot), the session collection of a Secret Service (lost after logout), and any store in the memory of this
//! process. A machine without a desktop session usually has no persistent keyring; keep the key in a
//! [`file`](mod@super::file) there.
//!
//! Calls block, possibly until the user has entered a password. From async code, call them in `spawn_blocking`.

mod error;

use std::sync::Arc;

use keyring_core::{CredentialPersistence, CredentialStore, Entry};
use zeroize::Zeroizing;

use error::store_error;

pub use error::KeyringError;

use super::parse_stored;
use crate::{PublicKey, SecretKey};

/// The keys of one service in the operating system's keyring.
///
/// Drop closes the connection to the keyring, and changes nothing in it.
///
/// ```no_run
/// use twolane_id::{SecretKey, storage::keyring::Keyring};
///
/// let keyring = Keyring::open("example")?;
/// let key = SecretKey::generate();
/// keyring.store(&key)?;
/// assert_eq!(keyring.load(&key.public_key())?, key);
/// # Ok::<(), twolane_id::storage::keyring::KeyringError>(())
/// ```
#[derive(Debug)]
pub struct Keyring {
    store: Arc<CredentialStore>,
    service: String,
}

impl Keyring {
    /// Connects to the keyring of this operating system. Every key is stored under `service` and its own id52.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Unavailable`] if no keyring can be reached, and [`KeyringError::NotPersistent`] if the
    /// keyring would not keep a key until it is deleted.
    pub fn open(service: &str) -> Result<Self, KeyringError> {
        Self::with_store(service, system_store()?)
    }

    /// Stores `key` under its own id52, and checks that it can be read again.
    ///
    /// If the keyring already has the key, it is not written again; the check is done all the same.
    ///
    /// # Errors
    ///
    /// [`KeyringError::NotPersistent`] and [`KeyringError::NotKept`] if the keyring does not keep the key.
    /// [`KeyringError::Occupied`] if the entry of this key holds something else, which stays unchanged.
    pub fn store(&self, key: &SecretKey) -> Result<(), KeyringError> {
        let id = key.public_key();
        match self.load(&id) {
            Ok(_) => self.check_kept(key),
            Err(KeyringError::NotFound { .. }) => {
                let entry = self.entry(&id)?;
                entry.set_password(&key.to_hex()).map_err(|error| store_error("write", id, error))?;
                self.check_kept(key).inspect_err(|_| {
                    // A key that the keyring does not keep should not stay there for a while either. If the
                    // deletion fails too, the first error is the relevant one.
                    let _ = entry.delete_credential();
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the secret key that belongs to `id`.
    ///
    /// # Errors
    ///
    /// [`KeyringError::NotFound`] if there is no entry, and [`KeyringError::Occupied`] if the entry does not hold
    /// the secret key of `id`.
    pub fn load(&self, id: &PublicKey) -> Result<SecretKey, KeyringError> {
        let text = self.entry(id)?.get_password().map(Zeroizing::new);
        let text = text.map_err(|error| store_error("read", *id, error))?;
        parse_stored(text.as_bytes())
            .ok()
            .filter(|key| key.public_key() == *id)
            .ok_or(KeyringError::Occupied { id: *id })
    }

    /// Deletes the secret key that belongs to `id`. Without another copy of the key, the identity `id` is lost.
    ///
    /// # Errors
    ///
    /// [`KeyringError::NotFound`] if there is no entry.
    pub fn delete(&self, id: &PublicKey) -> Result<(), KeyringError> {
        self.entry(id)?.delete_credential().map_err(|error| store_error("delete", *id, error))
    }

    fn with_store(service: &str, store: Arc<CredentialStore>) -> Result<Self, KeyringError> {
        let lifetime = match store.persistence() {
            CredentialPersistence::UntilDelete => {
                return Ok(Self { store, service: service.to_owned() });
            }
            CredentialPersistence::EntryOnly | CredentialPersistence::ProcessOnly => "until the program ends",
            CredentialPersistence::UntilLogout => "until the user logs out",
            CredentialPersistence::UntilReboot => "until the machine restarts",
            _ => "for a time it does not tell",
        };
        Err(KeyringError::NotPersistent { store: store.vendor(), lifetime })
    }

    fn entry(&self, id: &PublicKey) -> Result<Entry, KeyringError> {
        self.store.build(&self.service, &id.to_string(), None).map_err(|error| store_error("name", *id, error))
    }

    /// Checks the stored key in the way in which a later run of the program would read it.
    fn check_kept(&self, key: &SecretKey) -> Result<(), KeyringError> {
        let id = key.public_key();
        match self.load(&id) {
            Ok(found) if found == *key => {}
            Ok(_) | Err(KeyringError::NotFound { .. } | KeyringError::Occupied { .. }) => {
                return Err(KeyringError::NotKept { id });
            }
            Err(error) => return Err(error),
        }
        if is_in_session_collection(&self.entry(&id)?) {
            let store = "session collection of the Secret Service".to_owned();
            return Err(KeyringError::NotPersistent { store, lifetime: "until the user logs out" });
        }
        Ok(())
    }
}

#[cfg(any(windows, all(unix, not(any(target_os = "android", target_os = "ios")))))]
fn system_store() -> Result<Arc<CredentialStore>, KeyringError> {
    #[cfg(target_os = "macos")]
    use apple_native_keyring_store::keychain::Store;
    #[cfg(windows)]
    use windows_native_keyring_store::Store;
    #[cfg(all(unix, not(target_os = "macos")))]
    use zbus_secret_service_keyring_store::Store;

    match Store::new() {
        Ok(store) => Ok(store),
        Err(error) => Err(KeyringError::Unavailable { source: Some(Box::new(error)) }),
    }
}

#[cfg(not(any(windows, all(unix, not(any(target_os = "android", target_os = "ios"))))))]
fn system_store() -> Result<Arc<CredentialStore>, KeyringError> {
    Err(KeyringError::Unavailable { source: None })
}

/// Returns whether `entry` is in the session collection. A Secret Service keeps that collection in memory only. It
/// can be the default collection, and the store does not report that.
#[cfg(all(unix, not(any(target_os = "android", target_os = "ios", target_os = "macos"))))]
fn is_in_session_collection(entry: &Entry) -> bool {
    use zbus_secret_service_keyring_store::cred::Wrapper;

    entry.get_credential().is_ok_and(|entry| {
        entry.as_any().downcast_ref::<Wrapper>().is_some_and(|item| is_session_path(&item.get_path()))
    })
}

#[cfg(not(all(unix, not(any(target_os = "android", target_os = "ios", target_os = "macos")))))]
fn is_in_session_collection(_: &Entry) -> bool {
    false
}

#[cfg(all(unix, not(any(target_os = "android", target_os = "ios", target_os = "macos"))))]
fn is_session_path(path: &str) -> bool {
    path.starts_with("/org/freedesktop/secrets/collection/session/")
}

#[cfg(test)]
mod tests;
