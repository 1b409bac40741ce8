//! How congestion control uses links, in virtual time.
//!
//! A single run: `TWOLANE_SEED=9 TWOLANE_RUNS=1`, with `--nocapture` to see its figures. BBR draws the time at which
//! it probes for more, and its seed cannot be set from outside of noq: two runs with one seed are alike, and not the
//! same.

mod ablation;
mod alone;
mod beside;

use std::{ops::Range, sync::Arc, time::Duration};

use noq_proto::congestion::{Bbr3Config, CubicConfig};

use super::{Congestion, by_distance::ByDistanceConfig, parts::Parts, simulation::Factory};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn ours() -> Factory {
    Arc::new(ByDistanceConfig::default())
}

fn without(part: &str) -> Factory {
    Arc::new(ByDistanceConfig { parts: Parts::default().without(part).expect("a part with this name") })
}

fn bbr3() -> Factory {
    Arc::new(Bbr3Config::default())
}

fn background() -> Factory {
    Congestion::Background.factory()
}

fn cubic() -> Factory {
    Arc::new(CubicConfig::default())
}

/// Returns the seeds of this many runs, or of as many as `TWOLANE_RUNS` asks for.
fn seeds(runs: u64) -> Range<u64> {
    let first = setting("TWOLANE_SEED", 7);
    first..first + setting("TWOLANE_RUNS", runs)
}

/// Reads a number for one run: `TWOLANE_SEED=9 TWOLANE_RUNS=100`, with `--nocapture` to see each run.
fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |value| value.parse().expect("a number"))
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
