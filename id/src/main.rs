//! The program `id52`: make, show and use Ed25519 identities from the command line.
//!
//! Standard output is data, standard error is talk, and the exit code says how it went.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
