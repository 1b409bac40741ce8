//! `speed`: what the layer costs, beside what it stands on, in one run.
//!
//! - [`side`]: what is compared, behind one trait; [`ours`], [`raw`];
//! - [`server`]: each side's server is a process of its own; [`bulk`], [`errors`]: what servers do;
//! - [`work`]: what is measured; [`groups`]: the rows;
//! - [`report`]: the table; [`plot`]: the picture; [`program`]: how a program that measures begins and ends.
//!
//! `net-test/heavy` measures rust-libp2p and pea2pea with the same code. It is a workspace of its own.

pub mod bulk;
pub mod errors;
pub mod groups;
pub mod ours;
pub mod plot;
pub mod program;
pub mod raw;
pub mod report;
pub mod server;
pub mod side;
pub mod work;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

use self::{
    groups::{Bench, Group},
    ours::Ours,
    program::{How, Rows},
    raw::Raw,
    side::Side,
};
use crate::output::Output;

/// What breaks a measurement. There is nothing to be done about it but to say so.
pub type Broken = eyre::Report;

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

rust-libp2p and pea2pea take long to build. From a checkout, and with a help of its own:
  cargo run --release --manifest-path net-test/heavy/Cargo.toml -- --json

";

/// Measure twolane beside raw iroh
#[derive(Debug, Parser)]
#[command(name = "speed", version, max_term_width = 100, after_help = format!("{EXAMPLES}{}", program::EXIT_CODES))]
struct Args {
    /// Only these groups
    #[arg(long, value_name = "GROUP", num_args = 1.., value_enum)]
    only: Vec<Group>,

    #[command(flatten)]
    how: How,

    /// Be the server of one side
    #[arg(long, hide = true, value_name = "SIDE", value_parser = [Ours::NAME, Raw::NAME])]
    serve: Option<String>,
}

/// The program, with its arguments, the first of which is its name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    program::main(args, |args: &Args| args.how.clone(), run)
}

async fn run(args: &Args, output: Output) -> Result<(), Broken> {
    match args.serve.as_deref() {
        Some(Ours::NAME) => return server::obey::<Ours>().await,
        Some(_) => return server::obey::<Raw>().await,
        None => {}
    }
    let mut rows = Rows::start(output);
    let mut row = |row| rows.add(row);
    let mut bench = Bench::<Ours, Raw>::start(args.how.rounds.into()).await?;
    let groups = if args.only.is_empty() { &Group::ALL[..] } else { &args.only };
    for group in groups {
        match group {
            Group::Errors => errors::rows(&bench.pair, bench.rounds, &mut row).await?,
            group => bench.measure(*group, &mut row).await?,
        }
    }
    bench.close().await;
    rows.finish(&args.how)
}
