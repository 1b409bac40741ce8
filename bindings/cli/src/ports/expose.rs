//! `expose`: lets peers reach services of this machine, by name.

use std::{collections::HashMap, ffi::OsString, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use twolane::{IncomingStream, PublicKey, Ticket};

use super::{PROTOCOL, Service, Target, bridge::bridge, local::Local};
use crate::{
    cli::{self, Net, Problem, Tally, announce, quoted},
    exit::{self, Exit},
    output::{Event, Output, in_one_line},
    signals::Signals,
    transfer::shown,
};

/// Maximum time for the shutdown, in which connections may end by themselves.
const SHUTDOWN: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  twolane expose ssh=127.0.0.1:22 --from ID52 --key-file ~/.config/twolane/expose.key
  twolane expose web=8080 db=unix:/run/db.sock --anyone

On the other machine: twolane forward 8022 'endpointab…/ssh', and ssh -p 8022 localhost; or, without a port,
ssh -o ProxyCommand=\"twolane pipe 'endpointab…/ssh'\" localhost.
";

/// Let peers reach services of this machine, by name
#[derive(Debug, Parser)]
#[command(name = "expose", version, max_term_width = 100)]
#[command(after_help = format!("{EXAMPLES}\n{}", exit::HELP))]
pub struct Args {
    /// Services, such as ssh=127.0.0.1:22, web=8080 or db=unix:/run/db.sock
    #[arg(required = true, value_name = "NAME=PLACE")]
    services: Vec<Service>,

    /// Let this peer in, by its id52 (may be repeated)
    #[arg(long, value_name = "ID52", conflicts_with = "anyone")]
    from: Vec<PublicKey>,

    /// Let in anyone who has the ticket
    #[arg(long)]
    anyone: bool,

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
    let args: Args = match cli::parse(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let output = Output::new(args.json, args.quiet);
    cli::run(output, |signals| run(args, output, signals))
}

async fn run(args: Args, output: Output, signals: Signals) -> Result<Tally, Problem> {
    if args.from.is_empty() && !args.anyone {
        return Err(Problem::new(Exit::Usage, "say who is let in: --from ID52 (may be repeated), or --anyone"));
    }
    let endpoint = args
        .net
        .builder("TWOLANE_KEY")?
        .bind()
        .await
        .map_err(|error| Problem::because(Exit::from(&error), "no endpoint", &error))?;
    let services = args.services.iter().map(|service| (service.name.clone(), service.target.clone())).collect();
    let door = Arc::new(Door { services, from: args.from.clone(), output });
    let serving = door.clone();
    endpoint
        .serve_incoming(PROTOCOL, move |incoming| serving.clone().open(incoming))
        .map_err(|error| Problem::because(Exit::Failure, "nothing can be served", &error))?;
    let tell = |ticket: &Ticket, first: bool| {
        let (ticket, options) = (ticket.to_string(), args.net.for_the_other_side());
        let name = args.services.first().map(|service| service.name.as_str()).unwrap_or_default();
        let command = format!("twolane forward{options} 8022 {}", quoted(&format!("{ticket}/{name}")));
        if first {
            output.say(format_args!("Ctrl-C ends it; on the other machine, run for example:"));
        }
        output.say(format_args!("{command}"));
        output.event(if first {
            Event::Ready { id52: endpoint.id52(), ticket, command, dir: String::new() }
        } else {
            Event::Ticket { ticket, command }
        });
    };
    let exit = tokio::select! {
        exit = signals.asked() => exit,
        never = announce(&endpoint, &args.net, tell, |message| output.warn(message)) => match never {},
    };
    endpoint.shutdown(SHUTDOWN).await;
    Err(Problem::new(exit, exit.kind()))
}

/// Who gets to which service.
struct Door {
    services: HashMap<String, Target>,
    /// Empty if anyone may.
    from: Vec<PublicKey>,
    output: Output,
}

impl Door {
    /// Connects a stream with its service. The stream is answered once the service is there, so that the other side knows
    /// why there is no connection.
    async fn open(self: Arc<Self>, incoming: IncomingStream) {
        let peer = incoming.peer();
        if !self.from.is_empty() && !self.from.contains(&peer) {
            return incoming.refuse("you are not let in").await;
        }
        let name = String::from_utf8_lossy(incoming.metadata()).into_owned();
        let Some(target) = self.services.get(&name) else {
            return incoming.refuse("there is no service of this name").await;
        };
        let local = match Local::connect(target).await {
            Ok(local) => local,
            Err(error) => {
                self.output.warn(format!("{} cannot be reached: {error}", shown(&name)));
                // The place is this machine's business.
                return incoming.refuse(format!("the service cannot be reached: {}", error.kind())).await;
            }
        };
        match incoming.accept().await {
            Ok(stream) => {
                if let Err(broken) = bridge(stream, local).await {
                    let reason = in_one_line(&broken);
                    self.output.say(format_args!("{}: a connection of {peer} was reset: {reason}", shown(&name)));
                }
            }
            // Whoever asked is gone.
            Err(_) => local.reset(),
        }
    }
}
