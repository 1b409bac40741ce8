//! Files that a receiver refuses, and the errors that the sender gets.

use std::{fs, time::Duration};

use twolane_cli::{output::Event, transfer::Reason};

use crate::support::{Program, RECEIVER, command, file, names, ready, receiver, sent};

#[test]
fn a_file_that_is_there_is_not_overwritten() {
    let inbox = tempfile::tempdir().unwrap();
    fs::write(inbox.path().join("data"), b"mine").unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    let (_guard, path, _) = file("data", 5_000_000);
    let sender = sent(&ticket, [&path]);
    let failure = sender.failed(4);
    let lane = failure.error_lane.as_ref().unwrap();
    assert_eq!((lane.code, lane.offset), (Reason::Exists.code(), Some(0)));
    assert!(failure.message.contains("--name"), "{}", failure.message);
    assert_eq!(fs::read(inbox.path().join("data")).unwrap(), b"mine");
    assert_eq!(names(inbox.path()), ["data"]);
}

#[test]
fn a_long_file_that_is_there_is_refused_with_its_reason_as_a_short_one_is() {
    let inbox = tempfile::tempdir().unwrap();
    fs::write(inbox.path().join("data"), b"mine").unwrap();
    let (_guard, path, _) = file("data", 1 << 24);
    for options in [&[][..], &["--once"]] {
        // With `--once` the receiver ends while the part streams are being opened.
        let (_receiver, ticket) = receiver(inbox.path(), options);
        let sender = sent(&ticket, [&path]);
        let lane = sender.failed(4).error_lane.as_ref().unwrap();
        assert_eq!(lane.code, Reason::Exists.code(), "{options:?}");
    }
}

#[test]
fn a_name_that_is_none_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let inbox = outer.path().join("inbox");
    let (_receiver, ticket) = receiver(&inbox, &[]);
    let (_guard, path, _) = file("data", 10);
    let long = "x".repeat(256);
    for name in ["..", "../..", "dir/", "a\nb", "a\u{1b}[2J", long.as_str()] {
        let sender = sent(&ticket, [path.as_os_str(), "--name".as_ref(), name.as_ref()]);
        let lane = sender.failed(4).error_lane.as_ref().unwrap();
        assert_eq!(lane.code, Reason::Name.code(), "{name:?}");
    }
    assert_eq!(names(outer.path()), ["inbox"]);
    assert!(names(&inbox).is_empty());
}

#[test]
fn a_refusal_half_way_comes_with_its_code_while_the_data_lane_is_full() {
    let inbox = tempfile::tempdir().unwrap();
    // The sender fills the data lane within 0.1 s, if it gets processor time.
    let options = ["--once", "--refuse-after", "1MiB", "--refuse-code", "77", "--refuse-stall", "3000"];
    let (receiver, ticket) = receiver(inbox.path(), &options);
    let (_guard, path, _) = file("data", 8 << 20);
    let sender = sent(&ticket, [&path]);
    let lane = sender.failed(4).error_lane.as_ref().unwrap();
    assert_eq!((lane.code, lane.offset), (77, Some(1 << 20)));
    // At least half of the time for which the receiver read nothing.
    let blocked = lane.blocked_ns.map(Duration::from_nanos).unwrap_or_default();
    assert!(lane.sent < 8 << 20 && blocked >= Duration::from_millis(1500), "{lane:?}");
    // The event of the receiver contains the code that the sender was told.
    let receiver = receiver.ended();
    receiver.failed(4);
    let told = receiver.picked(|event| match event {
        Event::Failed { code, bytes, .. } => Some((*code, *bytes)),
        _ => None,
    });
    assert_eq!(told, [(Some(77), 1 << 20)]);
    assert!(names(inbox.path()).is_empty());
}

#[cfg(unix)]
#[test]
fn a_receiver_without_room_says_so_and_keeps_nothing() {
    let inbox = tempfile::tempdir().unwrap();
    // A limit on the file size acts like a full disk, and needs no privileges: 1024 blocks of 512 or 1024 bytes.
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$@\"", "sh", RECEIVER]);
    limited.args(["--json", "--offline", "--once", "--dir"]).arg(inbox.path());
    let (receiver, ticket) = ready(&mut limited);
    let (_guard, path, _) = file("data", 8 << 20);
    let sender = sent(&ticket, [&path]);
    let failure = sender.failed(5);
    let lane = failure.error_lane.as_ref().unwrap();
    assert_eq!(lane.code, Reason::StorageFull.code());
    assert!(failure.message.contains("room"), "{}", failure.message);
    receiver.ended().failed(5);
    assert!(names(inbox.path()).is_empty());
}

#[test]
fn after_a_refusal_the_receiver_takes_the_next_file() {
    let inbox = tempfile::tempdir().unwrap();
    fs::write(inbox.path().join("data"), b"mine").unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    let (_guard, path, data) = file("data", 100);
    sent(&ticket, [&path]).failed(4);
    sent(&ticket, [path.as_os_str(), "--name".as_ref(), "other".as_ref()]).done();
    assert_eq!(fs::read(inbox.path().join("other")).unwrap(), data);
}

#[test]
fn a_directory_that_cannot_be_one_is_said_at_the_start() {
    let (_guard, path, _) = file("data", 1);
    let receiver = Program::start(command(RECEIVER, &["--offline", "--dir"]).arg(&path)).ended();
    assert!(receiver.failed(2).message.contains("data"));
}
