//! Limits the data in flight: pure, with time as input.
//!
//! BBR allows two round trips' worth of data in flight, and more when acknowledgements come in bursts. A sender that
//! was held up, by a lost packet that its peer waits for, then fills the bottleneck's queue at one go, loses packets
//! again, and is held up again: a file over 500 Mbit/s and 100 ms lost 3 % of its packets in that way and took half
//! as long again. A quarter more than a round trip keeps the path full, and a request beside it hardly notices what
//! that leaves in the queue.

use std::time::{Duration, Instant};

use super::recurring::Recurring;

/// Round trips' worth of data in flight while BBR probes for more: as much as it sends then.
const ROUND_TRIPS: f64 = 1.25;
/// Round trips' worth otherwise: a tenth more than one. Late acknowledgements make the rate look some percent better
/// than it is, and data that is sent too fast would stand in the queue.
const CRUISING: f64 = 1.1;
/// Round trips' worth while a longer path is not proven: as much as BBR itself allows. It may be the queue of other
/// flows, of which this sender has too small a part to see, and would give way for good: it had 0.06 of a link of
/// 50 Mbit/s beside TCP Cubic over 100 ms with a buffer of 5 times what the path holds.
const UNPROVEN: f64 = 2.0;
/// The time after which a longer path is proven. Other flows are found anew within seconds.
const PROVEN: Duration = Duration::from_secs(60);
/// Ratio of pacing rate to bandwidth over which BBR probes for more. It then sends at 1.24 times the bandwidth, and
/// otherwise at 0.99 times.
const TRYING: f64 = 1.1;
/// Additional time for acknowledgements that come in one burst: Wi-Fi holds them back for 4 ms. With 1.5 round trips
/// and 10 ms, a request beside bulk took 3.5 round trips of 20 ms while BBR emptied the queue.
const BURST: Duration = Duration::from_millis(5);
/// Maximum of the longest recent pause between acknowledgements. That pause is added if it is longer than [`BURST`],
/// and fades within [`FADES`]. Acknowledgements that come later, since one of the two machines has other things to
/// do, let the path run empty: a sender of 100 Mbit/s over 20 ms that was held up for 5 ms now and then lost 12 % to
/// that.
const MOST_BURST: Duration = Duration::from_millis(10);
const FADES: Duration = Duration::from_secs(1);
/// The shortest round-trip time is that of this period and the one before. BBR remembers it for 10 s. Another path
/// may have become the shortest, and until that is known, its longer time is taken for a queue.
const REMEMBERED: Duration = Duration::from_secs(5);
/// The longest round-trip time that this sender's queue explains, in round-trip times of the path, beyond a burst.
/// With less, twolane senders take each other for other flows: the queue of four, where Cubic's is 49 ms, was 49
/// with 1.25, is 46 with this, and was 28 with 1.5. With 1.5, beside TCP Cubic at 20 ms and a buffer of 5 times what
/// the path holds, twolane had 3.4 of 20 Mbit/s and not 8.2.
const OWN: f64 = 1.35;
/// The longest round-trip time at which a loss says nothing about other flows, in round-trip times of the path, beyond
/// a burst: the longest queue that this sender has while BBR probes for more.
const OWN_PROBING: f64 = ROUND_TRIPS;
/// Ratio of pacing rate to bandwidth over which the rate is yet to be found. BBR then sends 2.77 times as fast as
/// data arrives, and otherwise at most 1.25 times.
const SEARCHING: f64 = 2.0;
/// Number of windows per round trip that are sent while the rate is yet to be found. noq starts at the rate of a
/// path with a round-trip time of 1 ms, and keeps it until BBR has found a rate (the draft, section 5.6.2, goes by
/// the round-trip time as soon as there is one). Windows then went out in one go, and over 300 ms and 10 Mbit/s
/// overflowed the queue before the rate was found.
const SPREAD: f64 = 2.0;
/// Minimum of the cap, in bytes: the window that every sender may start with (RFC 9002, section 7.2). With fewer
/// packets in flight, the last one waits for the peer's delayed acknowledgement, and a quarter more than five
/// packets are five. With BBR's minimum, four packets, a sender whose path had been slow for some seconds, or away,
/// kept to five packets a round trip for good.
const LEAST: u64 = 14_720;

/// The cap, with the path's shortest round-trip time of the last 5 to 10 s.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InflightCap {
    begun: Option<Instant>,
    shortest: Option<Duration>,
    before: Option<Duration>,
    overflowed: bool,
    /// The time of the last acknowledgement, if there was more to send.
    last: Option<Instant>,
    held_up: Duration,
    /// The pauses between acknowledgements.
    recurring: Recurring,
    /// Until this time the path may be as short as before, and is if a packet takes less than this.
    unproven: Option<(Instant, Duration)>,
}

impl InflightCap {
    /// Handles the acknowledgement of a packet after `round_trip`. While other flows are present, the shortest
    /// round-trip time is not forgotten: their queue would take its place.
    pub(super) fn on_ack(&mut self, now: Instant, round_trip: Duration, alone: bool) {
        if !alone {
            self.begun = Some(now);
        }
        let begun = *self.begun.get_or_insert(now);
        if now.saturating_duration_since(begun) >= REMEMBERED {
            (self.before, self.shortest, self.begun) = (self.shortest, None, Some(now));
        }
        self.shortest = Some(self.shortest.map_or(round_trip, |shortest| shortest.min(round_trip)));
        self.unproven = self.unproven.filter(|(until, shorter)| now < *until && round_trip >= *shorter);
        self.recurring.on(now);
        if let Some(last) = self.last.replace(now) {
            let pause = now.saturating_duration_since(last);
            let faded = self.held_up.mul_f64((1.0 - pause.as_secs_f64() / FADES.as_secs_f64()).max(0.0));
            self.held_up = pause.max(faded).min(MOST_BURST);
        }
    }

    /// There is no more to send. A pause from here on is the program's.
    pub(super) fn on_idle(&mut self) {
        self.last = None;
        self.recurring.rest();
    }

    /// Packets were lost in a queue, so the rate is found, whatever BBR says. BBR does not see that while the peer
    /// holds the sender up now and then, and went on to send 2.77 times as fast for four seconds.
    pub(super) fn on_overflow(&mut self) {
        self.overflowed = true;
    }

    /// The queue that overflowed is that of other flows, so the rate is found when BBR says so.
    pub(super) fn on_company(&mut self) {
        self.overflowed = false;
    }

    /// Returns the window, given BBR's window, at a bandwidth and a pacing rate in bytes per second, on a path that
    /// carried `best` of late. The cap goes by `best`, and not by the bandwidth now: bandwidth that other flows take
    /// for a moment would be given up for good.
    pub(super) fn window(&self, window: u64, bandwidth: u64, pacing: u64, best: u64) -> u64 {
        let Some(shortest) = self.shortest() else { return window };
        if self.is_searching(bandwidth, pacing) {
            return window;
        }
        let round_trips = match pacing as f64 > bandwidth as f64 * TRYING {
            _ if self.unproven.is_some() => UNPROVEN,
            true => ROUND_TRIPS,
            false => CRUISING,
        };
        let most = bandwidth.max(best) as f64 * (shortest.as_secs_f64() * round_trips + self.burst().as_secs_f64());
        window.min((most as u64).max(LEAST))
    }

    /// The path has become longer, as far as can be told. Round trips that were seen before are those of another path.
    pub(super) fn restart(&mut self, now: Instant, shortest: Duration) {
        let before = self.shortest().unwrap_or(shortest);
        self.unproven = Some((now + PROVEN, before + shortest.saturating_sub(before) / 2));
        (self.begun, self.shortest, self.before) = (Some(now), Some(shortest), None);
    }

    /// Returns the longest time that a packet takes where everything in the queue was sent under this cap. `None`
    /// while the rate is yet to be found, since the data in flight then has no limit.
    pub(super) fn own_round_trip(&self, bandwidth: u64, pacing: u64) -> Option<Duration> {
        if self.is_searching(bandwidth, pacing) {
            return None;
        }
        Some(self.shortest()?.mul_f64(OWN) + self.held_up.max(BURST))
    }

    /// Returns the longest time that a packet takes at which a loss may be due to this sender alone. `None` while the
    /// rate is yet to be found.
    pub(super) fn own_probing(&self, bandwidth: u64, pacing: u64) -> Option<Duration> {
        if self.is_searching(bandwidth, pacing) {
            return None;
        }
        Some(self.shortest()?.mul_f64(OWN_PROBING) + self.held_up.max(BURST))
    }

    /// Returns the rate at which to send, given BBR's rate. While the rate is yet to be found, a window is spread
    /// over half a round trip.
    pub(super) fn rate(&self, pacing: u64, bandwidth: u64, window: u64) -> u64 {
        let Some(shortest) = self.shortest() else { return pacing };
        let most = match self.is_searching(bandwidth, pacing) {
            true => window as f64 / shortest.as_secs_f64().max(0.001) * SPREAD,
            false => bandwidth as f64 * ROUND_TRIPS,
        };
        pacing.min(most as u64)
    }

    /// Returns the bytes that a path of this bandwidth holds without a queue.
    pub(super) fn path(&self, bandwidth: u64) -> u64 {
        (bandwidth as f64 * self.shortest().unwrap_or_default().as_secs_f64()) as u64
    }

    /// Returns the shortest round-trip time of late.
    pub(super) fn shortest(&self) -> Option<Duration> {
        self.shortest.into_iter().chain(self.before).min()
    }

    /// Returns the time for which acknowledgements may stay away. `own_round_trip` does not use it: other flows are
    /// found by what goes beyond that.
    fn burst(&self) -> Duration {
        self.held_up.max(self.recurring.pause()).max(BURST)
    }

    /// Returns whether the rate is yet to be found.
    pub(super) fn is_searching(&self, bandwidth: u64, pacing: u64) -> bool {
        !self.overflowed && pacing as f64 > bandwidth as f64 * SEARCHING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const MB: u64 = 1_000_000;

    #[test]
    fn a_round_trip_and_a_quarter_and_five_milliseconds_are_on_the_way_at_most() {
        let (mut cap, now) = (InflightCap::default(), Instant::now());
        assert_eq!(cap.window(20 * MB, 60 * MB, 60 * MB, 0), 20 * MB, "no round trip is known");
        cap.on_ack(now, 170 * MS, true);
        cap.on_ack(now, 100 * MS, true);
        cap.on_ack(now, 200 * MS, true);
        assert_eq!(cap.window(20 * MB, 60 * MB, 75 * MB, 0), 7_800_000);
        assert_eq!(cap.window(20 * MB, 60 * MB, 60 * MB, 0), 6_900_000, "a tenth while it does not try for more");
        assert_eq!(cap.window(MB, 60 * MB, 60 * MB, 0), MB, "BBR has less in mind");
        assert_eq!(cap.window(20 * MB, 60 * MB, 166 * MB, 0), 20 * MB, "the rate is yet to be found");
        cap.on_overflow();
        assert_eq!(
            cap.window(20 * MB, 60 * MB, 166 * MB, 0),
            7_800_000,
            "a queue that overflowed says that it is found"
        );
        assert_eq!(cap.window(20 * MB, 0, 0, 0), LEAST);
    }

    #[test]
    fn a_way_that_has_become_longer_is_known_after_ten_seconds() {
        let (mut cap, start) = (InflightCap::default(), Instant::now());
        let windows: Vec<_> = (0..30)
            .map(|n| {
                cap.on_ack(start + 1000 * n * MS, if n < 5 { 20 * MS } else { 120 * MS }, true);
                cap.on_idle();
                cap.window(20 * MB, 10 * MB, 10 * MB, 0)
            })
            .collect();
        assert!(windows[..10].iter().all(|window| *window == 270_000), "{windows:?}");
        assert!(windows[10..].iter().all(|window| *window == 1_370_000), "{windows:?}");
    }
    #[test]
    fn pauses_between_acknowledgements_let_more_be_on_the_way_for_a_while() {
        let (mut cap, start) = (InflightCap::default(), Instant::now());
        let window = |cap: &InflightCap| cap.window(20 * MB, 10 * MB, 10 * MB, 0);
        cap.on_ack(start, 20 * MS, true);
        cap.on_ack(start + 8 * MS, 20 * MS, true);
        assert_eq!(window(&cap), 300_000, "8 ms");
        for n in 9..=1500 {
            cap.on_ack(start + n * MS, 20 * MS, true);
        }
        assert_eq!(window(&cap), 270_000, "it has faded");
        cap.on_ack(start + 2500 * MS, 20 * MS, true);
        assert_eq!(window(&cap), 320_000, "10 ms at most");
        let mut idle = InflightCap::default();
        idle.on_ack(start, 20 * MS, true);
        idle.on_idle();
        idle.on_ack(start + 500 * MS, 20 * MS, true);
        assert_eq!(window(&idle), 270_000, "there was nothing to send");
    }

    #[test]
    fn pauses_between_acknowledgements_that_recur_let_as_much_more_be_on_the_way_as_they_are_long() {
        let (mut cap, start) = (InflightCap::default(), Instant::now());
        for n in 0..10 {
            cap.on_ack(start + n * 50 * MS, 20 * MS, true);
        }
        assert_eq!(cap.window(20 * MB, 10 * MB, 10 * MB, 0), 720_000, "22 ms, and 50");
    }

    #[test]
    fn a_window_is_spread_over_half_a_round_trip_until_the_rate_is_found() {
        let mut cap = InflightCap::default();
        assert_eq!(cap.rate(40 * MB, MB, 100_000), 40 * MB, "no round trip is known");
        cap.on_ack(Instant::now(), 100 * MS, true);
        assert_eq!(cap.rate(40 * MB, MB, 100_000), 2 * MB);
        assert_eq!(cap.rate(MB, MB, 100_000), MB, "it is found");
        cap.on_overflow();
        assert_eq!(cap.rate(40 * MB, MB, 100_000), 1_250_000, "it is found, whatever BBR says");
    }

    #[test]
    fn a_longer_path_has_the_window_of_bbr_for_a_minute_or_until_it_is_as_short_as_before() {
        let start = Instant::now();
        let window = |cap: &InflightCap| cap.window(20 * MB, 10 * MB, 10 * MB, 0);
        let longer = || {
            let mut cap = InflightCap::default();
            cap.on_ack(start, 20 * MS, true);
            cap.restart(start, 60 * MS);
            assert_eq!(window(&cap), 1_250_000);
            cap
        };
        let mut proven = longer();
        proven.on_idle();
        proven.on_ack(start + PROVEN - MS, 60 * MS, true);
        assert_eq!(window(&proven), 1_250_000);
        proven.on_ack(start + PROVEN, 60 * MS, true);
        assert_eq!(window(&proven), 710_000);
        let mut shorter = longer();
        shorter.on_ack(start + MS, 40 * MS, true);
        assert_eq!(window(&shorter), 850_000, "half as much longer");
        shorter.on_ack(start + MS, 39 * MS, true);
        assert_eq!(window(&shorter), 479_000);
    }

    #[test]
    fn a_loss_says_that_others_are_there_beyond_the_queue_of_a_sender_that_probes_for_more() {
        let mut cap = InflightCap::default();
        cap.on_ack(Instant::now(), 100 * MS, true);
        assert_eq!(cap.own_probing(MB, MB), Some(130 * MS));
        assert_eq!(cap.own_probing(MB, 3 * MB), None, "the rate is yet to be found");
        cap.on_overflow();
        assert_eq!(cap.own_probing(MB, 3 * MB), Some(130 * MS));
        cap.on_company();
        assert_eq!(cap.own_probing(MB, 3 * MB), None);
    }
}
