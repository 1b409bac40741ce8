//! Makes up for late timers of a paced sender: pure, with time as input.
//!
//! noq's pacer saves up 2 ms of sending at most. A timer that fires later than that, on a machine that has other
//! things to do, costs the difference. BBR then sees less arrive than the path carries, and paces by that: a busy
//! sender of 500 Mbit/s came down to 290 within ten seconds. So data that was not sent in time is made up for, at a
//! slightly higher rate.

use std::time::{Duration, Instant};

use super::recurring::Recurring;

/// Maximum part of a single pause that is made up for: more would be a burst that fills queues. Timers are rarely
/// later than this. Where they are again and again, twice the recurring pause is made up for.
const MOST: Duration = Duration::from_millis(10);
/// The time of sending that noq's pacer saves up.
const SAVED: Duration = Duration::from_millis(2);
/// The part by which the rate rises when all of [`MOST`] is owed.
const FASTER: f64 = 0.5;

/// The bytes that the rate allowed and that were not sent. A negative number is what a burst has sent ahead.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PacingCatchUp {
    owed: f64,
    last: Option<Instant>,
    /// The pauses between packets that the pacer let go.
    recurring: Recurring,
}

impl PacingCatchUp {
    /// Records that a packet is sent, at a rate of `rate` bytes per second.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u16, rate: u64) {
        let since = self.last.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.recurring.on(now);
        let most = self.most(rate);
        self.owed = (self.owed + rate as f64 * since.as_secs_f64()).min(most);
        self.owed = (self.owed - f64::from(bytes)).max(-most);
    }

    /// Drops what is owed: the sender was held up by something other than its timers.
    pub(super) fn forgive(&mut self) {
        self.owed = self.owed.min(0.0);
        self.last = None;
        self.recurring.rest();
    }

    /// Returns the rate at which to send.
    ///
    /// Where every timer is late, the pacer has to let go at once what is owed. It saves up that much only at a rate
    /// that is as much higher. (With 10 ms at most, a sender of 2 MB/s over 100 ms that was held up for up to 50 ms
    /// each time came down to 40 kB/s within four seconds, and stayed there.)
    pub(super) fn rate(&self, rate: u64) -> u64 {
        let ten = (rate as f64 * MOST.as_secs_f64()).max(1.0);
        let faster = 1.0 + FASTER * (self.owed / ten).clamp(0.0, 1.0);
        let each_time = rate as f64 * self.recurring.pause().as_secs_f64();
        let burst = self.owed.min(each_time) / (rate as f64 * SAVED.as_secs_f64()).max(1.0);
        (rate as f64 * faster.max(burst)) as u64
    }

    fn most(&self, rate: u64) -> f64 {
        rate as f64 * MOST.max(self.recurring.pause() * 2).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 1_000_000;
    const MS: Duration = Duration::from_millis(1);

    /// Returns the bytes sent within a second by a sender whose timer fires each `every`, with a bucket that holds 2
    /// ms.
    fn sent(every: Duration, late: &mut PacingCatchUp) -> u64 {
        let (start, mut sent, mut tokens) = (Instant::now(), 0, 0.0);
        let mut now = start;
        while now - start < 1000 * MS {
            now += every;
            let rate = late.rate(RATE) as f64;
            tokens = f64::min(tokens + rate * every.as_secs_f64(), rate * 0.002);
            while tokens >= 100.0 {
                tokens -= 100.0;
                sent += 100;
                late.on_sent(now, 100, RATE);
            }
        }
        sent
    }

    #[test]
    fn timers_that_are_in_time_change_nothing() {
        assert!((980_000..1_010_000).contains(&sent(MS, &mut PacingCatchUp::default())));
        assert_eq!(PacingCatchUp::default().rate(RATE), RATE);
    }

    #[test]
    fn timers_that_are_late_by_a_quarter_are_made_up_for() {
        // Without the correction it is 800,000.
        let sent = sent(MS * 5 / 2, &mut PacingCatchUp::default());
        assert!((980_000..1_010_000).contains(&sent), "{sent}");
    }

    #[test]
    fn timers_that_are_late_each_time_let_go_at_once_of_what_is_owed() {
        for late_by in [10, 20, 50] {
            // With `FASTER` alone, each turn sends 2 ms and half of that: 300,000, 150,000 and 60,000.
            let sent = sent(MS * late_by, &mut PacingCatchUp::default());
            assert!((850_000..1_010_000).contains(&sent), "{late_by} ms: {sent}");
        }
    }

    #[test]
    fn a_pause_is_made_up_for_by_ten_milliseconds_at_most_and_not_if_there_was_nothing_to_send() {
        let (mut late, start) = (PacingCatchUp::default(), Instant::now());
        late.on_sent(start, 100, RATE);
        late.on_sent(start + 1000 * MS, 100, RATE);
        assert!((RATE + RATE / 3..=RATE + RATE / 2).contains(&late.rate(RATE)), "{}", late.rate(RATE));
        late.forgive();
        assert_eq!(late.rate(RATE), RATE);
        late.on_sent(start + 2000 * MS, 100, RATE);
        assert_eq!(late.rate(RATE), RATE);
    }
}
