//! `stream-tester run`: runs the cases one after the other.

use std::{
    pin::pin,
    process::ExitCode,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use clap::builder::PossibleValuesParser;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use twolane::{Endpoint, GetStreamError, Ticket};

use super::{
    EXIT_CODES, KEY, acceptor,
    cases::{CASES, Case},
    report::{self, Event, Report, Verdict, milliseconds},
    role::Step,
    tester::{Along, Fault, Tester},
};
use crate::{
    cli::{self, Net, Problem},
    exit::Exit,
    output::{Output, in_one_line},
    progress::Bar,
    signals::Signals,
};

/// The interval in which a long case shows progress.
const TICK: Duration = Duration::from_millis(200);
/// Maximum time for the shutdown. It is short, because every case has waited for everything that it started.
const SHUTDOWN: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  stream-tester run
  stream-tester run --list
  stream-tester run --only lines json --json
  stream-tester run --offline --against 'endpointab…'

A case that fails does not stop the others. With --json there is one object a line for each case, and the
last is the summary: {\"event\":\"summary\",\"passed\":…,\"failed\":…}. A ticket is what `stream-tester serve` prints.
A key can also be in the environment variable STREAM_TESTER_KEY (64 hexadecimal digits).
";

/// Drive every case, against a second endpoint in this process or a `serve` in another
#[derive(Debug, clap::Args)]
#[command(max_term_width = 100, after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub struct Args {
    /// The other side: the ticket of a `stream-tester serve`. Default: a second endpoint in this process
    #[arg(long, value_name = "TICKET")]
    against: Option<String>,

    /// Only these cases
    #[arg(long, value_name = "NAME", num_args = 1.., hide_possible_values = true,
          value_parser = PossibleValuesParser::new(CASES.iter().map(|case| case.name)))]
    only: Vec<String>,

    /// Print the names of the cases and what each shows, and end
    #[arg(long)]
    list: bool,

    /// Seconds to find the other side and connect to it
    #[arg(long, value_name = "S", default_value_t = 15.0)]
    timeout: f64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    net: Net,
}

pub fn main(args: Args) -> ExitCode {
    let output = Output::new(args.json, false);
    let cases: Vec<&Case> = CASES.iter().filter(|case| args.wants(case)).collect();
    let report = Report::new(output, cases.iter().map(|case| case.name.len()).max().unwrap_or_default());
    if args.list {
        list(&cases, report);
        return Exit::Done.into();
    }
    match cli::drive(|signals| run(args, cases, report, signals)) {
        Ok(exit) => exit.into(),
        Err(problem) => report::failed(output, problem),
    }
}

impl Args {
    fn wants(&self, case: &Case) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == case.name)
    }
}

fn list(cases: &[&Case], report: Report) {
    for Case { name, sentence, .. } in cases {
        if report.output().is_json() {
            report.event(Event::Listed { name: (*name).into(), sentence: (*sentence).into() });
        } else {
            report::print(&format!("{name}: {sentence}"));
        }
    }
}

async fn run(args: Args, cases: Vec<&'static Case>, report: Report, signals: Signals) -> Result<Exit, Problem> {
    let bound = Duration::try_from_secs_f64(args.timeout)
        .ok()
        .filter(|bound| !bound.is_zero())
        .ok_or_else(|| Problem::new(Exit::Usage, "--timeout takes a number of seconds above 0"))?;
    let ticket = match &args.against {
        Some(text) => {
            let ticket: Result<Ticket, _> = text.parse();
            Some(ticket.map_err(|error| Problem::because(Exit::Usage, "the ticket cannot be used", &error))?)
        }
        None => None,
    };
    let builder = if ticket.is_some() { args.net.builder(KEY)? } else { Endpoint::builder().offline() };
    let endpoint = builder.limits(Tester::limits(bound)).bind().await.map_err(|error| unbound(&error))?;
    let (peer, other) = match ticket {
        Some(ticket) => (ticket, None),
        None => {
            let other = Endpoint::builder().offline().limits(acceptor::limits()).bind().await;
            let other = other.map_err(|error| unbound(&error))?;
            acceptor::serve(&other)
                .await
                .map_err(|error| Problem::because(Exit::Failure, "nothing can be served", &error))?;
            (other.ticket(), Some(other))
        }
    };
    let runner = Runner::new(Arc::new(Tester::new(endpoint.clone(), peer)), report, signals);
    let result = runner.all(&cases).await;
    let _ = timeout(SHUTDOWN, endpoint.shutdown(SHUTDOWN)).await;
    if let Some(other) = other {
        let _ = timeout(SHUTDOWN, other.shutdown(SHUTDOWN)).await;
    }
    Ok(if result?.iter().all(|verdict| verdict.ok) { Exit::Done } else { Exit::Failure })
}

pub(super) struct Runner {
    tester: Arc<Tester>,
    report: Report,
    signals: Signals,
}

impl Runner {
    pub(super) fn new(tester: Arc<Tester>, report: Report, signals: Signals) -> Self {
        Self { tester, report, signals }
    }

    pub(super) async fn all(&self, cases: &[&'static Case]) -> Result<Vec<Verdict>, Problem> {
        self.connect().await?;
        let (started, output) = (Instant::now(), self.report.output());
        self.report.event(Event::Start {
            id52: self.tester.endpoint.id52(),
            peer: self.tester.peer.peer().to_string(),
            cases: cases.len(),
        });
        self.report.head();
        let mut verdicts = Vec::new();
        for (n, case) in cases.iter().enumerate() {
            let verdict = self.one(case, &format!("case {} of {}", n + 1, cases.len())).await?;
            output.say(format_args!("{}", self.report.row(&verdict)));
            self.report.event(Event::Case(verdict.clone()));
            verdicts.push(verdict);
        }
        let passed = verdicts.iter().filter(|verdict| verdict.ok).count();
        let failed = verdicts.len() - passed;
        let took = started.elapsed();
        output.say(format_args!("{passed} held, {failed} failed, in {:.1} s", took.as_secs_f64()));
        self.report.event(Event::Summary { passed, failed, ms: milliseconds(took) });
        Ok(verdicts)
    }

    /// Checks that the other side can be reached and is a tester.
    async fn connect(&self) -> Result<(), Problem> {
        let peer = &self.tester.peer;
        let unusable = |error: GetStreamError| {
            let exit = Exit::from(&error);
            let advice = match exit {
                Exit::Refused => "; is the ticket that of a `stream-tester serve`, of the same version?",
                _ => "",
            };
            let message = format!("{} cannot be tested against: {}{advice}", peer.peer(), in_one_line(&error));
            Problem::new(exit, message)
        };
        let ready = async {
            let dialled = self.tester.endpoint.connect(peer).await;
            dialled.map_err(|source| unusable(GetStreamError::Dial { peer: peer.peer(), source }))?;
            match self.tester.open(vec![Step::Finish], Along { unreported: true, ..Along::default() }).await {
                Ok(_) => Ok(()),
                Err(Fault::Open(error)) => Err(unusable(error)),
                Err(fault) => Err(Problem::because(Exit::Failure, "the first stream failed", &fault)),
            }
        };
        tokio::select! {
            exit = self.signals.asked() => Err(Problem::new(exit, exit.kind())),
            ready = ready => ready,
        }
    }

    /// Runs a case in a task of its own, so that a panic is a failure of the case.
    async fn one(&self, case: &'static Case, place: &str) -> Result<Verdict, Problem> {
        let bar = case.bytes.map(|bytes| Bar::new(&self.report.output(), case.name, Some(bytes)));
        self.tester.meter.store(0, Relaxed);
        let before = self.connected();
        let started = Instant::now();
        let mut running = tokio::spawn((case.run)(Arc::clone(&self.tester)));
        let mut bound = pin!(sleep(case.bound));
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let result = loop {
            tokio::select! {
                biased;
                exit = self.signals.asked() => {
                    running.abort();
                    return Err(Problem::new(exit, format!("{} in the case {}", exit.kind(), case.name)));
                }
                ended = &mut running => break ended.unwrap_or_else(|error| Err(Fault::Broke(error.to_string()))),
                () = &mut bound => {
                    running.abort();
                    break Err(Fault::TimedOut(case.bound));
                }
                _ = tick.tick() => {
                    if let Some(bar) = &bar {
                        bar.show(self.tester.meter.load(Relaxed), Some(place));
                    }
                }
            }
        };
        if let Some(bar) = bar {
            bar.clear();
        }
        // The end of a stream must not cost the connection. A case that starts without a connection makes one.
        let lost = before.is_some() && self.connected() != before;
        let result = if lost && result.is_ok() { Err(Fault::Lost) } else { result };
        let name = case.name.to_owned();
        let ms = milliseconds(started.elapsed());
        Ok(match result {
            Ok(note) => Verdict { name, ok: true, ms, note: (!note.is_empty()).then_some(note), error: None },
            Err(fault) => Verdict { name, ok: false, ms, note: None, error: Some(in_one_line(&fault)) },
        })
    }

    fn connected(&self) -> Option<Instant> {
        self.tester.endpoint.peer(&self.tester.peer.peer()).map(|info| info.since)
    }
}

fn unbound(error: &twolane::BindError) -> Problem {
    Problem::because(Exit::from(error), "no endpoint", error)
}
