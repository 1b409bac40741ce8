//! Command lines that are refused.

use std::{fs, path::Path, process::Command};

use twolane::SecretKey;

use crate::support::{DEMO, DOCTOR, Program, RECEIVER, SENDER, command, file, sent};

#[test]
fn a_ticket_that_is_wrong_is_2_and_says_how() {
    let (_guard, path, _) = file("data", 10);
    let id52 = SecretKey::from_bytes(&[7; 32]).public_key().to_string();
    let ticket = id52.parse::<twolane::Ticket>().unwrap().to_string();
    for wrong in [
        &ticket[..ticket.len() - 4],
        &ticket.replace('a', "!"),
        &format!("{ticket}{ticket}"),
        &id52[1..],
        &format!("{id52}0"),
        &format!("z{}", &id52[1..]),
        "endpoint",
        "hello",
        "",
    ] {
        let sender = sent(wrong, [&path]);
        let failure = sender.failed(2);
        assert!(failure.message.contains("ticket"), "{wrong:?}: {}", failure.message);
        assert!(failure.message.len() > 40, "{}", failure.message);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_2_before_anybody_is_troubled() {
    let (_guard, path, _) = file("data", 10);
    let id52 = SecretKey::from_bytes(&[7; 32]).public_key().to_string();
    let wrong = path.with_file_name("nothing");
    let sender = sent(&id52, [&wrong]);
    let failure = sender.failed(2);
    assert!(failure.message.contains(&wrong.display().to_string()), "{}", failure.message);
    assert_eq!(sender.events.len(), 1);
}

#[test]
fn a_congestion_control_that_there_is_not_is_2_and_says_which_there_are() {
    let id52 = SecretKey::from_bytes(&[7; 32]).public_key().to_string();
    for mut program in
        [command(SENDER, &["--congestion", "reno", &id52, "file"]), command(RECEIVER, &["--congestion", "reno"])]
    {
        let output = program.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("adaptive, cubic, bbr3 or background"), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let (_guard, path, _) = file("data", 10);
    let key = path.with_file_name("key");
    fs::write(&key, SecretKey::generate().to_hex().as_bytes()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let ticket = SecretKey::generate().public_key().to_string();
    let dir = path.parent().unwrap();
    let programs = [
        Program::start(command(SENDER, &["--offline", &ticket]).arg(&path).arg("--key-file").arg(&key)),
        Program::start(command(RECEIVER, &["--offline", "--dir"]).arg(dir).arg("--key-file").arg(&key)),
    ];
    for program in programs {
        let ended = program.ended();
        let failure = ended.failed(2);
        assert!(failure.message.contains("chmod 600"), "{}", failure.message);
    }
}

#[test]
fn a_key_in_the_environment_is_used_and_a_wrong_one_is_2() {
    let key = SecretKey::from_bytes(&[9; 32]);
    let dir = tempfile::tempdir().unwrap();
    let start = |value: &str| {
        let mut command = command(RECEIVER, &["--offline", "--dir"]);
        command.arg(dir.path()).env("RECEIVER_KEY", value).spawn_ready()
    };
    let receiver = start(&key.to_hex());
    receiver.signal("-INT");
    let ended = receiver.ended();
    ended.failed(130);
    let id52 = key.public_key().to_string();
    assert!(ended.events.iter().any(|event| format!("{event:?}").contains(&id52)));
    let ended = start("secret").ended();
    let failure = ended.failed(2);
    assert!(failure.message.contains("RECEIVER_KEY"), "{}", failure.message);
    assert!(!failure.message.contains("secret\""), "{}", failure.message);
}

#[test]
fn a_command_line_that_makes_no_sense_is_2_with_an_object() {
    for args in [
        &[][..],
        &["ticket"],
        &["--frob", "ticket", "file"],
        &["--timeout", "soon", "ticket", "file"],
        &["--name", "x", "ticket", "a", "b"],
        &["ticket", "a/x", "b/x"],
    ] {
        Program::start(&mut command(SENDER, args)).ended().failed(2);
    }
    Program::start(&mut command(RECEIVER, &["--refuse-code", "7"])).ended().failed(2);
    Program::start(&mut command(RECEIVER, &["--offline", "--relay", "no url"])).ended().failed(2);
    let receiver = command(RECEIVER, &["--offline", "--refuse-after", "much"]).spawn_ready().ended();
    assert!(receiver.failed(2).message.contains("much"));
}

#[test]
fn help_names_exit_codes_and_examples_and_version_a_version() {
    for program in [SENDER, RECEIVER, DEMO, DOCTOR] {
        let help = Command::new(program).arg("--help").output().unwrap();
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(help.status.success() && text.contains("Exit codes:") && text.contains("Examples:"), "{text}");
        let version = Command::new(program).arg("--version").output().unwrap();
        let name = Path::new(program).file_stem().unwrap().to_str().unwrap();
        let text = String::from_utf8(version.stdout).unwrap();
        assert_eq!(text, format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
    }
}

trait Spawn {
    fn spawn_ready(&mut self) -> Program;
}

impl Spawn for Command {
    /// Starts a program and waits for its first event of any kind.
    fn spawn_ready(&mut self) -> Program {
        let mut program = Program::start(self);
        program.wait_for(|_| Some(()));
        program
    }
}
