//! The program `id52`: makes, shows and uses Ed25519 identities from the command line.
//!
//! Results go to standard output, messages for people go to standard error, and the exit code tells the outcome.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
