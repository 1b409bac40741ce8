//! Tells whether packets stand in a queue on the path: pure.

use std::time::Duration;

/// Number of round trips in a row of which the shortest tells whether there is a queue. Jitter lengthens most of
/// them, a queue lengthens all.
const SAMPLES: u32 = 32;
/// There is a queue when packets take longer by this, however long the path is: a home router's queue holds twice as
/// much and more.
const QUEUE: Duration = Duration::from_millis(50);
/// The time by which acknowledgements are late on a machine that has other things to do.
const LITTLE: Duration = Duration::from_millis(1);

/// The shortest of the last 32 to 64 round trips, and the path's shortest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PathQueue {
    collecting: Option<Duration>,
    samples: u32,
    collected: Option<Duration>,
    base: Duration,
}

impl PathQueue {
    /// Handles the acknowledgement of a packet after `round_trip`. `base` is the path's shortest round-trip time of
    /// late.
    pub(super) fn on_ack(&mut self, round_trip: Duration, base: Duration) {
        self.base = base;
        self.collecting = Some(self.collecting.map_or(round_trip, |shortest| shortest.min(round_trip)));
        self.samples += 1;
        if self.samples == SAMPLES {
            (self.collected, self.collecting, self.samples) = (self.collecting.take(), None, 0);
        }
    }

    /// Returns whether all packets took three quarters longer than they need, or longer by [`QUEUE`], as with a
    /// queue that is more than half full. Where packets keep their order, jitter of half a round trip lengthens all
    /// of them by nearly as much.
    pub(super) fn is_queued(&self) -> bool {
        self.shortest().is_some_and(|shortest| shortest > self.base + (self.base * 3 / 4).min(QUEUE))
    }

    /// Returns whether all packets took hardly longer than they need, so that the path would take more.
    pub(super) fn is_empty(&self) -> bool {
        self.shortest().is_some_and(|shortest| shortest <= self.base + (self.base / 8).max(LITTLE))
    }

    /// Returns the shortest of the last 32 to 64 round trips.
    pub(super) fn shortest(&self) -> Option<Duration> {
        self.collecting.into_iter().chain(self.collected).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn after(round_trip: Duration, late: impl Fn(u32) -> Duration) -> (bool, bool) {
        let mut queue = PathQueue::default();
        for n in 0..64 {
            queue.on_ack(round_trip + late(n), round_trip);
        }
        (queue.is_queued(), queue.is_empty())
    }

    #[test]
    fn a_long_path_has_a_queue_when_a_router_could_and_is_empty_when_packets_are_hardly_late() {
        assert_eq!(after(300 * MS, |_| 30 * MS), (false, true));
        assert_eq!(after(300 * MS, |_| 45 * MS), (false, false));
        assert_eq!(after(300 * MS, |_| 55 * MS), (true, false));
    }

    #[test]
    fn jitter_is_no_queue() {
        assert_eq!(after(40 * MS, |n| 40 * MS * (n % 8) / 8), (false, true));
        assert_eq!(after(40 * MS, |n| 31 * MS + 10 * MS * (n % 8) / 8), (true, false));
    }
}
