//! Measures twolane in comparison with rust-libp2p over QUIC, and with pea2pea over TCP with Noise and with TLS.
//! The measuring code is that of `twolane_test::speed`.

mod pea;
mod peers;
mod rust_libp2p;

use std::{collections::BTreeMap, process::ExitCode};

use clap::Parser;
use twolane_cli::output::Output;
use twolane_test::{
    conditions::Conditions,
    speed::{
        Broken, METHOD, half,
        ours::Ours,
        program::{self, EXIT_CODES, How, Rows},
        side::Side,
    },
};

use self::peers::Peer;

const LOCK: &str = include_str!("../Cargo.lock");
const PACKAGES: &[&str] =
    &["libp2p", "libp2p-quic", "libp2p-stream", "libp2p-request-response", "quinn", "pea2pea", "snow", "tokio-rustls"];

const EXAMPLES: &str = "\
Examples, from a checkout:
  cargo run --release --manifest-path net-test/heavy/Cargo.toml
  cargo run --release --manifest-path net-test/heavy/Cargo.toml -- --json
  cargo run --release --manifest-path net-test/heavy/Cargo.toml -- --only libp2p pea2pea-tls --rounds 9
  cargo run --release --manifest-path net-test/heavy/Cargo.toml -- --markdown table.md --svg plot.svg

";

/// Measure twolane beside rust-libp2p and pea2pea
#[derive(Debug, Parser)]
#[command(
    name = "twolane-speed-heavy",
    version,
    max_term_width = 100,
    after_help = format!("{}\n{METHOD}\n{EXAMPLES}{EXIT_CODES}", peers::help())
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
            None if side == Ours::NAME => half::obey::<Ours>().await,
            None => Err(Broken::msg(format!("there is no side called {side}"))),
        };
    }
    let peers = if args.only.is_empty() { &Peer::ALL[..] } else { &args.only };
    let mut settings: BTreeMap<_, _> = peers.iter().map(|peer| (peer.name().to_owned(), peer.settings())).collect();
    settings.insert(Ours::NAME.to_owned(), Ours::settings());
    let mut rows = Rows::start(output, &Conditions::now("heavy", LOCK, PACKAGES, settings));
    for peer in peers {
        rows.heading(&format!("\n{}", peer.name()));
        Box::pin(peer.measure(args.how.rounds.into(), &mut rows)).await?;
    }
    rows.finish(&args.how)
}
