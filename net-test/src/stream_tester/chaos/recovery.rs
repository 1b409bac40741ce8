//! Checks that both sides of a pair reach each other again in time after a disturbance.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use super::{
    orders::neighbours,
    plan::{Draft, End, Part},
    talk,
    world::World,
};

/// Maximum time from the end of a disturbance to an accepted stream, without the time in which there was no
/// processor. The measured time is 0.1 s on average and 0.3 s at most, and 0.6 s and 3 s if both cores are busy.
pub const WITHIN: Duration = Duration::from_secs(5);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// The maximum number of attempts of a roll call. A disturbed roll call is repeated. Only standstills disturb it,
/// because the fates have ended.
const ROLL_CALLS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    Done,
    /// The pair did not recover in time. This was recorded as a violation.
    Late,
    /// The pair was disturbed again.
    Void,
}

/// Watches, in both directions, the pairs of a place with `others`, whose disturbance ends now.
pub fn watch(world: &Arc<World>, place: usize, others: &[usize]) {
    for other in others {
        for (from, to) in [(place, *other), (*other, place)] {
            let world = Arc::clone(world);
            world.clone().tasks.spawn(async move { recover(&world, from, to).await });
        }
    }
}

/// Checks that all neighbours reach each other. Must be called when there are no more disturbances.
pub async fn roll_call(world: &Arc<World>) {
    let mut calls = JoinSet::new();
    for from in 0..world.places() {
        for to in neighbours(world.places(), from) {
            let world = Arc::clone(world);
            calls.spawn(async move {
                for _ in 0..ROLL_CALLS {
                    if recover(&world, from, to).await != Recovery::Void {
                        return;
                    }
                }
                world.wrong(from, to, &"the last roll call", "the pair was disturbed each time");
            });
        }
    }
    while let Some(ended) = calls.join_next().await {
        if let Err(error) = ended {
            world.tally.wrong(None, "the last roll call", error.to_string());
        }
    }
}

/// Opens streams from one place to another until one is accepted.
pub async fn recover(world: &World, from: usize, to: usize) -> Recovery {
    let (since, sight) = (Instant::now(), world.pairs.sight(from, to));
    let waited = world.standstills.waited();
    let deadline = || since + WITHIN + world.standstills.waited().saturating_sub(waited);
    let quiet = || world.pairs.quiet_since(from, to, sight);
    let (draft, mut late) = (draft(to), false);
    let mut too_late = || {
        if !std::mem::replace(&mut late, true) {
            let seen = format!("no stream was accepted within {WITHIN:?} of the end of the last disturbance");
            world.wrong(from, to, &"liveness", seen);
        }
    };
    while quiet() {
        let Some(held) = world.hold(from) else {
            break;
        };
        let mut opening = pin!(talk::open(world, from, world.probe(), &draft, held));
        let opened = loop {
            match timeout_at(deadline(), &mut opening).await {
                Ok(opened) => break opened,
                Err(_) if Instant::now() < deadline() => {}
                Err(_) => {
                    if quiet() {
                        too_late();
                    }
                    break opening.await;
                }
            }
        };
        let (after, quiet) = (since.elapsed(), quiet());
        if let Some(opened) = opened {
            talk::finish(world, opened).await;
            if quiet && !late {
                world.tally.recovered(after);
                return Recovery::Done;
            }
        } else if quiet && Instant::now() < deadline() {
            sleep(PAUSE).await;
            continue;
        } else if quiet {
            too_late();
        }
        break;
    }
    if late { Recovery::Late } else { Recovery::Void }
}

/// Returns the draft of a stream without data.
pub fn draft(to: usize) -> Draft {
    let nothing = Part { len: 0, piece: 1, warnings: 0, end: End::Finish };
    Draft::plain(to, nothing, nothing)
}
