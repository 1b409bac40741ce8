//! Finds pauses that recur: pure, with time as input.
//!
//! A single pause says little. Where each of the last few was as long, the machine has other things to do, or the
//! link carries in bursts, and the next pause will be as long too.

use std::time::{Duration, Instant};

/// Number of pauses that are remembered.
const LAST: usize = 8;
/// Events within this time count as one.
const AT_ONCE: Duration = Duration::from_millis(1);
/// Two pauses of this length among the last ones are no chance: timers of the system are late by 1 ms, and Wi-Fi
/// holds packets for 4 ms.
const MARKED: Duration = Duration::from_millis(4);
/// Maximum length of a pause. A longer one is an outage, or a machine that slept.
const MOST: Duration = Duration::from_millis(200);

/// The last few pauses between events of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Recurring {
    pauses: [Duration; LAST],
    next: usize,
    /// The time of the last event, and of the last event that was counted.
    last: Option<Instant>,
    looked: Option<Instant>,
}

impl Recurring {
    /// Records an event.
    pub(super) fn on(&mut self, now: Instant) {
        let pause = self.last.replace(now).map(|last| now.saturating_duration_since(last));
        let looked = *self.looked.get_or_insert(now);
        if let Some(pause) = pause
            && now.saturating_duration_since(looked) >= AT_ONCE
        {
            self.looked = Some(now);
            self.pauses[self.next] = pause.min(MOST);
            self.next = (self.next + 1) % LAST;
        }
    }

    /// No event will come for a while, for a reason that is no pause.
    pub(super) fn rest(&mut self) {
        (self.last, self.looked) = (None, None);
    }

    /// Returns how long the next pause may be: the longest of the last ones if a second one was marked as well, so
    /// that a single one counts for nothing, and otherwise the middle one. With the shortest or the middle one in
    /// any case, a machine that was late at random kept a third of what it could send, and came down with each round
    /// trip.
    pub(super) fn pause(&self) -> Duration {
        let mut pauses = self.pauses;
        pauses.sort_unstable();
        let second = pauses[LAST - 2];
        if second >= MARKED { pauses[LAST - 1] } else { pauses[LAST / 2 - 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_longest_pause_counts_once_a_second_one_was_long_as_well() {
        let (mut recurring, mut now) = (Recurring::default(), Instant::now());
        let mut pause_after = |pause: Duration| {
            now += pause;
            // Several events at once, as packets come.
            for _ in 0..3 {
                recurring.on(now);
            }
            recurring.pause()
        };
        let pauses = [0, 50, 1, 70, 1, 1, 1, 1].map(|ms| pause_after(ms * MS));
        assert_eq!(pauses, [0, 0, 0, 70, 70, 70, 70, 70].map(|ms| ms * MS));
        assert_eq!([1; 3].map(|ms| pause_after(ms * MS))[2], MS, "the first one is forgotten");
        assert_eq!([1000; 2].map(|ms| pause_after(ms * MS))[1], MOST);
    }

    #[test]
    fn what_comes_all_the_time_has_no_pauses_and_a_rest_is_none() {
        let (mut recurring, start) = (Recurring::default(), Instant::now());
        for n in 0..100 {
            recurring.on(start + n * MS / 10);
        }
        assert!(recurring.pause() <= MS / 10);
        let mut recurring = Recurring::default();
        for n in 0..10 {
            recurring.on(start + n * 100 * MS);
            recurring.rest();
        }
        assert_eq!(recurring.pause(), Duration::ZERO);
    }
}
