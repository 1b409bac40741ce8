//! What the programs have in common: how they start, how they reach the network, how they end.

mod announce;
mod args;
mod arrival;
pub mod doctor;
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

/// How often a transfer that moves says how far it is.
pub const TICK: Duration = Duration::from_millis(200);

/// How long the threads that write to disks may take to clean up.
const CLEANUP: Duration = Duration::from_secs(2);

/// What a program was asked to do and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why a program did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How it ends.
    pub exit: Exit,
    /// One line: what failed, with whom, what to try.
    pub message: String,
    /// What the peer said on the error lane, if it did.
    pub error_lane: Option<ErrorLane>,
}

impl Problem {
    /// A problem in one's own words. Names of files are part of them, and may contain what a terminal would obey.
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

    /// A problem that an error is behind, with its causes.
    pub fn because(exit: Exit, what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(exit, format!("{what}: {}", in_one_line(error)))
    }

    /// As an event.
    pub fn into_failure(self) -> Failure {
        Failure {
            message: self.message,
            kind: self.exit.kind().to_owned(),
            exit_code: self.exit.code(),
            error_lane: self.error_lane,
        }
    }
}

/// The arguments, or how a program ends that has none it can use: with help, a version, or an error.
///
/// # Errors
///
/// The exit code, after everything has been said.
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

/// Runs a program to its end, and says how that was.
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

/// Runs a program in a runtime of its own, and returns when its threads have ended.
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
    // Temporary files are removed by then.
    runtime.shutdown_timeout(CLEANUP);
    result
}

/// The first characters of a key, for people who have few to tell apart.
pub fn short(id52: &str) -> String {
    id52.chars().take(8).chain(['…']).collect()
}
