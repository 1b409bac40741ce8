//! Less than best effort: LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus-01), for transfers that nobody waits for.
//!
//! It uses what other flows leave. As soon as packets wait at the bottleneck for longer than a target it sends less,
//! while Cubic and BBR go on, so a large file does not spoil a call. As in LEDBAT++, round-trip times are measured,
//! and not delays of one way. Now and then it lets go of the link for two round trips, to see the path without a
//! queue of its own, and so that two such senders share fairly.

use std::{
    any::Any,
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use iroh::endpoint::{Controller, ControllerFactory, RttEstimator};

/// The time for which packets may wait at the bottleneck (section 4.3 of the draft): under the 100 ms at which a
/// call suffers.
const TARGET: Duration = Duration::from_millis(60);
/// The part of [`TARGET`] at which slow start ends.
const SLOW_START_ENDS: f64 = 0.75;
/// Maximum factor by which the window grows more slowly than Reno's, where the path is short relative to the target.
const SLOWEST: u32 = 16;
/// The current round-trip time is the shortest of this many samples in a row.
const SAMPLES: usize = 4;
/// The path's own round-trip time is the shortest of this many minutes, since paths change.
const MINUTES: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// Number of round trips that a slowdown lasts, and number of round trips from a slow start to the first slowdown.
const SLOWDOWN: u32 = 2;
/// A slowdown and the return from it take a tenth of the time: the pause after them is this many times as long.
const BETWEEN: u32 = 9;
/// The window in a slowdown, and the minimum window, in packets.
const LEAST: u64 = 2;
/// The initial window in packets: RFC 9002, section 7.2.
const INITIAL: u64 = 10;

/// Creates a [`Background`] for each path.
#[derive(Debug)]
pub(super) struct BackgroundConfig;

impl ControllerFactory for BackgroundConfig {
    fn build(self: Arc<Self>, _now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Background::new(mtu))
    }
}

/// The phases of the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The window grows with each acknowledgement, to `threshold` at most.
    SlowStart { since: Option<Instant> },
    /// The delay controls the window, until the next slowdown.
    Steady { next: Instant },
    /// The window is two packets, until `until`. The link was let go of at `since`.
    Slowdown { since: Instant, until: Instant },
}

/// The controller of a path.
#[derive(Debug, Clone)]
pub(super) struct Background {
    mtu: u64,
    /// In bytes, with fractions.
    window: f64,
    threshold: f64,
    phase: Phase,
    /// The shortest round-trip time of each minute, the newest first, and the start of the newest minute.
    minutes: VecDeque<Duration>,
    minute: Option<Instant>,
    samples: VecDeque<Duration>,
    /// Packets that were sent up to this time belong to a loss that has halved the window already.
    recovery: Option<Instant>,
}

impl Background {
    fn new(mtu: u16) -> Self {
        let mtu = u64::from(mtu);
        Self {
            mtu,
            window: (INITIAL * mtu) as f64,
            threshold: f64::INFINITY,
            phase: Phase::SlowStart { since: None },
            minutes: VecDeque::new(),
            minute: None,
            samples: VecDeque::new(),
            recovery: None,
        }
    }

    fn base(&self) -> Duration {
        self.minutes.iter().min().copied().unwrap_or_default()
    }

    fn round_trip(&self) -> Duration {
        self.samples.iter().min().copied().unwrap_or_default()
    }

    /// Returns how long packets wait at the bottleneck, in targets.
    fn waits(&self) -> f64 {
        self.round_trip().saturating_sub(self.base()).as_secs_f64() / TARGET.as_secs_f64()
    }

    /// Returns the growth of the window where Reno's grows by 1.
    fn gain(&self) -> f64 {
        let twice = 2.0 * TARGET.as_secs_f64() / self.base().as_secs_f64().max(0.001);
        1.0 / twice.ceil().clamp(1.0, f64::from(SLOWEST))
    }

    fn least(&self) -> f64 {
        (LEAST * self.mtu) as f64
    }

    fn sample(&mut self, now: Instant, round_trip: Duration) {
        let minute = *self.minute.get_or_insert(now);
        if self.minutes.is_empty() || now.saturating_duration_since(minute) >= MINUTE {
            self.minutes.push_front(round_trip);
            self.minutes.truncate(MINUTES);
            self.minute = Some(now);
        }
        if let Some(shortest) = self.minutes.front_mut() {
            *shortest = round_trip.min(*shortest);
        }
        self.samples.push_front(round_trip);
        self.samples.truncate(SAMPLES);
    }

    /// Changes the window after `bytes` were acknowledged, for a sender that had more to send.
    fn grow(&mut self, now: Instant, bytes: f64) {
        let mtu = self.mtu as f64;
        match self.phase {
            Phase::Slowdown { since, until } if now >= until => self.phase = Phase::SlowStart { since: Some(since) },
            Phase::Slowdown { .. } => {}
            Phase::SlowStart { since } => {
                self.window += bytes * if since.is_some() { 1.0 } else { self.gain() };
                if self.window >= self.threshold || self.waits() > SLOW_START_ENDS {
                    self.window = self.window.min(self.threshold);
                    let took = since.map(|since| now.saturating_duration_since(since) * BETWEEN);
                    self.phase = Phase::Steady { next: now + took.unwrap_or_else(|| self.round_trip() * SLOWDOWN) };
                }
            }
            Phase::Steady { next } if now >= next => {
                self.threshold = self.window;
                self.window = self.least();
                self.phase = Phase::Slowdown { since: now, until: now + self.round_trip() * SLOWDOWN };
            }
            Phase::Steady { .. } => {
                // The part of these bytes in the change of a whole round trip.
                let part = bytes / self.window;
                let over = self.waits() - 1.0;
                let change = if over <= 0.0 {
                    self.gain() * mtu
                } else {
                    (self.gain() * mtu - self.window * over).max(-self.window / 2.0)
                };
                self.window += change * part;
            }
        }
        self.window = self.window.max(self.least());
    }
}

impl Controller for Background {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, _: u64, app_limited: bool, _: &RttEstimator) {
        self.sample(now, now.saturating_duration_since(sent));
        let recovering = self.recovery.is_some_and(|recovery| sent <= recovery);
        if !app_limited && !recovering {
            self.grow(now, bytes as f64);
        }
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, _: bool, _: u64, _: u64) {
        if persistent {
            self.window = self.least();
        }
        if self.recovery.is_some_and(|recovery| sent <= recovery) {
            return;
        }
        self.recovery = Some(now);
        self.window = (self.window / 2.0).max(self.least());
        self.threshold = self.window;
        if let Phase::SlowStart { .. } = self.phase {
            self.phase = Phase::Steady { next: now + self.round_trip() * SLOWDOWN };
        }
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu);
        self.window = self.window.max(self.least());
    }

    fn window(&self) -> u64 {
        self.window as u64
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL * self.mtu
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn steady(base: Duration, waits: Duration) -> (Background, Instant) {
        let (mut background, now) = (Background::new(1000), Instant::now());
        background.sample(now, base);
        background.window = 100_000.0;
        background.phase = Phase::Steady { next: now + 1000 * MS };
        for _ in 0..SAMPLES {
            background.sample(now, base + waits);
        }
        (background, now)
    }

    #[test]
    fn a_window_grows_by_less_than_a_packet_in_a_round_trip_under_the_target_and_shrinks_over_it() {
        let grown = |waits| {
            let (mut background, now) = steady(30 * MS, waits);
            background.grow(now, 100_000.0);
            background.window()
        };
        // A fourth of a packet: twice the target is four times the path's round trip.
        assert_eq!(grown(10 * MS), 100_250);
        assert_eq!(grown(66 * MS) / 10, 9_024);
        assert_eq!(grown(300 * MS), 50_000, "by a half at most");
    }

    #[test]
    fn the_link_is_let_go_of_for_two_round_trips_and_taken_again_as_it_was() {
        let (mut background, start) = steady(30 * MS, Duration::ZERO);
        let now = start + 1000 * MS;
        background.grow(now, 1000.0);
        assert_eq!(background.window(), 2000);
        background.grow(now + 59 * MS, 1000.0);
        assert_eq!(background.window(), 2000);
        background.grow(now + 60 * MS, 1000.0);
        for _ in 0..98 {
            background.grow(now + 90 * MS, 1000.0);
        }
        assert_eq!(background.window(), 100_000);
        assert_eq!(background.phase, Phase::Steady { next: now + 90 * MS * 10 }, "a tenth of the time");
    }

    #[test]
    fn a_loss_halves_the_window_once_in_a_round_trip() {
        let (mut background, now) = steady(30 * MS, Duration::ZERO);
        background.on_congestion_event(now + 30 * MS, now, false, false, 1000, 1);
        background.on_congestion_event(now + 31 * MS, now + MS, false, false, 1000, 2);
        assert_eq!(background.window(), 50_000);
        background.on_congestion_event(now + 62 * MS, now + 31 * MS, false, false, 1000, 3);
        assert_eq!(background.window(), 25_000);
        background.on_congestion_event(now + 99 * MS, now + 63 * MS, true, false, 1000, 4);
        assert_eq!(background.window(), 2000);
    }

    #[test]
    fn a_way_that_has_become_longer_is_known_after_ten_minutes() {
        let (mut background, start) = (Background::new(1000), Instant::now());
        background.sample(start, 20 * MS);
        for n in 1..=10 {
            assert_eq!(background.base(), 20 * MS, "minute {n}");
            background.sample(start + n * MINUTE, 50 * MS);
        }
        assert_eq!(background.base(), 50 * MS);
    }
}
