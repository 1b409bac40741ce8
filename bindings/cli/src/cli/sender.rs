//! `sender`: sends files to a receiver.

use std::{
    ffi::OsString,
    future::Future,
    path::PathBuf,
    pin::pin,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use indicatif::DecimalBytes;
use tokio::time::{MissedTickBehavior, interval, timeout};
use twolane::{DialError, Endpoint, Events, GetStreamError, Limits, StreamOptions, Ticket, XStream};

use super::{Net, Problem, TICK, Tally, short};
use crate::{
    exit::{self, Exit},
    output::{ErrorLane, Event, Output, in_one_line, nanos, now_ns},
    progress::Bar,
    signals::Signals,
    transfer::{
        self, Fate, Input, Meter, Offer, OutgoingItem, Outcome, Reason, RefusalDetails, SendError, shown, single,
    },
};

/// Maximum time for the shutdown after success. The receiver has confirmed everything by then.
const SHUTDOWN: Duration = Duration::from_secs(3);
/// Maximum time for the shutdown after a failure, when the peer may be gone.
const SHUTDOWN_FAILED: Duration = Duration::from_secs(1);
const EXAMPLES: &str = "\
Examples:
  sender 'endpointab…' photo.jpg
  sender 'endpointab…' photos notes.txt
  tar cz photos | sender 'endpointab…' - --name photos.tgz
  sender --json --timeout 5 'endpointab…' a.bin b.bin

The ticket is what the receiver prints; its id52 alone does if the two can find each other.
A folder is sent with all that is in it, but for links. A transfer that was cut goes on where it was when it is sent
again with the same key: use --key-file. What is there already is not sent.
A key for the sender can also be in the environment variable SENDER_KEY (64 hexadecimal digits).
RUST_LOG=twolane=debug shows what goes on inside.
";

/// Send files and folders to a receiver, and wait until it has confirmed that it has them
#[derive(Debug, Parser)]
#[command(name = "sender", version, max_term_width = 100)]
#[command(after_help = format!("{EXAMPLES}\n{}", exit::HELP))]
pub struct Args {
    /// The receiver's ticket, or its id52
    ticket: String,

    /// Files and folders to send; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Name at the receiver; for one file or folder only. Default: its own name, or `stdin`
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
    let paths = inputs(&args)?;
    let name = args.name.clone();
    let scanning = tokio::task::spawn_blocking(move || {
        paths.iter().map(|input| OutgoingItem::scan(input, name.as_deref())).collect::<Result<Vec<_>, _>>()
    });
    let items = scanning
        .await
        .map_err(|error| Problem::because(Exit::Failure, "the files cannot be listed", &error))?
        .map_err(|error| Problem::because(Exit::Usage, "this cannot be sent", &error))?;
    for skipped in items.iter().flat_map(OutgoingItem::skipped) {
        output.warn(format!("{} is a link or no file, and is not sent", shown(&skipped.to_string_lossy())));
    }

    let endpoint = args
        .net
        .builder("SENDER_KEY")?
        .limits(Limits { connect_timeout: bound, ..Limits::default() })
        .bind()
        .await
        .map_err(|error| Problem::because(Exit::from(&error), "no endpoint", &error))?;
    let files = items.iter().map(OutgoingItem::files).sum();
    output.event(Event::Start { id52: endpoint.id52(), peer: ticket.peer().to_string(), files });
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
    let result = session.send(&items, &paths_of(&args)).await;
    let deadline = if result.is_ok() { SHUTDOWN } else { SHUTDOWN_FAILED };
    // Closing the sockets of a peer that is gone would take 3 s more, while the user waits for the reason.
    let _ = timeout(deadline, session.endpoint.shutdown(deadline)).await;
    result
}

/// Returns what is to be sent, if it makes sense.
fn inputs(args: &Args) -> Result<Vec<Input>, Problem> {
    if args.name.is_some() && args.files.len() > 1 {
        let message = "--name is for one file: send them one by one";
        return Err(Problem::new(Exit::Usage, message));
    }
    // A folder's own names may be anything. What a person writes here is likely a mistake.
    if let Some(name) = &args.name
        && (name.is_empty() || name.len() > 255 || name.contains(['/', '\0']) || name == "." || name == "..")
    {
        let message = format!("--name takes a name of 1 to 255 bytes and no path, not {name:?}");
        return Err(Problem::new(Exit::Usage, message));
    }
    let inputs = paths_of(args);
    if inputs.iter().filter(|input| **input == Input::Stdin).count() > 1 {
        let message = "standard input can be sent once";
        return Err(Problem::new(Exit::Usage, message));
    }
    let mut names: Vec<_> = inputs.iter().filter_map(Input::name).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let message = format!("two of these have the name {}: send them one by one, with --name", shown(&twice[0]));
        return Err(Problem::new(Exit::Usage, message));
    }
    Ok(inputs)
}

fn paths_of(args: &Args) -> Vec<Input> {
    let input = |file: &PathBuf| if file.as_os_str() == "-" { Input::Stdin } else { Input::Path(file.clone()) };
    args.files.iter().map(input).collect()
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

/// The streams that a receiver takes.
enum Opened {
    Items(XStream),
    /// The receiver knows `file/1` alone.
    OneByOne,
}

impl Session {
    /// Sends everything.
    async fn send(&mut self, items: &[OutgoingItem], inputs: &[Input]) -> Result<Tally, Problem> {
        let offer = transfer::offer(items);
        let bar = Bar::new(&self.output, &shown(&offer.name), offer.bytes);
        let opened = self.open(&offer, &bar).await;
        let sent = match opened {
            Ok(Opened::Items(stream)) => self.send_items(stream, items, &offer, &bar).await,
            Ok(Opened::OneByOne) => self.send_one_by_one(items, inputs, &bar).await,
            Err(stop) => Err(self.problem(&name_of(items), stop, &Meter::default(), now_ns())),
        };
        bar.clear();
        sent
    }

    /// Opens the stream of a transfer.
    async fn open(&mut self, offer: &Offer, bar: &Bar) -> Result<Opened, Stop> {
        let (endpoint, ticket, signals) = (self.endpoint.clone(), self.ticket.clone(), self.signals.clone());
        // The timeout is slightly longer than the timeout of the dial, so that a dial that takes too long reports its
        // own error.
        let bound = self.bound + Duration::from_millis(100);
        let started = Instant::now();
        let mut opening = pin!(transfer::open(&endpoint, ticket, offer, bound));
        let opened = loop {
            tokio::select! {
                biased;
                exit = signals.asked() => return Err(Stop::Asked(exit)),
                Some(event) = self.events.next() => self.on_event(&event, bar),
                opened = &mut opening => break opened,
            }
        };
        match opened {
            Ok(stream) => {
                self.opened(1, &offer.name, started);
                Ok(Opened::Items(stream))
            }
            Err(error) if error.rejection() == Some(twolane::Reason::UnknownProtocol) => Ok(Opened::OneByOne),
            Err(error) => Err(Stop::Failed(error.into())),
        }
    }

    fn opened(&self, transfer: u64, name: &str, started: Instant) {
        let open_ns = nanos(started.elapsed());
        self.output.event(Event::Stream { transfer, name: name.to_owned(), open_ns });
    }

    async fn send_items(
        &mut self,
        stream: XStream,
        items: &[OutgoingItem],
        offer: &Offer,
        bar: &Bar,
    ) -> Result<Tally, Problem> {
        let started = Instant::now();
        let (endpoint, signals, output) = (self.endpoint.clone(), self.signals.clone(), self.output);
        let meter = Meter::default();
        let tell = |item: usize, fate: &Fate| told(output, bar, items, item, fate, started);
        let stop = async {
            signals.asked().await;
        };
        let outcome = {
            let sending = Box::pin(transfer::send(stream, &endpoint, items, offer, &meter, tell, stop));
            self.watched(1, sending, &meter, offer.bytes, bar).await
        };
        let at_ns = now_ns();
        let tally = tally(&outcome);
        match outcome.error {
            Some(SendError::Stopped) => {
                let exit = self.signals.asked().await;
                Err(self.problem(&name_of(items), Stop::Asked(exit), &meter, at_ns))
            }
            Some(error) => {
                let unknown = outcome.fates.contains(&Fate::Unknown);
                Err(self.problem_of(&name_of(items), &error, &meter, at_ns, unknown))
            }
            None => match outcome.fates.iter().zip(items).find(|(fate, _)| !matches!(fate, Fate::Stored { .. })) {
                Some((fate, item)) => Err(self.unstored(item.name(), fate, &meter, at_ns)),
                None => Ok(tally),
            },
        }
    }

    /// Sends files to a receiver that takes one at a time.
    async fn send_one_by_one(
        &mut self,
        items: &[OutgoingItem],
        inputs: &[Input],
        bar: &Bar,
    ) -> Result<Tally, Problem> {
        let mut tally = Tally::default();
        for (number, (item, input)) in (1..).zip(items.iter().zip(inputs)) {
            if !item.is_file() {
                let message = format!("the receiver takes files alone, and {} is a folder", shown(item.name()));
                return Err(Problem::new(Exit::Refused, message));
            }
            let meter = Meter::default();
            match self.send_one(number, item, input, &meter, bar).await {
                Ok((receipt, elapsed)) => {
                    let fate = Fate::Stored {
                        name: receipt.stored,
                        already: false,
                        files: 1,
                        bytes: receipt.bytes,
                        hash: blake3::Hash::from_hex(receipt.blake3).ok(),
                    };
                    let started = Instant::now().checked_sub(elapsed).unwrap_or_else(Instant::now);
                    tally.files += 1;
                    tally.bytes += receipt.bytes;
                    told(self.output, bar, items, number as usize - 1, &fate, started);
                }
                Err(stop) => return Err(self.problem(item.name(), stop, &meter, now_ns())),
            }
        }
        Ok(tally)
    }

    async fn send_one(
        &mut self,
        number: u64,
        item: &OutgoingItem,
        input: &Input,
        meter: &Meter,
        bar: &Bar,
    ) -> Result<(single::Receipt, Duration), Stop> {
        let started = Instant::now();
        let mut source = single::Source::start(input, item.name().to_owned(), item.bytes()).map_err(SendError::Source)?;
        let options = StreamOptions {
            metadata: source.offer().to_bytes().into(),
            timeout: Some(self.bound),
            ..StreamOptions::default()
        };
        let signals = self.signals.clone();
        let mut stream = tokio::select! {
            exit = signals.asked() => return Err(Stop::Asked(exit)),
            opened = self.endpoint.get_stream_with(self.ticket.clone(), single::PROTOCOL, options) => {
                opened.map_err(SendError::Open)?
            }
        };
        self.opened(number, item.name(), started);
        let started = Instant::now();
        let sending = async {
            tokio::select! {
                biased;
                exit = signals.asked() => Err(Stop::Asked(exit)),
                sent = single::send(&mut stream, &mut source, meter) => sent.map_err(Stop::Failed),
            }
        };
        let receipt = self.watched(number, Box::pin(sending), meter, item.bytes(), bar).await?;
        Ok((receipt, started.elapsed()))
    }

    /// Shows the progress of a transfer to its end.
    async fn watched<T>(
        &mut self,
        transfer: u64,
        mut sending: impl Future<Output = T> + Unpin,
        meter: &Meter,
        size: Option<u64>,
        bar: &Bar,
    ) -> T {
        let started = Instant::now();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reported = None;
        loop {
            tokio::select! {
                biased;
                Some(event) = self.events.next() => self.on_event(&event, bar),
                sent = &mut sending => return sent,
                _ = tick.tick() => {
                    let bytes = meter.bytes();
                    bar.show(bytes, self.path.as_deref());
                    if size == Some(bytes) {
                        bar.note("the receiver stores it");
                    }
                    if reported.replace(bytes) != Some(bytes) {
                        self.output.event(Event::Progress {
                            transfer,
                            bytes,
                            size,
                            elapsed_ns: nanos(started.elapsed()),
                            path: self.path.clone(),
                        });
                    }
                }
            }
        }
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

    fn problem(&self, name: &str, stop: Stop, meter: &Meter, at_ns: u64) -> Problem {
        match stop {
            Stop::Asked(exit) => {
                Problem::new(exit, format!("{} was not sent to {}: {}", shown(name), self.peer, exit.kind()))
            }
            Stop::Failed(error) => self.problem_of(name, &error, meter, at_ns, false),
        }
    }

    /// Makes the problem of a transfer that has ended early. `unknown` says that everything was sent, and that the
    /// receiver may have stored it.
    fn problem_of(&self, name: &str, error: &SendError, meter: &Meter, at_ns: u64, unknown: bool) -> Problem {
        let what = if unknown {
            format!("{} was sent to {}, and whether it is stored there is not known", shown(name), self.peer)
        } else {
            format!("{} was not sent to {}", shown(name), self.peer)
        };
        let advice = match advice(error) {
            _ if unknown => "; send it again: what is there is not sent twice".to_owned(),
            advice => advice,
        };
        let mut problem = Problem::new(Exit::from(error), format!("{what}: {}{advice}", words(error)));
        if let SendError::Refused(error) = error {
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

    /// Makes the problem of an item that is not stored.
    fn unstored(&self, name: &str, fate: &Fate, meter: &Meter, at_ns: u64) -> Problem {
        let what = format!("{} was not sent to {}", shown(name), self.peer);
        let because = match fate {
            Fate::Refused { code, text } => {
                let advice = Reason::from_code(*code).map(|reason| format!("; {}", reason.advice()));
                format!("the receiver did not take it: {text:?} (code {code}){}", advice.unwrap_or_default())
            }
            Fate::Failed { reason, text } => format!("{}; {}", shown(text), reason.advice()),
            Fate::Stored { .. } | Fate::Unknown | Fate::Unsent => "the transfer ended too early".to_owned(),
        };
        let mut problem = Problem::new(Exit::from(fate), format!("{what}: {because}"));
        if let Fate::Refused { code, text } = fate {
            problem.error_lane = Some(ErrorLane {
                code: *code,
                text: text.clone(),
                offset: None,
                sent: meter.bytes(),
                blocked_ns: None,
                at_ns,
            });
        }
        problem
    }
}

/// Says what became of an item.
fn told(output: Output, bar: &Bar, items: &[OutgoingItem], item: usize, fate: &Fate, started: Instant) {
    let Fate::Stored { name, already, files, bytes, hash } = fate else { return };
    let (elapsed, sent_as) = (started.elapsed(), items.get(item).map(OutgoingItem::name).unwrap_or_default());
    let hash = hash.map(|hash| hash.to_hex().to_string());
    output.event(Event::Stored {
        transfer: 1,
        item: item as u64 + 1,
        name: name.clone(),
        already: *already,
        files: *files,
        bytes: *bytes,
        blake3: hash.clone(),
        elapsed_ns: nanos(elapsed),
    });
    let what = if hash.is_some() { String::new() } else { format!("{files} files, ") };
    let stored_as = if name == sent_as { String::new() } else { format!(" as {}", shown(name)) };
    let hash = hash.map(|hash| format!(", BLAKE3 {hash}")).unwrap_or_default();
    let sent_as = shown(sent_as);
    let line = if *already {
        format!("{sent_as}: {what}{} were there already, confirmed{stored_as}{hash}", DecimalBytes(*bytes))
    } else {
        let rate = *bytes as f64 / elapsed.as_secs_f64().max(1e-6);
        format!(
            "{sent_as}: {what}{} in {:.1} s ({}/s), confirmed{stored_as}{hash}",
            DecimalBytes(*bytes),
            elapsed.as_secs_f64(),
            DecimalBytes(rate as u64),
        )
    };
    bar.say(&output, &line);
}

fn tally(outcome: &Outcome) -> Tally {
    let mut tally = Tally::default();
    for fate in &outcome.fates {
        if let Fate::Stored { files, bytes, .. } = fate {
            tally.files += files;
            tally.bytes += bytes;
        }
    }
    tally
}

/// Returns a name for all of the items.
fn name_of(items: &[OutgoingItem]) -> String {
    match items {
        [only] => only.name().to_owned(),
        [first, others @ ..] => format!("{} and {} more", first.name(), others.len()),
        [] => String::new(),
    }
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
            "is the receiver still running? Then send it again: what has arrived is not sent twice"
        }
        SendError::Mismatch { .. } => "remove it there, and send it again",
        _ => return String::new(),
    };
    format!("; {advice}")
}

fn round_trip(rtt: Option<Duration>) -> String {
    rtt.map(|rtt| format!(" (round trip {:.1} ms)", rtt.as_secs_f64() * 1e3)).unwrap_or_default()
}
