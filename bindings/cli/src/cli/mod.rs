//! The shared parts of the programs: start, network options and end.

mod announce;
mod args;
mod arrival;
pub mod doctor;
mod door;
mod home;
pub mod receiver;
pub mod sender;
mod size;

use std::{
    ffi::OsString,
    future::Future,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use tracing_subscriber::EnvFilter;

pub use self::{
    announce::announce,
    args::{Net, quoted},
    size::parse_size,
};
use crate::{
    exit::Exit,
    output::{self, ErrorLane, Event, Failure, Output, in_one_line},
    signals::Signals,
};

/// The interval between two progress reports of a transfer.
pub const TICK: Duration = Duration::from_millis(200);

/// Maximum time for the threads that write to disks to clean up.
const CLEANUP: Duration = Duration::from_secs(2);

/// The count of transferred files and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of files.
    pub files: u64,
    /// The number of bytes of these files.
    pub bytes: u64,
}

/// The reason why a program failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The exit status.
    pub exit: Exit,
    /// One line: the failure, the peer, and what to try.
    pub message: String,
    /// The error that the peer sent on the error lane, if any.
    pub error_lane: Option<ErrorLane>,
}

impl Problem {
    /// Makes a problem from a message. Control characters are escaped, because the message can contain file names,
    /// and a terminal would obey control characters in them.
    pub fn new(exit: Exit, message: impl AsRef<str>) -> Self {
        let mut line = String::new();
        for character in message.as_ref().chars() {
            if character.is_control() {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
        Self { exit, message: line, error_lane: None }
    }

    /// Makes a problem from an error and its causes.
    pub fn because(exit: Exit, what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(exit, format!("{what}: {}", in_one_line(error)))
    }

    /// Converts the problem to an event.
    pub fn into_failure(self) -> Failure {
        Failure {
            message: self.message,
            kind: self.exit.kind().to_owned(),
            exit_code: self.exit.code(),
            error_lane: self.error_lane,
        }
    }
}

/// Parses the arguments.
///
/// # Errors
///
/// Returns the exit code if there are no arguments to run with (help, the version, or wrong arguments). The text is
/// already printed.
pub fn parse<A: Parser>(args: Vec<OsString>) -> Result<A, ExitCode> {
    let json = args.iter().any(|arg| arg == "--json");
    A::try_parse_from(args).map_err(|error| {
        if !error.use_stderr() || !json {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        let problem = Problem::new(Exit::Usage, line.trim_start_matches("error: "));
        Output::new(true, false).fail(&problem.into_failure());
        Exit::Usage.into()
    })
}

/// Runs a program to its end, and reports the result.
pub fn run<F>(output: Output, program: impl FnOnce(Signals) -> F) -> ExitCode
where
    F: Future<Output = Result<Tally, Problem>>,
{
    let started = Instant::now();
    match drive(program) {
        Ok(tally) => {
            output.event(Event::End {
                files: tally.files,
                bytes: tally.bytes,
                elapsed_ns: output::nanos(started.elapsed()),
            });
            Exit::Done.into()
        }
        Err(problem) => {
            let exit = problem.exit;
            output.fail(&problem.into_failure());
            exit.into()
        }
    }
}

/// Runs a program in its own runtime, and returns after its threads have ended.
pub fn drive<T, F>(program: impl FnOnce(Signals) -> F) -> Result<T, Problem>
where
    F: Future<Output = Result<T, Problem>>,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Problem::because(Exit::Failure, "the program cannot start", &error))?;
    let result = runtime.block_on(async {
        let signals =
            Signals::listen().map_err(|error| Problem::because(Exit::Failure, "no signals can be had", &error))?;
        program(signals).await
    });
    // The threads remove temporary files before this returns.
    runtime.shutdown_timeout(CLEANUP);
    result
}

/// Returns the first characters of a key, enough for people to distinguish a few keys.
pub fn short(id52: &str) -> String {
    id52.chars().take(8).chain(['…']).collect()
}
