//! What can be wrong with a key in the keyring.

use keyring_core::Error as StoreError;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::PublicKey;

/// Why a key cannot be stored in the keyring or read from it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// There is no keyring on this system, or it cannot be reached, or it stays locked.
    #[error(
        "this system has no keyring that can be used: keep the key in a file, or log in to a \
         desktop session"
    )]
    Unavailable {
        /// What the keyring says; absent where no keyring is known for this kind of system.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The keyring would lose the key by itself.
    #[error("the {store} keeps a key only {lifetime}, so it was not used: keep the key in a file")]
    NotPersistent {
        /// What kind of store it is.
        store: String,
        /// How long it would keep the key.
        lifetime: &'static str,
    },
    /// The keyring took the key, and does not have it when asked again.
    #[error("the keyring accepted the key of {id} and does not give it back: keep the key in a file")]
    NotKept {
        /// The public key.
        id: PublicKey,
    },
    /// The keyring has no secret key for this public key.
    #[error("the keyring has no secret key for {id}: check the id52 and whose session this is")]
    NotFound {
        /// The public key.
        id: PublicKey,
    },
    /// The entry of this public key holds something that is not its secret key.
    #[error(
        "the keyring's entry for {id} does not hold its secret key: look at it with the \
         system's own tool"
    )]
    Occupied {
        /// The public key.
        id: PublicKey,
    },
    /// The keyring has several entries for this public key.
    #[error("the keyring has {count} entries for {id}: delete all but one with the system's own tool")]
    Ambiguous {
        /// The public key.
        id: PublicKey,
        /// How many there are.
        count: usize,
    },
    /// The keyring fails in another way.
    #[error("cannot {action} the keyring's entry for {id}")]
    Store {
        /// The public key.
        id: PublicKey,
        /// What was being done, in an infinitive.
        action: &'static str,
        /// What the keyring says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Tells what the store says in our words. Nothing of what is stored gets into the error.
pub(super) fn store_error(action: &'static str, id: PublicKey, error: StoreError) -> KeyringError {
    match error {
        StoreError::NoEntry => KeyringError::NotFound { id },
        StoreError::Ambiguous(entries) => KeyringError::Ambiguous { id, count: entries.len() },
        // These two carry what was stored, which no error may.
        StoreError::BadEncoding(data) | StoreError::BadDataFormat(data, _) => {
            drop(Zeroizing::new(data));
            KeyringError::Occupied { id }
        }
        StoreError::NoStorageAccess(source) => KeyringError::Unavailable { source: Some(source) },
        error => KeyringError::Store { id, action, source: Box::new(error) },
    }
}
