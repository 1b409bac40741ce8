//! A program of this package in its own process, and the events that it writes.

use std::{env, ffi::OsString, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{ChildStdout, Command},
    time::timeout,
};

use crate::{
    cli::Problem,
    exit::Exit,
    output::{Event, Line},
};

/// Maximum time without an event from a program. A program writes events several times a second during a transfer.
/// Only a slow disk sync takes long without an event.
const SILENCE: Duration = Duration::from_secs(60);

/// The programs that this program runs if its first argument names them.
pub(super) const SENDER: &str = "sender";
pub(super) const RECEIVER: &str = "receiver";

/// A child process. Drop kills it.
pub(super) struct Child {
    program: &'static str,
    process: tokio::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts this program again, in the role of another program.
    pub(super) fn start(program: &'static str, args: impl IntoIterator<Item = OsString>) -> Result<Self, Problem> {
        let what = format!("{program} cannot be started");
        let failed = |error| Problem::because(Exit::Failure, &what, &error);
        let mut process = Command::new(env::current_exe().map_err(failed)?)
            .arg(program)
            .arg("--json")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // The events contain the same information.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let Some(stdout) = process.stdout.take() else {
            return Err(Problem::new(Exit::Failure, what));
        };
        Ok(Self { program, process, lines: BufReader::new(stdout).lines() })
    }

    /// Returns the next event, or `None` once the program has closed its output.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Problem> {
        let line = timeout(SILENCE, self.lines.next_line())
            .await
            .map_err(|_| self.problem(format!("it said nothing for {SILENCE:?}")))?
            .map_err(|error| self.problem(error.to_string()))?;
        let Some(line) = line else { return Ok(None) };
        match serde_json::from_str::<Line>(&line) {
            Ok(line) => Ok(Some(line.event)),
            Err(error) => Err(self.problem(format!("{error} in {line:?}"))),
        }
    }

    /// Waits until the program has ended, and returns its exit code; -1 if a signal ended it.
    pub(super) async fn ended(mut self) -> Result<i32, Problem> {
        let status = timeout(SILENCE, self.process.wait())
            .await
            .map_err(|_| self.problem(format!("it did not end within {SILENCE:?}")))?
            .map_err(|error| self.problem(error.to_string()))?;
        Ok(status.code().unwrap_or(-1))
    }

    pub(super) fn problem(&self, message: String) -> Problem {
        Problem::new(Exit::Failure, format!("{}: {message}", self.program))
    }
}
