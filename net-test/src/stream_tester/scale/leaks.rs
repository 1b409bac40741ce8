//! `stream-tester leaks`: connect, talk, close, over and over, and look at what is left.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use twolane::{Endpoint, SecretKey, Ticket};

use super::{
    EXIT_CODES,
    footprint::{Footprint, Panics, until},
    say::{Gauge, Last, announce},
    slope,
};
use crate::{
    cli::{self, Problem},
    exit::Exit,
    output::{Output, in_one_line},
    signals::Signals,
    stream_tester::{pattern, report::milliseconds},
};

/// What is sent there and back in a cycle: more than one packet.
const MESSAGE: usize = 5_000;
/// The first part of the cycles, in which tables and pools reach their size.
const WARM_UP: f64 = 0.2;
/// How often the heap is looked at, after the warm-up: enough for a line through them.
const SAMPLES: u64 = 20;
/// Cycles between two looks at least: before each the last connection has to be forgotten, which takes a second.
const BETWEEN: u64 = 5;
/// No step of a cycle takes longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time for a closed connection to be forgotten: QUIC keeps it for three times its timeout for lost packets.
const QUIET: Duration = Duration::from_secs(10);

const PROTOCOL: &str = "leaks/1";

const EXAMPLES: &str = "\
Examples:
  stream-tester leaks
  stream-tester leaks --cycles 100000 --json

With --json the last line is the summary: {\"event\":\"summary\",\"ok\":…,\"heap_per_cycle\":…,…}.
";

/// Connect, exchange data, close, and see that nothing stays behind
#[derive(Debug, Clone, clap::Args)]
#[command(max_term_width = 100, after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub struct Args {
    /// How often
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(20..))]
    cycles: u64,

    /// Restart the client in one cycle of so many, with its key: the server keeps what it knows of the key
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    restart_every: u64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,
}

/// The last line of `--json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// All of it held.
    pub ok: bool,
    /// Connections that were made and closed.
    pub cycles: u64,
    /// Clients that were shut down and started again.
    pub restarts: u64,
    /// By how much the heap grew, in bytes a cycle, by least squares after the warm-up.
    pub heap_per_cycle: f64,
    /// The heap after the warm-up and at the end, in bytes.
    pub heap: [u64; 2],
    /// Resident memory at the same moments; `null` where the system does not tell.
    pub resident: Option<[u64; 2]>,
    /// Tasks after the warm-up, at the end, and when both endpoints were gone.
    pub tasks: [usize; 3],
    /// Open files and sockets at the same moments; `null` where they cannot be counted.
    pub files: Option<[usize; 3]>,
    /// What did not hold.
    pub failures: Vec<String>,
    /// How long all of it took.
    pub ms: u64,
}

pub(in crate::stream_tester) fn main(args: Args) -> ExitCode {
    let output = Output::new(args.json, false);
    announce(output, cli::drive(|signals| run(args, output, signals)))
}

async fn run(args: Args, output: Output, signals: Signals) -> Result<Last<Summary>, Problem> {
    let (started, panics, before) = (Instant::now(), Panics::watch(), Footprint::now());
    let measuring = Box::pin(measure(args.cycles, args.restart_every, output));
    let (mut summary, warm) = tokio::select! {
        exit = signals.asked() => return Err(Problem::new(exit, exit.kind())),
        measured = measuring => measured.map_err(|error| Problem::new(Exit::Failure, error))?,
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
    Ok(Last { ok: summary.ok, table: table(&summary, &warm), event: summary })
}

/// Runs the cycles. The footprint is that after the warm-up.
async fn measure(cycles: u64, restart_every: u64, output: Output) -> Result<(Summary, Footprint), String> {
    let server = endpoint(None).await?;
    server
        .serve(PROTOCOL, |mut stream| async move {
            while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX).await {
                if stream.write_chunk(chunk).await.is_err() {
                    return;
                }
            }
            let _ = stream.finish();
        })
        .map_err(|error| in_one_line(&error))?;
    let (ticket, key) = (server.ticket(), SecretKey::generate());
    let mut client = endpoint(Some(&key)).await?;
    let gauge = Gauge::new(output, "leaks", cycles);
    let warm_up = ((cycles as f64 * WARM_UP) as u64).max(1);
    let every = ((cycles - warm_up) / SAMPLES).max(BETWEEN);
    let (mut restarts, mut warm, mut last) = (0, None, Footprint::default());
    let (mut samples, mut failures) = (Vec::new(), Vec::new());
    for cycle in 1..=cycles {
        one(&client, &ticket).await.map_err(|error| format!("cycle {cycle}: {error}"))?;
        if cycle % restart_every == 0 {
            bounded("a shutdown", client.shutdown(PATIENCE)).await?;
            client = endpoint(Some(&key)).await?;
            restarts += 1;
        }
        if cycle == warm_up || cycle == cycles || (cycle > warm_up && (cycle - warm_up).is_multiple_of(every)) {
            // The client of this cycle has met the server, as at every other sample.
            one(&client, &ticket).await.map_err(|error| format!("cycle {cycle}: {error}"))?;
            let base = *warm.get_or_insert(settled().await);
            until(QUIET, || Footprint::now().tasks <= base.tasks).await;
            last = Footprint::now();
            samples.push((cycle, last.heap));
            gauge.show(cycle, &format!("{} kB of heap", last.heap / 1000));
        }
    }
    gauge.clear();
    let warm = warm.unwrap_or_default();
    failures.extend(warm.returns(QUIET).await);
    failures.extend(slope::grows(&samples, restart_every));
    for endpoint in [client, server] {
        bounded("the last shutdown", endpoint.shutdown(PATIENCE)).await?;
    }
    let summary = Summary {
        cycles,
        restarts,
        heap_per_cycle: slope::slope(&samples),
        heap: [samples.first(), samples.last()].map(|sample| sample.map_or(0, |(_, heap)| *heap)),
        resident: warm.resident.zip(last.resident).map(|(first, last)| [first, last]),
        tasks: [warm.tasks, last.tasks, 0],
        files: warm.files.zip(last.files).map(|(first, last)| [first, last, 0]),
        failures,
        ..Summary::default()
    };
    Ok((summary, warm))
}

/// One connection: data there and back, and a close.
async fn one(client: &Endpoint, server: &Ticket) -> Result<(), String> {
    let message = pattern::bytes(1, MESSAGE);
    let mut stream =
        bounded("get_stream", client.get_stream(server, PROTOCOL)).await?.map_err(|error| in_one_line(&error))?;
    let exchange = async {
        stream.write_all(&message).await.map_err(|error| in_one_line(&error))?;
        stream.finish().map_err(|error| in_one_line(&error))?;
        stream.read_to_end(MESSAGE).await.map_err(|error| in_one_line(&error))
    };
    if bounded("the exchange", exchange).await?? != message {
        return Err("what came back is not what was sent".into());
    }
    drop(stream);
    let connection = bounded("connect", client.connect(server)).await?.map_err(|error| in_one_line(&error))?;
    connection.close("the cycle ends");
    bounded("the close", connection.closed()).await
}

/// What the process holds once it holds no less any more.
async fn settled() -> Footprint {
    let mut least = Footprint::now();
    while until(QUIET / 10, || Footprint::now().tasks < least.tasks).await {
        least = Footprint::now();
    }
    Footprint::now()
}

async fn endpoint(key: Option<&SecretKey>) -> Result<Endpoint, String> {
    let builder = key.into_iter().fold(Endpoint::builder().offline(), |builder, key| builder.secret_key(key.clone()));
    builder.bind().await.map_err(|error| in_one_line(&error))
}

async fn bounded<T>(what: &str, step: impl Future<Output = T>) -> Result<T, String> {
    timeout(PATIENCE, step).await.map_err(|_| format!("{what} took longer than {PATIENCE:?}"))
}

fn table(summary: &Summary, warm: &Footprint) -> String {
    let Summary { cycles, restarts, heap_per_cycle, heap, tasks, failures, ms, .. } = summary;
    let files = summary.files.map_or_else(String::new, |files| format!("{} -> {} -> {}", files[0], files[1], files[2]));
    let mut lines = vec![
        format!("heap      {} -> {} bytes, {heap_per_cycle:+.1} a cycle", heap[0], heap[1]),
        format!("tasks     {} -> {} -> {}", warm.tasks, tasks[1], tasks[2]),
        format!("files     {files}"),
    ];
    lines.extend(failures.iter().map(|failure| format!("FAILED: {failure}")));
    let verdict = if summary.ok { "nothing stays behind" } else { "FAILED" };
    lines.push(format!("{verdict}: {cycles} connections, {restarts} restarts, in {:.1} s", *ms as f64 / 1000.0));
    lines.join("\n")
}
