//! `lab`: tests twolane through real NATs, a real relay and bad links, on one machine and without the internet.
//!
//! Each case has its own small internet of network namespaces. A relay (TLS, QUIC address discovery), an
//! iroh-dns-server and peers run in it. Each peer is a process that uses the library as any program does. Two peers
//! have a conversation: a transfer that is checked by its hash, and requests. The peers measure the conversation. The
//! counters of the receiving kernel and of the relay show which way the data took, and since when. The reports of the
//! peers have to agree with them.
//!
//! Namespaces, routers and NATs are made with `ip` and `nft`, in commands that a reader can type into a shell. (The
//! crate patchbay impairs links only with netem. Without netem in the kernel this silently has no effect.)

#![allow(unreachable_pub, reason = "this module has no other users than its own program")]

mod actor;
mod bounds;
mod cases;
mod counters;
mod fault;
mod figures;
mod lag;
mod link;
mod links;
mod nat;
mod needs;
mod netns;
mod parts;
mod peer;
mod ping;
mod process;
mod report;
mod run;
mod services;
mod share;
mod stage;
mod tools;
mod traffic;
mod world;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, builder::PossibleValuesParser};
use nix::sys::{prctl, signal::Signal};
use serde::de::DeserializeOwned;

use self::{
    cases::{CASES, Case},
    fault::Fault,
    report::{Event, Report},
};
use crate::{
    cli::{self, Problem},
    exit::Exit,
    output::Output,
    report::{self as say, print},
};

const EXAMPLES: &str = "\
Examples:
  lab
  lab --list
  lab --only two-home-nats symmetric-both --json
  lab links
  lab share --quick

Needs Linux with network namespaces, iproute2, nftables and util-linux; root, or user namespaces. Nothing leaves the
machine, and nothing is left on it. A case that this machine cannot play is skipped, and says why; one during which it was
too busy is played again, and void if it was so again. With CI=true in the environment both are failures. With --json the last line is the summary. RUST_LOG=twolane=debug shows what goes on inside.

Exit codes:
    0  every case held that could be played
    1  a case did not, or something failed on this side
    2  the command line
  130  interrupted (SIGINT); 143 terminated (SIGTERM)";

/// Play twolane through real NATs, a relay and bad links, in namespaces on this machine
#[derive(Debug, Parser)]
#[command(name = "lab", version, max_term_width = 100, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Only these cases, and those that they are paired with
    #[arg(long, value_name = "NAME", num_args = 1.., hide_possible_values = true,
          value_parser = PossibleValuesParser::new(CASES.iter().map(|case| case.name)))]
    only: Vec<String>,

    /// Print the names of the cases and what each shows, and end
    #[arg(long)]
    list: bool,

    /// Give a case up after so many seconds
    #[arg(long, value_name = "S", default_value_t = 90)]
    seconds: u64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Links(links::Args),
    Share(share::Args),
}

/// Runs the program. The first argument is the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    // A part is killed when the lab ends, for whatever reason the lab ends.
    let is_part = args.get(1).and_then(|part| part.to_str()).is_some_and(|part| parts::ALL.contains(&part));
    if is_part && prctl::set_pdeathsig(Signal::SIGKILL).is_err() {
        return Exit::Failure.into();
    }
    match args.get(1).and_then(|part| part.to_str()) {
        Some(parts::SERVE) => return part(&args, services::serve),
        Some(parts::PEER) => return part(&args, peer::run),
        Some(parts::END) => return part(&args, links::end::run),
        Some(parts::FLOW) => return part(&args, share::flow::run),
        Some(parts::SENDER) => return cli::sender::main(args[1..].to_vec()),
        Some(parts::RECEIVER) => return cli::receiver::main(args[1..].to_vec()),
        _ => {}
    }
    let args: Args = match cli::parse(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match &args.command {
        Some(Command::Links(args)) => return links::main(args),
        Some(Command::Share(args)) => return share::main(args),
        None => {}
    }
    let output = Output::new(args.json, false);
    let wanted = |case: &&Case| args.only.is_empty() || args.only.iter().any(|name| name == case.name);
    let cases: Vec<&'static Case> = CASES.iter().filter(wanted).collect();
    let report = Report::new(output, CASES.iter().map(|case| case.name.len()).max().unwrap_or_default());
    if args.list {
        list(&cases, report);
        return Exit::Done.into();
    }
    if !needs::are_met_inside() {
        // `enter` returns only if it failed.
        let why = needs::enter();
        return run::nothing(&cases, report, &why).into();
    }
    let bound = Duration::from_secs(args.seconds);
    say::end(output, cli::drive(async |signals| run::ladder(cases, bound, report, &signals).await))
}

fn list(cases: &[&Case], report: Report) {
    for case in cases {
        let pair = case.pair.map(str::to_owned);
        if report.output.is_json() {
            say::event(report.output, Event::Listed { name: case.name.into(), sentence: case.sentence.into(), pair });
        } else {
            let pair = pair.map(|pair| format!(" (paired with {pair})")).unwrap_or_default();
            print(&format!("{}: {}{pair}", case.name, case.sentence));
        }
    }
}

/// Runs one of the hidden parts. The part's configuration is its only argument, as JSON.
fn part<C, F>(args: &[OsString], play: impl FnOnce(C) -> F) -> ExitCode
where
    C: DeserializeOwned,
    F: Future<Output = Result<(), Fault>>,
{
    let config = args.get(2).and_then(|config| config.to_str()).and_then(|text| serde_json::from_str(text).ok());
    let Some(config) = config else {
        return Exit::Usage.into();
    };
    // The part ignores signals. They are for the lab, and the part ends when its input does, which the lab closes.
    let fail = |fault: Fault| Problem::new(Exit::Failure, fault.to_string());
    say::end(Output::new(false, false), cli::drive(async |_| play(config).await.map(|()| Exit::Done).map_err(fail)))
}
