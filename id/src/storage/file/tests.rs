use std::{error::Error, fs, sync::Barrier, thread};

use tempfile::{TempDir, tempdir};

use super::*;

/// Returns a directory for one test, and the path of a key in it that does not exist yet.
fn scene() -> (TempDir, std::path::PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("key");
    (directory, path)
}

/// Returns the sorted names in a directory.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Writes a file with the mode that a key file has to have.
fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).unwrap();
    set_mode(path, 0o600);
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) {}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_created_key_is_loaded_again_and_nothing_else_is_left_behind() {
    let (directory, path) = scene();
    let key = SecretKey::generate();
    create(&path, &key).unwrap();
    assert_eq!(load(&path).unwrap(), key);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", *key.to_hex()));
    assert_eq!(names(directory.path()), ["key"]);
}

#[test]
fn a_missing_file_is_not_found_and_only_load_or_create_makes_one() {
    let (directory, path) = scene();
    assert!(matches!(load(&path), Err(KeyFileError::NotFound { path: named }) if named == path));
    assert!(names(directory.path()).is_empty());

    let key = load_or_create(&path).unwrap();
    assert_eq!(load_or_create(&path).unwrap(), key);
    assert_eq!(load(&path).unwrap(), key);
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let (directory, path) = scene();
    for content in ["", "something else", &*SecretKey::generate().to_hex()] {
        write(&path, content);
        let error = create(&path, &SecretKey::generate()).unwrap_err();
        assert!(matches!(error, KeyFileError::AlreadyExists { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert_eq!(names(directory.path()), ["key"]);
    }
}

#[test]
fn a_directory_is_neither_loaded_nor_replaced() {
    let (directory, _) = scene();
    assert!(load(directory.path()).is_err());
    assert!(load_or_create(directory.path()).is_err());
    assert!(create(directory.path(), &SecretKey::generate()).is_err());
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_file_that_is_not_a_key_is_an_error_and_never_a_reason_for_a_new_key() {
    let (_directory, path) = scene();
    for content in ["", "\n", "abc", "not a key at all", &"0".repeat(63), &"Z".repeat(64)] {
        write(&path, content);
        for result in [load(&path), load_or_create(&path)] {
            let error = result.unwrap_err();
            assert!(matches!(error, KeyFileError::Content { .. }), "{content:?}: {error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn a_file_that_is_no_text_is_an_error_which_names_the_position() {
    let (_directory, path) = scene();
    write(&path, b"\n0123\xff");
    let Err(KeyFileError::Content { source, .. }) = load(&path) else {
        panic!("not a content error");
    };
    assert_eq!(source, crate::ParseSecretKeyError::Character { position: 5 });
}

#[test]
fn no_error_contains_what_is_in_the_file() {
    let (_directory, path) = scene();
    write(&path, "7".repeat(63));
    let error = load(&path).unwrap_err();
    let shown = format!("{error} {error:?} {}", error.source().unwrap());
    assert!(!shown.contains("777"), "{shown}");
}

#[test]
fn white_space_around_a_key_is_allowed_up_to_1024_bytes_in_all() {
    let (_directory, path) = scene();
    let key = SecretKey::generate();
    for content in [key.to_hex().to_string(), format!("\r\n {}\r\n", *key.to_hex()), format!("{:1024}", *key.to_hex())]
    {
        write(&path, content);
        assert_eq!(load(&path).unwrap(), key);
    }
    write(&path, format!("{:1025}", *key.to_hex()));
    assert!(matches!(load(&path), Err(KeyFileError::TooLong { .. })));
}

#[test]
fn missing_directories_are_made() {
    let (directory, _) = scene();
    let path = directory.path().join("a/b/key");
    let key = load_or_create(&path).unwrap();
    assert_eq!(load(&path).unwrap(), key);
}

#[test]
fn a_path_below_a_file_is_an_error() {
    let (directory, path) = scene();
    write(&path, "a file");
    for result in [load(path.join("key")), load_or_create(path.join("key"))] {
        assert!(matches!(result.unwrap_err(), KeyFileError::Io { .. } | KeyFileError::NotFound { .. }));
    }
    assert_eq!(names(directory.path()), ["key"]);
}

#[test]
fn odd_paths_are_errors() {
    for path in ["", "/", ".", "..", "\0"] {
        assert!(load(path).is_err(), "{path:?}");
        assert!(create(path, &SecretKey::generate()).is_err(), "{path:?}");
        assert!(load_or_create(path).is_err(), "{path:?}");
    }
}

#[test]
fn of_many_who_create_at_once_one_wins_and_the_file_is_theirs() {
    let (directory, path) = scene();
    let keys: Vec<_> = (0..16).map(|_| SecretKey::generate()).collect();
    let (start, path) = (&Barrier::new(keys.len()), &path);
    let winners: Vec<_> = thread::scope(|scope| {
        let attempts: Vec<_> = keys
            .iter()
            .map(|key| {
                scope.spawn(move || {
                    start.wait();
                    create(path, key).map(|()| key)
                })
            })
            .collect();
        attempts.into_iter().filter_map(|attempt| attempt.join().unwrap().ok()).collect()
    });
    assert_eq!(winners.len(), 1);
    assert_eq!(load(path).unwrap(), *winners[0]);
    assert_eq!(names(directory.path()), ["key"]);
}

#[test]
fn all_who_load_or_create_at_once_get_the_same_key() {
    for _ in 0..20 {
        let (directory, _) = scene();
        let path = directory.path().join("new/key");
        let start = Barrier::new(8);
        let keys: Vec<_> = thread::scope(|scope| {
            let attempts: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        load_or_create(&path).unwrap()
                    })
                })
                .collect();
            attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }
}

#[test]
fn the_names_of_the_file_and_of_each_new_directory_reach_the_disk() {
    let (directory, _) = scene();
    let (root, path) = (directory.path(), directory.path().join("a/b/key"));
    let mut synced = Vec::new();
    let mut sync = |directory: &Path| {
        synced.push((directory.to_owned(), path.exists()));
        Ok(())
    };
    create_and_sync(&path, &SecretKey::generate(), &mut sync).unwrap();
    create_and_sync(&root.join("a/b/other"), &SecretKey::generate(), &mut sync).unwrap();
    // The new directories before there is a key in them, and the directory of a key once it has its name.
    assert_eq!(
        synced,
        [(root.to_owned(), false), (root.join("a"), false), (root.join("a/b"), true), (root.join("a/b"), true)]
    );
}

#[test]
fn no_key_is_made_in_a_directory_whose_name_did_not_reach_the_disk() {
    let (directory, _) = scene();
    let path = directory.path().join("a/key");
    let mut refuse = |_: &Path| Err(io::Error::other("no room"));
    let error = create_and_sync(&path, &SecretKey::generate(), &mut refuse).unwrap_err();
    assert!(matches!(error, KeyFileError::Io { .. }), "{error}");
    assert!(names(&directory.path().join("a")).is_empty());
}

#[test]
fn a_path_without_a_directory_is_in_the_current_one() {
    for (path, directory) in [("key", "."), ("a/key", "a"), ("/key", "/"), ("/", "/"), ("", "")] {
        assert_eq!(directory_of(Path::new(path)), Path::new(directory), "{path:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_created_file_is_its_owners_only_and_so_are_the_directories_made_for_it() {
    let (directory, _) = scene();
    let path = directory.path().join("a/b/key");
    create(&path, &SecretKey::generate()).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&directory.path().join("a")), 0o700);
    assert_eq!(mode(&directory.path().join("a/b")), 0o700);
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let (_directory, path) = scene();
    create(&path, &SecretKey::generate()).unwrap();
    for bits in [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o777] {
        set_mode(&path, bits);
        for result in [load(&path), load_or_create(&path)] {
            let error = result.unwrap_err();
            assert!(matches!(error, KeyFileError::Exposed { mode, .. } if mode == bits), "{error}");
            assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())));
            assert!(error.to_string().contains(&format!("{bits:04o}")));
        }
    }
    for bits in [0o600, 0o400, 0o700] {
        set_mode(&path, bits);
        assert!(load(&path).is_ok(), "{bits:04o}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_file_of_another_user_is_refused() {
    use std::os::unix::fs::{MetadataExt, chown};

    /// A user as whom no test runs.
    const OTHER: u32 = 54_321;

    let (_directory, path) = scene();
    let key = SecretKey::generate();
    create(&path, &key).unwrap();
    // The superuser can give the file away. For everybody else the file stays, and somebody else loads it.
    let _ = chown(&path, Some(OTHER), None);
    let owner = fs::metadata(&path).unwrap().uid();
    let us = if owner == OTHER { 0 } else { OTHER };
    for others in [Others::None, Others::Read] {
        let error = load_as(&path, us, others).unwrap_err();
        let KeyFileError::ForeignOwner { owner: found, us: named, .. } = &error else { panic!("{error}") };
        assert_eq!((*found, *named), (owner, us));
        assert!(error.to_string().contains(&format!("chown {us} {}", path.display())), "{error}");
        assert_eq!(load_as(&path, owner, others).unwrap(), key);
    }
    for result in [load(&path), load_or_create(&path)] {
        assert_eq!(result.is_err(), owner == OTHER);
    }
}

#[cfg(unix)]
#[test]
fn a_container_secret_may_be_a_link_and_readable_by_others_and_never_writable_by_them() {
    use std::os::unix::fs::symlink;

    // As Kubernetes mounts a secret: the name is a link through a link.
    let (directory, path) = scene();
    let key = SecretKey::generate();
    fs::create_dir(directory.path().join("..2031_05_01")).unwrap();
    let file = directory.path().join("..2031_05_01/key");
    create(&file, &key).unwrap();
    symlink("..2031_05_01", directory.path().join("..data")).unwrap();
    symlink("..data/key", &path).unwrap();
    for bits in [0o400, 0o600, 0o440, 0o444, 0o644] {
        set_mode(&file, bits);
        for path in [&path, &file] {
            assert_eq!(load_container_secret(path).unwrap(), key, "{bits:04o}");
        }
        assert!(matches!(load(&path), Err(KeyFileError::Symlink { .. })), "{bits:04o}");
        assert_eq!(load(&file).is_ok(), bits & 0o077 == 0, "{bits:04o}");
    }
    for bits in [0o620, 0o602, 0o664, 0o666, 0o777] {
        set_mode(&file, bits);
        let error = load_container_secret(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Writable { mode, .. } if mode == bits), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_key_is_no_container_secret_either() {
    use std::os::unix::fs::symlink;

    let (directory, path) = scene();
    assert!(matches!(load_container_secret(&path), Err(KeyFileError::NotFound { .. })));
    symlink("nowhere", &path).unwrap();
    assert!(matches!(load_container_secret(&path), Err(KeyFileError::NotFound { .. })));
    assert!(matches!(load_container_secret(directory.path()), Err(KeyFileError::NotAFile { .. })));
    assert!(matches!(load_container_secret("/dev/null"), Err(KeyFileError::NotAFile { .. })));
    let file = directory.path().join("file");
    write(&file, "not a key");
    assert!(matches!(load_container_secret(&file), Err(KeyFileError::Content { .. })));
    assert_eq!(names(directory.path()), ["file", "key"]);
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_refused_whatever_it_points_to() {
    use std::os::unix::fs::symlink;

    let (directory, path) = scene();
    create(&path, &SecretKey::generate()).unwrap();
    let link = directory.path().join("link");
    for target in ["key", "nowhere", "link", "/dev/null"] {
        symlink(target, &link).unwrap();
        for result in [load(&link), load_or_create(&link)] {
            let error = result.unwrap_err();
            assert!(matches!(error, KeyFileError::Symlink { .. }), "{target}: {error}");
        }
        let error = create(&link, &SecretKey::generate()).unwrap_err();
        assert!(matches!(error, KeyFileError::AlreadyExists { .. }), "{target}: {error}");
        assert_eq!(names(directory.path()), ["key", "link"]);
        fs::remove_file(&link).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn devices_and_pipes_are_refused_without_reading_or_waiting() {
    let pipe = tempdir().unwrap();
    let pipe = pipe.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg("-m").arg("600").arg(&pipe).status().unwrap();
    assert!(made.success());
    for path in [Path::new("/dev/zero"), Path::new("/dev/null"), &pipe] {
        for result in [load(path), load_or_create(path)] {
            let error = result.unwrap_err();
            assert!(matches!(error, KeyFileError::NotAFile { .. }), "{error}");
        }
    }
}
