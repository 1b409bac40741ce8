//! Measures twolane beside rust-libp2p over QUIC, and beside pea2pea over TCP with Noise and with TLS.
//!
//! - [`rust_libp2p`], [`pea`]: the other sides, behind the trait of `twolane_test::speed`, whose code measures;
//! - [`peers`]: what is measured beside whom.

mod pea;
mod peers;
mod rust_libp2p;

use std::process::ExitCode;

use clap::Parser;
use twolane_cli::output::Output;
use twolane_test::speed::{
    Broken,
    ours::Ours,
    program::{self, EXIT_CODES, How, Rows},
    server,
    side::Side,
};

use self::peers::Peer;

const EXAMPLES: &str = "\
Examples, from a checkout:
  cargo run --release --manifest-path net-test/heavy/Cargo.toml
  cargo run --release --manifest-path net-test/heavy/Cargo.toml -- --json
  cargo run --release --manifest-path net-test/heavy/Cargo.toml -- --only libp2p pea2pea-tls --rounds 9
  cargo run --release --manifest-path net-test/heavy/Cargo.toml -- --markdown table.md --svg plot.svg

Each side's server is a process of its own, on loopback; the clients are in this one, on one runtime. Both sides are
measured in turns, and each figure is the median of so many rounds. What warms up is checked: both ends hash bulk data
and compare, and every answer is compared with its request. The spread is the middle half of the values, as a part of
the median. With --json there is one object a line for each row, and the last is the summary.

";

/// Measure twolane beside rust-libp2p and pea2pea
#[derive(Debug, Parser)]
#[command(
    name = "twolane-speed-heavy",
    version,
    max_term_width = 100,
    after_help = format!("{}\n{EXAMPLES}{EXIT_CODES}", peers::help())
)]
struct Args {
    /// Only beside these
    #[arg(long, value_name = "PEER", num_args = 1.., value_enum)]
    only: Vec<Peer>,

    #[command(flatten)]
    how: How,

    /// Be the server of one side
    #[arg(long, hide = true, value_name = "SIDE")]
    serve: Option<String>,
}

fn main() -> ExitCode {
    program::main(std::env::args_os().collect(), |args: &Args| args.how.clone(), run)
}

async fn run(args: &Args, output: Output) -> Result<(), Broken> {
    if let Some(side) = &args.serve {
        return match Peer::called(side) {
            Some(peer) => peer.serve().await,
            None if side == Ours::NAME => server::obey::<Ours>().await,
            None => Err(Broken::msg(format!("there is no side called {side}"))),
        };
    }
    let mut rows = Rows::start(output);
    let peers = if args.only.is_empty() { &Peer::ALL[..] } else { &args.only };
    for peer in peers {
        rows.heading(&format!("\n{}: {}", peer.name(), peer.settings()));
        peer.measure(args.how.rounds.into(), &mut rows).await?;
    }
    rows.finish(&args.how)
}
