//! Keeps this sender's part of a queue that other flows never let become empty: pure, with time as input.
//!
//! Behind a buffer of several times what the path holds, a flow of TCP Cubic keeps the queue at three times that and
//! more, for minutes. BBR allows two of the path's round trips in flight, which is less there than a part of the queue,
//! until it takes the path for as long as the queue makes it: it had 0.13 of a link of 50 Mbit/s over 100 ms, and 0.2
//! of one of 20. So as much may be in flight as this sender's rate needs with the queue, and a quarter more, as BBR
//! probes for. Losses act on the rate.

use std::time::{Duration, Instant};

/// The queue that stands is the shortest of this period and the one before. Senders of one kind let the queue become
/// empty within some seconds, Cubic does not.
const REMEMBERED: Duration = Duration::from_secs(3);
/// A queue stands if no packet of late took less than this many of the path's round-trip times. The queue of four
/// twolane senders behind a deep buffer is mostly under it, and that of one Cubic flow is over 3.
const STANDS: f64 = 1.5;
/// Round trips' worth of data in flight, with the queue. With 2, Cubic kept 0.18 of the link over 20 ms.
const ROUND_TRIPS: f64 = 1.25;

/// The shortest round-trip time of the last 3 to 6 s.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StandingQueue {
    begun: Option<Instant>,
    shortest: Option<Duration>,
    before: Option<Duration>,
}

impl StandingQueue {
    /// Handles the acknowledgement of a packet after `round_trip`.
    pub(super) fn on_ack(&mut self, now: Instant, round_trip: Duration) {
        let begun = *self.begun.get_or_insert(now);
        if now.saturating_duration_since(begun) >= REMEMBERED {
            (self.before, self.shortest, self.begun) = (self.shortest, None, Some(now));
        }
        self.shortest = Some(self.shortest.map_or(round_trip, |shortest| shortest.min(round_trip)));
    }

    /// Returns the bytes that may be in flight at this bandwidth, in bytes per second, on a path whose round-trip
    /// time without a queue is `base`. `None` if no queue stands, or while that is not known.
    pub(super) fn window(&self, bandwidth: u64, base: Duration) -> Option<u64> {
        let shortest = self.shortest?.min(self.before?);
        (shortest > base.mul_f64(STANDS)).then_some((bandwidth as f64 * shortest.as_secs_f64() * ROUND_TRIPS) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const MB: u64 = 1_000_000;

    fn after(seconds: u32, took: impl Fn(u32) -> Duration) -> Option<u64> {
        let (mut queue, start) = (StandingQueue::default(), Instant::now());
        for n in 0..=seconds * 10 {
            queue.on_ack(start + 100 * n * MS, took(n));
        }
        queue.window(MB, 100 * MS)
    }

    #[test]
    fn a_queue_that_was_there_for_some_seconds_is_part_of_the_way() {
        assert_eq!(after(2, |_| 400 * MS), None, "it is not known yet");
        assert_eq!(after(3, |_| 400 * MS), Some(500_000));
        assert_eq!(after(9, |n| (400 + n) * MS), Some(575_000), "its shortest time of late counts");
    }

    #[test]
    fn a_queue_that_becomes_empty_now_and_then_does_not_stand() {
        assert_eq!(after(60, |n| if n % 30 == 0 { 120 * MS } else { 400 * MS }), None);
        assert_eq!(after(60, |_| 150 * MS), None);
        assert_eq!(after(60, |_| 151 * MS), Some(188_750));
    }
}
