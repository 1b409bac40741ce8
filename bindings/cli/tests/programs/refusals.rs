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
    assert_eq!(lane.code, Reason::Exists.code());
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
fn a_name_that_is_none_is_2() {
    let (_guard, path, _) = file("data", 10);
    let id52 = twolane::SecretKey::from_bytes(&[7; 32]).public_key().to_string();
    let long = "x".repeat(256);
    for name in ["", "..", "../..", "dir/", "dir/file", long.as_str()] {
        let sender = sent(&id52, [path.as_os_str(), "--name".as_ref(), name.as_ref()]);
        assert!(sender.failed(2).message.contains("--name"), "{name:?}");
    }
}

#[test]
fn only_who_may_send_sends_and_the_others_are_told() {
    let inbox = tempfile::tempdir().unwrap();
    let (guard, path, _) = file("data", 10);
    let key = guard.path().join("key");
    let known = twolane::SecretKey::from_bytes(&[9; 32]);
    fs::write(&key, known.to_hex().as_bytes()).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let id52 = known.public_key().to_string();
    let mut command = std::process::Command::new(RECEIVER);
    command.args(["--json", "--offline", "--from", &id52, "--dir"]).arg(inbox.path());
    let (_receiver, ticket) = ready(&mut command);
    let lane = sent(&ticket, [&path]).failed(4).error_lane.as_ref().unwrap().code;
    assert_eq!(lane, Reason::NotAllowed.code());
    assert!(names(inbox.path()).is_empty());
    sent(&ticket, [path.as_os_str(), "--key-file".as_ref(), key.as_os_str()]).done();
    assert_eq!(names(inbox.path()), ["data"]);
}

#[test]
fn without_a_terminal_a_receiver_has_to_be_told_who_may_send() {
    let inbox = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(RECEIVER);
    let command = command.args(["--json", "--offline", "--dir"]).arg(inbox.path());
    let ended = Program::start(command.stdin(std::process::Stdio::null())).ended();
    assert!(ended.failed(2).message.contains("--anyone"));
}

#[test]
fn what_is_larger_than_the_receiver_takes_is_refused_before_it_is_sent() {
    let inbox = tempfile::tempdir().unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &["--max-size", "1000"]);
    let (_guard, path, _) = file("data", 1001);
    let sender = sent(&ticket, [&path]);
    let failure = sender.failed(4);
    let lane = failure.error_lane.as_ref().unwrap();
    assert_eq!((lane.code, lane.sent), (Reason::TooLarge.code(), 0));
    assert!(failure.message.contains("--max-size"), "{}", failure.message);
}

#[test]
fn a_receiver_may_replace_files_or_give_them_other_names() {
    for (option, left) in [("--overwrite", &["data"][..]), ("--rename", &["data", "data (1)"])] {
        let inbox = tempfile::tempdir().unwrap();
        fs::write(inbox.path().join("data"), b"mine").unwrap();
        let (_receiver, ticket) = receiver(inbox.path(), &[option]);
        let (_guard, path, data) = file("data", 100);
        sent(&ticket, [&path]).done();
        assert_eq!(names(inbox.path()), left);
        assert_eq!(fs::read(inbox.path().join(left.last().unwrap())).unwrap(), data);
    }
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
    assert_eq!(names(inbox.path()), [".twolane"]);
}

#[cfg(unix)]
#[test]
fn a_receiver_without_room_says_so_and_keeps_no_file_that_looks_whole() {
    let inbox = tempfile::tempdir().unwrap();
    // A limit on the file size acts like a full disk, and needs no privileges: 1024 blocks of 512 or 1024 bytes.
    let mut limited = std::process::Command::new("sh");
    // The signal that goes with it is the receiver's business.
    limited.args(["-c", "ulimit -f 1024; exec \"$@\"", "sh", RECEIVER]);
    limited.args(["--json", "--anyone", "--offline", "--once", "--dir"]).arg(inbox.path());
    let (receiver, ticket) = ready(&mut limited);
    let (_guard, path, _) = file("data", 8 << 20);
    let sender = sent(&ticket, [&path]);
    let failure = sender.failed(5);
    let lane = failure.error_lane.as_ref().unwrap();
    assert_eq!(lane.code, Reason::StorageFull.code());
    assert!(failure.message.contains("room"), "{}", failure.message);
    receiver.ended().failed(5);
    assert_eq!(names(inbox.path()), [".twolane"]);
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
