//! Files that arrive.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use twolane_cli::output::Event;

use crate::support::{Program, RECEIVER, SENDER, bytes, command, file, names, receiver, sender, sent};

fn stored(event: &Event) -> Option<(String, u64, String)> {
    match event {
        Event::Stored { name, bytes, blake3, .. } => Some((name.clone(), *bytes, blake3.clone().unwrap_or_default())),
        _ => None,
    }
}

#[test]
fn a_file_arrives_as_it_is_and_is_confirmed() {
    let (_guard, path, data) = file("a file.bin", 3_000_001);
    let inbox = tempfile::tempdir().unwrap();
    let (receiver, ticket) = receiver(inbox.path(), &["--once"]);

    let sender = sent(&ticket, [&path]);
    let hash = blake3::hash(&data).to_hex().to_string();
    let expected = [("a file.bin".to_owned(), data.len() as u64, hash)];
    assert_eq!(sender.done().picked(stored), expected);
    assert_eq!(receiver.ended().done().picked(stored), expected);
    assert_eq!(fs::read(inbox.path().join("a file.bin")).unwrap(), data);
    assert_eq!(names(inbox.path()), ["a file.bin"]);

    let connected = |event: &Event| matches!(event, Event::Connected { .. }).then_some(());
    let path = |event: &Event| match event {
        Event::Path { path, .. } => Some(path.clone()),
        _ => None,
    };
    assert!(matches!(sender.events[0], Event::Start { files: 1, .. }));
    assert_eq!(sender.picked(connected).len(), 1);
    assert_eq!(sender.picked(path), ["direct"]);
}

#[test]
fn a_long_file_arrives_over_several_streams_as_it_is() {
    // One length with whole rounds of blocks, and one with a short block at the end.
    for len in [1 << 24, (1 << 24) + (1 << 20) + 1] {
        let (_guard, path, data) = file("long.bin", len);
        let inbox = tempfile::tempdir().unwrap();
        let (receiver, ticket) = receiver(inbox.path(), &["--once"]);
        let sender = sent(&ticket, [&path]);
        let hash = blake3::hash(&data).to_hex().to_string();
        assert_eq!(sender.done().picked(stored), [("long.bin".to_owned(), data.len() as u64, hash)]);
        receiver.ended().done();
        assert!(fs::read(inbox.path().join("long.bin")).unwrap() == data);
        assert_eq!(names(inbox.path()), ["long.bin"]);
    }
}

#[test]
fn standard_input_arrives_under_the_name_given() {
    let inbox = tempfile::tempdir().unwrap();
    let (receiver, ticket) = receiver(inbox.path(), &["--once"]);
    let mut sender = sender(&ticket, ["-", "--name", "words.txt"]);
    let data = bytes(300_000);
    sender.stdin().write_all(&data).unwrap();
    sender.ended().done();
    receiver.ended().done();
    assert_eq!(fs::read(inbox.path().join("words.txt")).unwrap(), data);
}

#[test]
fn files_of_every_size_around_a_chunk_arrive() {
    let inbox = tempfile::tempdir().unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    let outbox = tempfile::tempdir().unwrap();
    const CHUNK: usize = 512 * 1024;
    let sizes = [0, 1, 31, 32, 33, CHUNK - 33, CHUNK - 32, CHUNK - 31, CHUNK, 2 * CHUNK - 64, 2 * CHUNK - 63];
    let paths = sizes.map(|size| {
        let path = outbox.path().join(size.to_string());
        fs::write(&path, bytes(size)).unwrap();
        path
    });
    let sender = sent(&ticket, &paths);
    assert_eq!(sender.done().picked(stored).len(), sizes.len());
    for size in sizes {
        assert_eq!(fs::read(inbox.path().join(size.to_string())).unwrap(), bytes(size), "{size}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_the_system_makes_while_it_is_read_arrives_though_its_length_is_0() {
    let inbox = tempfile::tempdir().unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    sent(&ticket, ["/proc/version"]).done();
    assert_eq!(fs::read(inbox.path().join("version")).unwrap(), fs::read("/proc/version").unwrap());
}

#[test]
fn what_a_sender_says_of_several_files_names_the_file() {
    let inbox = tempfile::tempdir().unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    let outbox = tempfile::tempdir().unwrap();
    let paths = ["a", "b", "c"].map(|name| outbox.path().join(name));
    for path in &paths {
        fs::write(path, bytes(600_000)).unwrap();
    }
    let sender = sent(&ticket, &paths);
    let sender = sender.done();
    let opened = sender.picked(|event| match event {
        Event::Stream { transfer, name, .. } => Some((*transfer, name.clone())),
        _ => None,
    });
    assert_eq!(opened, [(1, "a".to_owned())], "they go in one transfer");
    let stored = sender.picked(|event| match event {
        Event::Stored { transfer: 1, item, name, .. } => Some((*item, name.clone())),
        _ => None,
    });
    assert_eq!(stored, [(1, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())]);
    let moving = sender.picked(|event| match event {
        Event::Progress { transfer, bytes, size, .. } => Some((*transfer, *bytes <= 1_800_000, *size)),
        _ => None,
    });
    assert!(!moving.is_empty() && moving.iter().all(|moving| *moving == (1, true, Some(1_800_000))), "{moving:?}");
}

#[test]
fn several_senders_at_once_do_not_disturb_each_other() {
    let inbox = tempfile::tempdir().unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    let (_guard, path, data) = file("data", 1_000_000);
    let one_by_one =
        ["a", "b", "c", "d"].map(|name| (name, sender(&ticket, [path.as_os_str(), "--name".as_ref(), name.as_ref()])));
    for (name, sender) in one_by_one {
        sender.ended().done();
        assert_eq!(fs::read(inbox.path().join(name)).unwrap(), data);
    }
    assert_eq!(names(inbox.path()), ["a", "b", "c", "d"]);
}

#[test]
fn a_folder_arrives_and_is_there_already_the_second_time() {
    let inbox = tempfile::tempdir().unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    let outbox = tempfile::tempdir().unwrap();
    let root = outbox.path().join("photos");
    fs::create_dir_all(root.join("2026")).unwrap();
    fs::write(root.join("2026/a.jpg"), bytes(300_000)).unwrap();
    fs::write(root.join("b.jpg"), bytes(10)).unwrap();
    for there in [false, true] {
        let sender = sent(&ticket, [&root]);
        let stored = sender.done().picked(|event| match event {
            Event::Stored { name, already, files, bytes, blake3, .. } => {
                Some((name.clone(), *already, *files, *bytes, blake3.clone()))
            }
            _ => None,
        });
        assert_eq!(stored, [("photos".to_owned(), there, 2, 300_010, None)]);
    }
    assert_eq!(fs::read(inbox.path().join("photos/2026/a.jpg")).unwrap(), bytes(300_000));
    assert_eq!(names(inbox.path()), ["photos"]);
}

#[test]
fn a_lost_confirmation_can_be_asked_for_again() {
    let inbox = tempfile::tempdir().unwrap();
    let (_guard, path, data) = file("data", 700_000);
    for _ in 0..2 {
        let (_receiver, ticket) = receiver(inbox.path(), &["--once"]);
        sent(&ticket, [&path]).done();
    }
    assert_eq!(fs::read(inbox.path().join("data")).unwrap(), data);
    assert_eq!(names(inbox.path()), ["data"]);
}

#[test]
fn names_that_would_do_harm_in_a_home_folder_do_none() {
    let inbox = tempfile::tempdir().unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    let (_guard, path, _) = file("data", 10);
    for (offered, landed) in [(".bash_profile", "%2Ebash_profile"), ("a\nb", "a%0Ab"), ("..\\back", "%2E.%5Cback")] {
        let sender = sent(&ticket, [path.as_os_str(), "--name".as_ref(), offered.as_ref()]);
        assert_eq!(sender.done().picked(stored)[0].0, landed);
    }
    assert_eq!(names(inbox.path()), ["%2E.%5Cback", "%2Ebash_profile", "a%0Ab"]);
}

#[test]
fn a_key_file_keeps_the_receivers_identity() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key").display().to_string();
    let id = || {
        let (receiver, ticket) = receiver(dir.path(), &["--key-file", &key]);
        receiver.signal("-TERM");
        receiver.ended().failed(143);
        ticket.parse::<twolane::Ticket>().unwrap().peer()
    };
    assert_eq!(id(), id());
}

#[test]
fn the_command_that_a_receiver_prints_works_in_a_shell() {
    let inbox = tempfile::tempdir().unwrap();
    let (_guard, path, data) = file("data", 1000);
    let mut receiver = Program::start(command(RECEIVER, &["--offline", "--once", "--dir"]).arg(inbox.path()));
    let line = receiver.wait_for(|event| match event {
        Event::Ready { command, .. } => Some(command.clone()),
        _ => None,
    });
    let line = line.replace("FILE", "\"$1\"");
    let programs = Path::new(SENDER).parent().unwrap();
    let shell = Command::new("sh")
        .args(["-c", &format!("PATH={}:$PATH; {line}", programs.display()), "sh"])
        .arg(&path)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(shell.status.success(), "{line}: {shell:?}");
    let told = String::from_utf8(shell.stderr).unwrap();
    assert!(told.contains("confirmed"), "{told}");
    assert!(shell.stdout.is_empty(), "words for people are not data");
    receiver.ended().done();
    assert_eq!(fs::read(inbox.path().join("data")).unwrap(), data);
}

#[test]
fn a_file_can_go_to_standard_output_once_it_is_whole() {
    let (_guard, path, data) = file("data", 700_000);
    let mut receiver = Command::new(RECEIVER)
        .args(["--anyone", "--offline", "--once", "--out", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(receiver.stderr.take().unwrap());
    let ticket = loop {
        let mut line = String::new();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "it has ended");
        if let Some(ticket) = line.split('\'').find(|word| word.starts_with("endpoint")) {
            break ticket.to_owned();
        }
    };
    // What is said has to be read on, or the receiver would wait.
    let reader = std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    let sender = sender(&ticket, [&path]);
    let output = receiver.wait_with_output().unwrap();
    sender.ended().done();
    reader.join().unwrap().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == data);
}

#[test]
fn the_ticket_is_on_standard_output_if_that_is_no_terminal() {
    let inbox = tempfile::tempdir().unwrap();
    let mut receiver = Command::new(RECEIVER)
        .args(["--anyone", "--offline", "--dir"])
        .arg(inbox.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let read = std::io::BufRead::read_line(&mut std::io::BufReader::new(receiver.stdout.take().unwrap()), &mut line);
    receiver.kill().unwrap();
    receiver.wait().unwrap();
    assert!(read.unwrap() > 0 && line.trim().parse::<twolane::Ticket>().is_ok(), "{line:?}");
}
