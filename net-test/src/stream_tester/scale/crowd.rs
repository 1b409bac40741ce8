//! `stream-tester scale`: many endpoints in one process, each with a few peers.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use twolane::{Endpoint, Ticket};

use super::{
    EXIT_CODES,
    footprint::{Footprint, Panics},
    say::{Gauge, Last, announce},
};
use crate::{
    cli::{self, Problem},
    exit::Exit,
    output::{Output, in_one_line},
    signals::Signals,
    stream_tester::report::milliseconds,
};

/// The number of endpoints that work at a time. If all worked at once, they would wait for each other, and time out
/// on two cores.
const AT_ONCE: usize = 64;
/// Maximum time for a step of one endpoint while [`AT_ONCE`] endpoints work.
const PATIENCE: Duration = Duration::from_secs(30);
/// Maximum time until the last tasks and sockets are gone.
const AFTERWARDS: Duration = Duration::from_secs(30);
/// The number of open files allowed for each endpoint. Two were measured: the UDP socket, and the socket by which
/// the system reports changes of its networks.
const FILES_EACH: u64 = 4;
/// The number of open files allowed for the rest of the process.
const FILES_BESIDE: u64 = 64;

const PROTOCOL: &str = "scale/1";

const EXAMPLES: &str = "\
Examples:
  stream-tester scale
  stream-tester scale --endpoints 200 --peers 8 --json

Endpoints stand in a ring; each is connected to its next neighbours on both sides.
With --json the last line is the summary: {\"event\":\"summary\",\"ok\":…,\"start_ms\":…,…}.
";

/// Start many endpoints, connect each to a few others, have them talk, and shut them down
#[derive(Debug, Clone, clap::Args)]
#[command(max_term_width = 100, after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub struct Args {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(3..=50_000))]
    endpoints: u32,

    /// Peers of each: an even number, and fewer than endpoints
    #[arg(long, value_name = "P", default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    peers: u32,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub ok: bool,
    pub endpoints: usize,
    /// The number of peers of each endpoint.
    pub peers: usize,
    pub start_ms: u64,
    pub connect_ms: u64,
    /// The time for one request of each endpoint to each of its peers, over the existing connections.
    pub talk_ms: u64,
    pub shutdown_ms: u64,
    /// The heap of an endpoint without peers, in bytes.
    pub heap_per_endpoint: u64,
    /// The heap of one end of a connection after use, in bytes.
    pub heap_per_peer: u64,
    /// Resident memory, in bytes. `null` if the system does not report it.
    pub resident_per_endpoint: Option<u64>,
    pub resident_per_peer: Option<u64>,
    /// The number of tasks before the run, with all endpoints connected, and after the run.
    pub tasks: [usize; 3],
    /// The number of open files and sockets at the same points as `tasks`. `null` if the system does not list them.
    pub files: Option<[usize; 3]>,
    pub failures: Vec<String>,
    pub failed: usize,
}

/// The number of failures whose text is kept.
const KEPT: usize = 20;

pub fn main(args: Args) -> ExitCode {
    let output = Output::new(args.json, false);
    announce(output, cli::drive(|signals| run(args, output, signals)))
}

async fn run(args: Args, output: Output, signals: Signals) -> Result<Last<Summary>, Problem> {
    if !args.peers.is_multiple_of(2) || args.peers >= args.endpoints {
        return Err(Problem::new(Exit::Usage, "--peers takes an even number below that of endpoints"));
    }
    room_for(u64::from(args.endpoints) * FILES_EACH + FILES_BESIDE)?;
    let (before, panics) = (Footprint::now(), Panics::watch());
    let measuring = Box::pin(measure(args.endpoints as usize, args.peers as usize, before, output));
    let mut summary = tokio::select! {
        exit = signals.asked() => return Err(Problem::new(exit, exit.kind())),
        measured = measuring => measured,
    };
    summary.fail(before.returns(AFTERWARDS).await);
    if panics.count() > 0 {
        summary.fail([format!("there were {} panics", panics.count())]);
    }
    let after = Footprint::now();
    summary.tasks[2] = after.tasks;
    if let (Some(files), Some(now)) = (&mut summary.files, after.files) {
        files[2] = now;
    }
    summary.ok = summary.failed == 0;
    Ok(Last { ok: summary.ok, table: table(&summary), event: summary })
}

fn room_for(files: u64) -> Result<(), Problem> {
    match rlimit::increase_nofile_limit(files) {
        Ok(limit) if limit >= files => Ok(()),
        Ok(limit) => {
            let advice = "raise the limit (ulimit -Hn), or ask for fewer endpoints";
            Err(Problem::new(
                Exit::Failure,
                format!("{files} open files are needed, and {limit} are allowed: {advice}"),
            ))
        }
        Err(error) => Err(Problem::because(Exit::Failure, "the limit of open files cannot be raised", &error)),
    }
}

async fn measure(count: usize, peers: usize, before: Footprint, output: Output) -> Summary {
    let mut summary = Summary { endpoints: count, peers, ..Summary::default() };
    let gauge = Gauge::new(output, "scale", 4);
    gauge.show(0, "starting");
    let started = Instant::now();
    let endpoints = Arc::new(summary.keep(each(count, |_| start()).await));
    summary.start_ms = milliseconds(started.elapsed());
    if endpoints.len() < count {
        // A ring with gaps would show nothing.
        return summary;
    }
    let bound = Footprint::now();

    gauge.show(1, "connecting");
    let (started, tickets) = (Instant::now(), Arc::new(endpoints.iter().map(Endpoint::ticket).collect::<Vec<_>>()));
    let ahead = move |n: usize| (1..=peers / 2).map(move |step| (n + step) % count);
    summary.ask_all(&endpoints, &tickets, move |n| ahead(n).collect()).await;
    summary.connect_ms = milliseconds(started.elapsed());

    gauge.show(2, "talking");
    let started = Instant::now();
    let behind = move |n: usize| (1..=peers / 2).map(move |step| (n + count - step) % count);
    summary.ask_all(&endpoints, &tickets, move |n| ahead(n).chain(behind(n)).collect()).await;
    summary.talk_ms = milliseconds(started.elapsed());
    let talked = Footprint::now();
    let connections: Vec<Vec<usize>> =
        endpoints.iter().map(|endpoint| endpoint.peers().iter().map(|peer| peer.connections).collect()).collect();
    summary.fail(connections.iter().enumerate().filter_map(|(n, found)| misfit(n, found, peers)));

    gauge.show(3, "shutting down");
    let started = Instant::now();
    let ending = Arc::clone(&endpoints);
    let ended = each(count, move |n| shut_down(ending[n].clone())).await;
    summary.keep(ended);
    summary.shutdown_ms = milliseconds(started.elapsed());
    gauge.clear();

    let ends = count * peers;
    summary.heap_per_endpoint = bound.heap.saturating_sub(before.heap) / count as u64;
    summary.heap_per_peer = talked.heap.saturating_sub(bound.heap) / ends as u64;
    let resident = |from: Footprint, to: Footprint, by: usize| {
        from.resident.zip(to.resident).map(|(from, to)| to.saturating_sub(from) / by as u64)
    };
    summary.resident_per_endpoint = resident(before, bound, count);
    summary.resident_per_peer = resident(bound, talked, ends);
    summary.tasks = [before.tasks, talked.tasks, 0];
    summary.files = before.files.zip(talked.files).map(|(before, talked)| [before, talked, 0]);
    summary
}

fn misfit(n: usize, connections: &[usize], peers: usize) -> Option<String> {
    let fits = connections.len() == peers && connections.iter().all(|connections| *connections == 1);
    (!fits).then(|| format!("endpoint {n} is to have {peers} peers with one connection each, and has {connections:?}"))
}

/// Runs a step for every endpoint, for [`AT_ONCE`] endpoints at a time.
async fn each<T, F>(count: usize, step: impl Fn(usize) -> F) -> Vec<Result<T, String>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for n in 0..count {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let step = step(n);
        tasks.spawn(async move {
            let ended = timeout(PATIENCE, step).await;
            drop(place);
            ended.unwrap_or_else(|_| Err(format!("endpoint {n}: a step took longer than {PATIENCE:?}")))
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(ended) = tasks.join_next().await {
        all.push(ended.unwrap_or_else(|error| Err(error.to_string())));
    }
    all
}

async fn start() -> Result<Endpoint, String> {
    let endpoint = Endpoint::builder().offline().bind().await.map_err(|error| in_one_line(&error))?;
    endpoint
        .serve_requests(PROTOCOL, |request| async move { Ok(request.body) })
        .map_err(|error| in_one_line(&error))?;
    Ok(endpoint)
}

async fn ask(from: Endpoint, to: Vec<Ticket>) -> Result<(), String> {
    for ticket in to {
        let body = from.id().to_bytes().to_vec();
        let answer =
            from.request(ticket, PROTOCOL, body.clone(), PATIENCE).await.map_err(|error| in_one_line(&error))?;
        if answer != body {
            return Err("a response is not what was sent".into());
        }
    }
    Ok(())
}

async fn shut_down(endpoint: Endpoint) -> Result<(), String> {
    let report = endpoint.shutdown(PATIENCE / 2).await;
    let clean = (report.cut, report.silent, report.tasks_left) == (0, 0, 0);
    if clean { Ok(()) } else { Err(format!("a shutdown with nothing under way: {report:?}")) }
}

impl Summary {
    async fn ask_all(
        &mut self,
        endpoints: &Arc<Vec<Endpoint>>,
        tickets: &Arc<Vec<Ticket>>,
        whom: impl Fn(usize) -> Vec<usize>,
    ) {
        let asked = each(endpoints.len(), |n| {
            ask(endpoints[n].clone(), whom(n).into_iter().map(|n| tickets[n].clone()).collect())
        });
        let asked = asked.await;
        self.keep(asked);
    }

    fn keep<T>(&mut self, all: Vec<Result<T, String>>) -> Vec<T> {
        let mut good = Vec::with_capacity(all.len());
        for one in all {
            match one {
                Ok(one) => good.push(one),
                Err(failure) => self.fail([failure]),
            }
        }
        good
    }

    fn fail(&mut self, failures: impl IntoIterator<Item = String>) {
        for failure in failures {
            self.failed += 1;
            if self.failures.len() < KEPT {
                self.failures.push(failure);
            }
        }
    }
}

fn table(summary: &Summary) -> String {
    let Summary { endpoints, peers, start_ms, connect_ms, talk_ms, shutdown_ms, .. } = summary;
    let mut lines = vec![
        format!("start        {start_ms:>7} ms"),
        format!("connect      {connect_ms:>7} ms"),
        format!("talk         {talk_ms:>7} ms"),
        format!("shut down    {shutdown_ms:>7} ms"),
        format!("heap         {:>7} bytes an endpoint, {} a peer", summary.heap_per_endpoint, summary.heap_per_peer),
    ];
    if let (Some(endpoint), Some(peer)) = (summary.resident_per_endpoint, summary.resident_per_peer) {
        lines.push(format!("resident     {endpoint:>7} bytes an endpoint, {peer} a peer"));
    }
    let [before, with, after] = summary.tasks;
    lines.push(format!("tasks        {before} -> {with} -> {after}"));
    if let Some([before, with, after]) = summary.files {
        lines.push(format!("files        {before} -> {with} -> {after}"));
    }
    lines.extend(summary.failures.iter().map(|failure| format!("FAILED: {failure}")));
    let verdict = if summary.ok { "all of it held" } else { "FAILED" };
    lines.push(format!("{verdict}: {endpoints} endpoints with {peers} peers each, {} failures", summary.failed));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_with_other_peers_or_two_connections_to_one_is_found() {
        assert_eq!(misfit(0, &[1, 1], 2), None);
        for wrong in [&[1][..], &[1, 1, 1], &[1, 2], &[]] {
            assert!(misfit(0, wrong, 2).is_some());
        }
    }

    #[test]
    fn of_many_failures_some_are_kept_and_all_are_counted() {
        let mut summary = Summary::default();
        summary.fail((0..100).map(|n| n.to_string()));
        assert_eq!((summary.failures.len(), summary.failed), (KEPT, 100));
    }

    #[tokio::test]
    async fn a_step_that_fails_or_breaks_is_one_failure() {
        let all = each(3, |n| async move {
            match n {
                0 => Ok(()),
                1 => Err("no".to_owned()),
                _ => panic!("this panic is part of the test"),
            }
        });
        assert_eq!(Summary::default().keep(all.await).len(), 1);
    }

    #[test]
    fn more_files_than_may_be_open_are_said_to_be_too_many() {
        let problem = room_for(u64::MAX / 2).unwrap_err();
        assert!(problem.message.contains("open files"), "{}", problem.message);
    }
}
