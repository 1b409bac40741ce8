//! Programs that are killed, interrupted, or never found.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use twolane::{SecretKey, Ticket};
use twolane_cli::{output::Event, transfer::Reason};

use crate::support::{Program, bytes, file, names, receiver, sender, sent};

const HALF: usize = 1 << 20;
/// Length of a piece in bytes. A piece of an input of unknown length is sent once the next one is there.
const PIECE: usize = twolane_cli::transfer::PIECE as usize;
/// Maximum time in these tests to detect a dead peer. A connection is given up 20 s after the last packet from or
/// to its peer. Any other limit would end the wait after 10 minutes.
const FOUND_DEAD: Duration = Duration::from_secs(120);

/// Starts to send an endless input, and waits until the receiver has half of the data. The pipe stays open until
/// the returned value is dropped.
fn half_way(receiver: &mut Program, ticket: &str) -> (Program, std::process::ChildStdin) {
    let mut sender = sender(ticket, ["-", "--name", "data"]);
    let mut stdin = sender.stdin();
    stdin.write_all(&bytes(HALF + PIECE)).unwrap();
    receiver.wait_for_bytes(HALF as u64);
    (sender, stdin)
}

#[test]
fn a_sender_that_waits_for_its_input_finds_out_that_the_receiver_was_killed() {
    let inbox = tempfile::tempdir().unwrap();
    let (mut killed, ticket) = receiver(inbox.path(), &[]);
    let (sender, _stdin) = half_way(&mut killed, &ticket);
    killed.signal("-KILL");
    let at = Instant::now();
    let ended = sender.ended();
    assert!(at.elapsed() < FOUND_DEAD, "{:?}", at.elapsed());
    let failure = ended.failed(3);
    assert!(failure.message.contains("killed"), "{}", failure.message);

    // What has arrived has no name of its own, and is there for the next try.
    assert_eq!(names(inbox.path()), [".twolane"]);
}

#[test]
fn a_sender_whose_lane_is_full_finds_out_that_the_receiver_was_killed() {
    let inbox = tempfile::tempdir().unwrap();
    let (mut killed, ticket) = receiver(inbox.path(), &["--refuse-after", "1MiB", "--refuse-stall", "600000"]);
    let (_guard, path, _) = file("data", 8 << 20);
    let sender = sender(&ticket, [&path]);
    killed.wait_for_bytes(HALF as u64);
    killed.signal("-KILL");
    let at = Instant::now();
    let ended = sender.ended();
    assert!(at.elapsed() < FOUND_DEAD, "{:?}", at.elapsed());
    ended.failed(3);
    assert!(!names(inbox.path()).contains(&"data".to_owned()));
}

#[test]
fn an_interrupted_sender_tells_its_receiver_and_leaves_no_file_that_looks_whole() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 143), ("-QUIT", 143)] {
        let inbox = tempfile::tempdir().unwrap();
        let (mut receiver, ticket) = receiver(inbox.path(), &["--once"]);
        let (sender, _stdin) = half_way(&mut receiver, &ticket);
        sender.signal(signal);
        sender.ended().failed(code);
        let receiver = receiver.ended();
        let failure = receiver.failed(5);
        assert!(failure.message.contains("interrupted"), "{}", failure.message);
        assert_eq!(names(inbox.path()), [".twolane"]);
    }
}

#[test]
fn an_interrupted_receiver_tells_its_sender_and_keeps_no_file_that_looks_whole() {
    let inbox = tempfile::tempdir().unwrap();
    let (mut receiver, ticket) = receiver(inbox.path(), &[]);
    let (sender, _stdin) = half_way(&mut receiver, &ticket);
    receiver.signal("-INT");
    let sender = sender.ended();
    let lane = sender.failed(3).error_lane.as_ref().unwrap();
    assert_eq!(lane.code, Reason::Interrupted.code());
    receiver.ended().failed(130);
    assert_eq!(names(inbox.path()), [".twolane"]);
}

#[test]
fn a_sender_that_is_killed_leaves_no_file_that_looks_whole() {
    let inbox = tempfile::tempdir().unwrap();
    let (mut receiver, ticket) = receiver(inbox.path(), &[]);
    let (sender, _stdin) = half_way(&mut receiver, &ticket);
    sender.signal("-KILL");
    let code = receiver.wait_for(|event| match event {
        Event::Failed { code, .. } => Some(*code),
        _ => None,
    });
    assert_eq!(code, None, "there is nobody to tell");
    assert_eq!(names(inbox.path()), [".twolane"]);
}

#[test]
fn a_peer_that_is_not_there_is_3_within_the_timeout() {
    let (_guard, path, _) = file("data", 10);
    let nobody = SecretKey::generate().public_key();
    // No program reads from this socket, so there is no answer, not even an ICMP error.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let ticket = Ticket::new(nobody).with_addr(silent.local_addr().unwrap());
    let at = Instant::now();
    let sender = sent(&ticket.to_string(), [path.as_os_str(), "--timeout".as_ref(), "1".as_ref()]);
    // Without the option, the sender would wait for 15 s.
    assert!(at.elapsed() < Duration::from_secs(15), "{:?}", at.elapsed());
    let failure = sender.failed(3);
    assert!(failure.message.contains(&nobody.to_string()), "{}", failure.message);
    assert!(failure.message.contains("1s"), "{}", failure.message);
}

#[test]
fn whichever_side_is_killed_the_next_try_goes_on_and_the_file_is_whole() {
    let inbox = tempfile::tempdir().unwrap();
    let (guard, path, data) = file("data", 64 << 20);
    let key = |name: &str| guard.path().join(name).display().to_string();
    let (ours, theirs) = (key("sender"), key("receiver"));
    let options = ["--key-file", theirs.as_str()];
    let args = [path.to_str().unwrap(), "--key-file", ours.as_str()];
    for (mebibytes, kills_receiver) in [(8, true), (24, false), (40, true)] {
        // The receiver stands still there, so that neither side is at the end before it is killed.
        let after = format!("{mebibytes}MiB");
        let stalls = ["--refuse-after", after.as_str(), "--refuse-stall", "600000"];
        let (mut receiver, ticket) = receiver(inbox.path(), &[&options[..], &stalls].concat());
        let sender = sender(&ticket, args);
        receiver.wait_for_bytes(mebibytes << 20);
        if kills_receiver { receiver.signal("-KILL") } else { sender.signal("-KILL") }
        assert_eq!(names(inbox.path()), [".twolane"]);
    }
    let (_receiver, ticket) = receiver(inbox.path(), &options);
    let ended = sent(&ticket, args);
    ended.done();
    assert!(std::fs::read(inbox.path().join("data")).unwrap() == data);
    assert_eq!(names(inbox.path()), ["data"]);
}

#[test]
fn a_peer_of_which_no_address_is_known_is_3() {
    let (_guard, path, _) = file("data", 10);
    let nobody = SecretKey::generate().public_key().to_string();
    let sender = sent(&nobody, [path.as_os_str(), "--timeout".as_ref(), "5".as_ref()]);
    let failure = sender.failed(3);
    assert!(failure.message.contains("ticket"), "{}", failure.message);
}
