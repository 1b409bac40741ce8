//! `speed`: measures the cost of the layer, compared with raw iroh, in one run.
//!
//! `net-test/heavy` measures rust-libp2p and pea2pea with the same code. It is a workspace of its own.

pub mod bulk;
pub mod errors;
pub mod groups;
pub mod half;
pub mod herd;
pub mod many;
pub mod ours;
pub mod program;
pub mod raw;
pub mod report;
pub mod side;
pub mod timed;
pub mod work;

use std::{collections::BTreeMap, ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use self::{
    groups::{Bench, Group},
    ours::Ours,
    program::{How, Rows},
    raw::{Raw, Tuned},
    side::Side,
};
use crate::{conditions::Conditions, figures, output::Output, report::print};

/// A measurement that failed. It can only be reported.
pub type Broken = eyre::Report;

/// A description of the method, for the help of each program.
pub const METHOD: &str = "\
Each side's server is a process of its own, on loopback; the clients are in this one. Both sides are measured in turns,
after one that warms up and is left out; in it both ends hash bulk data and compare, and in the others they compare its
length. Every answer is compared with its request. A figure is the median of the rounds; the advantage is the median of
their ratios, over 1 in favour of twolane whatever the unit, with the interval that it lies in in 95 of 100 cases. A row is
void if others took over a tenth of the machine while it was measured. With --json there is one object a line: the
conditions, each row, and last the summary.
";

const EXAMPLES: &str = "\
Examples:
  speed
  speed --only bulk requests --rounds 15
  speed --only requests --rounds 3 --at-least 0.4
  speed --json
  speed --markdown table.md --svg plot.svg
  speed many
  speed herd
  speed figures

rust-libp2p and pea2pea take long to build. From a checkout, and with a help of its own:
  cargo run --release --manifest-path net-test/heavy/Cargo.toml -- --json

";

/// Measure twolane beside raw iroh
#[derive(Debug, Parser)]
#[command(name = "speed", version, max_term_width = 100, args_conflicts_with_subcommands = true,
          after_help = format!("{METHOD}\n{EXAMPLES}{}", program::EXIT_CODES))]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Only these groups
    #[arg(long, value_name = "GROUP", num_args = 1.., value_enum)]
    only: Vec<Group>,

    #[command(flatten)]
    how: How,

    /// Be the server of one side
    #[arg(long, hide = true, value_name = "SIDE", value_parser = [Ours::NAME, Raw::NAME, Tuned::NAME])]
    serve: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the tables of README.md and net/SPEED.md, and the picture, from net-test/figures
    Figures,
    Many(many::Many),
    Herd(herd::Herd),
    /// Print the line of conditions for a program that has none of its own
    Conditions {
        /// Its name
        program: String,
    },
}

pub fn main(args: Vec<OsString>) -> ExitCode {
    let how = |args: &Args| match &args.command {
        Some(Command::Many(many)) => How { json: many.is_json(), ..args.how.clone() },
        Some(Command::Herd(herd)) => How { json: herd.is_json(), ..args.how.clone() },
        _ => args.how.clone(),
    };
    program::main(args, how, run)
}

async fn run(args: &Args, output: Output) -> Result<(), Broken> {
    match &args.command {
        Some(Command::Figures) => {
            for path in figures::write()? {
                output.say(format_args!("{path} is written"));
            }
            return Ok(());
        }
        Some(Command::Conditions { program }) => {
            print(&Conditions::of(program, BTreeMap::new()).line());
            return Ok(());
        }
        Some(Command::Many(many)) => return many::run(many, output).await,
        Some(Command::Herd(herd)) => return herd::run(herd, output).await,
        None => {}
    }
    match args.serve.as_deref() {
        Some(Ours::NAME) => return half::obey::<Ours>().await,
        Some(Tuned::NAME) => return half::obey::<Tuned>().await,
        Some(_) => return half::obey::<Raw>().await,
        None => {}
    }
    let settings = [(Ours::NAME, Ours::settings()), (Raw::NAME, Raw::settings()), (Tuned::NAME, Tuned::settings())];
    let settings = settings.map(|(side, settings)| (side.to_owned(), settings));
    let mut rows = Rows::start(output, &Conditions::of("speed", settings.into()));
    let mut row = |row| rows.add(row);
    let bench = Bench::<Ours, Raw>::start(args.how.rounds.into()).await?;
    let groups = if args.only.is_empty() { Group::value_variants() } else { &args.only };
    for group in groups {
        match group {
            Group::Errors => errors::rows(&bench, &mut row).await?,
            Group::Transport => {
                let bench = Bench::<Ours, Tuned>::start(bench.rounds).await?;
                bench.common(&mut row).await?;
                bench.close().await;
            }
            group => bench.measure(*group, &mut row).await?,
        }
    }
    bench.close().await;
    rows.finish(&args.how)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{side::Service, *};

    /// With fewer streams, requests of a side would wait in its client.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_side_has_as_many_streams_open_as_requests_are_in_flight() {
        async fn opens<S: Side>() {
            let (_server, address) = S::serve().await.unwrap();
            let client = S::client(&address).await.unwrap();
            client.connect(Service::Bulk).await.unwrap();
            let mut open = Vec::new();
            while open.len() < 512 {
                let stream = timeout(Duration::from_secs(10), client.open(Service::Bulk)).await;
                open.push(stream.unwrap_or_else(|_| panic!("{}: {} streams", S::NAME, open.len())).unwrap());
            }
            client.close().await;
        }
        opens::<Ours>().await;
        opens::<Raw>().await;
        opens::<Tuned>().await;
    }
}
