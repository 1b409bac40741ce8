//! The command line interface, from the arguments to the exit code.

mod args;
mod delegate;
mod failure;
mod generate;
mod input;
mod inspect;
mod output;
mod show;
mod sign;
mod source;
mod verify;

use std::{env, process::ExitCode};

use clap::Parser;

use args::{Args, Command};

pub(crate) fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return failure::usage(&error, env::args_os().any(|arg| arg == "--json")),
    };
    match run(&args) {
        Ok(code) => code,
        Err(report) => failure::report(&report, args.json),
    }
}

fn run(args: &Args) -> eyre::Result<ExitCode> {
    let done = match &args.command {
        Command::Generate(command) => generate::run(command, args.json),
        Command::Show(command) => show::run(command, args.json),
        Command::Sign(command) => sign::run(command, args.json),
        Command::Verify(command) => verify::run(command, args.json),
        Command::Delegate(command) => delegate::run(command, args.json),
        Command::Inspect(command) => return inspect::run(command, args.json),
    };
    done.map(|()| ExitCode::SUCCESS)
}
