use twolane::SecretKey;

use super::{item::Published, *};
use crate::{names::StoredName, wire::Attributes};

fn sender(number: u8) -> PublicKey {
    SecretKey::from_bytes(&[number; 32]).public_key()
}

fn inbox() -> (tempfile::TempDir, Inbox) {
    let dir = tempfile::tempdir().unwrap();
    let inbox = Inbox::open(dir.path()).unwrap();
    (dir, inbox)
}

fn name(text: &str) -> StoredName {
    StoredName::of(text).unwrap()
}

fn begin(inbox: &Inbox, text: &str, is_folder: bool, existing: Existing) -> Result<Item, StoreError> {
    inbox.begin(sender(1), name(text), is_folder, Attributes::default(), existing)
}

fn write(item: &Item, path: &str, data: &[u8]) -> Result<(), StoreError> {
    let path = Path::new(path);
    let Found::Left { len } = item.look(path, None)? else { panic!("a file of unknown length is not compared") };
    let staged = item.stage(path, Attributes::default(), len);
    staged.write(0, data).unwrap();
    staged.close(data.len() as u64).unwrap();
    item.closed(path)
}

/// The names in a folder, hidden ones as well.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_has_its_name_only_once_it_is_whole_and_nothing_else_stays() {
    let (dir, inbox) = inbox();
    let item = begin(&inbox, "a", false, Existing::Refuse).unwrap();
    write(&item, "", b"data").unwrap();
    assert_eq!(names(dir.path()), [STAGING]);
    let published = item.publish().unwrap();
    assert_eq!(published, Published { name: "a".into(), already: false });
    drop(item);
    assert_eq!(names(dir.path()), ["a"]);
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"data");
}

#[test]
fn a_folder_appears_with_all_that_is_in_it() {
    let (dir, inbox) = inbox();
    let item = begin(&inbox, "a", true, Existing::Refuse).unwrap();
    item.folder(Path::new("b"), Attributes::default()).unwrap();
    write(&item, "b/c", b"data").unwrap();
    write(&item, ".hidden", b"").unwrap();
    item.publish().unwrap();
    drop(item);
    assert_eq!(names(dir.path()), ["a"]);
    assert_eq!(names(&dir.path().join("a")), [".hidden", "b"]);
    assert_eq!(fs::read(dir.path().join("a/b/c")).unwrap(), b"data");
}

#[test]
fn what_is_left_of_a_transfer_is_there_for_the_next_of_the_same_sender_alone() {
    let (dir, inbox) = inbox();
    let item = begin(&inbox, "a", true, Existing::Refuse).unwrap();
    write(&item, "half", b"ha").unwrap();
    write(&item, "old", b"removed meanwhile").unwrap();
    drop(item);

    let other = inbox.begin(sender(2), name("a"), true, Attributes::default(), Existing::Refuse).unwrap();
    assert_eq!(other.look(Path::new("half"), Some(4)).unwrap(), Found::Left { len: 0 });
    drop(other);

    let item = begin(&inbox, "a", true, Existing::Refuse).unwrap();
    assert_eq!(item.look(Path::new("half"), Some(4)).unwrap(), Found::Left { len: 2 });
    let staged = item.stage(Path::new("half"), Attributes::default(), 2);
    staged.write(0, b"half").unwrap();
    staged.close(4).unwrap();
    item.publish().unwrap();
    drop(item);
    assert_eq!(names(&dir.path().join("a")), ["half"], "what the sender has removed meanwhile is not published");
}

#[test]
fn one_item_arrives_in_one_transfer_at_a_time() {
    let (_dir, inbox) = inbox();
    let item = begin(&inbox, "a", false, Existing::Refuse).unwrap();
    assert!(matches!(begin(&inbox, "a", false, Existing::Refuse), Err(StoreError::Arriving)));
    assert!(begin(&inbox, "b", false, Existing::Refuse).is_ok());
    let process = Inbox::open(inbox.dir()).unwrap();
    assert!(matches!(begin(&process, "a", false, Existing::Refuse), Err(StoreError::Arriving)));
    drop(item);
    assert!(begin(&process, "a", false, Existing::Refuse).is_ok());
}

#[test]
fn what_is_there_already_is_found_and_anything_else_of_the_name_is_not_overwritten() {
    let (dir, inbox) = inbox();
    fs::write(dir.path().join("a"), b"mine").unwrap();
    let hash = blake3::hash(b"mine");
    let item = begin(&inbox, "a", false, Existing::Refuse).unwrap();
    assert_eq!(item.look(Path::new(""), Some(4)).unwrap(), Found::Whole);
    assert_eq!(item.compare(Path::new(""), hash).unwrap(), None);
    assert_eq!(item.publish().unwrap(), Published { name: "a".into(), already: true });
    drop(item);

    let item = begin(&inbox, "a", false, Existing::Refuse).unwrap();
    item.look(Path::new(""), Some(4)).unwrap();
    assert!(matches!(item.compare(Path::new(""), blake3::hash(b"them")), Err(StoreError::Exists(_))));
    drop(item);
    let item = begin(&inbox, "a", false, Existing::Refuse).unwrap();
    assert!(matches!(item.look(Path::new(""), Some(5)), Err(StoreError::Exists(_))));
    drop(item);
    assert!(matches!(begin(&inbox, "a", true, Existing::Refuse), Err(StoreError::Exists(_))));
    assert_eq!(names(dir.path()), ["a"]);
}

#[test]
fn a_file_is_replaced_or_gets_another_name_if_the_receivers_user_wants_that() {
    let (dir, inbox) = inbox();
    fs::write(dir.path().join("a.txt"), b"mine").unwrap();
    for (existing, stored) in
        [(Existing::Rename, "a (1).txt"), (Existing::Rename, "a (2).txt"), (Existing::Overwrite, "a.txt")]
    {
        let item = begin(&inbox, "a.txt", false, existing).unwrap();
        write(&item, "", b"new").unwrap();
        assert_eq!(item.publish().unwrap(), Published { name: stored.into(), already: false });
        assert_eq!(fs::read(dir.path().join(stored)).unwrap(), b"new");
    }
    assert_eq!(names(dir.path()), ["a (1).txt", "a (2).txt", "a.txt"]);
}

#[test]
fn a_folder_that_is_overwritten_keeps_what_was_not_sent() {
    let (dir, inbox) = inbox();
    let path = |name: &str| dir.path().join("a").join(name);
    fs::create_dir(dir.path().join("a")).unwrap();
    fs::write(path("mine"), b"mine").unwrap();
    fs::write(path("both"), b"old").unwrap();
    let item = begin(&inbox, "a", true, Existing::Overwrite).unwrap();
    write(&item, "both", b"new").unwrap();
    item.folder(Path::new("b"), Attributes::default()).unwrap();
    write(&item, "b/c", b"new").unwrap();
    item.publish().unwrap();
    drop(item);
    assert_eq!(fs::read(path("mine")).unwrap(), b"mine");
    assert_eq!(fs::read(path("both")).unwrap(), b"new");
    assert_eq!(fs::read(path("b/c")).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["a"]);
}

#[cfg(unix)]
#[test]
fn no_link_in_the_receivers_folder_is_followed() {
    let (dir, inbox) = inbox();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"1234").unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
    assert!(matches!(begin(&inbox, "link", true, Existing::Overwrite), Err(StoreError::Exists(_))));
    fs::create_dir(dir.path().join("a")).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("a/link")).unwrap();
    for existing in [Existing::Refuse, Existing::Overwrite] {
        let item = begin(&inbox, "a", true, existing).unwrap();
        let looked = item.look(Path::new("link/secret"), Some(4));
        assert!(!matches!(looked, Ok(Found::Whole)), "a sender could find out what is in a file");
    }
    let item = begin(&inbox, "a", true, Existing::Overwrite).unwrap();
    item.folder(Path::new("link"), Attributes::default()).unwrap();
    write(&item, "link/secret", b"them").unwrap();
    assert!(matches!(item.publish(), Err(StoreError::Exists(_))));
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"1234");
}

#[test]
fn a_path_comes_once() {
    let (_dir, inbox) = inbox();
    let item = begin(&inbox, "a", true, Existing::Refuse).unwrap();
    write(&item, "b", b"one").unwrap();
    assert!(matches!(write(&item, "b", b"two"), Err(StoreError::Twice(_))));
    assert!(matches!(item.folder(Path::new("b"), Attributes::default()), Err(StoreError::Twice(_))));
}

#[cfg(unix)]
#[test]
fn two_names_of_one_file_are_found() {
    let (dir, inbox) = inbox();
    let item = begin(&inbox, "a", true, Existing::Refuse).unwrap();
    write(&item, "b", b"one").unwrap();
    // What a file system does that takes capital and small letters for the same.
    let staged = dir.path().join(STAGING).join(sender(1).to_string()).join("a");
    fs::hard_link(staged.join("b"), staged.join("B")).unwrap();
    assert!(matches!(write(&item, "B", b"two"), Err(StoreError::Twice(_))));
}

#[cfg(unix)]
#[test]
fn modes_and_times_arrive_and_a_file_that_nobody_may_write_can_be_stored() {
    use std::os::unix::fs::PermissionsExt;

    let (dir, inbox) = inbox();
    for (mode, stored) in [(0o444, 0o444), (0o755, 0o755), (0o600, 0o600)] {
        let attributes = Attributes { mode: Some(mode), modified: Some((1_000_000_000, 7)) };
        let text = format!("{mode:o}");
        let item = inbox.begin(sender(1), name(&text), false, attributes, Existing::Refuse).unwrap();
        item.look(Path::new(""), None).unwrap();
        let staged = item.stage(Path::new(""), attributes, 0);
        staged.write(0, b"data").unwrap();
        staged.close(4).unwrap();
        item.publish().unwrap();
        let metadata = fs::metadata(dir.path().join(&text)).unwrap();
        assert_eq!(metadata.modified().unwrap(), std::time::UNIX_EPOCH + Duration::new(1_000_000_000, 7));
        // The umask may take rights away, and never gives any.
        assert_eq!(metadata.permissions().mode() & 0o777 & !stored, 0);
        assert_eq!(metadata.permissions().mode() & 0o200, stored & 0o200);
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_nobody_may_write_is_gone_on_with() {
    let (dir, inbox) = inbox();
    let attributes = Attributes { mode: Some(0o444), modified: None };
    let put = |data: &[u8], left| {
        let item = inbox.begin(sender(1), name("a"), false, attributes, Existing::Refuse).unwrap();
        let staged = item.stage(Path::new(""), attributes, left);
        staged.write(0, data).unwrap();
        staged.close(data.len() as u64).unwrap();
        item
    };
    drop(put(b"half", 0));
    put(b"whole", 4).publish().unwrap();
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"whole");
}

#[test]
fn zeros_that_were_never_written_are_there_and_those_over_older_bytes_too() {
    let (dir, inbox) = inbox();
    let item = begin(&inbox, "a", false, Existing::Refuse).unwrap();
    let staged = item.stage(Path::new(""), Attributes::default(), 0);
    staged.write_zeros(0, crate::piece::PIECE_LEN).unwrap();
    staged.write(1, b"end").unwrap();
    staged.close(crate::piece::PIECE + 3).unwrap();
    item.publish().unwrap();
    drop(item);
    let data = fs::read(dir.path().join("a")).unwrap();
    assert!(data[..crate::piece::PIECE_LEN].iter().all(|byte| *byte == 0) && data.ends_with(b"end"));

    let item = begin(&inbox, "b", false, Existing::Refuse).unwrap();
    write(&item, "", b"old bytes").unwrap();
    drop(item);
    let item = begin(&inbox, "b", false, Existing::Refuse).unwrap();
    let staged = item.stage(Path::new(""), Attributes::default(), 9);
    staged.write_zeros(0, 4).unwrap();
    staged.close(4).unwrap();
    item.publish().unwrap();
    assert_eq!(fs::read(dir.path().join("b")).unwrap(), [0; 4]);
}

#[test]
fn only_what_nobody_has_touched_for_long_is_cleaned_away() {
    let (dir, inbox) = inbox();
    drop(write(&begin(&inbox, "left", false, Existing::Refuse).unwrap(), "", b"left"));
    let arriving = begin(&inbox, "arriving", false, Existing::Refuse).unwrap();
    write(&arriving, "", b"data").unwrap();
    fs::write(dir.path().join("mine"), b"mine").unwrap();
    assert_eq!(inbox.clean(Duration::from_secs(3600)), 0);
    assert_eq!(inbox.clean(Duration::ZERO), 1);
    arriving.publish().unwrap();
    drop(arriving);
    assert_eq!(names(dir.path()), ["arriving", "mine"]);
}

#[test]
fn of_what_is_left_by_one_sender_a_bounded_number_is_kept() {
    let (dir, inbox) = inbox();
    for number in 0..LEFT + 3 {
        write(&begin(&inbox, &number.to_string(), false, Existing::Refuse).unwrap(), "", b"left").unwrap();
    }
    assert_eq!(names(&dir.path().join(STAGING).join(sender(1).to_string())).len(), LEFT);
}

#[test]
fn more_than_there_is_room_for_is_refused_before_anything_is_written() {
    let (_dir, inbox) = inbox();
    if disk::available(inbox.dir()).is_none() {
        return;
    }
    assert!(inbox.check_room(sender(1), 1).is_ok());
    assert!(matches!(inbox.check_room(sender(1), u64::MAX), Err(StoreError::NoRoom { .. })));
}

#[test]
fn every_way_to_have_no_room_counts_as_full_and_no_path_of_this_machine_is_told() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
        assert_eq!(StoreError::from_io(kind.into()).reason(), Reason::StorageFull);
    }
    let error = StoreError::from_io(io::Error::new(io::ErrorKind::PermissionDenied, "/home/me/inbox"));
    assert_eq!(error.reason(), Reason::Storage);
    assert!(!error.words().contains("home"), "{}", error.words());
}
