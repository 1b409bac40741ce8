//! Keeps BBR from emptying a path that is empty: pure, with time as input.
//!
//! Every 5 s BBR halves the data in flight for a round trip and 0.2 s (ProbeRTT), to measure the path's shortest
//! round trip without a queue of its own making (draft-ietf-ccwg-bbr, section 5.3.4). That costs 2 % over 20 ms and
//! 5 % over 300 ms, and two doublings while the rate is still searched for. Where packets take hardly longer than
//! ever there is no queue, and nothing to find out. The window then stays as it was.

use std::time::{Duration, Instant};

/// BBR leaves half of what a path holds in flight. This is a little more, since both its bandwidth and its
/// round-trip time may differ a little.
const HALF: f64 = 0.55;
/// A window that is small within this time after a loss is not due to ProbeRTT. BBR keeps it small for some round
/// trips.
const DISTURBED: Duration = Duration::from_secs(5);
/// BBR is done after a round trip and 0.2 s. A window that is small for longer than this many round trips and
/// [`BEYOND`] is small for another reason.
const ROUND_TRIPS: u32 = 3;
const BEYOND: Duration = Duration::from_millis(300);

/// The window before BBR halved it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ProbeRttSkip {
    before: u64,
    since: Option<Instant>,
    lost: Option<Instant>,
    held: bool,
}

impl ProbeRttSkip {
    /// Packets were lost for want of bandwidth.
    pub(super) fn on_lost(&mut self, now: Instant) {
        self.lost = Some(now);
        self.held = false;
    }

    /// Records BBR's window, for a path that holds `path` bytes, has this round-trip time, and has no queue if
    /// `empty`.
    pub(super) fn on_window(&mut self, now: Instant, window: u64, path: u64, round_trip: Duration, empty: bool) {
        if (window as f64) >= path as f64 * HALF {
            (self.before, self.since, self.held) = (window, None, false);
            return;
        }
        let since = *self.since.get_or_insert(now);
        let disturbed = self.lost.is_some_and(|lost| now.saturating_duration_since(lost) < DISTURBED);
        let over = now.saturating_duration_since(since) > round_trip * ROUND_TRIPS + BEYOND;
        self.held = empty && !disturbed && !over && self.before > window;
    }

    /// Returns the window, given BBR's window.
    pub(super) fn window(&self, window: u64) -> u64 {
        if self.held { self.before.max(window) } else { window }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_window_of_an_empty_path_stays_as_it_was_when_it_is_halved() {
        let (mut needless, now) = (ProbeRttSkip::default(), Instant::now());
        needless.on_window(now, 2000, 1000, 20 * MS, true);
        assert_eq!(needless.window(2000), 2000);
        needless.on_window(now, 500, 1000, 20 * MS, true);
        assert_eq!(needless.window(500), 2000);
        needless.on_window(now, 500, 1000, 20 * MS, false);
        assert_eq!(needless.window(500), 500, "there is a queue");
        needless.on_window(now, 700, 1000, 20 * MS, true);
        assert_eq!(needless.window(700), 700, "it is not halved");
    }

    #[test]
    fn a_window_that_is_small_for_losses_stays_small() {
        let (mut needless, now) = (ProbeRttSkip::default(), Instant::now());
        needless.on_window(now, 2000, 1000, 20 * MS, true);
        needless.on_lost(now);
        needless.on_window(now + 4900 * MS, 500, 1000, 20 * MS, true);
        assert_eq!(needless.window(500), 500);
        needless.on_window(now + 5 * SECOND, 500, 1000, 20 * MS, true);
        assert_eq!(needless.window(500), 2000);
        needless.on_lost(now + 5 * SECOND);
        assert_eq!(needless.window(500), 500);
    }

    #[test]
    fn a_window_that_stays_small_for_longer_than_bbr_needs_is_small_for_another_reason() {
        let (mut needless, now) = (ProbeRttSkip::default(), Instant::now());
        needless.on_window(now, 2000, 1000, 20 * MS, true);
        needless.on_window(now, 500, 1000, 20 * MS, true);
        needless.on_window(now + 360 * MS, 500, 1000, 20 * MS, true);
        assert_eq!(needless.window(500), 2000);
        needless.on_window(now + 361 * MS, 500, 1000, 20 * MS, true);
        assert_eq!(needless.window(500), 500);
    }

    #[test]
    fn a_path_that_was_never_full_has_no_window_to_go_back_to() {
        let mut needless = ProbeRttSkip::default();
        needless.on_window(Instant::now(), 500, 1000, 20 * MS, true);
        assert_eq!(needless.window(500), 500);
    }
}
