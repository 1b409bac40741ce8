use tempfile::{TempDir, tempdir};

use super::*;
use crate::{SecretKey, delegation::Revocation};

/// Returns a directory for one test, and the path of a file in it that does not exist yet.
fn scene() -> (TempDir, std::path::PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("revoked");
    (directory, path)
}

fn list(nodes: std::ops::Range<u8>) -> RevocationList {
    let key = |seed| SecretKey::from_bytes(&[seed; 32]).public_key();
    nodes.map(|node| Revocation::Node { owner: key(100), node: key(node) }).collect()
}

/// Writes a file with a mode that is accepted, whatever the umask is.
fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_list_is_replaced_as_a_whole_and_nothing_else_is_left_behind() {
    let (directory, path) = scene();
    for revoked in [list(1..4), list(2..3), list(0..0)] {
        store(&path, &revoked).unwrap();
        assert_eq!(load(&path).unwrap(), revoked);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn the_file_is_its_owners_and_one_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, path) = scene();
    store(&path, &list(1..2)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    for (mode, good) in [(0o644, true), (0o640, true), (0o620, false), (0o602, false), (0o666, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        match load(&path) {
            Ok(revoked) => assert!(good && revoked == list(1..2), "{mode:o}"),
            Err(error) => assert!(matches!(error, RevocationFileError::Exposed { .. }) && !good, "{mode:o}: {error}"),
        }
    }
}

#[cfg(unix)]
#[test]
fn the_file_of_another_user_who_could_take_a_revocation_back_is_refused() {
    use std::os::unix::fs::MetadataExt;
    let (_directory, path) = scene();
    store(&path, &list(1..2)).unwrap();
    let owner = fs::metadata(&path).unwrap().uid();
    assert_eq!(load_as(&path, owner).unwrap(), list(1..2));
    // The files of the superuser are good for everybody, and those of another user for nobody else.
    let us = owner + 1;
    let result = load_as(&path, us);
    if owner == 0 {
        assert!(result.is_ok(), "{result:?}");
    } else {
        let error = result.unwrap_err();
        assert!(matches!(error, RevocationFileError::ForeignOwner { us: named, .. } if named == us), "{error}");
    }
}

#[test]
fn what_is_there_is_kept_and_added_to_and_a_missing_file_is_made() {
    let (directory, path) = scene();
    assert!(matches!(load(&path), Err(RevocationFileError::NotFound { .. })));
    let nested = directory.path().join("a/b/revoked");
    assert_eq!(open_or_create(&nested, list(1..3)).unwrap(), list(1..3));
    assert_eq!(open_or_create(&nested, list(2..5)).unwrap(), list(1..5));
    assert_eq!(load(&nested).unwrap(), list(1..5));
}

#[test]
fn a_list_that_cannot_be_read_is_an_error_and_stays_as_it_is() {
    let (directory, path) = scene();
    for content in [&b"node somebody"[..], b"\xff\xfe"] {
        write(&path, content);
        let error = open_or_create(&path, list(1..2)).unwrap_err();
        let expected = matches!(error, RevocationFileError::Content { .. } | RevocationFileError::NotText { .. });
        assert!(expected, "{error}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let error = load(directory.path()).unwrap_err();
    assert!(matches!(error, RevocationFileError::NotAFile { .. } | RevocationFileError::Io { .. }), "{error}");
}

#[test]
fn a_place_that_cannot_be_written_to_is_noticed_and_the_old_list_stays() {
    let (directory, path) = scene();
    store(&path, &list(1..2)).unwrap();
    // A file is no directory.
    let error = open_or_create(path.join("revoked"), list(1..2)).unwrap_err();
    assert!(matches!(error, RevocationFileError::Io { .. }), "{error}");
    // A directory cannot be replaced by a file.
    let taken = directory.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert!(matches!(store(&taken, &list(1..2)), Err(RevocationFileError::Io { .. })));
    assert_eq!(load(&path).unwrap(), list(1..2));
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.map(|name| name.to_string_lossy().into_owned()).any(|name| name.starts_with('.')));
}
