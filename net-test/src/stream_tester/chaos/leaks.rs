//! `stream-tester leaks`: connects, carries out orders as in `chaos`, closes, and repeats this. Then it measures
//! the memory, tasks and files that are left.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::{
    fate,
    orders::{Blow, Dealer, Fate},
    plan::number_of,
    recovery::{self, Recovery},
    settle, slope,
    standstill::Watch,
    talk,
    tally::{self, Action, Violation},
    world::World,
};
use crate::{
    cli::{self, Problem},
    exit::Exit,
    output::Output,
    signals::Signals,
    stream_tester::{
        report::milliseconds,
        scale::{
            EXIT_CODES,
            footprint::{Footprint, Panics, left, until},
            say::{Gauge, Last, announce},
        },
    },
};

/// The number of orders of each side in one connection.
const ORDERS: usize = 6;
/// The longest planned wait of an order. Longer pauses would test nothing here.
const WAIT_MS: u64 = 2;
/// The first part of the cycles, in which tables and pools reach their size.
const WARM_UP: f64 = 0.2;
/// The number of samples of the heap after the warm-up. It is enough to fit a line.
const SAMPLES: u64 = 20;
/// The minimum number of cycles between two samples. Before each sample the last connection must be forgotten,
/// which takes a second.
const BETWEEN: u64 = 5;
/// Maximum time for a step of a cycle.
const PATIENCE: Duration = Duration::from_secs(30);
/// Maximum time until a closed connection is forgotten. QUIC keeps it for three times its timeout for lost packets.
const QUIET: Duration = Duration::from_secs(10);
/// The actor that restarts endpoints, as named in a violation.
const FATE: usize = 2;

const EXAMPLES: &str = "\
Examples:
  stream-tester leaks
  stream-tester leaks --cycles 100000 --seed 3 --json

Each connection carries orders of either side, drawn as in `chaos`: streams that end, fail, are aborted, dropped or never opened,
warnings, echoes, requests. With nothing to disturb them, only what was planned is legal.
With --json the last line is the summary: {\"event\":\"summary\",\"ok\":…,\"heap_per_cycle\":…,…}.
";

/// Connect, do everything that streams can do, close, and see that nothing stays behind
#[derive(Debug, Clone, clap::Args)]
#[command(max_term_width = 100, after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub struct Args {
    /// How often
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(20..))]
    cycles: u64,

    /// What all orders come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Restart an endpoint in one cycle of so many, with its key: the other keeps what it knows of the key
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    restart_every: u64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub ok: bool,
    pub seed: u64,
    pub cycles: u64,
    pub restarts: u64,
    pub events: u64,
    pub actions: BTreeMap<Action, u64>,
    /// The growth of the heap in bytes for each cycle, by least squares after the warm-up.
    pub heap_per_cycle: f64,
    pub heap: [u64; 2],
    /// Resident memory after the warm-up and at the end. `null` if the system does not report it.
    pub resident: Option<[u64; 2]>,
    /// The number of tasks after the warm-up, at the end, and when both endpoints were gone.
    pub tasks: [usize; 3],
    /// The number of open files and sockets at the same points as `tasks`. `null` if the system does not list them.
    pub files: Option<[usize; 3]>,
    pub failures: Vec<String>,
    pub ms: u64,
}

pub fn main(args: Args) -> ExitCode {
    let output = Output::new(args.json, false);
    announce(output, cli::drive(|signals| run(args, output, signals)))
}

async fn run(args: Args, output: Output, signals: Signals) -> Result<Last<Summary>, Problem> {
    let (started, panics, before) = (Instant::now(), Panics::watch(), Footprint::now());
    let measuring = Box::pin(measure(&args, output));
    let mut summary = tokio::select! {
        exit = signals.asked() => return Err(Problem::new(exit, format!("{} with seed {}", exit.kind(), args.seed))),
        measured = measuring => measured?,
    };
    summary.failures.extend(before.returns(PATIENCE).await);
    let after = Footprint::now();
    summary.tasks[2] = after.tasks;
    if let (Some(files), Some(now)) = (&mut summary.files, after.files) {
        files[2] = now;
    }
    if panics.count() > 0 {
        summary.failures.push(format!("there were {} panics", panics.count()));
    }
    summary.ok = summary.failures.is_empty();
    summary.ms = milliseconds(started.elapsed());
    Ok(Last { ok: summary.ok, table: table(&summary), event: summary })
}

async fn measure(&Args { cycles, seed, restart_every, .. }: &Args, output: Output) -> Result<Summary, Problem> {
    let world = World::new(seed, 2)
        .await
        .map_err(|error| Problem::because(Exit::Failure, "the endpoints cannot be bound", &error))?;
    let watch = Watch::start(&world);
    let mut dealers = [0, 1].map(|me| Dealer::new(seed, me, 2));
    let gauge = Gauge::new(output, "leaks", cycles);
    let warm_up = ((cycles as f64 * WARM_UP) as u64).max(1);
    let every = ((cycles - warm_up) / SAMPLES).max(BETWEEN);
    let (mut restarts, mut warm, mut last) = (0, None, Footprint::default());
    let mut samples = Vec::new();
    for cycle in 1..=cycles {
        connected(&world).await;
        if cycle == warm_up || cycle == cycles || (cycle > warm_up && (cycle - warm_up).is_multiple_of(every)) {
            // The sample is taken with a connection that has carried nothing yet, because buffers keep the size
            // that they once had.
            settle::quiet(&world).await;
            settle::close_books(&world).await;
            let base = *warm.get_or_insert(settled().await);
            until(QUIET, || Footprint::now().tasks <= base.tasks).await;
            last = Footprint::now();
            samples.push((cycle, last.heap));
            gauge.show(cycle, &format!("{} kB of heap", last.heap / 1000));
        }
        talk(&world, &mut dealers, cycle).await;
        settle::quiet(&world).await;
        if cycle % restart_every == 0 {
            let fate = [Fate::ShutDownInTime, Fate::ShutDownNow, Fate::DropEndpoint][restarts as usize % 3];
            fate::restart(&world, FATE, blow(fate, (restarts / 3) as usize % 2)).await;
            restarts += 1;
        } else {
            fate::close(&world, FATE, blow(Fate::Close, cycle as usize % 2)).await;
        }
        if world.tally.violations().1 > 0 {
            break;
        }
    }
    gauge.clear();
    let warm: Footprint = warm.unwrap_or_default();
    settle::settle(&world).await;
    drop(watch);
    let mut failures: Vec<_> = world
        .tally
        .violations()
        .0
        .into_iter()
        .map(|Violation { plan, seen, .. }| format!("{seen}; the plan: {plan}"))
        .collect();
    let events = cycles * 2 * ORDERS as u64;
    let actions = world.tally.actions();
    if failures.is_empty() {
        let mut floors = tally::floors(events as f64, 0.0, 1);
        floors.retain(|action, _| !action.of_fates());
        failures.extend(tally::too_few(&floors, &actions));
        failures.extend(left(&warm, &last));
        failures.extend(slope::grows(&samples, restart_every));
    }
    Ok(Summary {
        seed,
        cycles,
        restarts,
        events,
        actions,
        heap_per_cycle: slope::slope(&samples),
        heap: [samples.first(), samples.last()].map(|sample| sample.map_or(0, |(_, heap)| *heap)),
        resident: warm.resident.zip(last.resident).map(|(first, last)| [first, last]),
        tasks: [warm.tasks, last.tasks, 0],
        files: warm.files.zip(last.files).map(|(first, last)| [first, last, 0]),
        failures,
        ..Summary::default()
    })
}

fn blow(fate: Fate, place: usize) -> Blow {
    Blow { fate, place, other: 1 - place, hold_ms: 0 }
}

/// Waits until each endpoint reaches the other. From then on only planned outcomes are legal.
async fn connected(world: &World) {
    for (from, to) in [(0, 1), (1, 0)] {
        while recovery::recover(world, from, to).await == Recovery::Void {}
    }
}

async fn talk(world: &Arc<World>, dealers: &mut [Dealer; 2], cycle: u64) {
    let mut orders = JoinSet::new();
    for n in 0..ORDERS as u64 {
        for (me, dealer) in dealers.iter_mut().enumerate() {
            let (world, order) = (Arc::clone(world), dealer.order().brisk(WAIT_MS));
            orders.spawn(async move {
                talk::carry_out(&world, me, number_of(me, cycle * ORDERS as u64 + n), order).await;
            });
        }
    }
    while let Some(ended) = orders.join_next().await {
        if let Err(error) = ended {
            world.tally.wrong(None, "an order", error.to_string());
        }
    }
}

/// Waits until the number of tasks does not fall any more.
async fn settled() -> Footprint {
    let mut least = Footprint::now();
    while until(QUIET / 10, || Footprint::now().tasks < least.tasks).await {
        least = Footprint::now();
    }
    Footprint::now()
}

fn table(summary: &Summary) -> String {
    let Summary { seed, cycles, restarts, events, heap_per_cycle, heap, tasks, files, failures, ms, .. } = summary;
    let mut lines = vec![
        format!("heap      {} -> {} bytes, {heap_per_cycle:+.1} a cycle", heap[0], heap[1]),
        format!("tasks     {} -> {} -> {}", tasks[0], tasks[1], tasks[2]),
    ];
    lines.extend(files.map(|files| format!("files     {} -> {} -> {}", files[0], files[1], files[2])));
    lines.extend(failures.iter().map(|failure| format!("FAILED: {failure}")));
    let verdict = if summary.ok { "nothing stays behind" } else { "FAILED" };
    lines.push(format!(
        "{verdict}: seed {seed}, {cycles} connections, {events} orders, {restarts} restarts, in {:.1} s",
        *ms as f64 / 1000.0
    ));
    lines.join("\n")
}
