//! `stream-tester`: drives and checks every behaviour of the two lanes.
//!
//! A case consists of two scripts ([`role`]), one for each side, and the expected observations of each side
//! ([`seen`]). The [`player`] performs the scripts on both sides. The acceptor's script travels in the metadata of
//! its stream, and the acceptor's observations come back on another stream. So a case is the same whether the
//! acceptor is in this process or on another machine. The opener compares the observations with the expectations
//! ([`check`]).
//!
//! [`chaos`], [`scale`] and [`hostile`] are subcommands with models of their own.

pub mod acceptor;
pub mod ask;
pub mod board;
pub mod cases;
pub mod chaos;
pub mod check;
pub mod hostile;
pub mod pattern;
pub mod player;
pub mod report;
pub mod role;
pub mod run;
pub mod scale;
pub mod seen;
pub mod serve;
pub mod tester;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    process::ExitCode,
    sync::{Mutex, MutexGuard, PoisonError},
};

use clap::{Parser, Subcommand};

use crate::{cli, conform};

const EXAMPLES: &str = "\
Examples:
  stream-tester run
  stream-tester run --list
  stream-tester run --only lines json --json
  stream-tester serve --offline
  stream-tester hostile
  stream-tester chaos --seed 7 --seconds 60
  stream-tester leaks
  stream-tester scale
  stream-tester conform --against 'endpointab…'
  stream-tester run --offline --against 'endpointab…'

Without --against, both sides are in this process, on loopback. With --json the last line is the summary.
RUST_LOG=twolane=debug shows what goes on inside.
";

const EXIT_CODES: &str = "\
Exit codes:
    0  every case held
    1  a case did not, or something failed on this side
    2  the command line: a wrong ticket, a case that is not there, a key that cannot be used
    3  the peer was not found, did not answer in time, or was lost before the first case
    4  the peer is no stream-tester that serves
  130  interrupted (SIGINT); 143 terminated (SIGTERM)";

/// The environment variable with the key of either side, if no key file is given.
const KEY: &str = "STREAM_TESTER_KEY";

/// Drive every behaviour of the two lanes, and check what each side sees
#[derive(Debug, Parser)]
#[command(name = "stream-tester", version, max_term_width = 100, subcommand_required = true)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Serve(serve::Args),
    Hostile(hostile::Args),
    Chaos(chaos::Args),
    Leaks(chaos::leaks::Args),
    Scale(scale::crowd::Args),
    Conform(conform::Args),
}

/// Locks a mutex, even after a panic of a thread that held the lock. Such a panic is counted or reported elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the program. The first argument is the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let args: Args = match cli::parse(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match args.command {
        Command::Run(args) => run::main(args),
        Command::Serve(args) => serve::main(args),
        Command::Hostile(args) => hostile::main(args),
        Command::Chaos(args) => chaos::main(args),
        Command::Leaks(args) => chaos::leaks::main(args),
        Command::Scale(args) => scale::crowd::main(args),
        Command::Conform(args) => conform::main(args),
    }
}
