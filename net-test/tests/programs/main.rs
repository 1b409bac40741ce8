//! Runs the programs as processes, and watches the events that they write. No test sleeps: each step waits until
//! the previous one has been seen.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may, their helpers too")]

mod chaos;
mod hostile_scenes;
#[cfg(target_os = "linux")]
mod lab;
mod scale;
mod speed;
mod stream_tester;

use std::process::{Command, Output};

use serde_json::Value;
use twolane_cli::output::{Event, Failure, Line, SCHEMA};

fn tester(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stream-tester"));
    command.args(args).env_remove("STREAM_TESTER_KEY").env_remove("RUST_LOG").env_remove("CARGO");
    command
}

/// Runs a subcommand of `stream-tester` to its end.
fn ran(subcommand: &str, args: &[&str]) -> Output {
    tester(&[&[subcommand, "--json"], args].concat()).output().unwrap()
}

/// Returns the events that a program wrote.
#[track_caller]
fn lines(ended: &Output) -> Vec<Value> {
    let lines = std::str::from_utf8(&ended.stdout).unwrap().lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        assert!(event["schema"] == SCHEMA && event["ts"].as_u64() > Some(0), "{line}");
        event
    });
    lines.collect()
}

/// Returns the error of a program that could not begin. It is the only line of the output.
#[track_caller]
fn failed(ended: &Output, code: u8) -> Failure {
    assert_eq!(ended.status.code(), Some(code.into()), "{ended:?}");
    let failure = failure(&ended.stdout);
    assert_eq!(failure.exit_code, code);
    assert_eq!(String::from_utf8_lossy(&ended.stderr), format!("error: {}\n", failure.message));
    failure
}

#[track_caller]
fn failure(line: &[u8]) -> Failure {
    match serde_json::from_slice::<Line>(line).map(|line| line.event) {
        Ok(Event::Error(failure)) => failure,
        other => panic!("{other:?} from {}", String::from_utf8_lossy(line)),
    }
}
