//! `lab share`: measures how flows share a bottleneck.
//!
//! Each row is a userspace bottleneck between two namespaces, and is measured before it is used. The sides of the row
//! use it in turns: a flow of twolane, one of raw iroh with stock BBR3, and one of raw iroh with its defaults. Each
//! side has the same neighbours. Every end is a process (`lab flow`) with its own address, by which the bottleneck
//! distinguishes flows. The bottleneck counts the packets that pass, the packets that it drops and the length of its
//! queue, and relies on no report of a flow. Data goes one way. Acknowledgements come back with the same delay, over
//! a direction without load.
//!
//! Several rows are played at a time. A canary shows whether the machine had enough time for that.

mod bounds;
mod canary;
pub mod flow;
mod judge;
mod play;
mod quic;
mod report;
mod seen;
mod table;
mod tcp;

use std::{ops::Range, process::ExitCode, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};

use super::needs;
use crate::{
    cli::{self, Problem},
    exit::Exit,
    output::Output,
    report::end,
    signals::Signals,
};

use self::{
    canary::Canary,
    judge::Judged,
    report::Report,
    table::{QUICK, Row},
};

const EXAMPLES: &str = "\
Examples:
  lab share --quick
  lab share --list
  lab share --only 20mbit-100ms-1bdp --rounds 1
  lab share --quick --ours cubic
  lab share --quick --ours -company
  lab share --json

--quick plays five bottlenecks once, in two minutes, or four if runs are void. All rows take some two hours.

In each round every side has the bottleneck once, with the same seed, in an order that rotates. A run during which the machine
woke threads late is void and played again, at most twice; a row is void if a side has no more than half of its runs left. With
CI=true that is a failure. A row is ok if the medians of its runs hold what net-test/src/lab/share/bounds.rs promises.";

/// The number of rows with flows at 20 Mbit/s that are played at a time. Five of them, with the link's threads and
/// the ends of all flows, took 0.8 of a processor. On two processors, threads were then woken 0.5 ms late.
const AT_A_TIME: usize = 6;
const WARM: Duration = Duration::from_secs(10);
const WARM_QUICK: Duration = Duration::from_secs(5);
const MEASURED: u64 = 60;
const MEASURED_QUICK: u64 = 20;
const ROUNDS: u64 = 3;

/// Measure what twolane leaves to others of a bottleneck that they share, and what it gets
#[derive(Debug, clap::Args)]
#[command(max_term_width = 100, after_help = EXAMPLES)]
pub struct Args {
    /// Five rows, one round, 20 s each
    #[arg(long)]
    quick: bool,

    /// Only these rows, of all there are
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,

    /// Print the names of the rows and what each shows, and end
    #[arg(long)]
    list: bool,

    /// How many rounds each row is played [default: 3, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: Option<u64>,

    /// How long a run is measured after it has warmed up [default: 60, with --quick 20]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: Option<u64>,

    /// The congestion control of twolane's flows: adaptive, cubic, bbr3 or background, or the first without a part of
    /// it
    #[arg(long, value_name = "NAME", default_value = "adaptive", allow_hyphen_values = true, value_parser = named)]
    ours: String,

    /// The seed of the first round; the others follow it
    #[arg(long, value_name = "N", default_value_t = 21)]
    seed: u64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,
}

/// Checks that there is a congestion control of this name.
fn named(name: &str) -> Result<String, String> {
    quic::congestion(name).map(|_| name.to_owned())
}

#[derive(Debug, Clone)]
struct Plan {
    warm: Duration,
    measured: Duration,
    rounds: u64,
    seed: u64,
    ours: String,
}

impl Plan {
    fn of(args: &Args) -> Self {
        let (warm, measured, rounds) =
            if args.quick { (WARM_QUICK, MEASURED_QUICK, 1) } else { (WARM, MEASURED, ROUNDS) };
        Self {
            warm,
            measured: Duration::from_secs(args.seconds.unwrap_or(measured)),
            rounds: args.rounds.unwrap_or(rounds),
            seed: args.seed,
            ours: args.ours.clone(),
        }
    }

    fn seeds(&self) -> Range<u64> {
        self.seed..self.seed.saturating_add(self.rounds)
    }
}

pub fn main(args: &Args) -> ExitCode {
    let output = Output::new(args.json, false);
    let report = Report::new(output);
    let rows = match chosen(args) {
        Ok(rows) => rows,
        Err(problem) => return end(output, Err(problem)),
    };
    if args.list {
        report.list(&rows);
        return Exit::Done.into();
    }
    if !needs::are_met_inside() {
        let why = needs::enter();
        return report.nothing(&rows, &why).into();
    }
    let plan = Arc::new(Plan::of(args));
    end(output, cli::drive(async |signals| all(&rows, &plan, report, &signals).await))
}

fn chosen(args: &Args) -> Result<Vec<Row>, Problem> {
    let all = table::all();
    if args.only.is_empty() {
        return Ok(if args.quick { QUICK.to_vec() } else { all });
    }
    let find = |name: &String| {
        all.iter().find(|row| row.name() == *name).copied().ok_or_else(|| {
            let names: Vec<_> = all.iter().map(Row::name).collect();
            Problem::new(Exit::Usage, format!("there is no row {name:?}; there are {}", names.join(", ")))
        })
    };
    args.only.iter().map(find).collect()
}

async fn all(rows: &[Row], plan: &Arc<Plan>, report: Report, signals: &Signals) -> Result<Exit, Problem> {
    let missing = needs::probe().await.and_then(|()| super::link::available()).err();
    if let Some(why) = missing {
        return Ok(report.nothing(rows, &why));
    }
    report.head(plan);
    tokio::select! {
        exit = signals.asked() => Err(Problem::new(exit, exit.kind())),
        judged = play(rows, plan, report) => {
            if judged.len() == rows.len() {
                Ok(report.end(&judged))
            } else {
                Err(Problem::new(Exit::Failure, format!("of {} rows {} were judged", rows.len(), judged.len())))
            }
        }
    }
}

/// Plays the rows, and reports each one when it has been played.
async fn play(rows: &[Row], plan: &Arc<Plan>, report: Report) -> Vec<Judged> {
    let canary = Arc::new(Canary::start());
    let (permits, mut running, mut judged) = (Arc::new(Semaphore::new(AT_A_TIME)), JoinSet::new(), Vec::new());
    for row in rows.iter().copied() {
        let (permits, canary, plan) = (Arc::clone(&permits), Arc::clone(&canary), Arc::clone(plan));
        running.spawn(async move {
            let _permits = permits.acquire_many_owned(row.weight()).await;
            let (rounds, fault) = play::play(row, &plan, &canary).await;
            Judged::new(row, &rounds, fault.map(|fault| fault.to_string()))
        });
    }
    while let Some(done) = running.join_next().await {
        // A row whose task has panicked is missing in the final count.
        if let Ok(row) = done {
            report.row(&row);
            judged.push(row);
        }
    }
    judged
}
