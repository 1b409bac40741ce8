//! `receiver`: receives files from senders.

use std::{collections::HashMap, ffi::OsString, path::PathBuf, pin::pin, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use tokio::{task::JoinSet, time::timeout};
use twolane::{AcceptError, Endpoint, PublicKey, StreamError, Ticket, XStream};

use super::{Net, Problem, Tally, announce, arrival::Transfer, parse_size, quoted};
use crate::{
    exit::{self, Exit},
    output::{Event, Output, nanos, now_ns},
    signals::Signals,
    transfer::{Gathering, Inbox, Meter, Offer, PART_PROTOCOL, PROTOCOL, Reason, Rehearsal, SPREAD_PROTOCOL},
};

/// Maximum number of concurrent transfers. Further senders wait, and are told "busy" if that takes too long.
const TRANSFERS: usize = 16;
/// Maximum number of concurrent transfers from one peer. An idle sender keeps its places for ten minutes, and must
/// not occupy all of them.
const TRANSFERS_OF_ONE: usize = 4;
/// Maximum time for telling a sender that it has too many transfers.
const REFUSAL: Duration = Duration::from_secs(5);
/// Maximum time for the shutdown, in which senders receive the reason and the confirmations.
const SHUTDOWN: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  receiver --dir incoming
  receiver --once --key-file ~/.config/receiver.key
  receiver --offline --json

The last line that it prints is the command for the other machine. A ticket says nothing secret, but
whoever has it can send. With a key file the ticket's id52 stays the same.
A key can also be in the environment variable RECEIVER_KEY (64 hexadecimal digits).
RUST_LOG=twolane=debug shows what goes on inside.
";

/// Receive files into a directory: each completely or not at all, and without overwriting any
#[derive(Debug, Parser)]
#[command(name = "receiver", version, max_term_width = 100)]
#[command(after_help = format!("{EXAMPLES}\n{}", exit::HELP))]
pub struct Args {
    /// Directory for the files; created if it does not exist
    #[arg(long, default_value = ".")]
    dir: PathBuf,

    /// Receive one file, stored or not, and exit with its code
    #[arg(long)]
    once: bool,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,

    /// Print only errors
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    net: Net,

    /// To try out the error lane: refuse every file after this many bytes, such as 4MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    refuse_after: Option<u64>,

    /// With --refuse-after: the error code for the sender
    #[arg(long, value_name = "CODE", default_value_t = 4242, requires = "refuse_after",
          value_parser = clap::value_parser!(u64).range(..1 << 62))]
    refuse_code: u64,

    /// With --refuse-after: time to read nothing before the refusal, so that the data lane fills up
    #[arg(long, value_name = "MS", default_value_t = 0, requires = "refuse_after")]
    refuse_stall: u64,
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
    let what = format!("{} cannot be received into", args.dir.display());
    let inbox = Inbox::open(&args.dir).map_err(|error| Problem::because(Exit::Usage, &what, &error))?;
    let cleaned = inbox.clean();
    if cleaned > 0 {
        let message = format!("removed what a receiver that was killed had left unfinished: {cleaned}");
        output.warn(message);
    }
    let endpoint = args
        .net
        .builder("RECEIVER_KEY")?
        .bind()
        .await
        .map_err(|error| Problem::because(Exit::from(&error), "no endpoint", &error))?;
    let receiver = Receiver {
        rehearsal: args.refuse_after.map(|after| Rehearsal {
            after,
            code: args.refuse_code,
            stall: Duration::from_millis(args.refuse_stall),
        }),
        endpoint: endpoint.clone(),
        gathering: Gathering::default(),
        inbox,
        output,
        signals,
        args,
    };
    let result = receiver.serve().await;
    endpoint.shutdown(SHUTDOWN).await;
    result
}

struct Receiver {
    endpoint: Endpoint,
    gathering: Gathering,
    inbox: Inbox,
    rehearsal: Option<Rehearsal>,
    output: Output,
    signals: Signals,
    args: Args,
}

impl Receiver {
    async fn serve(&self) -> Result<Tally, Problem> {
        let mut events = self.endpoint.events();
        let tell = |ticket: &Ticket, first| self.announce(ticket, first);
        let mut announcing = pin!(announce(&self.endpoint, &self.args.net, tell, |message| self.output.warn(message)));
        let mut transfers = JoinSet::new();
        let mut shares = Shares::default();
        let (mut number, mut tally) = (0, Tally::default());
        loop {
            let free = if self.args.once { number == 0 } else { transfers.len() < TRANSFERS };
            tokio::select! {
                exit = self.signals.asked() => {
                    // The transfers see the signal too, tell their senders, and end.
                    let ending = async {
                        while let Some(done) = transfers.join_next().await {
                            tally.files += u64::from(matches!(done, Ok(Ok(_))));
                        }
                    };
                    let _ = timeout(SHUTDOWN, ending).await;
                    let files = tally.files;
                    return Err(Problem::new(exit, format!("{}; files received: {files}", exit.kind())));
                }
                accepted = self.endpoint.accept_bi(&[PROTOCOL, SPREAD_PROTOCOL]), if free => {
                    let (protocol, stream) = accepted.map_err(nothing_more)?;
                    number += 1;
                    match shares.take(stream.peer()) {
                        Some(share) => {
                            let transfer = self.transfer(number, stream, protocol.as_str() == SPREAD_PROTOCOL);
                            transfers.spawn(async move {
                                let _share = share;
                                transfer.run().await
                            });
                        }
                        None => self.refuse(number, stream),
                    }
                }
                part = self.endpoint.accept_bi(&[PART_PROTOCOL]) => {
                    let (_, stream) = part.map_err(nothing_more)?;
                    self.gathering.add(stream);
                }
                () = self.gathering.expire() => {}
                Some(done) = transfers.join_next() => {
                    let done = done.unwrap_or_else(|error| {
                        Err(Problem::because(Exit::Failure, "a transfer broke", &error))
                    });
                    match done {
                        Ok(bytes) => {
                            tally.files += 1;
                            tally.bytes += bytes;
                            if self.args.once {
                                return Ok(tally);
                            }
                        }
                        Err(problem) if self.args.once => return Err(problem),
                        Err(problem) => self.output.say(format_args!("{}", problem.message)),
                    }
                }
                never = &mut announcing => match never {},
                Some(event) = events.next() => self.on_event(&event),
            }
        }
    }

    fn announce(&self, ticket: &Ticket, first: bool) {
        let options = self.args.net.for_the_other_side();
        let ticket = ticket.to_string();
        // In a checkout started by cargo, `sender` is not in the path, and probably not on the other machine
        // either.
        let sender = if std::env::var_os("CARGO").is_some() { "cargo sender --" } else { "sender" };
        let command = format!("{sender}{options} {} FILE", quoted(&ticket));
        let dir = self.inbox.dir().display().to_string();
        let id52 = self.endpoint.id52();
        if first {
            self.output.say(format_args!("receiving into {dir} as {id52}"));
            self.output.say(format_args!("Ctrl-C ends it; on the other machine, run:"));
        } else {
            self.output.say(format_args!("a relay was found; from anywhere, run:"));
        }
        self.output.say(format_args!("{command}"));
        self.output.event(if first {
            Event::Ready { id52, ticket, command, dir }
        } else {
            Event::Ticket { ticket, command }
        });
    }

    fn on_event(&self, event: &twolane::Event) {
        match event {
            twolane::Event::Connected { peer, .. } => {
                let info = self.endpoint.peer(peer);
                self.output.event(Event::Connected {
                    peer: peer.to_string(),
                    path: info.as_ref().and_then(|info| info.path).map(|path| path.to_string()),
                    rtt_ns: info.and_then(|info| info.rtt).map(nanos),
                });
            }
            twolane::Event::PathChanged { peer, path } => {
                let rtt = self.endpoint.peer(peer).and_then(|info| info.rtt);
                self.output.event(Event::Path {
                    peer: peer.to_string(),
                    path: path.to_string(),
                    rtt_ns: rtt.map(nanos),
                });
            }
            _ => {}
        }
    }

    /// Tells a sender that it has reached the limit of concurrent transfers.
    fn refuse(&self, number: u64, mut stream: XStream) {
        let (peer, code) = (stream.get_remote_id52(), Reason::Busy.code());
        let message = format!("{TRANSFERS_OF_ONE} files of this sender are arriving, which is the most for one");
        let told = StreamError::new(code, &message);
        tokio::spawn(async move { timeout(REFUSAL, stream.fail(told)).await });
        self.output.say(format_args!("a file from {peer} was not taken: {message}"));
        self.output.event(Event::Failed {
            transfer: number,
            peer,
            code: Some(code),
            message,
            bytes: 0,
            at_ns: now_ns(),
        });
    }

    fn transfer(&self, number: u64, stream: XStream, spread: bool) -> Transfer {
        let offer = Offer::from_bytes(stream.metadata()).ok();
        let spread = spread.then(|| {
            let spread = offer.filter(|offer| offer.size.is_some())?.spread.filter(|spread| spread.plan.is_sane())?;
            self.gathering.expect(stream.peer(), spread.id, spread.plan)
        });
        Transfer {
            spread,
            number,
            peer: stream.get_remote_id52(),
            stream,
            meter: Meter::default(),
            inbox: self.inbox.clone(),
            rehearsal: self.rehearsal,
            endpoint: self.endpoint.clone(),
            output: self.output,
            signals: self.signals.clone(),
        }
    }
}

/// The number of concurrent transfers of each peer. Each held clone of an `Arc` counts as one transfer.
#[derive(Debug, Default)]
struct Shares(HashMap<PublicKey, Arc<()>>);

impl Shares {
    /// Returns a share, which the caller holds until the transfer ends. Returns `None` if the peer has reached its
    /// limit.
    fn take(&mut self, peer: PublicKey) -> Option<Arc<()>> {
        self.0.retain(|_, share| Arc::strong_count(share) > 1);
        let share = self.0.entry(peer).or_default();
        (Arc::strong_count(share) <= TRANSFERS_OF_ONE).then(|| share.clone())
    }
}

fn nothing_more(error: AcceptError) -> Problem {
    Problem::because(Exit::Failure, "nothing more can be received", &error)
}
