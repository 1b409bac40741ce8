//! Holds the best bandwidth of late: pure, with time as input.
//!
//! BBR sends at 99 % of the best bandwidth that it has seen in the last two times that it probed for more
//! (draft-ietf-ccwg-bbr, section 5.5.6). noq's BBR looks back two round trips only: what it sees then is what it has
//! just sent, one in a hundred less, and less again. A sender of 100 Mbit/s over 20 ms came down to 88 before it
//! next probed for more.

use std::time::{Duration, Instant};

/// The best bandwidth is that of this period and the one before. BBR probes for more every 2 to 3 s, and takes some
/// round trips to do so.
const REMEMBERED: Duration = Duration::from_secs(4);
/// Maximum factor by which the rate rises, however much better the bandwidth was: as much as BBR probes for.
const MOST: f64 = 1.25;
/// Factor on top of the best bandwidth until a queue is seen. BBR's 99 % let a queue that it has made become empty.
/// Where there is no queue they cost 1 % of the path. Late timers and acknowledgements take another 1 % off the
/// measured bandwidth.
const MORE: f64 = 1.02;

/// The best bandwidth of the last 4 to 8 s, in bytes per second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BandwidthHold {
    begun: Option<Instant>,
    best: u64,
    before: u64,
}

impl BandwidthHold {
    /// Records what BBR takes for the bandwidth now.
    pub(super) fn on_bandwidth(&mut self, now: Instant, bandwidth: u64) {
        let begun = *self.begun.get_or_insert(now);
        if now.saturating_duration_since(begun) >= REMEMBERED {
            (self.before, self.best, self.begun) = (self.best, 0, Some(now));
        }
        self.best = self.best.max(bandwidth);
    }

    /// Packets were lost for want of bandwidth, so the bandwidth before says nothing.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Returns the best bandwidth of late. It is 0 after a loss, until a bandwidth is recorded again.
    pub(super) fn best(&self) -> u64 {
        self.best.max(self.before)
    }

    /// Returns the rate at which to send on a path without a queue, where BBR would send at `rate` for this
    /// bandwidth.
    pub(super) fn rate(&self, rate: u64, bandwidth: u64) -> u64 {
        let better = MORE * self.best() as f64 / bandwidth.max(1) as f64;
        (rate as f64 * better.clamp(1.0, MOST)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rate_is_a_little_more_than_for_the_best_bandwidth_of_some_seconds() {
        let (mut hold, start) = (BandwidthHold::default(), Instant::now());
        assert_eq!(hold.rate(990, 1000), 990, "nothing is known");
        hold.on_bandwidth(start, 1000);
        assert_eq!(hold.rate(891, 900), 1009);
        assert_eq!(hold.rate(1980, 2000), 1980, "it is better than ever");
        assert_eq!(hold.rate(396, 400), 495, "by a quarter at most");
        for second in 1..=7 {
            hold.on_bandwidth(start + SECOND * second, 900);
            assert_eq!(hold.rate(891, 900), 1009, "after {second} s");
        }
        hold.on_bandwidth(start + SECOND * 8, 900);
        assert_eq!(hold.rate(891, 900), 908, "that was long ago");
    }

    #[test]
    fn what_was_before_a_loss_is_forgotten() {
        let mut hold = BandwidthHold::default();
        hold.on_bandwidth(Instant::now(), 1000);
        hold.forget();
        assert_eq!(hold.rate(891, 900), 891);
    }
}
