//! Decides when to look for a direct path again. Pure, with time as input.
//!
//! When a direct path is cut, the connection goes on over the relay. iroh looks for a direct path when an address
//! changes, and otherwise once a minute. It also looks when a connection to the peer is made, so a connection that
//! carries nothing (`peer/path/probe.rs`) makes it look sooner.

use std::time::{Duration, Instant};

use crate::events::PathKind;

/// The time from the loss of the path to the first look. A short interruption is over by then.
const FIRST: Duration = Duration::from_secs(1);
/// The pause between two looks. A look lasts 4 s (noq sends its last packet then), so a path that heals is found at
/// most 4 s later. iroh begins no look within 5 s of the last one.
const OFTEN: Duration = Duration::from_secs(8);
/// Maximum random addition to each pause. Pause, addition and look are 14 s together: a path that heals is found
/// within 15 s.
const JITTER: Duration = Duration::from_secs(2);
/// The time after which the path is not just interrupted: the peer, or this side, is in another network.
const PATIENCE: Duration = Duration::from_secs(600);
/// The pause from then on: as often as iroh looks by itself.
const SELDOM: Duration = Duration::from_secs(60);

/// The search for a direct path of one connection.
#[derive(Debug, Default)]
pub(super) struct Restore {
    was_direct: bool,
    /// The time since which data has taken a relay, and the time at which the next look is due.
    relayed: Option<(Instant, Instant)>,
}

impl Restore {
    /// Records the kind of path that data takes now.
    pub(super) fn on_path(&mut self, path: PathKind, now: Instant) {
        match path {
            PathKind::Direct => *self = Self { was_direct: true, relayed: None },
            PathKind::Relay => self.relayed = self.relayed.or(Some((now, now + FIRST))),
        }
    }

    /// Returns when the next look is due. Two peers that never had a direct path are left to iroh, unless one is
    /// `wanted`.
    pub(super) fn due(&self, wanted: bool) -> Option<Instant> {
        let (_, next) = self.relayed?;
        (self.was_direct || wanted).then_some(next)
    }

    /// Records that a look has begun. `random` is any number. All peers of a server that lost its network look for a
    /// path to it, and not all of them at the same moment.
    pub(super) fn looked(&mut self, now: Instant, random: u32) {
        if let Some((since, next)) = &mut self.relayed {
            let pause = if now.duration_since(*since) < PATIENCE { OFTEN } else { SELDOM };
            *next = now + pause + JITTER.mul_f64(f64::from(random) / f64::from(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        PathKind::{Direct, Relay},
        *,
    };

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_direct_or_never_was_needs_no_look_unless_it_is_wanted() {
        let now = Instant::now();
        let mut restore = Restore::default();
        assert_eq!(restore.due(true), None);
        restore.on_path(Relay, now);
        assert_eq!(restore.due(false), None);
        assert_eq!(restore.due(true), Some(now + SECOND));
        restore.on_path(Direct, now);
        assert_eq!(restore.due(true), None);
        restore.looked(now, 0);
        assert_eq!(restore.due(true), None);
    }

    #[test]
    fn a_path_that_was_lost_is_looked_for_after_a_second_and_every_eight_until_it_is_back() {
        let start = Instant::now();
        let mut restore = Restore::default();
        restore.on_path(Direct, start);
        restore.on_path(Relay, start);
        let mut looks = Vec::new();
        while let Some(due) = restore.due(false).filter(|due| *due < start + 30 * SECOND) {
            // A repeated report of the same kind of path changes nothing.
            restore.on_path(Relay, due);
            restore.looked(due, 0);
            looks.push(due.duration_since(start).as_secs());
        }
        assert_eq!(looks, [1, 9, 17, 25]);
        restore.on_path(Direct, start + 30 * SECOND);
        assert_eq!(restore.due(false), None);
        restore.on_path(Relay, start + 40 * SECOND);
        assert_eq!(restore.due(false), Some(start + 41 * SECOND));
    }

    #[test]
    fn after_ten_minutes_a_look_a_minute_is_enough() {
        let start = Instant::now();
        let mut restore = Restore::default();
        restore.on_path(Direct, start);
        restore.on_path(Relay, start);
        restore.looked(start + PATIENCE - SECOND, u32::MAX);
        assert_eq!(restore.due(false), Some(start + PATIENCE + 9 * SECOND));
        restore.looked(start + PATIENCE, 0);
        assert_eq!(restore.due(false), Some(start + PATIENCE + 60 * SECOND));
    }
}
