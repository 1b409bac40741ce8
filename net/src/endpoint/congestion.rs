//! Congestion control, by how far away the peer is.
//!
//! Over a distance loss is often not congestion: on a link of 20 ms and 500 Mbit/s that loses one packet in a thousand,
//! Cubic reaches 3 MB/s and BBR 40. On one machine and on a wire, BBR's pacing costs up to half of the speed, and Cubic
//! recovers from a loss within a millisecond. No address tells the two apart (a relay has none, a tunnel has a local one),
//! so the round trip does.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use iroh::endpoint::{Controller, ControllerFactory, ControllerMetrics, RttEstimator};
use noq_proto::congestion::{Bbr3Config, CubicConfig};

/// A path whose shortest round trip is under this is local. Loopback has some 0.05 ms, a switch 0.3 ms, Wi-Fi more than
/// 1 ms, and there packets do get lost.
const LOCAL: Duration = Duration::from_millis(1);

/// Makes a controller for each path.
#[derive(Debug)]
pub(super) struct ByDistance;

impl ControllerFactory for ByDistance {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let far = Arc::new(Bbr3Config::default()).build(now, mtu);
        Box::new(ByRoundTrip { distance: Distance::Far, controller: far, mtu })
    }
}

/// How far a path leads, as far as is known. A path is far until a round trip says otherwise; what was near once was
/// slow since for other reasons than distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distance {
    Far,
    Near,
}

impl Distance {
    /// With a further look at the path's shortest round trip.
    fn after(self, shortest: Duration) -> Self {
        if shortest < LOCAL { Self::Near } else { self }
    }
}

/// BBR until the path turns out to be local, and Cubic from then on.
#[derive(Debug)]
struct ByRoundTrip {
    distance: Distance,
    controller: Box<dyn Controller>,
    mtu: u16,
}

impl ByRoundTrip {
    fn look(&mut self, now: Instant, shortest: Duration) {
        let distance = self.distance.after(shortest);
        if distance != self.distance {
            self.distance = distance;
            let mut cubic = CubicConfig::default();
            // It goes on from what the path has carried already.
            cubic.initial_window(self.controller.window());
            self.controller = Arc::new(cubic).build(now, self.mtu);
        }
    }
}

impl Controller for ByRoundTrip {
    fn on_sent(&mut self, now: Instant, bytes: u64, largest: u64) {
        self.controller.on_sent(now, bytes, largest);
    }

    fn on_packet_sent(&mut self, now: Instant, bytes: u16, number: u64) {
        self.controller.on_packet_sent(now, bytes, number);
    }

    fn on_cwnd_limited(&mut self) {
        self.controller.on_cwnd_limited();
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, number: u64, app_limited: bool, rtt: &RttEstimator) {
        self.look(now, rtt.min());
        self.controller.on_ack(now, sent, bytes, number, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.controller.on_end_acks(now, in_flight, app_limited, largest);
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
        self.controller.on_congestion_event(now, sent, persistent, ecn, lost_bytes, largest_lost);
    }

    fn on_packet_lost(&mut self, bytes: u16, number: u64, now: Instant) {
        self.controller.on_packet_lost(bytes, number, now);
    }

    fn on_spurious_congestion_event(&mut self) {
        self.controller.on_spurious_congestion_event();
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = mtu;
        self.controller.on_mtu_update(mtu);
    }

    fn on_ack_frequency_update(&mut self, threshold: u64, delay: Duration) {
        self.controller.on_ack_frequency_update(threshold, delay);
    }

    fn window(&self) -> u64 {
        self.controller.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.controller.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { distance: self.distance, controller: self.controller.clone_box(), mtu: self.mtu })
    }

    fn initial_window(&self) -> u64 {
        self.controller.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self.controller.into_any()
    }
}

#[cfg(test)]
mod tests {
    use noq_proto::congestion::{Bbr3, Cubic};

    use super::*;

    #[test]
    fn a_path_is_near_from_the_first_round_trip_under_a_millisecond_on() {
        let ms = Duration::from_millis;
        for (was, shortest, is) in [
            (Distance::Far, ms(333), Distance::Far),
            (Distance::Far, LOCAL, Distance::Far),
            (Distance::Far, LOCAL - Duration::from_nanos(1), Distance::Near),
            (Distance::Far, Duration::ZERO, Distance::Near),
            (Distance::Near, ms(333), Distance::Near),
            (Distance::Near, Duration::ZERO, Distance::Near),
        ] {
            assert_eq!(was.after(shortest), is, "{was:?} after {shortest:?}");
        }
    }

    fn controller() -> ByRoundTrip {
        let far = Arc::new(Bbr3Config::default()).build(Instant::now(), 1200);
        ByRoundTrip { distance: Distance::Far, controller: far, mtu: 1200 }
    }

    #[test]
    fn far_paths_have_bbr_and_near_ones_cubic_with_the_window_that_was_reached() {
        let mut far = controller();
        far.look(Instant::now(), Duration::from_millis(20));
        assert!(Box::new(far).into_any().is::<Bbr3>());

        let mut near = controller();
        let window = near.window();
        near.look(Instant::now(), Duration::from_micros(50));
        assert_eq!(near.window(), window);
        near.look(Instant::now(), Duration::from_millis(20));
        assert!(near.clone_box().into_any().is::<Cubic>());
    }
}
