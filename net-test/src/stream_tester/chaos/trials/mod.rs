//! The trials: tests of what the mixture of the places cannot show, because its links are fast. Each trial is a
//! small world of its own that runs beside the others, with a few endpoints, slow links that fail, slow rules, and
//! programs that hold streams without using them.
//!
//! A trial is drawn from the seed, takes seconds, and decides itself which outcomes are legal. All trials run in
//! the first minute, and again in each further minute.

pub mod cancelled;
pub mod crossed;
pub mod delivered;
pub mod early;
pub mod frozen;
pub mod half_read;
pub mod killed;
pub mod outage;
pub mod restarts;
pub mod rules;
pub mod sitting;
pub mod slow_responses;
pub mod stage;
pub mod stopped;

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::timeout};

use self::stage::Stage;
use super::{tally::Tally, world::World};
use crate::stream_tester::lock;

/// The number of trials at a time. They wait most of the time.
const AT_A_TIME: usize = 4;
/// The seconds of a run in which each trial must be played once, and again once for each further period. All trials
/// take about 40 s, [`AT_A_TIME`] at a time. A trial that fails takes longer.
const ALL_OF_THEM: u64 = 60;
/// Maximum time for a trial. A trial that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The verdict of a trial. The error describes the illegal observation.
pub type Verdict = Result<(), String>;

type Playing = Pin<Box<dyn Future<Output = Verdict> + Send>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trial {
    /// Data that was read ahead up to its end, before the stream is aborted, failed or revoked, is whole or is no end
    /// of data.
    HalfRead,
    /// A writer that waits for delivery is told why there is none, when the reader lets go.
    Delivered,
    /// Large responses over a slow link are not given up while they make progress.
    SlowResponses,
    /// A program that is killed during its admission, and started again, stays connected.
    Restarts,
    /// A peer that is killed and comes back at once is found soon; one that stands still keeps its connection; one that
    /// is gone holds up no end.
    Killed,
    /// Peers that stand still where packets get lost keep their connections.
    Frozen,
    /// A stream that fails amid bulk and warnings, during an outage, is told with all its bytes.
    Outage,
    /// Handlers that sit on streams whose openers have gone take nobody's lanes.
    Sitting,
    /// Requests that are dropped with early data leave room for others.
    Cancelled,
    /// Uploads that nobody reads any more hold no credit.
    Stopped,
    /// Dials that cross end in one connection, and fail nobody's request.
    Crossed,
    /// A connection that is dead makes way for a new one, whoever dialled.
    DeadWay,
    /// Early data and requests of any size come back from a peer that answers while it reads.
    Early,
    /// Rules that are slow, refuse or never answer concern the newcomer alone.
    Rules,
}

impl Trial {
    fn play(self, stage: Stage) -> Playing {
        match self {
            Self::HalfRead => Box::pin(half_read::play(stage)),
            Self::Delivered => Box::pin(delivered::play(stage)),
            Self::SlowResponses => Box::pin(slow_responses::play(stage)),
            Self::Restarts => Box::pin(restarts::play(stage)),
            Self::Killed => Box::pin(killed::play(stage)),
            Self::Frozen => Box::pin(frozen::play(stage)),
            Self::Outage => Box::pin(outage::play(stage)),
            Self::Sitting => Box::pin(sitting::play(stage)),
            Self::Cancelled => Box::pin(cancelled::play(stage)),
            Self::Stopped => Box::pin(stopped::play(stage)),
            Self::Crossed => Box::pin(crossed::play(stage)),
            Self::DeadWay => Box::pin(crossed::dead_way(stage)),
            Self::Early => Box::pin(early::play(stage)),
            Self::Rules => Box::pin(rules::play(stage)),
        }
    }

    /// Returns the time that the trial takes if it holds.
    fn usual(self) -> Duration {
        Duration::from_secs(match self {
            Self::HalfRead => 3,
            Self::Delivered => 5,
            Self::SlowResponses => 33,
            Self::Restarts => 7,
            Self::Killed => 11,
            Self::Frozen => 16,
            Self::Outage => 22,
            Self::Sitting => 6,
            Self::Cancelled => 6,
            Self::Stopped => 12,
            Self::Crossed => 8,
            Self::DeadWay => 18,
            Self::Early => 6,
            Self::Rules => 4,
        })
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// The number of times that each trial held.
#[derive(Debug, Default)]
pub struct Trials {
    held: Mutex<BTreeMap<Trial, u64>>,
    /// The number of endpoints that were bound.
    lives: AtomicU64,
}

impl Trials {
    pub fn held(&self) -> BTreeMap<Trial, u64> {
        let held = lock(&self.held);
        Trial::value_variants().iter().map(|trial| (*trial, held.get(trial).copied().unwrap_or_default())).collect()
    }

    pub fn lives(&self) -> u64 {
        self.lives.load(Relaxed)
    }
}

/// Returns how often each trial must be completed in this many seconds.
pub fn floors(seconds: u64, only: &[Trial]) -> BTreeMap<Trial, u64> {
    let floor = |trial| if only.is_empty() || only.contains(&trial) { seconds / ALL_OF_THEM } else { 0 };
    Trial::value_variants().iter().map(|trial| (*trial, floor(*trial))).collect()
}

/// Runs trials until the remaining time is too short for any other one. The trials that must run do so even if the
/// time is over.
pub async fn play(world: Arc<World>, seconds: u64, only: Vec<Trial>) {
    let end = Instant::now() + Duration::from_secs(seconds);
    let must = seconds >= ALL_OF_THEM;
    let (deck, mut players) = (Arc::new(Mutex::new(Deck::new(world.seed, only, must))), JoinSet::new());
    for _ in 0..AT_A_TIME {
        let (world, deck) = (Arc::clone(&world), Arc::clone(&deck));
        players.spawn(async move {
            loop {
                let next = lock(&deck).next(end.saturating_duration_since(Instant::now()));
                let Some((trial, number)) = next else { return };
                one(&world, trial, number).await;
            }
        });
    }
    while players.join_next().await.is_some() {}
}

async fn one(world: &World, trial: Trial, number: u64) {
    let seed = world.seed;
    let stage = Stage::new(rng(seed, trial, number), Arc::clone(&world.trials));
    let wrong =
        |tally: &Tally, seen: String| tally.wrong(None, format!("trial {}, number {number}", trial.name()), seen);
    match timeout(PATIENCE, trial.play(stage)).await {
        Ok(Ok(())) => *lock(&world.trials.held).entry(trial).or_default() += 1,
        Ok(Err(seen)) => wrong(&world.tally, seen),
        Err(_) => wrong(&world.tally, format!("it did not end within {PATIENCE:?}")),
    }
}

fn rng(seed: u64, trial: Trial, number: u64) -> StdRng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"trial").update(&seed.to_le_bytes()).update(trial.name().as_bytes()).update(&number.to_le_bytes());
    let mut bytes = [0; 32];
    hasher.finalize_xof().fill(&mut bytes);
    StdRng::from_seed(bytes)
}

/// The order of the trials. Each runs once before one runs again, the longest first.
struct Deck {
    wanted: Vec<Trial>,
    left: Vec<Trial>,
    rng: StdRng,
    round: u64,
    /// Whether the first round ignores the remaining time.
    must: bool,
}

impl Deck {
    fn new(seed: u64, only: Vec<Trial>, must: bool) -> Self {
        let wanted = if only.is_empty() { Trial::value_variants().to_vec() } else { only };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self { wanted, left: Vec::new(), rng: StdRng::from_seed(bytes), round: 0, must }
    }

    fn next(&mut self, time: Duration) -> Option<(Trial, u64)> {
        if self.left.is_empty() {
            self.round += 1;
            self.left.clone_from(&self.wanted);
            self.left.shuffle(&mut self.rng);
            self.left.sort_by_key(|trial| trial.usual());
        }
        let must = self.must && self.round == 1;
        let at = self.left.iter().rposition(|trial| must || trial.usual() <= time)?;
        Some((self.left.remove(at), self.round))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trial_is_played_once_before_one_is_played_again_and_none_that_does_not_fit() {
        let mut deck = Deck::new(7, Vec::new(), false);
        let count = Trial::value_variants().len();
        for round in 1..=2 {
            let dealt: std::collections::BTreeSet<_> = (0..count).filter_map(|_| deck.next(PATIENCE)).collect();
            assert!(dealt.len() == count && dealt.iter().all(|(_, number)| *number == round));
        }
        assert_eq!(deck.next(Duration::from_millis(1)), None);
        let mut deck = Deck::new(7, Vec::new(), true);
        let dealt = std::iter::from_fn(|| deck.next(Duration::ZERO)).count();
        assert_eq!(dealt, count, "what must be played is, and nothing more");
        let only = Trial::value_variants()[0];
        let mut deck = Deck::new(7, vec![only], false);
        assert_eq!([deck.next(PATIENCE), deck.next(PATIENCE)], [Some((only, 1)), Some((only, 2))]);
    }

    #[test]
    fn all_trials_fit_into_the_time_after_which_each_must_have_been_played() {
        // Each player takes the longest trial that is left.
        let (mut each, mut players): (Vec<_>, _) =
            (Trial::value_variants().iter().map(|trial| trial.usual()).collect(), [Duration::ZERO; AT_A_TIME]);
        each.sort_unstable();
        while let Some(next) = each.pop() {
            if let Some(first) = players.iter_mut().min() {
                *first += next;
            }
        }
        assert!(players.iter().all(|end| *end <= Duration::from_secs(ALL_OF_THEM)), "{players:?}");
        assert!(floors(59, &[]).values().all(|floor| *floor == 0));
        assert!(floors(300, &[]).values().all(|floor| *floor == 5));
    }
}
