//! Losses that say nothing about the sender's rate: pure.
//!
//! BBR takes more than 2 % of losses in a round trip for a queue that overflows (draft-ietf-ccwg-bbr, section 5.5.10.2).
//! Wi-Fi and mobile links lose more than that by themselves, and then it is as slow as Cubic. What overflows is full, so
//! packets that got through took longer than they need; and it loses much at once. A loss with neither sign is stray.

use std::time::Duration;

/// In each so many packets one loss may be stray: 6.7 %. Links that lose 5 % are under it, with their clusters.
const EVERY: u32 = 15;
/// Stray losses in a row at most. A queue that fills within one round trip is noticed so many packets later.
const IN_A_ROW: u32 = 16;
/// Of so many round trips in a row the shortest tells whether there is a queue. Jitter lengthens most of them, a queue all.
const SAMPLES: u32 = 32;
/// A queue is there when packets take longer by this, however long the path is: a home router's holds twice as much and more.
const QUEUE: Duration = Duration::from_millis(50);
/// Acknowledgements are late by so much on a machine that has other things to do.
const LITTLE: Duration = Duration::from_millis(1);

/// Tells stray losses from others.
#[derive(Debug, Clone)]
pub(super) struct Stray {
    /// Packets sent that no loss was set against.
    credit: u32,
    /// The shortest round trip of those that are being collected, how many they are, and the shortest of those before.
    collecting: Option<Duration>,
    samples: u32,
    collected: Option<Duration>,
    /// The path's shortest of late.
    base: Duration,
}

impl Stray {
    pub(super) fn new() -> Self {
        Self { credit: EVERY * IN_A_ROW, collecting: None, samples: 0, collected: None, base: Duration::ZERO }
    }

    pub(super) fn on_sent(&mut self) {
        self.credit = (self.credit + 1).min(EVERY * IN_A_ROW);
    }

    /// A packet was acknowledged after `round_trip`. `base` is the path's shortest.
    pub(super) fn on_ack(&mut self, round_trip: Duration, base: Duration) {
        self.base = base;
        self.collecting = Some(self.collecting.map_or(round_trip, |shortest| shortest.min(round_trip)));
        self.samples += 1;
        if self.samples == SAMPLES {
            (self.collected, self.collecting, self.samples) = (self.collecting.take(), None, 0);
        }
    }

    /// Whether this loss is stray.
    pub(super) fn on_lost(&mut self) -> bool {
        let left = self.credit.checked_sub(EVERY).filter(|_| !self.is_queued());
        self.credit = left.unwrap_or(self.credit);
        left.is_some()
    }

    /// Whether all packets took three quarters longer than they need, or as much longer as a queue that is more than half full.
    /// Where packets keep their order, jitter of half a round trip lengthens all of them by nearly as much.
    pub(super) fn is_queued(&self) -> bool {
        self.shortest().is_some_and(|shortest| shortest > self.base + (self.base * 3 / 4).min(QUEUE))
    }

    /// Whether all packets took hardly longer than they need: the path would take more.
    pub(super) fn is_empty(&self) -> bool {
        self.shortest().is_some_and(|shortest| shortest <= self.base + (self.base / 8).max(LITTLE))
    }

    fn shortest(&self) -> Option<Duration> {
        self.collecting.into_iter().chain(self.collected).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Knuth's linear congruential generator; its upper half is random enough.
    fn random(state: &mut u64) -> f64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((*state >> 32) as u32) / f64::from(u32::MAX)
    }

    /// The share of losses that are not stray, on a path of 40 ms that loses this share of packets, and on which they take
    /// up to `jitter` longer, and all of them `queue`.
    fn told(loss: f64, jitter: Duration, queue: Duration) -> f64 {
        let (mut stray, mut state, mut lost, mut told) = (Stray::new(), 7, 0, 0);
        for _ in 0..100_000 {
            stray.on_sent();
            if random(&mut state) < loss {
                lost += 1;
                told += u32::from(!stray.on_lost());
            } else {
                stray.on_ack(40 * MS + queue + jitter.mul_f64(random(&mut state)), 40 * MS);
            }
        }
        f64::from(told) / f64::from(lost)
    }

    #[test]
    fn thin_losses_are_stray_and_of_dense_ones_what_goes_beyond_them_is_not() {
        assert_eq!(told(0.01, Duration::ZERO, Duration::ZERO), 0.0);
        assert!(told(0.05, Duration::ZERO, Duration::ZERO) < 0.02, "{}", told(0.05, Duration::ZERO, Duration::ZERO));
        let dense = told(0.2, Duration::ZERO, Duration::ZERO);
        assert!((0.6..0.75).contains(&dense), "{dense}");
    }

    #[test]
    fn jitter_is_no_queue_and_thin_losses_in_front_of_a_queue_are_told() {
        assert!(told(0.05, 40 * MS, Duration::ZERO) < 0.03, "{}", told(0.05, 40 * MS, Duration::ZERO));
        let queued = told(0.01, 10 * MS, 31 * MS);
        assert!(queued > 0.95, "{queued}");
        assert_eq!(told(0.01, Duration::ZERO, 29 * MS), 0.0);
    }

    #[test]
    fn a_long_path_has_a_queue_when_a_router_could_and_is_empty_when_packets_are_hardly_late() {
        let after = |queue: Duration| {
            let mut stray = Stray::new();
            for _ in 0..64 {
                stray.on_ack(300 * MS + queue, 300 * MS);
            }
            (stray.is_queued(), stray.is_empty())
        };
        assert_eq!(after(30 * MS), (false, true));
        assert_eq!(after(45 * MS), (false, false));
        assert_eq!(after(55 * MS), (true, false));
    }

    #[test]
    fn a_queue_that_fills_at_once_is_told_of_after_sixteen_packets() {
        let mut stray = Stray::new();
        for _ in 0..10_000 {
            stray.on_sent();
        }
        let stray_in_a_row = (0..100).take_while(|_| stray.on_lost()).count();
        assert_eq!(stray_in_a_row, 16);
    }
}
