//! Runs every case of the stream-tester against itself and against another process, and checks how it ends when it
//! cannot begin. `stream_tester/check.rs` tests that its comparisons can fail.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use iroh_relay::server::{RelayConfig, ServerConfig};
use twolane::{Endpoint, SecretKey, Ticket};
use twolane_cli::output::{Failure, SCHEMA};
use twolane_test::stream_tester::{
    cases::CASES,
    report::{Event, Line, Verdict},
};

use crate::{failed, failure, ran, tester};

#[test]
fn every_case_holds_in_one_process() {
    all_held(&run(&[]));
}

#[test]
fn every_case_holds_against_another_process_which_ends_when_it_is_interrupted() {
    let mut server = Server::start(&[]);
    let ticket = server.ticket();
    all_held(&run(&["--offline", "--against", &ticket]));
    // The next opener finds the server in the same state as the first one did.
    let verdicts = held(&run(&["--offline", "--against", &ticket, "--only", "one-byte", "lines"]));
    assert_eq!(names(&verdicts), BTreeSet::from(["one-byte", "lines"]));
    let failure = server.interrupted();
    assert_eq!((failure.exit_code, failure.kind.as_str()), (130, "interrupted"));
}

#[tokio::test]
async fn a_tester_that_takes_no_relay_for_data_does_not_test_one() {
    let mut relay = RelayConfig::new((Ipv4Addr::LOCALHOST, 0));
    relay.key_cache_capacity = Some(64);
    let mut config = ServerConfig::default();
    config.relay = Some(relay);
    let relay = iroh_relay::server::Server::spawn(config).await.unwrap();
    let url = format!("http://{}", relay.http_addr().unwrap());
    // One side has only IPv4 and the other only IPv6, so no direct path can exist.
    let ended = tokio::task::spawn_blocking(move || {
        let mut server = Server::start(&["--relay", &url, "--bind", "127.0.0.1:0"]);
        let ticket = server.ticket();
        let args = ["--offline", "--relay", &url, "--bind", "[::1]:0", "--against", &ticket, "--only", "one-byte"];
        [&args[..], &[&args[..], &["--direct-only", "--timeout", "3"]].concat()].map(run)
    });
    let [relayed, direct_only] = ended.await.unwrap();
    assert_eq!(names(&held(&relayed)), BTreeSet::from(["one-byte"]));
    let message = failed(&direct_only, 3).message;
    assert!(message.contains("direct"), "{message}");
    relay.shutdown().await.unwrap();
}

#[test]
fn a_ticket_of_nobody_is_3() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = SecretKey::generate().public_key();
    let ticket = Ticket::new(nobody).with_addr(socket.local_addr().unwrap()).unwrap().to_string();
    let failure = failed(&run(&["--offline", "--timeout", "1", "--against", &ticket]), 3);
    assert!(failure.message.contains(&nobody.to_string()), "{}", failure.message);
    assert!(failure.message.contains("1s"), "{}", failure.message);
}

#[tokio::test]
async fn a_peer_that_is_no_tester_is_4_and_said_to_be_none() {
    let other = Endpoint::builder().offline().bind().await.unwrap();
    other.serve("echo/1", |_| async {}).unwrap();
    let ticket = other.ticket().to_string();
    let ended = tokio::task::spawn_blocking(move || run(&["--offline", "--against", &ticket])).await.unwrap();
    assert!(failed(&ended, 4).message.contains("stream-tester serve"));
    other.shutdown(std::time::Duration::from_secs(5)).await;
}

#[test]
fn a_command_line_that_makes_no_sense_is_2() {
    for args in [
        &["--against", "hello"][..],
        &["--only", "no-such-case"],
        &["--timeout", "0"],
        &["--timeout", "soon"],
        &["--frob"],
    ] {
        failed(&run(args), 2);
    }
}

#[test]
fn the_list_has_every_case_and_its_sentence() {
    let listed: Vec<_> = events(&run(&["--list"]))
        .into_iter()
        .map(|event| match event {
            Event::Listed { name, sentence } => (name, sentence),
            other => panic!("{other:?} in a list"),
        })
        .collect();
    let expected: Vec<_> = CASES.iter().map(|case| (case.name.to_owned(), case.sentence.to_owned())).collect();
    assert_eq!(listed, expected);
}

#[test]
fn help_names_examples_and_exit_codes_of_each_subcommand() {
    for args in [&["--help"][..], &["run", "--help"], &["serve", "--help"]] {
        let help = tester(args).output().unwrap();
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(help.status.success() && text.contains("Examples:") && text.contains("Exit codes:"), "{text}");
    }
}

#[test]
fn people_get_a_table() {
    let ended = tester(&["run", "--only", "one-byte"]).output().unwrap();
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success() && ended.stdout.is_empty(), "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[1].starts_with("one-byte") && lines[1].contains(" ok "), "{text}");
    assert!(lines[2].starts_with("1 held, 0 failed"), "{text}");
}

fn run(args: &[&str]) -> Output {
    ran("run", args)
}

fn events(ended: &Output) -> Vec<Event> {
    let text = std::str::from_utf8(&ended.stdout).unwrap();
    text.lines().map(event).collect()
}

fn event(line: &str) -> Event {
    let line: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    assert!(line.schema == SCHEMA && line.ts > 0);
    line.event
}

#[track_caller]
fn all_held(ended: &Output) {
    assert_eq!(names(&held(ended)), CASES.iter().map(|case| case.name).collect());
}

/// Returns the verdicts of a run in which every case held. The summary must have counted them.
#[track_caller]
fn held(ended: &Output) -> Vec<Verdict> {
    let events = events(ended);
    let verdicts: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Case(verdict) => Some(verdict.clone()),
            _ => None,
        })
        .collect();
    let failed: Vec<_> = verdicts.iter().filter(|verdict| !verdict.ok).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(ended.status.code(), Some(0));
    assert!(matches!(events.first(), Some(Event::Start { cases, .. }) if *cases == verdicts.len()), "{events:#?}");
    let Some(Event::Summary { passed, failed, .. }) = events.last() else {
        panic!("the last line is no summary: {events:#?}")
    };
    assert_eq!((*passed, *failed), (verdicts.len(), 0));
    verdicts
}

fn names(verdicts: &[Verdict]) -> BTreeSet<&str> {
    verdicts.iter().map(|verdict| verdict.name.as_str()).collect()
}

/// A `serve` process. Dropping it kills the process.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut command = tester(&["serve", "--json", "--offline"]);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    fn ticket(&mut self) -> String {
        match event(&self.line()) {
            Event::Ready { ticket, command, .. } => {
                assert!(command.contains(&ticket) && command.contains("--offline"), "{command}");
                ticket
            }
            other => panic!("{other:?} in place of a ticket"),
        }
    }

    fn interrupted(&mut self) -> Failure {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
        let failure = failure(self.line().as_bytes());
        assert_eq!(self.child.wait().unwrap().code(), Some(130));
        failure
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
