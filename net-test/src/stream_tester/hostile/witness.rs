//! The measured process, and both ends of the pipe to it. The process contains the endpoint under attack and the
//! honest peers.

use std::{
    env, fmt, fs,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use cpu_time::ProcessTime;
use peak_alloc::PeakAlloc;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{interval, timeout},
};
use twolane::{Limits, Ticket};

use super::{
    honest::{Honest, Requests},
    scenes::Scene,
    tally::Counts,
    victim::Victim,
};
use crate::{cli::Problem, exit::Exit, report::print, signals::Signals, stream_tester::scale::footprint::Panics};

/// Maximum time for the start of the process, which takes 30 ms, and for an answer, which takes under 1 ms.
const PATIENCE: Duration = Duration::from_secs(20);
const SHUTDOWN: Duration = Duration::from_secs(1);
/// The period of looks at the clock and at the peer table.
const TICK: Duration = Duration::from_millis(5);

/// The observations since the last look.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Look {
    pub seconds: f64,
    /// The processor time of the process, in seconds.
    pub cpu: f64,
    /// The requests of the honest peer that stays connected.
    pub stays: Requests,
    /// The requests of the newcomer.
    pub comes: Requests,
    /// The time for which the threads of the process were ready and had no processor, in seconds.
    pub waited: f64,
    /// The longest delay with which a sleeping thread was woken, in milliseconds.
    pub late_ms: f64,
    /// The current size of the heap in bytes.
    pub heap: u64,
    pub heap_peak: u64,
    /// The maximum number of connected peers.
    pub peers: u64,
    /// The number of panics since the start.
    pub panics: u64,
    /// Whether the honest peer's connection has been replaced since the start.
    pub reconnected: bool,
    /// The endpoint's counts since the start.
    pub seen: Counts,
}

/// The measured process, as seen from the process that started it. Dropping it kills the process.
pub struct Witness {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pub ticket: Ticket,
}

impl Witness {
    /// Starts the process. Returns once the endpoint is bound and the honest peers are connected.
    pub async fn start(scene: &Scene) -> Result<Self, Problem> {
        let failed = |error: &dyn fmt::Display| Problem::new(Exit::Failure, format!("no process to attack: {error}"));
        let mut process = Command::new(env::current_exe().map_err(|error| failed(&error))?)
            .args(["hostile", "--witness", scene.name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error))?;
        let (Some(orders), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(failed(&"it has no pipes"));
        };
        let mut answers = BufReader::new(answers).lines();
        let ticket = line(&mut answers).await?.parse().map_err(|error| failed(&error))?;
        Ok(Self { process, orders, answers, ticket })
    }

    pub async fn look(&mut self) -> Result<Look, Problem> {
        let unwritten = |error: &dyn fmt::Display| Problem::new(Exit::Failure, format!("the process is gone: {error}"));
        self.orders.write_all(b"\n").await.map_err(|error| unwritten(&error))?;
        serde_json::from_str(&line(&mut self.answers).await?).map_err(|error| unwritten(&error))
    }

    /// Ends the process, and returns the fault if it did not end in order.
    pub async fn end(mut self) -> Option<String> {
        drop(self.orders);
        match timeout(PATIENCE, self.process.wait()).await {
            Ok(Ok(status)) if status.success() => None,
            Ok(Ok(status)) => Some(format!("the process under attack ended with {status}")),
            Ok(Err(error)) => Some(format!("the end of the process under attack is not known: {error}")),
            Err(_) => Some(format!("the process under attack did not end within {PATIENCE:?}")),
        }
    }
}

async fn line(answers: &mut Lines<BufReader<ChildStdout>>) -> Result<String, Problem> {
    let problem = |words: String| Problem::new(Exit::Failure, format!("the process under attack {words}"));
    let line = timeout(PATIENCE, answers.next_line()).await;
    let line = line.map_err(|_| problem(format!("did not answer within {PATIENCE:?}")))?;
    line.map_err(|error| problem(format!("cannot be read: {error}")))?.ok_or_else(|| problem("has ended".to_owned()))
}

/// Runs the measured process. It answers each line of standard input until the input ends.
pub async fn testify(scene: &Scene, signals: Signals) -> Result<Exit, Problem> {
    let panics = Panics::watch();
    let mut victim = Victim::start((scene.limits)(Limits::default())).await?;
    let honest = Honest::start(&victim.endpoint.ticket()).await?;
    if scene.bait {
        victim.bait([*honest.id().as_bytes(), honest.newcomer()]);
    }
    let (late, peers) = (lateness(), Arc::new(AtomicU64::new(0)));
    let (endpoint, most) = (victim.endpoint.clone(), Arc::clone(&peers));
    let watching = tokio::spawn(async move {
        let mut tick = interval(TICK);
        loop {
            tick.tick().await;
            most.fetch_max(endpoint.peers().len() as u64, Relaxed);
        }
    });
    print(&victim.endpoint.ticket().to_string());
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let (mut asked, mut cpu, mut waited_before) = (Instant::now(), ProcessTime::now(), waited());
    loop {
        let order = tokio::select! {
            exit = signals.asked() => return Ok(exit),
            order = orders.next_line() => order,
        };
        // The process that started this one has exited, or is done.
        let Ok(Some(_)) = order else { break };
        let (stays, comes) = honest.look();
        let look = Look {
            seconds: asked.elapsed().as_secs_f64(),
            cpu: cpu.elapsed().as_secs_f64(),
            waited: (waited() - waited_before).max(0.0),
            stays,
            comes,
            late_ms: late.swap(0, Relaxed) as f64 / 1e3,
            heap: PeakAlloc.current_usage() as u64,
            heap_peak: PeakAlloc.peak_usage() as u64,
            peers: peers.swap(0, Relaxed),
            panics: panics.count(),
            reconnected: !honest.is_undisturbed(&victim.endpoint),
            seen: victim.counts(),
        };
        PeakAlloc.reset_peak_usage();
        (asked, cpu, waited_before) = (Instant::now(), ProcessTime::now(), waited());
        let text = serde_json::to_string(&look)
            .map_err(|error| Problem::because(Exit::Failure, "the answer cannot be written", &error))?;
        print(&text);
    }
    watching.abort();
    honest.end(SHUTDOWN).await;
    victim.endpoint.shutdown(SHUTDOWN).await;
    Ok(Exit::Done)
}

/// Measures the longest delay with which a separate thread was woken, in microseconds. A blocked runtime does not
/// delay this thread. A machine that has no processor time for this process does.
fn lateness() -> Arc<AtomicU64> {
    let worst = Arc::new(AtomicU64::new(0));
    let seen = Arc::downgrade(&worst);
    thread::spawn(move || {
        while let Some(worst) = seen.upgrade() {
            let before = Instant::now();
            thread::sleep(TICK);
            let late = before.elapsed().saturating_sub(TICK);
            worst.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Relaxed);
        }
    });
    worst
}

/// Returns the time for which the threads of this process were ready and had no processor, in seconds. It is 0 if
/// unknown.
fn waited() -> f64 {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}
