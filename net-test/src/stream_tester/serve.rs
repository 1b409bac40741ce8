//! `stream-tester serve`: the other side of all cases, for a `run` in another process.

use std::{process::ExitCode, time::Duration};

use tokio::time::timeout;

use super::{
    EXIT_CODES, acceptor, network,
    report::{Event, Report},
};
use crate::{
    cli::{self, Net, Problem},
    exit::Exit,
    output::Output,
    signals::Signals,
};

/// How long the ticket waits for a relay. With a network, one answers in 0.2 s; one that answers later is told of when
/// it does.
const RELAY_WAIT: Duration = Duration::from_millis(500);
/// When it is time to say that no relay answers.
const RELAY_PATIENCE: Duration = Duration::from_secs(5);
/// How long the end may take: an opener hears why its streams end.
const SHUTDOWN: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  stream-tester serve --offline
  stream-tester serve --key-file ~/.config/stream-tester.key --json

It prints the command for the other side, and serves until Ctrl-C. Whoever has the ticket can have it send and read
up to 128 MiB at a time, and nothing else.
A key can also be in the environment variable STREAM_TESTER_KEY (64 hexadecimal digits).
";

/// Be the other side for `run --against` in another process, until Ctrl-C
#[derive(Debug, clap::Args)]
#[command(max_term_width = 100, after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub struct Args {
    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    net: Net,
}

pub(super) fn main(args: Args) -> ExitCode {
    let output = Output::new(args.json, false);
    match cli::drive(|signals| serve(args, output, signals)) {
        Ok(never) => match never {},
        Err(problem) => {
            let exit = problem.exit;
            output.fail(&problem.into_failure());
            exit.into()
        }
    }
}

async fn serve(args: Args, output: Output, signals: Signals) -> Result<std::convert::Infallible, Problem> {
    let endpoint = network::builder(&args.net)?
        .limits(acceptor::limits())
        .bind()
        .await
        .map_err(|error| Problem::because(Exit::from(&error), "no endpoint", &error))?;
    let served = acceptor::serve(&endpoint)
        .await
        .map_err(|error| Problem::because(Exit::Failure, "nothing can be served", &error))?;
    let report = Report::new(output, 0);
    let announcing = async {
        let waits = !args.net.offline || !args.net.relay.is_empty();
        let known = !waits || endpoint.online(RELAY_WAIT).await;
        announce(&args.net, &endpoint, report, true);
        if !known {
            if !endpoint.online(RELAY_PATIENCE).await {
                let message = "no relay can be reached: the other side must reach this machine directly".to_owned();
                output.say(format_args!("warning: {message}"));
                report.event(Event::Warning { message });
                // However long that takes.
                while !endpoint.online(RELAY_PATIENCE).await {}
            }
            announce(&args.net, &endpoint, report, false);
        }
        std::future::pending::<std::convert::Infallible>().await
    };
    let exit = tokio::select! {
        exit = signals.asked() => exit,
        never = announcing => match never {},
    };
    let _ = timeout(SHUTDOWN, endpoint.shutdown(SHUTDOWN)).await;
    Err(Problem::new(exit, format!("{}; streams served: {}", exit.kind(), served.streams())))
}

fn announce(net: &Net, endpoint: &twolane::Endpoint, report: Report, first: bool) {
    let ticket = endpoint.ticket().to_string();
    // Who runs a checkout has no `stream-tester` in the path, and neither has the other side.
    let program = if std::env::var_os("CARGO").is_some() { "cargo stream-tester --" } else { "stream-tester" };
    let mut command = format!("{program} run");
    if net.offline {
        command.push_str(" --offline");
    }
    for relay in &net.relay {
        command.push_str(&format!(" --relay '{}'", relay.replace('\'', r"'\''")));
    }
    // The characters of a ticket mean nothing to a shell.
    command.push_str(&format!(" --against '{ticket}'"));
    let output = report.output();
    if first {
        output.say(format_args!("serving as {}", endpoint.id52()));
        output.say(format_args!("Ctrl-C ends it; on the other side, run:"));
    } else {
        output.say(format_args!("a relay was found; from anywhere, run:"));
    }
    output.say(format_args!("{command}"));
    report.event(if first {
        Event::Ready { id52: endpoint.id52(), ticket, command }
    } else {
        Event::Ticket { ticket, command }
    });
}
