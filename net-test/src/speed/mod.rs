//! `speed`: what the layer costs, beside what it stands on, in one run.
//!
//! - [`side`]: what is compared, behind one trait; [`ours`], [`raw`];
//! - [`server`]: each side's server is a process of its own; [`bulk`], [`errors`]: what servers do;
//! - [`work`]: what is measured; [`compare`]: in turns; [`groups`]: the rows; [`stats`]: medians;
//! - [`report`]: the table; [`plot`]: the picture.

pub mod bulk;
pub mod compare;
pub mod errors;
pub mod groups;
pub mod ours;
pub mod plot;
pub mod raw;
pub mod report;
pub mod server;
pub mod side;
pub mod stats;
pub mod work;

use std::{ffi::OsString, fs, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;

use self::{
    compare::Row,
    groups::{Bench, Group},
    ours::Ours,
    raw::Raw,
    report::Event,
    side::Side,
};
use crate::{
    cli::{self, Problem},
    exit::Exit,
    output::Output,
    signals::Signals,
    stream_tester::report::milliseconds,
};

/// What breaks a measurement. There is nothing to be done about it but to say so.
pub type Broken = color_eyre::eyre::Report;

const EXAMPLES: &str = "\
Examples:
  speed
  speed --only bulk requests --rounds 9
  speed --json
  speed --markdown table.md --svg plot.svg

Each side's server is a process of its own, on loopback; the clients are in this one. Both sides are measured in turns,
and each figure is the median of so many rounds. What warms up is checked: both ends hash bulk data and compare, and
every answer is compared with its request. The spread is the middle half of the values, as a part of the median.
With --json there is one object a line for each row, and the last is the summary.

Exit codes:
    0  everything was measured
    1  something failed
    2  the command line
  130  interrupted (SIGINT); 143 terminated (SIGTERM)";

/// Measure twolane beside raw iroh
#[derive(Debug, Parser)]
#[command(name = "speed", version, max_term_width = 100, after_help = EXAMPLES)]
struct Args {
    /// Only these groups
    #[arg(long, value_name = "GROUP", num_args = 1.., value_enum)]
    only: Vec<Group>,

    /// How often each side is measured for a row
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,

    /// Write the rows as a table in Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// Write the ratios as a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Be the server of one side
    #[arg(long, hide = true, value_name = "SIDE", value_parser = [Ours::NAME, Raw::NAME])]
    serve: Option<String>,
}

/// The program, with its arguments, the first of which is its name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let args: Args = match cli::parse(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let output = Output::new(args.json, false);
    let result = cli::drive(async |signals: Signals| {
        tokio::select! {
            exit = signals.asked() => Err(Problem::new(exit, exit.kind())),
            done = run(&args, output) => done.map_err(|broken| Problem::new(Exit::Failure, format!("{broken:#}"))),
        }
    });
    match result {
        Ok(()) => Exit::Done.into(),
        Err(problem) => {
            let exit = problem.exit;
            output.fail(&problem.into_failure());
            exit.into()
        }
    }
}

async fn run(args: &Args, output: Output) -> Result<(), Broken> {
    match args.serve.as_deref() {
        Some(Ours::NAME) => return server::obey::<Ours>().await,
        Some(_) => return server::obey::<Raw>().await,
        None => {}
    }
    let started = Instant::now();
    let mut rows = Vec::new();
    report::head(output);
    let mut row = |row: Row| {
        output.say(format_args!("{}", report::line(&row)));
        report::event(output, Event::Row(row.clone()));
        rows.push(row);
    };
    let mut bench = Bench::<Ours, Raw>::start(args.rounds.into()).await?;
    let groups = if args.only.is_empty() { &Group::ALL[..] } else { &args.only };
    for group in groups {
        match group {
            Group::Errors => errors::rows(&bench.pair, bench.rounds, &mut row).await?,
            group => bench.measure(*group, &mut row).await?,
        }
    }
    bench.close().await;
    if let Some(file) = &args.markdown {
        fs::write(file, report::markdown(&rows))?;
    }
    if let Some(file) = &args.svg {
        fs::write(file, plot::draw(&rows)?)?;
    }
    report::event(output, Event::Summary { rows: rows.len(), ms: milliseconds(started.elapsed()) });
    Ok(())
}
