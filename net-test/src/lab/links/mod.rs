//! `lab links`: links of many kinds, and what twolane and raw iroh with its defaults make of them, side by side.
//!
//! Each link is two namespaces with a link in user space between them, which is measured before it is used. At each end
//! runs a process (`lab end`) with an endpoint of either library; each has a link of its own.
//!
//! - `table`: which links there are, and what has to hold on them;
//! - `end`: an end of a link; `load`: what goes over it; `library`: the two libraries behind one set of words;
//! - `play`: one link from the lab's side; `file`: a file from `sender` to `receiver`;
//! - `report`: a row for each link.

mod end;
mod file;
mod library;
mod load;
mod play;
mod report;
mod table;

use std::{process::ExitCode, time::Duration};

use super::needs;
use crate::{
    cli::{self, Problem},
    exit::Exit,
    output::Output,
    signals::Signals,
};

pub(super) use self::end::run as end;
use self::{
    report::Report,
    table::{LINKS, Link},
};

const EXAMPLES: &str = "\
Examples:
  lab links
  lab links --only 100ms-500mbit
  lab links --all --json

The default are the links that something is promised for. --all has 20, 100 and 300 ms, 10, 100 and 500 Mbit/s, and losses
of 0, 0.1, 1 and 5 %, each with the others, which takes some 25 minutes.";

/// Measure twolane and raw iroh side by side, on links with delay, loss and a rate
#[derive(Debug, clap::Args)]
#[command(max_term_width = 100, after_help = EXAMPLES)]
pub(super) struct Args {
    /// Every combination of delay, rate and loss
    #[arg(long)]
    all: bool,

    /// Only these links, of all there are
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,

    /// How long each load lasts
    #[arg(long, value_name = "S", default_value_t = 10)]
    seconds: u64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args) -> ExitCode {
    let output = Output::new(args.json, false);
    let report = Report::new(output);
    let links = match chosen(args) {
        Ok(links) => links,
        Err(problem) => return fail(output, problem),
    };
    if !needs::are_met_inside() {
        let why = needs::enter();
        return report.nothing(&links, &why).into();
    }
    let lasting = Duration::from_secs(args.seconds.max(1));
    match cli::drive(async |signals| all(&links, lasting, report, &signals).await) {
        Ok(exit) => exit.into(),
        Err(problem) => fail(output, problem),
    }
}

fn fail(output: Output, problem: Problem) -> ExitCode {
    let exit = problem.exit;
    output.fail(&problem.into_failure());
    exit.into()
}

fn chosen(args: &Args) -> Result<Vec<Link>, Problem> {
    let all = table::all();
    if args.only.is_empty() {
        return Ok(if args.all { all } else { LINKS.to_vec() });
    }
    let find = |name: &String| {
        all.iter().find(|link| link.name() == *name).copied().ok_or_else(|| {
            let names: Vec<_> = all.iter().map(Link::name).collect();
            Problem::new(Exit::Usage, format!("there is no link {name:?}; there are {}", names.join(", ")))
        })
    };
    args.only.iter().map(find).collect()
}

/// One after the other: each has the machine to itself.
async fn all(links: &[Link], lasting: Duration, report: Report, signals: &Signals) -> Result<Exit, Problem> {
    let missing = needs::probe().await.and_then(|()| super::link::available()).err();
    if let Some(why) = missing {
        return Ok(report.nothing(links, &why));
    }
    report.head();
    let mut rows = Vec::new();
    for link in links {
        let row = tokio::select! {
            exit = signals.asked() => return Err(Problem::new(exit, exit.kind())),
            row = play::play(*link, lasting) => row,
        };
        report.row(&row);
        rows.push(row);
    }
    Ok(report.end(&rows))
}
