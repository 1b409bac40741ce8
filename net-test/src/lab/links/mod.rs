//! `lab links`: measures twolane and raw iroh in turns, on links of many kinds.
//!
//! Each link is a userspace link between two namespaces, and is measured before it is used. At each end runs a
//! process (`lab end`) with an endpoint of one library. The libraries are those of [`crate::speed`]: twolane, raw
//! iroh with its defaults, and raw iroh with the transport configuration of twolane. The last one separates the
//! effect of the settings from that of the layer. Each library has the link and the machine to itself.
//!
//! The seed of a turn is the same for all libraries. The fates of packets are drawn as the packets come, so the same
//! seed does not mean the same losses for two libraries. There are several turns for that reason.

pub mod end;
mod file;
mod judge;
mod load;
mod play;
mod report;
mod table;

use std::{ops::Range, process::ExitCode, time::Duration};

use super::needs;
use crate::{
    cli::{self, Problem},
    exit::Exit,
    output::Output,
    report::end,
    signals::Signals,
};

use self::{
    judge::Judged,
    report::Report,
    table::{LINKS, Link},
};

const EXAMPLES: &str = "\
Examples:
  lab links
  lab links --only 100ms-500mbit --rounds 1
  lab links --all --json

The default are the links of the table in README, which take 15 minutes. --all has 20, 100 and 300 ms, 10, 100 and 500
Mbit/s, and losses of 0, 0.1, 1 and 5 %, each with the others, and takes an hour.

Each turn is one seed, with which every library has the link once, in an order that rotates. A turn in which the link lost
packets of its own, or was late, is void; a link with no more than half of its turns left is void, and no promise is
judged. With CI=true that is a failure.";

/// Measure twolane and raw iroh in turns, on links with delay, loss and a rate
#[derive(Debug, clap::Args)]
#[command(max_term_width = 100, after_help = EXAMPLES)]
pub struct Args {
    /// Every combination of delay, rate and loss
    #[arg(long)]
    all: bool,

    /// Only these links, of all there are
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,

    /// How long bulk lasts
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// How many turns each link is played
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,

    /// The seed of the first turn; the others follow it
    #[arg(long, value_name = "N", default_value_t = 21)]
    seed: u64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    lasting: Duration,
    rounds: u64,
    seed: u64,
}

impl Plan {
    fn seeds(&self) -> Range<u64> {
        self.seed..self.seed.saturating_add(self.rounds)
    }
}

pub fn main(args: &Args) -> ExitCode {
    let output = Output::new(args.json, false);
    let report = Report::new(output);
    let links = match chosen(args) {
        Ok(links) => links,
        Err(problem) => return end(output, Err(problem)),
    };
    if !needs::are_met_inside() {
        let why = needs::enter();
        return report.nothing(&links, &why).into();
    }
    let plan = Plan { lasting: Duration::from_secs(args.seconds), rounds: args.rounds, seed: args.seed };
    end(output, cli::drive(async |signals| all(&links, &plan, report, &signals).await))
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

async fn all(links: &[Link], plan: &Plan, report: Report, signals: &Signals) -> Result<Exit, Problem> {
    let missing = needs::probe().await.and_then(|()| super::link::available()).err();
    if let Some(why) = missing {
        return Ok(report.nothing(links, &why));
    }
    report.head(plan);
    let mut judged = Vec::new();
    for link in links {
        let (turns, fault) = tokio::select! {
            exit = signals.asked() => return Err(Problem::new(exit, exit.kind())),
            played = play::play(*link, plan) => played,
        };
        judged.push(Judged::new(*link, &turns, fault.map(|fault| fault.to_string())));
        judged.last().iter().for_each(|judged| report.link(judged));
    }
    Ok(report.end(&judged))
}
