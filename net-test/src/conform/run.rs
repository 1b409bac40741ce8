//! `stream-tester conform`: runs the checks one after the other, against the peer of a ticket.

use std::{panic, process::ExitCode, time::Instant};

use twolane::Ticket;

use super::{Check, Subject, all};
use crate::{
    cli::{self, Problem},
    exit::Exit,
    output::Output,
    signals::Signals,
    stream_tester::report::{self, Event, Report, Verdict, milliseconds},
};

const EXAMPLES: &str = "\
Examples:
  stream-tester conform --against 'endpointab…'
  stream-tester conform --list
  stream-tester conform --only '6 data' --against 'endpointab…' --json

The ticket needs an address: the checks know of no relay. What a peer does on its own account is asked for with the
protocol conform/1, which `stream-tester serve` serves. With --json there is one object a line for each check, and the last is the
summary: {\"event\":\"summary\",\"passed\":…,\"failed\":…}.

Exit codes:
    0  every check held
    1  a check did not
    2  the command line: a wrong ticket, or one without an address
  130  interrupted (SIGINT); 143 terminated (SIGTERM)
";

/// Check whether a peer, of whatever implementation, keeps to WIRE.md
#[derive(Debug, clap::Args)]
#[command(max_term_width = 100, after_help = EXAMPLES)]
pub struct Args {
    /// The peer: its ticket
    #[arg(long, value_name = "TICKET", required_unless_present = "list")]
    against: Option<String>,

    /// Only the checks whose names begin so: `6` for a section
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,

    /// Print the names of the checks and what each asks for, and end
    #[arg(long)]
    list: bool,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,
}

pub fn main(args: Args) -> ExitCode {
    let output = Output::new(args.json, false);
    let wanted = |check: &&Check| args.only.is_empty() || args.only.iter().any(|name| check.name.starts_with(name));
    let checks: Vec<_> = all().filter(wanted).collect();
    let report = Report::new(output, checks.iter().map(|check| check.name.len()).max().unwrap_or_default());
    if checks.is_empty() {
        return report::failed(output, Problem::new(Exit::Usage, "no check has such a name: --list prints them"));
    }
    if args.list {
        for Check { name, sentence, .. } in checks {
            if output.is_json() {
                report.event(Event::Listed { name: (*name).into(), sentence: (*sentence).into() });
            } else {
                report::print(&format!("{name}: {sentence}"));
            }
        }
        return Exit::Done.into();
    }
    match cli::drive(|signals| run(args.against.unwrap_or_default(), checks, report, signals)) {
        Ok(exit) => exit.into(),
        Err(problem) => report::failed(output, problem),
    }
}

async fn run(ticket: String, checks: Vec<&'static Check>, report: Report, signals: Signals) -> Result<Exit, Problem> {
    let ticket: Ticket =
        ticket.parse().map_err(|error| Problem::because(Exit::Usage, "the ticket cannot be used", &error))?;
    let subject = Subject::of(&ticket).ok_or_else(|| Problem::new(Exit::Usage, "the ticket has no address"))?;
    // A check that fails panics with a message, which is printed in the row of the check.
    panic::set_hook(Box::new(|_| {}));
    let (started, output) = (Instant::now(), report.output());
    let peer = ticket.peer().to_string();
    report.event(Event::Start { id52: String::new(), peer, cases: checks.len() });
    report.head();
    let (mut passed, mut failed) = (0, 0);
    for check in checks {
        let began = Instant::now();
        let verdict = tokio::select! {
            exit = signals.asked() => return Err(Problem::new(exit, exit.kind())),
            verdict = check.of(subject) => verdict,
        };
        let (ok, ms) = (verdict.is_ok(), milliseconds(began.elapsed()));
        *(if ok { &mut passed } else { &mut failed }) += 1;
        let verdict = Verdict { name: check.name.to_owned(), ok, ms, note: None, error: verdict.err() };
        output.say(format_args!("{}", report.row(&verdict)));
        report.event(Event::Case(verdict));
    }
    let took = started.elapsed();
    output.say(format_args!("{passed} held, {failed} failed, in {:.1} s", took.as_secs_f64()));
    report.event(Event::Summary { passed, failed, ms: milliseconds(took) });
    Ok(if failed == 0 { Exit::Done } else { Exit::Failure })
}
