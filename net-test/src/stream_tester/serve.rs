//! `stream-tester serve`: the acceptor of all cases, for a `run` in another process.

use std::{process::ExitCode, time::Duration};

use tokio::time::timeout;
use twolane::Ticket;

use super::{
    EXIT_CODES, KEY, acceptor,
    report::{Event, Report, failed},
};
use crate::{
    cli::{self, Net, Problem, quoted},
    exit::Exit,
    output::Output,
    signals::Signals,
};

/// Maximum time for the shutdown. In this time an opener learns why its streams end.
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

pub fn main(args: Args) -> ExitCode {
    let output = Output::new(args.json, false);
    match cli::drive(|signals| serve(args, output, signals)) {
        Ok(never) => match never {},
        Err(problem) => failed(output, problem),
    }
}

async fn serve(args: Args, output: Output, signals: Signals) -> Result<std::convert::Infallible, Problem> {
    let endpoint = args
        .net
        .builder(KEY)?
        .limits(acceptor::limits())
        .bind()
        .await
        .map_err(|error| Problem::because(Exit::from(&error), "no endpoint", &error))?;
    let served = acceptor::serve(&endpoint)
        .await
        .map_err(|error| Problem::because(Exit::Failure, "nothing can be served", &error))?;
    let report = Report::new(output, 0);
    let tell = |ticket: &Ticket, first| announce(&args.net, &endpoint.id52(), ticket, report, first);
    let warn = |message: String| {
        output.say(format_args!("warning: {message}"));
        report.event(Event::Warning { message });
    };
    let exit = tokio::select! {
        exit = signals.asked() => exit,
        never = cli::announce(&endpoint, &args.net, tell, warn) => match never {},
    };
    let _ = timeout(SHUTDOWN, endpoint.shutdown(SHUTDOWN)).await;
    Err(Problem::new(exit, format!("{}; streams served: {}", exit.kind(), served.streams())))
}

fn announce(net: &Net, id52: &str, ticket: &Ticket, report: Report, first: bool) {
    let ticket = ticket.to_string();
    // If the program was started by `cargo`, `stream-tester` is not in the path, and probably not on the other
    // machine either.
    let program = if std::env::var_os("CARGO").is_some() { "cargo stream-tester --" } else { "stream-tester" };
    let command = format!("{program} run{} --against {}", net.for_the_other_side(), quoted(&ticket));
    let output = report.output();
    if first {
        output.say(format_args!("serving as {id52}"));
        output.say(format_args!("Ctrl-C ends it; on the other side, run:"));
    } else {
        output.say(format_args!("a relay was found; from anywhere, run:"));
    }
    output.say(format_args!("{command}"));
    report.event(if first {
        Event::Ready { id52: id52.to_owned(), ticket, command }
    } else {
        Event::Ticket { ticket, command }
    });
}
