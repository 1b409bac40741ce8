//! How much may be on the way at most: pure, with time as input.
//!
//! BBR lets two round trips' worth be on the way, and more when acknowledgements come in bursts. A sender that was held up,
//! by a lost packet that its peer waits for, then fills the bottleneck's queue at one go, loses packets again, and is held
//! up again: a file over 500 Mbit/s and 100 ms lost 3 % of its packets in that way and took half as long again. A quarter
//! more than a round trip keeps the path full, and what that leaves in the queue a request beside it hardly notices.

use std::time::{Duration, Instant};

/// Round trips' worth that may be on the way, as much as BBR sends when it tries for more; and the time of acknowledgements that
/// come in one burst (Wi-Fi holds them back for 4 ms). With 1.5 and 10 ms a request beside bulk took 3.5 round trips of 20 ms
/// while BBR empties the queue.
const ROUND_TRIPS: f64 = 1.25;
const BURST: Duration = Duration::from_millis(5);
/// The shortest round trip is that of so long, as in BBR: another way may have become the shortest.
const REMEMBERED: Duration = Duration::from_secs(10);
/// While the rate is yet to be found, BBR sends 2.77 times as fast as data arrives, and otherwise at most 1.25 times.
const SEARCHING: f64 = 2.0;
/// What BBR has at the least, four packets, is not taken from it.
const LEAST: u64 = 4 * 1500;

/// The path's shortest round trip, of the last 10 to 20 s.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ceiling {
    begun: Option<Instant>,
    shortest: Option<Duration>,
    before: Option<Duration>,
    overflowed: bool,
}

impl Ceiling {
    /// A packet was acknowledged after `round_trip`.
    pub(super) fn on_ack(&mut self, now: Instant, round_trip: Duration) {
        let begun = *self.begun.get_or_insert(now);
        if now.saturating_duration_since(begun) >= REMEMBERED {
            (self.before, self.shortest, self.begun) = (self.shortest, None, Some(now));
        }
        self.shortest = Some(self.shortest.map_or(round_trip, |shortest| shortest.min(round_trip)));
    }

    /// Packets were lost in a queue: the rate is found, whatever BBR says. It does not see that while the peer holds the sender
    /// up now and then, and went on to send 2.77 times as fast for four seconds.
    pub(super) fn on_overflow(&mut self) {
        self.overflowed = true;
    }

    /// The window, of what BBR would have, at a bandwidth and a pacing rate in bytes a second.
    pub(super) fn window(&self, window: u64, bandwidth: u64, pacing: u64) -> u64 {
        let Some(shortest) = self.shortest.into_iter().chain(self.before).min() else {
            return window;
        };
        if !self.overflowed && pacing as f64 > bandwidth as f64 * SEARCHING {
            return window;
        }
        let most = bandwidth as f64 * (shortest.as_secs_f64() * ROUND_TRIPS + BURST.as_secs_f64());
        window.min((most as u64).max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const MB: u64 = 1_000_000;

    #[test]
    fn a_round_trip_and_a_quarter_and_five_milliseconds_are_on_the_way_at_most() {
        let (mut ceiling, now) = (Ceiling::default(), Instant::now());
        assert_eq!(ceiling.window(20 * MB, 60 * MB, 60 * MB), 20 * MB, "no round trip is known");
        ceiling.on_ack(now, 170 * MS);
        ceiling.on_ack(now, 100 * MS);
        ceiling.on_ack(now, 200 * MS);
        assert_eq!(ceiling.window(20 * MB, 60 * MB, 75 * MB), 7_800_000);
        assert_eq!(ceiling.window(MB, 60 * MB, 60 * MB), MB, "BBR has less in mind");
        assert_eq!(ceiling.window(20 * MB, 60 * MB, 166 * MB), 20 * MB, "the rate is yet to be found");
        ceiling.on_overflow();
        assert_eq!(
            ceiling.window(20 * MB, 60 * MB, 166 * MB),
            7_800_000,
            "a queue that overflowed says that it is found"
        );
        assert_eq!(ceiling.window(20 * MB, 0, 0), LEAST);
    }

    #[test]
    fn a_way_that_has_become_longer_is_known_after_twenty_seconds() {
        let (mut ceiling, start) = (Ceiling::default(), Instant::now());
        let windows: Vec<_> = (0..30)
            .map(|n| {
                ceiling.on_ack(start + 1000 * n * MS, if n < 5 { 20 * MS } else { 120 * MS });
                ceiling.window(20 * MB, 10 * MB, 10 * MB)
            })
            .collect();
        assert!(windows[..20].iter().all(|window| *window == 300_000), "{windows:?}");
        assert!(windows[20..].iter().all(|window| *window == 1_550_000), "{windows:?}");
    }
}
