//! A program of this package as a process of its own, and the events that it writes.

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

/// How long a program may say nothing. It speaks a few times a second while anything moves; what takes long without a
/// word is a disk that syncs.
const SILENCE: Duration = Duration::from_secs(60);

/// The parts that this program plays when its first argument says so.
pub(super) const SENDER: &str = "sender";
pub(super) const RECEIVER: &str = "receiver";

/// Dropped, it is killed.
pub(super) struct Child {
    program: &'static str,
    process: tokio::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts this program anew, to play another one.
    pub(super) fn start(program: &'static str, args: impl IntoIterator<Item = OsString>) -> Result<Self, Problem> {
        let what = format!("{program} cannot be started");
        let failed = |error| Problem::because(Exit::Failure, &what, &error);
        let mut process = Command::new(env::current_exe().map_err(failed)?)
            .arg(program)
            .arg("--json")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // The events say the same.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let Some(stdout) = process.stdout.take() else {
            return Err(Problem::new(Exit::Failure, what));
        };
        Ok(Self { program, process, lines: BufReader::new(stdout).lines() })
    }

    /// The next event; `None` once the program has closed its output.
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

    /// The exit code, when the program has ended; -1 if a signal ended it.
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
