//! Whether the machine has time for what is tested. One that stands still for a moment makes bounds pass that nothing else
//! would: that counts as a disturbance of every pair, so that it explains what was lost and late, and nothing else.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use super::world::World;

/// How often a timer is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A timer that is later than this has waited for the processor: on an idle machine it is late by 1 ms, with eight compilers
/// on two cores mostly by 50 to 250 ms, and where calls then pass their bounds of 10 s by 4 to 7 s.
const STANDSTILL: Duration = Duration::from_millis(1_000);

/// Watches until actors are to stop.
pub async fn watch(world: Arc<World>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = tokio::select! {
            due = look.tick() => due,
            () = world.stop.cancelled() => return,
        };
        note(&world, due.elapsed());
    }
}

fn note(world: &World, late: Duration) {
    world.worst_lag_ms.fetch_max(u64::try_from(late.as_millis()).unwrap_or(u64::MAX), Relaxed);
    if late > STANDSTILL {
        for place in 0..world.len() {
            drop(world.pairs.disturb_all(place, "a standstill of the machine"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_standstill_disturbs_every_pair_and_a_moment_disturbs_none() {
        let world = World::new(1, 3).await.unwrap();
        let sight = world.pairs.sight(0, 2);
        note(&world, STANDSTILL);
        assert!(world.pairs.undisturbed(0, 2, sight));
        note(&world, STANDSTILL * 2);
        assert!(!world.pairs.undisturbed(0, 2, sight));
        assert_eq!(world.worst_lag_ms.load(Relaxed), 2_000);
        super::super::settle::settle(&world).await;
        assert_eq!(world.tally.violations().0, []);
    }
}
