//! `receiver`: receives files from senders.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File},
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use clap::Parser;
use tokio::{task::JoinSet, time::timeout};
use twolane::{AcceptError, PublicKey, StreamError, Ticket, XStream};

use super::{
    Net, Problem, Tally, announce,
    arrival::{Shared, Stored, Transfer},
    door::Door,
    home::DefaultKey,
    parse_size, quoted,
};
use crate::{
    exit::{self, Exit},
    output::{Event, Output, nanos, now_ns},
    signals::Signals,
    transfer::{
        CONTROL_PROTOCOL, DATA_PROTOCOL, Existing, Gathering, Inbox, Policy, Reason, Rehearsal, single,
    },
};

/// Maximum number of concurrent transfers. Further senders are told "busy".
const TRANSFERS: usize = 16;
/// Maximum number of concurrent transfers from one peer. An idle sender keeps its places for ten minutes, and must
/// not occupy all of them.
const TRANSFERS_OF_ONE: usize = 4;
/// Maximum time for telling a sender that there is no place for its transfer.
const REFUSAL: Duration = Duration::from_secs(5);
/// Maximum time for the shutdown, in which senders receive the reason and the confirmations.
const SHUTDOWN: Duration = Duration::from_secs(3);
/// Age at which what a cut transfer has left is removed.
const LEFT: Duration = Duration::from_secs(30 * 24 * 3600);

const EXAMPLES: &str = "\
Examples:
  receiver
  receiver --from ha4e7nbk17opbvaircmjpeiteb56e2dv3ma146vjei403d0fdte0 --dir ~/incoming
  receiver --anyone --once --json
  receiver --once --out - | tar xz

The last line that it prints is the command for the other machine. A ticket says nothing secret. Whoever has it
can ask to send: without --from and --anyone you are asked for each, with its name and size. The answer \"always\"
is remembered in ~/.config/twolane/senders.
A transfer that was cut goes on where it was when it is sent again. Until then its parts are in .twolane, in the
same directory; after 30 days they are removed.
A silent sender keeps its place for ten minutes. One sender can have 4 transfers at a time, all together 16.
The key is kept in ~/.config/twolane/receiver.key, so the ticket's id52 stays the same, except with --offline.
A key can also be in the environment variable RECEIVER_KEY (64 hexadecimal digits).
RUST_LOG=twolane=debug shows what goes on inside.
";

/// Receive files and folders into a directory: each completely or not at all, and without overwriting any
#[derive(Debug, Parser)]
#[command(name = "receiver", version, max_term_width = 100)]
#[command(after_help = format!("{EXAMPLES}\n{}", exit::HELP))]
pub struct Args {
    /// Directory for the files; created if it does not exist
    #[arg(long, default_value = "received")]
    dir: PathBuf,

    /// Take everything from this sender, by its id52 (may be repeated)
    #[arg(long, value_name = "ID52", conflicts_with = "anyone")]
    from: Vec<PublicKey>,

    /// Take everything from anyone who has the ticket
    #[arg(long)]
    anyone: bool,

    /// Refuse transfers with more bytes, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,

    /// Replace files that have the same name
    #[arg(long, conflicts_with = "rename")]
    overwrite: bool,

    /// Store under another name, such as `photo (1).jpg`, what has the name of something else
    #[arg(long)]
    rename: bool,

    /// Receive one transfer, stored or not, and exit with its code
    #[arg(long)]
    once: bool,

    /// Write the file to standard output once all of it has arrived, and store nothing (with --once; `-` alone)
    #[arg(long, value_name = "-", requires = "once", conflicts_with_all = ["json", "ticket"])]
    out: Option<PathBuf>,

    /// Print the ticket, alone, to standard output: what also happens if that is no terminal
    #[arg(long, conflicts_with = "json")]
    ticket: bool,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,

    /// Print only errors
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    net: Net,

    /// To try out the error lane: refuse every transfer after this many bytes, such as 4MiB
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

async fn run(mut args: Args, output: Output, signals: Signals) -> Result<Tally, Problem> {
    let Some(door) = Door::new(args.anyone, &args.from, !args.json) else {
        let message = "say who may send: --from ID52 (may be repeated), or --anyone";
        return Err(Problem::new(Exit::Usage, message));
    };
    let out = match &args.out {
        None => None,
        Some(out) if out.as_os_str() == "-" => {
            let made = tempfile::tempdir();
            Some(made.map_err(|error| Problem::because(Exit::Failure, "no temporary directory", &error))?)
        }
        Some(_) => return Err(Problem::new(Exit::Usage, "--out takes `-`, which is standard output")),
    };
    let dir = out.as_ref().map_or_else(|| args.dir.clone(), |out| out.path().to_owned());
    let what = format!("{} cannot be received into", dir.display());
    let opened = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
        let inbox = Inbox::open(dir)?;
        let cleaned = inbox.clean(LEFT);
        Ok((inbox, cleaned))
    });
    let opened = opened.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let (inbox, cleaned) = opened.map_err(|error| Problem::because(Exit::Usage, &what, &error))?;
    if cleaned > 0 {
        output.warn(format!("removed what nobody has gone on with for 30 days: {cleaned}"));
    }
    let _default_key = default_key(&mut args.net, output);
    let endpoint = args
        .net
        .builder("RECEIVER_KEY")?
        .bind()
        .await
        .map_err(|error| Problem::because(Exit::from(&error), "no endpoint", &error))?;
    let existing = match (args.overwrite, args.rename) {
        (true, _) => Existing::Overwrite,
        (_, true) => Existing::Rename,
        _ => Existing::Refuse,
    };
    let rehearsal = args.refuse_after.map(|after| Rehearsal {
        after,
        code: args.refuse_code,
        stall: Duration::from_millis(args.refuse_stall),
    });
    let shared = Shared {
        endpoint: endpoint.clone(),
        inbox,
        gathering: Gathering::default(),
        policy: Policy { existing, max_bytes: args.max_size, rehearsal },
        door,
        output,
        signals,
        bar: Arc::new(AtomicBool::new(false)),
    };
    let result = Receiver { shared, args }.serve().await;
    endpoint.shutdown(SHUTDOWN).await;
    let tally = result?;
    if let Some(out) = out {
        let written = tokio::task::spawn_blocking(move || pour(out.path()));
        written
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|error| Problem::because(Exit::Failure, "standard output cannot be written", &error))?;
    }
    Ok(tally)
}

/// Writes the only file in a folder to standard output.
fn pour(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            return Err(std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a folder"));
        }
        let mut out = std::io::stdout().lock();
        std::io::copy(&mut File::open(entry.path())?, &mut out)?;
        out.flush()?;
    }
    Ok(())
}

/// Chooses the key that a receiver has if its user names none. The result is held while the receiver runs.
///
/// With `--offline` the addresses in the ticket change with every run, so there is nothing to keep.
fn default_key(net: &mut Net, output: Output) -> Option<DefaultKey> {
    if net.offline || net.key_file.is_some() || std::env::var_os("RECEIVER_KEY").is_some() {
        return None;
    }
    match DefaultKey::take()? {
        Ok(key) => {
            net.key_file = Some(key.path.clone());
            Some(key)
        }
        Err(_) => {
            output.warn("another receiver is using the default key: this one has a new key".into());
            None
        }
    }
}

struct Receiver {
    shared: Shared,
    args: Args,
}

impl Receiver {
    async fn serve(&self) -> Result<Tally, Problem> {
        let Shared { endpoint, gathering, output, signals, .. } = &self.shared;
        let mut events = endpoint.events();
        let tell = |ticket: &Ticket, first| self.announce(ticket, first);
        let mut announcing = pin!(announce(endpoint, &self.args.net, tell, |message| output.warn(message)));
        let mut transfers = JoinSet::new();
        let mut shares = Shares::default();
        let (mut number, mut tally) = (0, Tally::default());
        loop {
            let takes = !self.args.once || number == 0;
            tokio::select! {
                exit = signals.asked() => {
                    // The transfers see the signal too, tell their senders, and end.
                    let ending = async {
                        while let Some(done) = transfers.join_next().await {
                            let stored: Option<Stored> = done.ok().and_then(Result::ok);
                            tally.files += stored.map_or(0, |stored| stored.files);
                        }
                    };
                    let _ = timeout(SHUTDOWN, ending).await;
                    let files = tally.files;
                    return Err(Problem::new(exit, format!("{}; files received: {files}", exit.kind())));
                }
                accepted = endpoint.accept_bi(&[CONTROL_PROTOCOL, single::PROTOCOL]), if takes => {
                    let (_, stream) = accepted.map_err(nothing_more)?;
                    number += 1;
                    let all = transfers.len() < TRANSFERS;
                    match shares.take(stream.peer()).filter(|_| all) {
                        Some(share) => {
                            let transfer = Transfer { number, stream, shared: self.shared.clone() };
                            transfers.spawn(async move {
                                let _share = share;
                                Box::pin(transfer.run()).await
                            });
                        }
                        None => self.refuse(number, stream, all),
                    }
                }
                part = endpoint.accept_bi(&[DATA_PROTOCOL]) => {
                    let (_, stream) = part.map_err(nothing_more)?;
                    gathering.add(stream);
                }
                () = gathering.expire() => {}
                Some(done) = transfers.join_next() => {
                    let done = done.unwrap_or_else(|error| {
                        Err(Problem::because(Exit::Failure, "a transfer broke", &error))
                    });
                    match done {
                        Ok(stored) => {
                            tally.files += stored.files;
                            tally.bytes += stored.bytes;
                            if self.args.once {
                                return Ok(tally);
                            }
                        }
                        Err(problem) if self.args.once => return Err(problem),
                        Err(problem) => output.say(format_args!("{}", problem.message)),
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
        let dir = self.shared.inbox.dir().display().to_string();
        let (id52, output) = (self.shared.endpoint.id52(), self.shared.output);
        if first {
            output.say(format_args!("receiving into {dir} as {id52}"));
            output.say(format_args!("Ctrl-C ends it; on the other machine, run:"));
        } else {
            output.say(format_args!("a relay was found; from anywhere, run:"));
        }
        output.say(format_args!("{command}"));
        let is_asked_for = self.args.ticket || !std::io::stdout().is_terminal();
        if first && is_asked_for && !self.args.json && self.args.out.is_none() {
            // The program goes on even if nobody reads it.
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{ticket}").and_then(|()| out.flush());
        }
        output.event(if first {
            Event::Ready { id52, ticket, command, dir }
        } else {
            Event::Ticket { ticket, command }
        });
    }

    fn on_event(&self, event: &twolane::Event) {
        let Shared { endpoint, output, .. } = &self.shared;
        match event {
            twolane::Event::Connected { peer } => {
                let info = endpoint.peer(peer);
                output.event(Event::Connected {
                    peer: peer.to_string(),
                    path: info.as_ref().and_then(|info| info.path).map(|path| path.to_string()),
                    rtt_ns: info.and_then(|info| info.rtt).map(nanos),
                });
            }
            twolane::Event::PathChanged { peer, path } => {
                let rtt = endpoint.peer(peer).and_then(|info| info.rtt);
                output.event(Event::Path { peer: peer.to_string(), path: path.to_string(), rtt_ns: rtt.map(nanos) });
            }
            _ => {}
        }
    }

    /// Tells a sender that there is no place for its transfer. `is_its_own` says that its own transfers have taken the
    /// places.
    fn refuse(&self, number: u64, mut stream: XStream, is_its_own: bool) {
        let (peer, code) = (stream.get_remote_id52(), Reason::Busy.code());
        let message = if is_its_own {
            format!("{TRANSFERS_OF_ONE} transfers of this sender are arriving, which is the most for one")
        } else {
            format!("{TRANSFERS} transfers are arriving, which is the most")
        };
        let told = StreamError::new(code, &message);
        tokio::spawn(async move { timeout(REFUSAL, stream.fail(told)).await });
        let output = self.shared.output;
        output.say(format_args!("a transfer from {peer} was not taken: {message}"));
        output.event(Event::Failed { transfer: number, peer, code: Some(code), message, bytes: 0, at_ns: now_ns() });
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
