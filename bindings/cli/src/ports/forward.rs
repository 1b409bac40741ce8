//! `forward`: a port of this machine is a service of a peer.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::Parser;
use tokio::task::JoinSet;
use twolane::{Endpoint, GetStreamError, Limits, StreamOptions, XStream};

use super::{
    Listen, PROTOCOL, PeerService,
    bridge::bridge,
    local::{Listener, Local},
};
use crate::{
    cli::{self, Net, Problem, Tally},
    exit::{self, Exit},
    output::{Output, in_one_line},
    signals::Signals,
};

/// Maximum time for the shutdown, in which connections may end by themselves.
const SHUTDOWN: Duration = Duration::from_secs(3);
/// Maximum number of connections. Each takes a stream, of which a peer allows a few hundred.
const CONNECTIONS: usize = 1024;
/// Time after which another connection is taken, after the system could give none: too many files are open, say.
const RECOVERY: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  twolane forward 8022 'endpointab…/ssh'          and then: ssh -p 8022 localhost
  twolane forward 0.0.0.0:8080 'endpointab…/web'
  twolane forward unix:/tmp/db.sock 'endpointab…/db'

The other side runs: twolane expose ssh=127.0.0.1:22 --from ID52.
";

/// Let a port of this machine be a service of a peer
#[derive(Debug, Parser)]
#[command(name = "forward", version, max_term_width = 100)]
#[command(after_help = format!("{EXAMPLES}\n{}", exit::HELP))]
pub struct Args {
    /// Where connections are taken: a port on this machine, HOST:PORT, or unix:PATH
    #[arg(value_name = "PORT")]
    listen: Listen,

    /// The peer's ticket or id52, and the name of the service
    #[arg(value_name = "TICKET/NAME")]
    service: PeerService,

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
    let endpoint = endpoint(&args.net, args.timeout).await?;
    let listener = Listener::bind(&args.listen.0).await.map_err(|error| {
        let what = format!("{} cannot be had", args.listen.0);
        Problem::because(Exit::Usage, &what, &error)
    })?;
    // The first connection need not wait for the peer to be found.
    let _kept = endpoint.keep(&args.service.ticket);
    output.say(format_args!("{} is {} of {}", listener.place(), args.service.name, args.service.ticket.peer()));
    let mut connections = JoinSet::new();
    let exit = loop {
        tokio::select! {
            exit = signals.asked() => break exit,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok(local) => {
                    connections.spawn(carry(endpoint.clone(), args.service.clone(), local, output));
                }
                Err(error) => {
                    output.warn(format!("a connection cannot be taken: {error}"));
                    tokio::time::sleep(RECOVERY).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    };
    drop(listener);
    endpoint.shutdown(SHUTDOWN).await;
    Err(Problem::new(exit, exit.kind()))
}

/// Carries a connection to its service. A connection for which there is none is reset.
async fn carry(endpoint: Endpoint, service: PeerService, local: Local, output: Output) {
    let reason = match open(&endpoint, &service).await {
        Ok(stream) => match bridge(stream, local).await {
            Ok(_) => return,
            Err(broken) => in_one_line(&broken),
        },
        Err(error) => {
            local.reset();
            in_one_line(&error)
        }
    };
    output.say(format_args!("{}: a connection was reset: {reason}", service.name));
}

/// Opens a stream to a service of a peer.
pub(super) async fn open(endpoint: &Endpoint, service: &PeerService) -> Result<XStream, GetStreamError> {
    let options = StreamOptions { metadata: service.name.clone().into_bytes().into(), ..StreamOptions::default() };
    endpoint.get_stream_with(&service.ticket, PROTOCOL, options).await
}

/// Makes an endpoint that gives up a dial after `timeout` seconds.
pub(super) async fn endpoint(net: &Net, timeout: f64) -> Result<Endpoint, Problem> {
    let bound = Duration::try_from_secs_f64(timeout)
        .ok()
        .filter(|bound| !bound.is_zero())
        .ok_or_else(|| Problem::new(Exit::Usage, "--timeout takes a number of seconds above 0"))?;
    net.builder("TWOLANE_KEY")?
        .limits(Limits { connect_timeout: bound, ..Limits::default() })
        .bind()
        .await
        .map_err(|error| Problem::because(Exit::from(&error), "no endpoint", &error))
}
