//! `pipe`: standard input and output are a stream to a peer.

use std::{
    ffi::OsString,
    io::{self, Read},
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    task::{Context, Poll, ready},
    thread,
    time::Duration,
};

use bytes::{Buf, Bytes};
use clap::Parser;
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::{Mutex, mpsc},
};
use twolane::{IncomingStream, PublicKey, Ticket, XStream};

use super::{
    PIPE, PROTOCOL, PeerService,
    bridge::{Broken, between},
    forward::{endpoint, open},
};
use crate::{
    cli::{self, Net, Problem, Tally, announce, quoted},
    exit::{self, Exit},
    output::{Output, in_one_line},
    signals::Signals,
};

/// Maximum time for the shutdown. Both directions have ended by then.
const SHUTDOWN: Duration = Duration::from_secs(3);
/// Number of bytes that are read from standard input at a time, and number of such pieces that wait.
const CHUNK: usize = 128 * 1024;
const QUEUE: usize = 4;

const EXAMPLES: &str = "\
Examples:
  twolane pipe --listen --anyone > backup.tar       the other side: tar c . | twolane pipe 'endpointab…'
  ssh -o ProxyCommand=\"twolane pipe 'endpointab…/ssh'\" localhost

Each direction ends with its last byte; the program ends when both have. It exits with 0 only then.
";

/// Connect standard input and output with a peer
#[derive(Debug, Parser)]
#[command(name = "pipe", version, max_term_width = 100)]
#[command(after_help = format!("{EXAMPLES}\n{}", exit::HELP))]
pub struct Args {
    /// The peer's ticket or id52, and the name of a service that it exposes, if it is no pipe
    #[arg(value_name = "TICKET[/NAME]", required_unless_present = "listen", conflicts_with = "listen")]
    service: Option<PeerService>,

    /// Wait for a peer, and print the command for it
    #[arg(long)]
    listen: bool,

    /// With --listen: the peer that is let in, by its id52 (may be repeated)
    #[arg(long, value_name = "ID52", requires = "listen", conflicts_with = "anyone")]
    from: Vec<PublicKey>,

    /// With --listen: let in the first who has the ticket
    #[arg(long, requires = "listen")]
    anyone: bool,

    /// Timeout for finding the peer and connecting to it, in seconds
    #[arg(long, value_name = "S", default_value_t = 15.0)]
    timeout: f64,

    /// Print only errors
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    net: Net,
}

/// Runs the program. The first argument is the name of the program.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let args: Args = match cli::parse(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let output = Output::new(false, args.quiet);
    cli::run(output, |signals| run(args, output, signals))
}

async fn run(args: Args, output: Output, signals: Signals) -> Result<Tally, Problem> {
    if args.listen && args.from.is_empty() && !args.anyone {
        return Err(Problem::new(Exit::Usage, "say who is let in: --from ID52 (may be repeated), or --anyone"));
    }
    let endpoint = endpoint(&args.net, args.timeout).await?;
    let piping = async {
        let stream = match &args.service {
            Some(service) => open(&endpoint, service).await.map_err(|error| {
                let what = format!("{} of {} cannot be reached", service.name, service.ticket.peer());
                Problem::because(Exit::from(&error), &what, &error)
            })?,
            None => listen(&endpoint, &args, output).await?,
        };
        let (mut input, mut out) = (Input::start(), tokio::io::stdout());
        between(stream, &mut input, &mut out).await.map_err(|broken| {
            let exit = match broken {
                Broken::Local(_) => Exit::Failure,
                _ => Exit::Unreachable,
            };
            Problem::new(exit, in_one_line(&broken))
        })
    };
    let piped = tokio::select! {
        exit = signals.asked() => Err(Problem::new(exit, exit.kind())),
        piped = piping => piped,
    };
    endpoint.shutdown(SHUTDOWN).await;
    piped.map(|totals| Tally { files: 0, bytes: totals.up + totals.down })
}

/// Waits for the first peer that is let in.
async fn listen(endpoint: &twolane::Endpoint, args: &Args, output: Output) -> Result<XStream, Problem> {
    let (found, mut streams) = mpsc::channel(1);
    let from: Arc<Vec<PublicKey>> = Arc::new(args.from.clone());
    let first = Arc::new(Mutex::new(Some(found)));
    let take = move |incoming: IncomingStream| {
        let (from, first) = (from.clone(), first.clone());
        async move {
            if !from.is_empty() && !from.contains(&incoming.peer()) {
                return incoming.refuse("you are not let in").await;
            }
            if incoming.metadata()[..] != *PIPE.as_bytes() {
                return incoming.refuse("there is no service of this name").await;
            }
            let found = first.lock().await.take();
            match found {
                Some(found) => {
                    if let Ok(stream) = incoming.accept().await {
                        // The program may have been interrupted meanwhile.
                        let _ = found.send(stream).await;
                    }
                }
                None => incoming.refuse("the pipe is taken").await,
            }
        }
    };
    endpoint
        .serve_incoming(PROTOCOL, take)
        .map_err(|error| Problem::because(Exit::Failure, "nothing can be served", &error))?;
    let tell = |ticket: &Ticket, first: bool| {
        if first {
            output.say(format_args!("Ctrl-C ends it; on the other machine, run:"));
        }
        let options = args.net.for_the_other_side();
        output.say(format_args!("twolane pipe{options} {}", quoted(&ticket.to_string())));
    };
    tokio::select! {
        stream = streams.recv() => {
            stream.ok_or_else(|| Problem::new(Exit::Unreachable, "the peer gave up before the pipe was open"))
        }
        never = announce(endpoint, &args.net, tell, |message| output.warn(message)) => match never {},
    }
}

/// Standard input, read on a thread of its own, which holds up no end of the program.
struct Input {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Input {
    fn start() -> Self {
        let (sender, chunks) = mpsc::channel(QUEUE);
        thread::spawn(move || {
            let mut input = io::stdin().lock();
            loop {
                let mut chunk = vec![0; CHUNK];
                let read = match input.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(read) => Ok(read),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let is_over = read.is_err();
                let sent = sender.blocking_send(read.map(|read| {
                    chunk.truncate(read);
                    chunk.into()
                }));
                if is_over || sent.is_err() {
                    return;
                }
            }
        });
        Self { chunks, rest: Bytes::new() }
    }
}

impl AsyncRead for Input {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match ready!(self.chunks.poll_recv(cx)) {
                Some(Ok(chunk)) => self.rest = chunk,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                // The end, which stays.
                None => return Poll::Ready(Ok(())),
            }
        }
        let len = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..len]);
        self.rest.advance(len);
        Poll::Ready(Ok(()))
    }
}
