//! `stream-tester chaos`: many endpoints that do everything at once, and a model of what each stream may observe.
//!
//! [`orders`] are a function of the seed. A [`plan`] travels in each stream and request. [`talk`] and [`serve`]
//! perform it at the two sides, and [`fate`] disturbs the endpoints. [`pairs`] records the disturbances, [`cause`]
//! determines the outcomes that each explains, [`judge`] determines the legal outcomes, and [`ledger`] compares the
//! two sides. [`settle`] ends the run and compares the counts.
//!
//! The places are near each other and fast. Slow [links](link), outages, slow rules and programs that do nothing
//! are tested separately at the same time, in [`trials`] that have verdicts of their own.

pub mod books;
pub mod cause;
pub mod fate;
pub mod hook_book;
pub mod judge;
pub mod known;
pub mod leaks;
pub mod ledger;
pub mod link;
pub mod orders;
pub mod pairs;
pub mod plan;
pub mod play;
pub mod recovery;
pub mod report;
pub mod serve;
pub mod settle;
pub mod shutdown;
pub mod slope;
pub mod standstill;
pub mod talk;
pub mod tally;
#[cfg(test)]
mod tests;
pub mod trials;
pub mod world;

use std::{
    process::ExitCode,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::time::interval;

use self::{report::Summary, standstill::Watch, trials::Trial, world::World};
use super::{
    report::milliseconds,
    scale::{
        EXIT_CODES,
        footprint::{Footprint, Panics},
        say::{Gauge, Last, announce},
    },
};
use crate::{
    cli::{self, Problem},
    exit::Exit,
    output::Output,
    signals::Signals,
};

/// Maximum time for a call. The library limits its calls to 25 s at most, and detects a lost connection within 20
/// s. A call that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The number of places for each fate, and the fate's pause between two blows. So a pair is disturbed every few
/// seconds, and most streams are not disturbed.
const PLACES_OF_A_FATE: usize = 8;
const FATE_PAUSE: Duration = Duration::from_millis(700);
/// Maximum time until tasks and sockets have ended. iroh closes sockets in the background.
const AFTERWARDS: Duration = Duration::from_secs(30);
/// The heap in bytes that the process keeps for tables and pools of the runtime and of libraries. 1.05 MB were
/// measured, with 12 endpoints as well as with 54.
const HEAP_FOR_GOOD: u64 = 1_200_000;
/// The heap in bytes that an endpoint may leave behind.
const HEAP_OF_A_LIFE: u64 = 1_024;

const EXAMPLES: &str = "\
Examples:
  stream-tester chaos --seed 7 --seconds 60
  stream-tester chaos --seed 7 --seconds 600 --endpoints 48 --rate 800 --json
  stream-tester chaos --seed 7 --trial half-read outage

Beside the mixture there are trials, with slow links, outages, slow rules and the like: all of them in each minute. The same seed makes the same plans; the order in which they meet is the scheduler's.
With --json the last line is the summary: {\"event\":\"summary\",\"ok\":…,\"violations\":[…],…}.
";

/// Let many endpoints do everything at once, and check every stream against its plan
#[derive(Debug, Clone, clap::Args)]
#[command(max_term_width = 100, after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub struct Args {
    /// What all plans come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// How long actors act, in seconds
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,

    /// Endpoints at a time
    #[arg(long, value_name = "K", default_value_t = 24, value_parser = clap::value_parser!(u16).range(2..=500))]
    endpoints: u16,

    /// Streams, requests and the like a second, in all
    #[arg(long, value_name = "R", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,

    /// Only these trials, again and again, and nothing else
    #[arg(long, value_name = "NAME", num_args = 1..)]
    trial: Vec<Trial>,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,
}

pub fn main(args: Args) -> ExitCode {
    let output = Output::new(args.json, false);
    let summary = cli::drive(|signals| run(args, output, signals));
    announce(output, summary)
}

async fn run(args: Args, output: Output, signals: Signals) -> Result<Last<Summary>, Problem> {
    let (started, panics) = (Instant::now(), Panics::watch());
    link::thread().map_err(|error| Problem::because(Exit::Failure, "the links have no thread", &error))?;
    let before = Footprint::now();
    let only = args.trial.clone();
    // There are two places even if only trials run, so that the memory that is left is measured in the same way.
    let places = if only.is_empty() { usize::from(args.endpoints) } else { 2 };
    let world = World::new(args.seed, places)
        .await
        .map_err(|error| Problem::because(Exit::Failure, "the endpoints cannot be bound", &error))?;
    let fates = places.div_ceil(PLACES_OF_A_FATE);
    // The watch runs until everything has ended, so that everything in flight at the end is judged by the same
    // rules.
    let standstills = Watch::start(&world);
    if only.is_empty() {
        start(&world, fates, args.rate);
    }
    let acting = async {
        tokio::join!(watch(&args, &world, output), trials::play(Arc::clone(&world), args.seconds, only.clone()));
    };
    tokio::select! {
        exit = signals.asked() => return Err(Problem::new(exit, format!("{} with seed {}", exit.kind(), args.seed))),
        () = Box::pin(acting) => {}
    }
    // Nothing can be expected of the time without a processor.
    let waited_share = (world.standstills.waited().as_secs_f64() / started.elapsed().as_secs_f64()).min(1.0);
    let mut lives = world.trials.lives();
    for place in 0..places {
        lives += world.place(place).life_now() + 1;
    }
    settle::settle(&world).await;
    drop(standstills);

    let seconds = args.seconds as f64 * (1.0 - waited_share);
    let blows = seconds * fates as f64 / FATE_PAUSE.as_secs_f64();
    let mut floors = tally::floors(seconds * f64::from(args.rate), blows, orders::neighbours(places, 0).len());
    if !only.is_empty() {
        floors.clear();
    }
    let (trials, trial_floors) = (world.trials.held(), trials::floors(args.seconds, &only));
    let actions = world.tally.actions();
    let (violations, violations_found) = world.tally.violations();
    let mut summary = Summary {
        seed: args.seed,
        seconds: args.seconds,
        endpoints: places,
        lives,
        missing: [tally::too_few(&floors, &actions), tally::too_few(&trial_floors, &trials)].concat(),
        actions,
        floors,
        trials,
        trial_floors,
        outcomes: world.tally.outcomes(),
        recovery_ms: world.tally.recovery_ms(),
        bytes: world.tally.read_bytes.load(Relaxed),
        violations,
        violations_found,
        known: world.tally.known.load(Relaxed),
        standstills: world.standstills.count(),
        worst_lag_ms: world.standstills.worst_ms(),
        waited_share,
        ..Summary::default()
    };
    let lenient = summary.too_lenient();
    summary.missing.extend(lenient);
    drop(world);
    summary.left = before.returns(AFTERWARDS).await;
    let after = Footprint::now();
    summary.heap = [before.heap, after.heap];
    summary.left.extend(heap_left(summary.heap, lives));
    summary.tasks = [before.tasks, after.tasks];
    summary.files = before.files.zip(after.files).map(|(before, after)| [before, after]);
    summary.panics = panics.count();
    summary.ms = milliseconds(started.elapsed());
    summary.ok = summary.holds();
    Ok(Last { ok: summary.ok, table: summary.table(), event: summary })
}

fn heap_left([before, after]: [u64; 2], lives: u64) -> Option<String> {
    let (grown, allowed) = (after.saturating_sub(before), HEAP_FOR_GOOD + HEAP_OF_A_LIFE * lives);
    (grown > allowed)
        .then(|| format!("the heap grew by {grown} bytes in {lives} endpoints' lives, and may by {allowed}"))
}

fn start(world: &Arc<World>, fates: usize, rate: u32) {
    let places = world.places();
    let mean_us = 1_000_000 * places as u64 / u64::from(rate);
    for me in 0..places {
        world.tasks.spawn(talk::talk(Arc::clone(world), me, mean_us));
    }
    let pause_us = u64::try_from(FATE_PAUSE.as_micros()).unwrap_or(u64::MAX);
    for fate in 0..fates {
        world.tasks.spawn(fate::rule(Arc::clone(world), places + fate, pause_us));
    }
}

async fn watch(args: &Args, world: &World, output: Output) {
    let gauge = Gauge::new(output, "chaos", args.seconds);
    let mut second = interval(Duration::from_secs(1));
    for passed in 0..=args.seconds {
        second.tick().await;
        let (_, wrong) = world.tally.violations();
        gauge.show(passed, &format!("{} streams, {wrong} violations", world.tally.count(tally::Action::Open)));
    }
    gauge.clear();
}
