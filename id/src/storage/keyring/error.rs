//! Errors of keys in the keyring.

use keyring_core::Error as StoreError;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::PublicKey;

/// The reason why a key cannot be stored in the keyring or read from it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// This system has no keyring, or the keyring cannot be reached, or it stays locked.
    #[error(
        "this system has no keyring that can be used: keep the key in a file, or log in to a \
         desktop session"
    )]
    Unavailable {
        /// The error of the keyring. `None` if no keyring is known for this kind of system.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The keyring would lose the key without a deletion.
    #[error("the {store} keeps a key only {lifetime}, so it was not used: keep the key in a file")]
    NotPersistent {
        /// The kind of store.
        store: String,
        /// The time for which it would keep the key.
        lifetime: &'static str,
    },
    /// The keyring accepted the key, but does not return it.
    #[error("the keyring accepted the key of {id} and does not give it back: keep the key in a file")]
    NotKept {
        /// The public key.
        id: PublicKey,
    },
    /// The keyring has no secret key for this public key.
    #[error("the keyring has no secret key for {id}: check the id52 and the user of this session")]
    NotFound {
        /// The public key.
        id: PublicKey,
    },
    /// The entry of this public key holds something other than its secret key.
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
        /// The number of entries.
        count: usize,
    },
    /// The keyring fails for another reason.
    #[error("cannot {action} the keyring's entry for {id}")]
    Store {
        /// The public key.
        id: PublicKey,
        /// The failed action, as an infinitive.
        action: &'static str,
        /// The error of the keyring.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Converts an error of the store. Nothing of the stored content gets into the new error.
pub(super) fn store_error(action: &'static str, id: PublicKey, error: StoreError) -> KeyringError {
    match error {
        StoreError::NoEntry => KeyringError::NotFound { id },
        StoreError::Ambiguous(entries) => KeyringError::Ambiguous { id, count: entries.len() },
        // These two errors carry the stored content, which no error of this crate may contain.
        StoreError::BadEncoding(data) | StoreError::BadDataFormat(data, _) => {
            drop(Zeroizing::new(data));
            KeyringError::Occupied { id }
        }
        StoreError::NoStorageAccess(source) => KeyringError::Unavailable { source: Some(source) },
        error => KeyringError::Store { id, action, source: Box::new(error) },
    }
}
