//! Files and folders that arrive.

use std::{fs, io::Write};

use twolane_files::{Existing, Fate, Input, OutgoingItem, PIECE, Policy};

use crate::support::{Setup, bytes, names};

const PIECE_LEN: usize = PIECE as usize;

#[tokio::test]
async fn files_of_every_length_around_a_piece_arrive_with_their_hash() {
    let setup = Setup::new().await;
    let sizes = [0, 1, PIECE_LEN - 1, PIECE_LEN, PIECE_LEN + 1, 3 * PIECE_LEN + 7];
    let paths = sizes.map(|size| size.to_string());
    for (path, size) in paths.iter().zip(sizes) {
        setup.write(path, &bytes(size));
    }
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let ended = setup.transfer(&paths).await;
    assert_eq!(ended.stored().len(), sizes.len());
    for ((path, size), fate) in paths.iter().zip(sizes).zip(&ended.outcome.fates) {
        assert!(fs::read(setup.arrived(path)).unwrap() == bytes(size), "{size}");
        let hash = blake3::hash(&bytes(size));
        assert!(matches!(fate, Fate::Stored { hash: Some(told), .. } if *told == hash), "{fate:?}");
    }
    assert!(!names(setup.inbox.path()).contains(&".twolane".to_owned()));
}

#[tokio::test]
async fn a_long_file_arrives_over_several_streams() {
    let setup = Setup::new().await;
    let data = bytes((20 << 20) + 5);
    setup.write("long", &data);
    let ended = setup.transfer(&["long"]).await;
    assert_eq!(ended.stored(), [("long".to_owned(), false)]);
    assert!(fs::read(setup.arrived("long")).unwrap() == data);
    assert_eq!(ended.moved, (data.len() as u64, data.len() as u64));
}

#[tokio::test]
async fn a_folder_arrives_as_it_is_with_empty_folders_and_hidden_files() {
    let setup = Setup::new().await;
    for (path, data) in [("root/a", &b"1"[..]), ("root/b/c/d", b"22"), ("root/.hidden", b""), ("other", b"x")] {
        setup.write(path, data);
    }
    fs::create_dir(setup.outbox.path().join("root/empty")).unwrap();
    let ended = setup.transfer(&["root", "other"]).await;
    assert_eq!(ended.stored(), [("root".to_owned(), false), ("other".to_owned(), false)]);
    assert_eq!(names(setup.inbox.path()), ["other", "root"]);
    assert_eq!(names(&setup.arrived("root")), [".hidden", "a", "b", "empty"]);
    assert_eq!(fs::read(setup.arrived("root/b/c/d")).unwrap(), b"22");
}

#[tokio::test]
async fn thousands_of_small_files_arrive() {
    let setup = Setup::new().await;
    for number in 0..3000 {
        setup.write(&format!("many/{}/{number}", number % 10), format!("file {number}").as_bytes());
    }
    let ended = setup.transfer(&["many"]).await;
    assert!(matches!(&ended.outcome.fates[..], [Fate::Stored { files: 3000, .. }]), "{:?}", ended.outcome);
    for number in [0, 1, 1023, 1024, 2999] {
        let path = setup.arrived(&format!("many/{}/{number}", number % 10));
        assert_eq!(fs::read_to_string(path).unwrap(), format!("file {number}"));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn modes_and_times_arrive() {
    use std::os::unix::fs::PermissionsExt;

    let setup = Setup::new().await;
    let path = setup.write("dir/run", b"#!/bin/sh\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o744)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for path in [path.clone(), path.parent().unwrap().to_owned()] {
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
    setup.transfer(&["dir"]).await.stored();
    let arrived = fs::metadata(setup.arrived("dir/run")).unwrap();
    assert_eq!(arrived.permissions().mode() & 0o700, 0o700);
    assert_eq!(arrived.modified().unwrap(), time);
    assert_eq!(fs::metadata(setup.arrived("dir")).unwrap().modified().unwrap(), time);
}

#[tokio::test]
async fn zeros_do_not_travel_and_arrive() {
    let setup = Setup::new().await;
    let mut data = vec![0; 10 * PIECE_LEN + 5];
    data[5 * PIECE_LEN] = 1;
    setup.write("sparse", &data);
    let ended = setup.transfer(&["sparse"]).await;
    ended.stored();
    assert_eq!(ended.moved, (PIECE, PIECE));
    assert!(fs::read(setup.arrived("sparse")).unwrap() == data);
}

#[tokio::test]
async fn what_is_there_already_is_a_success_and_is_not_sent_again() {
    let setup = Setup::new().await;
    setup.write("file", &bytes(3 * PIECE_LEN));
    setup.write("root/a", b"1");
    setup.write("root/b/c", b"2");
    let ended = setup.transfer(&["file", "root"]).await;
    assert_eq!(ended.stored(), [("file".to_owned(), false), ("root".to_owned(), false)]);
    for existing in [Existing::Refuse, Existing::Overwrite] {
        let setup = Setup { policy: Policy { existing, ..Policy::default() }, ..setup_like(&setup).await };
        let ended = setup.transfer(&["file", "root"]).await;
        assert_eq!(ended.stored(), [("file".to_owned(), true), ("root".to_owned(), true)]);
        assert_eq!(ended.moved, (0, 0));
    }
}

/// A setup with copies of the folders of another one.
async fn setup_like(setup: &Setup) -> Setup {
    let new = Setup::new().await;
    for (from, to) in [(&setup.outbox, &new.outbox), (&setup.inbox, &new.inbox)] {
        copy(from.path(), to.path());
    }
    new
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn another_file_of_the_name_is_replaced_or_stays_beside_as_the_receivers_user_wants() {
    for (existing, stored, left) in [
        (Existing::Overwrite, "file", &["file"][..]),
        (Existing::Rename, "file (1)", &["file", "file (1)"]),
    ] {
        let setup = Setup { policy: Policy { existing, ..Policy::default() }, ..Setup::new().await };
        fs::write(setup.arrived("file"), b"mine").unwrap();
        setup.write("file", b"them");
        assert_eq!(setup.transfer(&["file"]).await.stored(), [(stored.to_owned(), false)]);
        assert_eq!(fs::read(setup.arrived(stored)).unwrap(), b"them");
        assert_eq!(names(setup.inbox.path()), left);
    }
}

#[tokio::test]
async fn names_that_do_harm_are_stored_in_a_form_that_does_none() {
    let setup = Setup::new().await;
    let path = setup.write("file", b"data");
    for (name, stored) in [(".bash_profile", "%2Ebash_profile"), ("-rf", "%2Drf"), ("a:b", "a%3Ab")] {
        let item = OutgoingItem::scan(&Input::Path(path.clone()), Some(name)).unwrap();
        let ended = setup.transfer_items(&[item], |_| std::future::pending()).await;
        assert_eq!(ended.stored(), [(stored.to_owned(), false)]);
    }
    assert_eq!(names(setup.inbox.path()), ["%2Drf", "%2Ebash_profile", "a%3Ab"]);
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_sent_arrives_as_it_was_at_the_start() {
    let setup = Setup::new().await;
    let data = bytes(2 * PIECE_LEN);
    let path = setup.write("log", &data);
    let item = setup.item("log");
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"and more").unwrap();
    let ended = setup.transfer_items(&[item], |_| std::future::pending()).await;
    ended.stored();
    assert!(fs::read(setup.arrived("log")).unwrap() == data);
}
