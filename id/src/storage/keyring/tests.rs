use std::{any::Any, collections::HashMap};

use keyring_core::{Error as StoreError, api::CredentialStoreApi, mock};

use super::*;

/// The persistence that a store reports.
type Promise = fn() -> CredentialPersistence;

const FOR_EVER: Promise = || CredentialPersistence::UntilDelete;

/// A store in memory that reports a given persistence.
struct Promising {
    promise: Promise,
    store: Arc<mock::Store>,
    /// Whether every entry comes from a separate store, so that nothing written is ever found.
    forgets: bool,
}

impl Promising {
    fn new(promise: Promise, forgets: bool) -> Arc<Self> {
        Arc::new(Self { promise, store: mock::Store::new().unwrap(), forgets })
    }
}

impl CredentialStoreApi for Promising {
    fn vendor(&self) -> String {
        "store of a test".to_owned()
    }

    fn id(&self) -> String {
        "1".to_owned()
    }

    fn build(&self, service: &str, user: &str, modifiers: Option<&HashMap<&str, &str>>) -> keyring_core::Result<Entry> {
        if self.forgets {
            mock::Store::new()?.build(service, user, modifiers)
        } else {
            self.store.build(service, user, modifiers)
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn persistence(&self) -> CredentialPersistence {
        (self.promise)()
    }

    fn debug_fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Promising")
    }
}

/// Returns a working keyring and its store.
fn keyring() -> (Keyring, Arc<Promising>) {
    let store = Promising::new(FOR_EVER, false);
    (Keyring::with_store("test", store.clone()).unwrap(), store)
}

#[test]
fn a_stored_key_is_found_until_it_is_deleted() {
    let (keyring, _) = keyring();
    let (key, other) = (SecretKey::generate(), SecretKey::generate());
    let id = key.public_key();
    assert!(matches!(keyring.load(&id), Err(KeyringError::NotFound { id: named }) if named == id));

    keyring.store(&key).unwrap();
    keyring.store(&other).unwrap();
    assert_eq!(keyring.load(&id).unwrap(), key);

    keyring.delete(&id).unwrap();
    assert!(matches!(keyring.load(&id), Err(KeyringError::NotFound { .. })));
    assert!(matches!(keyring.delete(&id), Err(KeyringError::NotFound { .. })));
    assert_eq!(keyring.load(&other.public_key()).unwrap(), other);
}

#[test]
fn storing_a_key_twice_changes_nothing() {
    let (keyring, _) = keyring();
    let key = SecretKey::generate();
    keyring.store(&key).unwrap();
    keyring.store(&key).unwrap();
    assert_eq!(keyring.load(&key.public_key()).unwrap(), key);
}

#[test]
fn services_do_not_see_each_others_keys() {
    let (keyring, store) = keyring();
    let key = SecretKey::generate();
    keyring.store(&key).unwrap();
    let other = Keyring::with_store("other", store).unwrap();
    assert!(matches!(other.load(&key.public_key()), Err(KeyringError::NotFound { .. })));
}

#[test]
fn the_mock_store_of_keyring_core_is_refused() {
    let error = Keyring::with_store("test", mock::Store::new().unwrap()).unwrap_err();
    let KeyringError::NotPersistent { lifetime, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*lifetime, "until the program ends");
    assert!(error.to_string().contains("keep the key in a file"));
}

#[test]
fn every_store_that_does_not_keep_keys_until_they_are_deleted_is_refused() {
    let promises: [Promise; 5] = [
        || CredentialPersistence::EntryOnly,
        || CredentialPersistence::ProcessOnly,
        || CredentialPersistence::UntilLogout,
        || CredentialPersistence::UntilReboot,
        || CredentialPersistence::Unspecified,
    ];
    for promise in promises {
        let result = Keyring::with_store("test", Promising::new(promise, false));
        assert!(matches!(result, Err(KeyringError::NotPersistent { .. })));
    }
}

#[test]
fn a_store_that_promises_and_forgets_is_found_out() {
    let keyring = Keyring::with_store("test", Promising::new(FOR_EVER, true)).unwrap();
    let key = SecretKey::generate();
    let error = keyring.store(&key).unwrap_err();
    assert!(matches!(error, KeyringError::NotKept { id } if id == key.public_key()), "{error}");
}

#[test]
fn an_entry_that_holds_something_else_is_an_error_and_stays() {
    let (keyring, store) = keyring();
    let key = SecretKey::generate();
    let id = key.public_key();
    let entry = store.build("test", &id.to_string(), None).unwrap();
    for content in ["", "a password", &*SecretKey::generate().to_hex()] {
        entry.set_password(content).unwrap();
        assert!(matches!(keyring.load(&id), Err(KeyringError::Occupied { .. })));
        assert!(matches!(keyring.store(&key), Err(KeyringError::Occupied { .. })));
        assert_eq!(entry.get_password().unwrap(), content);
    }
}

#[test]
fn no_error_contains_what_is_in_the_entry() {
    let (keyring, store) = keyring();
    let id = SecretKey::generate().public_key();
    let entry = store.build("test", &id.to_string(), None).unwrap();
    entry.set_secret(b"\xffQQQQ").unwrap();
    let error = keyring.load(&id).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("QQQ") && !shown.contains("81, 81"), "{shown}");
    assert!(matches!(error, KeyringError::Occupied { .. }));
}

#[test]
fn the_errors_of_the_store_become_ours() {
    let (keyring, store) = keyring();
    let id = SecretKey::generate().public_key();
    let fails_with = |error: StoreError| {
        let entry = store.build("test", &id.to_string(), None).unwrap();
        entry.as_any().downcast_ref::<mock::Cred>().unwrap().set_error(error);
        keyring.load(&id).unwrap_err()
    };
    let locked = fails_with(StoreError::NoStorageAccess("locked".into()));
    assert!(matches!(locked, KeyringError::Unavailable { source: Some(_) }));
    let ambiguous = fails_with(StoreError::Ambiguous(Vec::new()));
    assert!(matches!(ambiguous, KeyringError::Ambiguous { count: 0, .. }));
    let failed = fails_with(StoreError::PlatformFailure("no more room".into()));
    assert!(matches!(failed, KeyringError::Store { action: "read", .. }));
    assert!(std::error::Error::source(&failed).unwrap().to_string().contains("no more room"));
}

#[cfg(all(unix, not(any(target_os = "android", target_os = "ios", target_os = "macos"))))]
#[test]
fn the_session_collection_of_a_secret_service_is_recognised() {
    assert!(is_session_path("/org/freedesktop/secrets/collection/session/1"));
    assert!(!is_session_path("/org/freedesktop/secrets/collection/login/1"));
    assert!(!is_session_path("/org/freedesktop/secrets/collection/sessions/1"));
}
