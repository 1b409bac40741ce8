//! noq's BBR3 with the corrections.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use iroh::endpoint::{Controller, ControllerFactory, ControllerMetrics, RttEstimator};
use noq_proto::congestion::Bbr3Config;

use super::{
    app_limited::AppLimited,
    bandwidth_hold::BandwidthHold,
    company::{Company, Known},
    inflight_cap::InflightCap,
    pacing_catch_up::PacingCatchUp,
    parts::Parts,
    path_queue::PathQueue,
    probe_rtt_skip::ProbeRttSkip,
    random_loss::{Pace, RandomLoss},
    standing_queue::StandingQueue,
};

/// Limits between BBR's paces: it sends at 0.89 of the bandwidth to empty a queue, at 1.24 to probe for more, and at
/// 0.99 otherwise.
const SLOWER: f64 = 0.95;
const FASTER: f64 = 1.1;
/// The time after a loss during which nothing is sent faster than BBR says: a few packets more drive other flows out
/// of a shallow buffer.
const DISTURBED: Duration = Duration::from_secs(3);
/// BBR adds the data that is sent until the next acknowledgement to the number that it was told. If it is told half
/// of its window, the sum stays under the window.
const TOLD: u64 = 2;
/// The time for which BBR remembers the shortest round-trip time.
const REMEMBERED: Duration = Duration::from_secs(10);

/// BBR3 with the corrections.
#[derive(Debug)]
pub(super) struct Corrected {
    parts: Parts,
    bbr: Box<dyn Controller>,
    queue: PathQueue,
    company: Company,
    standing: StandingQueue,
    random_loss: RandomLoss,
    catch_up: PacingCatchUp,
    cap: InflightCap,
    hold: BandwidthHold,
    skip: ProbeRttSkip,
    limited: AppLimited,
    /// The time of the last loss that BBR was told of, and whether it is less than [`DISTURBED`] ago.
    lost: Option<Instant>,
    disturbed: bool,
    /// Whether BBR was told of a loss since losses last turned out to be spurious.
    told: bool,
    /// The time until which BBR takes the path for the shorter one that it was.
    longer: Option<Instant>,
    /// The first packet since which this sender keeps to what the path holds, and its queue was seen to be no longer
    /// than that.
    kept: Option<u64>,
    /// The window of a test for company, during which half of the packets are in flight.
    half: u64,
}

impl Clone for Corrected {
    fn clone(&self) -> Self {
        Self {
            bbr: self.bbr.clone_box(),
            random_loss: self.random_loss.clone(),
            company: self.company.clone(),
            ..*self
        }
    }
}

impl Corrected {
    pub(super) fn new(parts: Parts, now: Instant, mtu: u16) -> Self {
        Self {
            parts,
            bbr: Arc::new(Bbr3Config::default()).build(now, mtu),
            queue: PathQueue::default(),
            company: Company::default(),
            standing: StandingQueue::default(),
            random_loss: RandomLoss::default(),
            catch_up: PacingCatchUp::default(),
            cap: InflightCap::default(),
            hold: BandwidthHold::default(),
            skip: ProbeRttSkip::default(),
            limited: AppLimited::default(),
            lost: None,
            disturbed: false,
            told: false,
            longer: None,
            kept: None,
            half: 0,
        }
    }

    /// Returns whether no other flow uses the path, as far as can be told.
    fn is_alone(&self) -> bool {
        !(self.parts.company && self.company.is_present())
    }

    /// Returns the window without the cap: BBR's, or the window before a needless halving.
    fn uncapped(&self) -> u64 {
        let window = self.bbr.window();
        if self.parts.probe_rtt_skip && self.is_alone() { self.skip.window(window) } else { window }
    }

    /// Returns the rate at which to send, in bytes per second, given BBR's rate.
    fn rate(&self, metrics: &ControllerMetrics) -> Option<u64> {
        let mut rate = metrics.pacing_rate?;
        let Some(bandwidth) = bandwidth(metrics) else { return Some(rate) };
        if self.parts.startup_pacing {
            rate = self.cap.rate(rate, bandwidth, self.uncapped());
        }
        if self.parts.bandwidth_hold && !self.disturbed && self.is_alone() && self.queue.is_empty() {
            rate = self.hold.rate(rate, bandwidth);
        }
        Some(if self.longer.is_some() { rate.max(self.hold.best()) } else { rate })
    }

    fn look_for_company(&mut self, now: Instant, sent: Instant, round_trip: Duration, base: Duration) {
        let metrics = self.bbr.metrics();
        let rates = bandwidth(&metrics).zip(metrics.pacing_rate);
        let own = rates.and_then(|(bandwidth, pacing)| self.cap.own_round_trip(bandwidth, pacing));
        let (alone, tested, window) = (self.is_alone(), self.company.is_testing(), self.window());
        let own_probing = rates.and_then(|(bandwidth, pacing)| self.cap.own_probing(bandwidth, pacing));
        let path = Known { base, own, own_probing, window: window.min(self.bbr.window()) };
        let longer = self.company.on_ack(now, sent, round_trip, path);
        self.find_company(alone);
        if !tested {
            self.half = window / 2;
        }
        if let Some(path) = longer {
            self.cap.restart(now, path);
            self.longer = Some(now + REMEMBERED);
        }
    }

    /// Returns whether the queue is longer than this sender makes it. `None` while that is not known.
    fn is_overfull(&self, metrics: &ControllerMetrics) -> Option<bool> {
        let own = self.cap.own_probing(bandwidth(metrics)?, metrics.pacing_rate?)?;
        Some(self.queue.shortest()? > own)
    }

    /// Records whether this sender keeps to what the path holds, from this packet on.
    fn keep(&mut self, number: u64, metrics: &ControllerMetrics) {
        self.kept = match self.is_overfull(metrics).filter(|_| self.is_alone()) {
            None => None,
            Some(false) => self.kept.or(Some(number)),
            Some(true) => self.kept,
        };
    }

    /// Looks whether the loss of this packet is due to other flows.
    fn on_overflow(&mut self, now: Instant, number: u64) {
        let kept = self.kept.is_some_and(|first| number >= first);
        if self.parts.company && kept && self.is_overfull(&self.bbr.metrics()) == Some(true) {
            let alone = self.is_alone();
            self.company.on_overflow(now);
            self.find_company(alone);
        }
    }

    /// Handles that there is company now, if this sender was `alone` before.
    fn find_company(&mut self, alone: bool) {
        if alone && !self.is_alone() {
            self.cap.on_company();
        }
    }

    /// Returns the bytes in flight that BBR is told. Where more may be in flight than it allows, ProbeRTT would wait
    /// until its window is obeyed, and BBR would not probe for more meanwhile.
    fn told_in_flight(&self, in_flight: u64) -> u64 {
        let window = self.bbr.window();
        if self.window() > window { in_flight.min(window / TOLD) } else { in_flight }
    }
}

impl Controller for Corrected {
    fn on_sent(&mut self, now: Instant, bytes: u64, largest: u64) {
        self.bbr.on_sent(now, bytes, largest);
    }

    fn on_packet_sent(&mut self, now: Instant, bytes: u16, number: u64) {
        let metrics = self.bbr.metrics();
        self.random_loss.on_sent(number, pace(&metrics));
        self.keep(number, &metrics);
        if let Some(rate) = self.rate(&metrics) {
            self.catch_up.on_sent(now, bytes, rate);
        }
        self.bbr.on_packet_sent(now, bytes, number);
    }

    fn on_cwnd_limited(&mut self) {
        self.catch_up.forgive();
        // Where the cap is full, and not BBR's window, BBR would take it for room to grow.
        if self.window() >= self.bbr.window() {
            self.bbr.on_cwnd_limited();
        }
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, number: u64, app_limited: bool, rtt: &RttEstimator) {
        let round_trip = now.saturating_duration_since(sent);
        self.limited.on_ack(bytes);
        self.cap.on_ack(now, round_trip, self.is_alone());
        let shortest = self.cap.shortest().unwrap_or(round_trip);
        self.queue.on_ack(round_trip, shortest);
        self.standing.on_ack(now, round_trip);
        self.disturbed = self.lost.is_some_and(|lost| now.saturating_duration_since(lost) < DISTURBED);
        self.longer = self.longer.filter(|until| now < *until);
        if self.parts.company {
            self.look_for_company(now, sent, round_trip, shortest);
        }
        self.bbr.on_ack(now, sent, bytes, number, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        let told = self.told_in_flight(in_flight);
        self.bbr.on_end_acks(now, told, app_limited, largest);
        if app_limited {
            self.catch_up.forgive();
            self.cap.on_idle();
            self.company.on_idle();
        }
        if let Some(bandwidth) = bandwidth(&self.bbr.metrics()) {
            self.hold.on_bandwidth(now, bandwidth);
            let (path, round_trip) = (self.cap.path(bandwidth), self.cap.shortest().unwrap_or_default());
            self.skip.on_window(now, self.bbr.window(), path, round_trip, self.queue.is_empty());
        }
        if self.parts.app_limited && self.limited.is_forgotten(told, app_limited, largest.is_some()) {
            self.bbr.on_end_acks(now, told, app_limited, largest);
        }
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        persistent: bool,
        ecn: bool,
        lost_bytes: u64,
        largest_lost: u64,
    ) {
        if persistent || ecn {
            self.hold.forget();
            self.skip.on_lost(now);
        }
        if persistent {
            // Nothing arrives any more, so BBR's least window holds (RFC 9002, section 7.6.2).
            self.standing = StandingQueue::default();
            self.longer = None;
        }
        self.bbr.on_congestion_event(now, sent, persistent, ecn, lost_bytes, largest_lost);
    }

    fn on_packet_lost(&mut self, bytes: u16, number: u64, now: Instant) {
        let queued = self.queue.is_queued();
        let random = self.random_loss.on_lost(number, queued || !self.is_alone());
        // BBR is not told of this loss. It forgets the packet after some round trips, like packets that are never
        // acknowledged.
        if self.parts.random_loss && random {
            return;
        }
        self.on_overflow(now, number);
        self.told = true;
        (self.lost, self.disturbed) = (Some(now), true);
        if queued && self.is_alone() {
            self.cap.on_overflow();
        }
        self.hold.forget();
        self.skip.on_lost(now);
        self.bbr.on_packet_lost(bytes, number, now);
    }

    fn on_spurious_congestion_event(&mut self) {
        // BBR returns to its state before the loss. It has no such state for a loss that it was not told of: it
        // would start anew, or probe for more, each time.
        if std::mem::take(&mut self.told) {
            self.bbr.on_spurious_congestion_event();
        }
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.bbr.on_mtu_update(mtu);
    }

    fn on_ack_frequency_update(&mut self, threshold: u64, delay: Duration) {
        self.bbr.on_ack_frequency_update(threshold, delay);
    }

    fn window(&self) -> u64 {
        if self.company.is_testing() {
            return self.half;
        }
        let window = self.uncapped();
        let metrics = self.bbr.metrics();
        let (Some(bandwidth), Some(pacing)) = (bandwidth(&metrics), metrics.pacing_rate) else { return window };
        if !self.is_alone() {
            let rate = bandwidth.max(self.hold.best());
            let standing = self.standing.window(rate, self.cap.shortest().unwrap_or_default());
            return window.max(standing.filter(|_| self.parts.standing_queue).unwrap_or(0));
        }
        if !self.parts.inflight_cap {
            return window;
        }
        // Two of BBR's round trips, of the shorter path, are less than one of the longer path.
        let window = match self.longer.is_some() && !self.cap.is_searching(bandwidth, pacing) {
            true => u64::MAX,
            false => window,
        };
        self.cap.window(window, bandwidth, pacing, self.hold.best())
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.bbr.metrics();
        metrics.pacing_rate = self.rate(&metrics).map(|rate| match self.parts.pacing_catch_up && !self.disturbed {
            true => self.catch_up.rate(rate),
            false => rate,
        });
        metrics.congestion_window = self.window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.bbr.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self.bbr.into_any()
    }
}

fn pace(metrics: &ControllerMetrics) -> Pace {
    let (Some(bandwidth), Some(pacing)) = (bandwidth(metrics), metrics.pacing_rate) else { return Pace::Faster };
    match pacing as f64 / bandwidth.max(1) as f64 {
        share if share < SLOWER => Pace::Slower,
        share if share > FASTER => Pace::Faster,
        _ => Pace::Even,
    }
}

/// Returns the bandwidth in bytes per second. noq has it in bits.
fn bandwidth(metrics: &ControllerMetrics) -> Option<u64> {
    metrics.bandwidth_estimate.map(|bits| bits / 8)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const MTU: u16 = 1200;

    /// The calls that BBR has received.
    #[derive(Debug, Default)]
    struct Calls {
        lost: AtomicU32,
        spurious: AtomicU32,
        limited: AtomicU32,
    }

    /// A replacement for BBR with 1 MB/s and a window of 1 MB, which sends slower than the path carries.
    #[derive(Debug, Clone)]
    struct Told(Arc<Calls>);

    impl Controller for Told {
        fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: bool, _: u64, _: u64) {}

        fn on_packet_lost(&mut self, _: u16, _: u64, _: Instant) {
            self.0.lost.fetch_add(1, Relaxed);
        }

        fn on_spurious_congestion_event(&mut self) {
            self.0.spurious.fetch_add(1, Relaxed);
        }

        fn on_cwnd_limited(&mut self) {
            self.0.limited.fetch_add(1, Relaxed);
        }

        fn on_mtu_update(&mut self, _: u16) {}

        fn window(&self) -> u64 {
            1_000_000
        }

        fn metrics(&self) -> ControllerMetrics {
            let mut metrics = ControllerMetrics::default();
            metrics.pacing_rate = Some(900_000);
            metrics.bandwidth_estimate = Some(8_000_000);
            metrics
        }

        fn clone_box(&self) -> Box<dyn Controller> {
            Box::new(self.clone())
        }

        fn initial_window(&self) -> u64 {
            1_000_000
        }

        fn into_any(self: Box<Self>) -> Box<dyn Any> {
            self
        }
    }

    fn corrected(now: Instant) -> (Corrected, Arc<Calls>) {
        let calls = Arc::new(Calls::default());
        (Corrected { bbr: Box::new(Told(Arc::clone(&calls))), ..Corrected::new(Parts::default(), now, MTU) }, calls)
    }

    /// Has the acknowledgements of this many round trips looked at, in which each packet takes `took` on a path of
    /// 100 ms where this sender's queue takes 30 ms.
    fn look(corrected: &mut Corrected, start: Instant, round_trips: u32, took: Duration) {
        let own = Some(130 * MS);
        for n in 0..=round_trips * 5 {
            // The packets of a round trip are sent at its beginning.
            let sent = start + took * (n / 5);
            let path = Known { base: 100 * MS, own: None, own_probing: own, window: 1_000_000 };
            corrected.company.on_ack(sent + took, sent, took, path);
        }
    }

    #[test]
    fn losses_that_turn_out_to_be_none_are_told_only_where_they_were_told() {
        let now = Instant::now();
        let (mut corrected, calls) = corrected(now);
        for number in 0..400 {
            corrected.on_packet_sent(now, MTU, number);
        }
        // Four losses in four hundred packets, with room at the bottleneck: from then on this share of losses is the
        // path's own.
        for number in [10, 110, 210, 310] {
            corrected.on_packet_lost(MTU, number, now);
        }
        assert_eq!(calls.lost.load(Relaxed), 4);
        corrected.on_spurious_congestion_event();
        assert_eq!(calls.spurious.load(Relaxed), 1);
        for number in 400..600 {
            corrected.on_packet_sent(now, MTU, number);
        }
        corrected.on_packet_lost(MTU, 500, now);
        assert_eq!(calls.lost.load(Relaxed), 4, "it is the path's own");
        corrected.on_spurious_congestion_event();
        assert_eq!(calls.spurious.load(Relaxed), 1);
    }

    #[test]
    fn a_window_that_is_full_is_told_only_where_it_is_that_of_bbr() {
        let now = Instant::now();
        let (mut corrected, calls) = corrected(now);
        corrected.on_cwnd_limited();
        assert_eq!(calls.limited.load(Relaxed), 1, "no round trip is known, and nothing is capped");
        corrected.cap.on_ack(now, 100 * MS, true);
        assert!(corrected.window() < 1_000_000);
        corrected.on_cwnd_limited();
        assert_eq!(calls.limited.load(Relaxed), 1);
    }

    #[test]
    fn bbr_is_told_that_its_window_is_obeyed_where_more_may_be_in_flight() {
        let start = Instant::now();
        let (mut corrected, _) = corrected(start);
        assert_eq!(corrected.told_in_flight(2_000_000), 2_000_000);
        look(&mut corrected, start, 4, 131 * MS);
        corrected.company.on_overflow(start);
        for n in 0..100 {
            let now = start + n * 100 * MS;
            corrected.cap.on_ack(now, if n == 0 { 100 * MS } else { 4000 * MS }, false);
            corrected.standing.on_ack(now, 4000 * MS);
        }
        // 1 MB/s, 4 s, and a quarter more.
        assert_eq!(
            (corrected.window(), corrected.told_in_flight(2_000_000), corrected.told_in_flight(400_000)),
            (5_000_000, 500_000, 400_000)
        );
    }

    #[test]
    fn a_loss_with_a_queue_that_is_longer_than_this_sender_makes_it_is_due_to_others() {
        let start = Instant::now();
        for (kept, lost, took, alone) in [
            (true, 1, 131 * MS, false),
            (true, 1, 130 * MS, true),
            (true, 0, 131 * MS, true),
            (false, 1, 131 * MS, true),
        ] {
            let (mut corrected, _) = corrected(start);
            let acked = |corrected: &mut Corrected, took: Duration| {
                for _ in 0..64 {
                    corrected.queue.on_ack(took, 100 * MS);
                }
            };
            corrected.cap.on_ack(start, 100 * MS, true);
            acked(&mut corrected, if kept { 100 * MS } else { 140 * MS });
            corrected.on_packet_sent(start, MTU, 1);
            acked(&mut corrected, took);
            look(&mut corrected, start, 4, took);
            corrected.on_packet_sent(start, MTU, 2);
            corrected.on_packet_lost(MTU, lost, start);
            assert_eq!(corrected.is_alone(), alone, "{kept}, {lost}, {took:?}");
        }
    }

    #[test]
    fn nothing_but_the_window_of_bbr_is_in_flight_after_persistent_congestion() {
        let start = Instant::now();
        for persistent in [false, true] {
            let (mut corrected, _) = corrected(start);
            look(&mut corrected, start, 4, 131 * MS);
            corrected.company.on_overflow(start);
            for n in 0..100 {
                corrected.cap.on_ack(start + n * 100 * MS, if n == 0 { 100 * MS } else { 4000 * MS }, false);
                corrected.standing.on_ack(start + n * 100 * MS, 4000 * MS);
            }
            corrected.on_congestion_event(start, start, persistent, false, 0, 0);
            assert_eq!(corrected.window(), if persistent { 1_000_000 } else { 5_000_000 });
        }
    }

    #[test]
    fn a_queue_of_others_that_overflows_does_not_end_the_search_for_the_rate() {
        let start = Instant::now();
        let (mut corrected, _) = corrected(start);
        for _ in 0..64 {
            corrected.queue.on_ack(200 * MS, 100 * MS);
        }
        corrected.cap.on_ack(start, 100 * MS, true);
        look(&mut corrected, start, 4, 131 * MS);
        corrected.company.on_overflow(start);
        corrected.on_packet_lost(MTU, 0, start);
        assert!(corrected.cap.is_searching(1_000_000, 3_000_000));
    }
}
