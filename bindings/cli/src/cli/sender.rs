//! `sender`: sends files to a receiver.

use std::{
    ffi::OsString,
    path::PathBuf,
    pin::pin,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use indicatif::DecimalBytes;
use tokio::time::{MissedTickBehavior, interval, timeout};
use twolane::{DialError, Endpoint, Events, GetStreamError, Limits, StreamError, StreamOptions, Ticket, XStream};

use super::{Net, Problem, TICK, Tally, short};
use crate::{
    exit::{self, Exit},
    output::{ErrorLane, Event, Output, in_one_line, nanos, now_ns},
    progress::Bar,
    signals::Signals,
    transfer::{
        Input, Meter, PROTOCOL, Parts, Plan, Reason, Receipt, RefusalDetails, SPREAD_PROTOCOL, SendError, Source,
        Spread, TransferId, refusal, send,
    },
};

/// Maximum time for the shutdown after success. The receiver has confirmed everything by then.
const SHUTDOWN: Duration = Duration::from_secs(3);
/// Maximum time for the shutdown after a failure, when the peer may be gone.
const SHUTDOWN_FAILED: Duration = Duration::from_secs(1);
/// Maximum time for which an interrupted sender tries to tell the receiver.
const FAREWELL: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
Examples:
  sender 'endpointab…' photo.jpg
  tar cz photos | sender 'endpointab…' - --name photos.tgz
  sender --json --timeout 5 'endpointab…' a.bin b.bin

The ticket is what the receiver prints; its id52 alone does if the two can find each other.
A key for the sender can also be in the environment variable SENDER_KEY (64 hexadecimal digits).
RUST_LOG=twolane=debug shows what goes on inside.
";

/// Send files to a receiver, and wait until it has confirmed the hash of each
#[derive(Debug, Parser)]
#[command(name = "sender", version, max_term_width = 100)]
#[command(after_help = format!("{EXAMPLES}\n{}", exit::HELP))]
pub struct Args {
    /// The receiver's ticket, or its id52
    ticket: String,

    /// Files to send, in order; `-` is standard input. The first failure ends the program
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Name of the file at the receiver; for one file only. Default: the file's name, or `stdin`
    #[arg(long)]
    name: Option<String>,

    /// Timeout for finding the receiver and connecting to it, in seconds
    #[arg(long, value_name = "S", default_value_t = 15.0)]
    timeout: f64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,

    /// Print only errors
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    net: Net,
}

/// Runs the program. The first argument is the name of the program.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let args: Args = match super::parse(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let output = Output::new(args.json, args.quiet);
    super::run(output, |signals| run(args, output, signals))
}

async fn run(args: Args, output: Output, signals: Signals) -> Result<Tally, Problem> {
    let ticket: Ticket =
        args.ticket.parse().map_err(|error| Problem::because(Exit::Usage, "the ticket cannot be used", &error))?;
    let bound = Duration::try_from_secs_f64(args.timeout)
        .ok()
        .filter(|bound| !bound.is_zero())
        .ok_or_else(|| Problem::new(Exit::Usage, "--timeout takes a number of seconds above 0"))?;
    let files = files(&args)?;

    let endpoint = args
        .net
        .builder("SENDER_KEY")?
        .limits(Limits { connect_timeout: bound, ..Limits::default() })
        .bind()
        .await
        .map_err(|error| Problem::because(Exit::from(&error), "no endpoint", &error))?;
    output.event(Event::Start { id52: endpoint.id52(), peer: ticket.peer().to_string(), files: files.len() as u64 });
    let mut session = Session {
        events: endpoint.events(),
        endpoint,
        peer: ticket.peer().to_string(),
        ticket,
        bound,
        output,
        signals,
        path: None,
    };
    let mut tally = Tally::default();
    let mut result = Ok(());
    for (number, (input, name)) in (1..).zip(&files) {
        match session.send(number, input, name).await {
            Ok(receipt) => {
                tally.files += 1;
                tally.bytes += receipt.bytes;
            }
            Err(problem) => {
                result = Err(problem);
                break;
            }
        }
    }
    let deadline = if result.is_ok() { SHUTDOWN } else { SHUTDOWN_FAILED };
    // Closing the sockets of a peer that is gone would take 3 s more, while the user waits for the reason.
    let _ = timeout(deadline, session.endpoint.shutdown(deadline)).await;
    result.map(|()| tally)
}

/// Returns the inputs and their names. All inputs are checked before the receiver is contacted.
fn files(args: &Args) -> Result<Vec<(Input, String)>, Problem> {
    if args.name.is_some() && args.files.len() > 1 {
        let message = "--name is for one file: send them one by one";
        return Err(Problem::new(Exit::Usage, message));
    }
    if args.files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
        let message = "standard input can be sent once";
        return Err(Problem::new(Exit::Usage, message));
    }
    args.files
        .iter()
        .map(|file| {
            let input = if file.as_os_str() == "-" { Input::Stdin } else { Input::Path(file.clone()) };
            input.check().map_err(|error| {
                let what = format!("{} cannot be sent", file.display());
                Problem::because(Exit::Usage, &what, &error)
            })?;
            let name = match (&args.name, input.name()) {
                (Some(name), _) => name.clone(),
                (None, Some(name)) => name.to_owned(),
                (None, None) => {
                    let message = format!("{} has a name that is not text: give it one with --name", file.display());
                    return Err(Problem::new(Exit::Usage, message));
                }
            };
            Ok((input, name))
        })
        .collect()
}

/// One connection, and the transfers over it.
struct Session {
    endpoint: Endpoint,
    events: Events,
    ticket: Ticket,
    peer: String,
    bound: Duration,
    output: Output,
    signals: Signals,
    path: Option<String>,
}

impl Session {
    async fn send(&mut self, number: u64, input: &Input, name: &str) -> Result<Receipt, Problem> {
        let mut source = Source::start(input, name.to_owned())
            .map_err(|error| Problem::because(Exit::Failure, &format!("{name} cannot be sent"), &error))?;
        let bar = Bar::new(&self.output, name, source.offer().size);
        let meter = Meter::default();
        let result = match self.open(number, &mut source, name, &bar).await {
            Ok((mut stream, mut parts)) => {
                let started = Instant::now();
                let sent = self.transfer(number, &mut stream, &mut parts, &mut source, &meter, &bar).await;
                sent.map(|receipt| (receipt, started.elapsed()))
            }
            Err(stop) => Err(stop),
        };
        let at_ns = now_ns();
        bar.clear();
        match result {
            Ok((receipt, elapsed)) => {
                self.stored(number, name, &receipt, elapsed);
                Ok(receipt)
            }
            Err(stop) => Err(self.problem(name, stop, &meter, at_ns)),
        }
    }

    async fn open(
        &mut self,
        number: u64,
        source: &mut Source,
        name: &str,
        bar: &Bar,
    ) -> Result<(XStream, Parts), Stop> {
        let started = Instant::now();
        let (endpoint, ticket, bound) = (self.endpoint.clone(), self.ticket.clone(), self.bound);
        let signals = self.signals.clone();
        let mut opening = pin!(open(&endpoint, &ticket, bound, source));
        let opened = loop {
            tokio::select! {
                biased;
                exit = signals.asked() => return Err(Stop::Asked(exit)),
                Some(event) = self.events.next() => self.on_event(&event, bar),
                opened = &mut opening => break opened?,
            }
        };
        self.output.event(Event::Stream { transfer: number, name: name.to_owned(), open_ns: nanos(started.elapsed()) });
        Ok(opened)
    }

    async fn transfer(
        &mut self,
        number: u64,
        stream: &mut XStream,
        parts: &mut Parts,
        source: &mut Source,
        meter: &Meter,
        bar: &Bar,
    ) -> Result<Receipt, Stop> {
        let started = Instant::now();
        let size = source.offer().size;
        let signals = self.signals.clone();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown = None;
        let exit = {
            let mut sending = pin!(send(stream, parts, source, meter));
            loop {
                tokio::select! {
                    biased;
                    exit = signals.asked() => break exit,
                    Some(event) = self.events.next() => self.on_event(&event, bar),
                    sent = &mut sending => return Ok(sent?),
                    _ = tick.tick() => {
                        let bytes = meter.bytes();
                        bar.show(bytes, self.path.as_deref());
                        if shown.replace(bytes) != Some(bytes) {
                            self.output.event(Event::Progress {
                                transfer: number,
                                bytes,
                                size,
                                elapsed_ns: nanos(started.elapsed()),
                                path: self.path.clone(),
                            });
                        }
                    }
                }
            }
        };
        let farewell = StreamError::new(Reason::Interrupted.code(), "the sender was interrupted");
        let _ = timeout(FAREWELL, stream.abort(farewell)).await;
        Err(Stop::Asked(exit))
    }

    fn on_event(&mut self, event: &twolane::Event, bar: &Bar) {
        let info = self.endpoint.peer(&self.ticket.peer());
        let rtt = info.as_ref().and_then(|info| info.rtt);
        match event {
            twolane::Event::Connected { .. } => {
                let path = info.and_then(|info| info.path).map(|path| path.to_string());
                self.output.event(Event::Connected { peer: self.peer.clone(), path, rtt_ns: rtt.map(nanos) });
            }
            twolane::Event::PathChanged { path, .. } => {
                let path = path.to_string();
                let line = match (&self.path, path.as_str()) {
                    (None, "relay") => "connected over a relay",
                    (None, _) => "connected directly",
                    (Some(_), "relay") => "now over a relay",
                    (Some(_), _) => "now directly",
                };
                bar.say(&self.output, &format!("{}: {line}{}", short(&self.peer), round_trip(rtt)));
                self.output.event(Event::Path { peer: self.peer.clone(), path: path.clone(), rtt_ns: rtt.map(nanos) });
                self.path = Some(path);
            }
            _ => {}
        }
    }

    fn stored(&self, number: u64, name: &str, receipt: &Receipt, elapsed: Duration) {
        self.output.event(Event::Stored {
            transfer: number,
            name: receipt.stored.clone(),
            bytes: receipt.bytes,
            blake3: receipt.blake3.clone(),
            elapsed_ns: nanos(elapsed),
        });
        let stored_as = if receipt.stored == name { String::new() } else { format!(" as {:?}", receipt.stored) };
        let rate = receipt.bytes as f64 / elapsed.as_secs_f64().max(1e-6);
        self.output.say(format_args!(
            "{name}: {} in {:.1} s ({}/s{}), confirmed{stored_as}, BLAKE3 {}",
            DecimalBytes(receipt.bytes),
            elapsed.as_secs_f64(),
            DecimalBytes(rate as u64),
            self.path.as_ref().map(|path| format!(", {path}")).unwrap_or_default(),
            receipt.blake3,
        ));
    }

    fn problem(&self, name: &str, stop: Stop, meter: &Meter, at_ns: u64) -> Problem {
        let what = format!("{name} was not sent to {}", self.peer);
        let error = match stop {
            Stop::Asked(exit) => {
                return Problem::new(exit, format!("{what}: {}", exit.kind()));
            }
            Stop::Failed(error) => error,
        };
        let advice = advice(&error);
        let mut problem = Problem::new(Exit::from(&error), format!("{what}: {}{advice}", words(&error)));
        if let SendError::Refused(error) = &error {
            let details = serde_json::from_slice::<RefusalDetails>(error.details());
            problem.error_lane = Some(ErrorLane {
                code: error.code(),
                text: error.text().to_owned(),
                offset: details.ok().map(|details| details.received),
                sent: meter.bytes(),
                blocked_ns: meter.waiting().map(nanos),
                at_ns,
            });
        }
        problem
    }
}

/// Opens the stream for a file, and the part streams if the file is long enough and the receiver supports them.
async fn open(
    endpoint: &Endpoint,
    ticket: &Ticket,
    bound: Duration,
    source: &mut Source,
) -> Result<(XStream, Parts), SendError> {
    let first = async |source: &Source, protocol: &str| {
        let options = StreamOptions {
            metadata: source.offer().to_bytes().into(),
            // The timeout is slightly longer than the timeout of the dial, so that a dial that takes too long
            // reports its own error.
            timeout: Some(bound + Duration::from_millis(100)),
            ..StreamOptions::default()
        };
        endpoint.get_stream_with(ticket.clone(), protocol, options).await
    };
    if let Some(plan) = Plan::of(source.offer().size) {
        let id = TransferId::random();
        source.spread(Some(Spread { id, plan }));
        match first(source, SPREAD_PROTOCOL).await {
            Ok(stream) => {
                return match Parts::open(endpoint, ticket.peer(), plan, id).await {
                    Ok(parts) => Ok((stream, parts)),
                    // A receiver that refuses the file rejects the part streams, and sends its reason on the first
                    // stream.
                    Err(error) => Err(refusal(stream).await.unwrap_or_else(|| error.into())),
                };
            }
            Err(error) if error.rejection() == Some(twolane::Reason::UnknownProtocol) => source.spread(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((first(source, PROTOCOL).await?, Parts::default()))
}

/// The reason why a transfer ended early.
enum Stop {
    Asked(Exit),
    Failed(SendError),
}

impl From<SendError> for Stop {
    fn from(error: SendError) -> Self {
        Self::Failed(error)
    }
}

/// Returns an error with its causes, without facts that the message already contains and without the words of lower
/// layers.
fn words(error: &SendError) -> String {
    match error {
        SendError::Open(GetStreamError::Dial { source: DialError::NoAddress(_), .. }) => {
            "no address is known for it: use the ticket that the receiver prints".into()
        }
        SendError::Open(GetStreamError::Dial { source: DialError::OnlyRelay { after, .. }, .. }) => {
            format!("only a relay reaches it, and no direct path came up within {after:?}: do without --direct-only")
        }
        SendError::Open(GetStreamError::Dial { source, .. }) => in_one_line(source),
        error => in_one_line(error),
    }
}

/// Returns a hint for the user, if the error does not contain one itself.
fn advice(error: &SendError) -> String {
    let advice = match error {
        SendError::Refused(error) => match Reason::from_code(error.code()) {
            Some(reason) => reason.advice(),
            None => return String::new(),
        },
        SendError::Open(error) if error.rejection() == Some(twolane::Reason::UnknownProtocol) => {
            "is the ticket that of a receiver, and of the same version?"
        }
        SendError::Open(error) if error.rejection() == Some(twolane::Reason::ShuttingDown) => {
            "it is ending (was it started with --once?): start it again"
        }
        SendError::Lost(_) | SendError::Dropped { .. } | SendError::Silent(_) => {
            "is the receiver still running? Then send it again"
        }
        SendError::Mismatch { .. } => "remove it there, and send it again",
        _ => return String::new(),
    };
    format!("; {advice}")
}

fn round_trip(rtt: Option<Duration>) -> String {
    rtt.map(|rtt| format!(" (round trip {:.1} ms)", rtt.as_secs_f64() * 1e3)).unwrap_or_default()
}
