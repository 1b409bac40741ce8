//! BBR3 over a distance, and Cubic where the peer is near.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use iroh::endpoint::{Controller, ControllerFactory, ControllerMetrics, RttEstimator};
use noq_proto::congestion::CubicConfig;

use super::{ack_unblock::AckUnblock, corrected::Corrected, loopback_cap::LoopbackCap, parts::Parts};

/// A path whose shortest round-trip time is under this is local. Loopback has some 0.05 ms, a switch 0.3 ms. Wi-Fi
/// has more than 1 ms, and there packets do get lost.
pub(super) const LOCAL: Duration = Duration::from_millis(1);

/// Makes a controller for each path.
#[derive(Debug, Clone, Default)]
pub(super) struct ByDistanceConfig {
    pub(super) parts: Parts,
}

impl ControllerFactory for ByDistanceConfig {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(ByDistance::new(self.parts, now, mtu))
    }
}

/// Far until a round-trip time under [`LOCAL`] is seen, and near from then on. A longer round trip after that is due
/// to a queue or a busy machine, not to a distance.
#[derive(Debug, Clone)]
enum Distance {
    Far(Box<Corrected>),
    Near(Near),
}

#[derive(Debug)]
struct Near {
    cubic: Box<dyn Controller>,
    cap: LoopbackCap,
    unblock: AckUnblock,
}

impl Clone for Near {
    fn clone(&self) -> Self {
        Self { cubic: self.cubic.clone_box(), ..*self }
    }
}

/// The controller of a path.
#[derive(Debug, Clone)]
pub(super) struct ByDistance {
    distance: Distance,
    mtu: u16,
}

impl ByDistance {
    pub(super) fn new(parts: Parts, now: Instant, mtu: u16) -> Self {
        Self { distance: Distance::Far(Box::new(Corrected::new(parts, now, mtu))), mtu }
    }

    fn controller(&self) -> &dyn Controller {
        match &self.distance {
            Distance::Far(corrected) => &**corrected,
            Distance::Near(near) => &*near.cubic,
        }
    }

    fn controller_mut(&mut self) -> &mut dyn Controller {
        match &mut self.distance {
            Distance::Far(corrected) => &mut **corrected,
            Distance::Near(near) => &mut *near.cubic,
        }
    }

    /// Checks the path's shortest round-trip time, and changes to Cubic if the peer is near.
    fn look(&mut self, now: Instant, shortest: Duration) {
        if let Distance::Far(far) = &self.distance
            && shortest < LOCAL
        {
            let mut cubic = CubicConfig::default();
            // Cubic goes on from what the path has carried already.
            cubic.initial_window(far.window());
            let cubic = Arc::new(cubic).build(now, self.mtu);
            self.distance = Distance::Near(Near { cubic, cap: LoopbackCap::default(), unblock: AckUnblock::default() });
        }
    }

    fn bounded(&self, window: u64) -> u64 {
        match &self.distance {
            Distance::Far(_) => window,
            Distance::Near(near) => near.cap.window(window, self.mtu),
        }
    }
}

impl Controller for ByDistance {
    fn on_sent(&mut self, now: Instant, bytes: u64, largest: u64) {
        self.controller_mut().on_sent(now, bytes, largest);
    }

    fn on_packet_sent(&mut self, now: Instant, bytes: u16, number: u64) {
        self.controller_mut().on_packet_sent(now, bytes, number);
    }

    fn on_cwnd_limited(&mut self) {
        if let Distance::Near(near) = &mut self.distance {
            near.unblock.on_blocked();
        }
        self.controller_mut().on_cwnd_limited();
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, number: u64, app_limited: bool, rtt: &RttEstimator) {
        self.look(now, rtt.min());
        let app_limited = match &mut self.distance {
            Distance::Far(_) => app_limited,
            Distance::Near(near) => {
                near.unblock.on_ack();
                near.cap.on_ack(rtt.min(), rtt.get());
                // Where the cap limits the sender, Cubic's window must not grow for having been filled.
                app_limited || near.cap.binds(near.cubic.window(), self.mtu)
            }
        };
        self.controller_mut().on_ack(now, sent, bytes, number, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.controller_mut().on_end_acks(now, in_flight, app_limited, largest);
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
        self.controller_mut().on_congestion_event(now, sent, persistent, ecn, lost_bytes, largest_lost);
    }

    fn on_packet_lost(&mut self, bytes: u16, number: u64, now: Instant) {
        self.controller_mut().on_packet_lost(bytes, number, now);
    }

    fn on_spurious_congestion_event(&mut self) {
        self.controller_mut().on_spurious_congestion_event();
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = mtu;
        self.controller_mut().on_mtu_update(mtu);
    }

    fn on_ack_frequency_update(&mut self, threshold: u64, delay: Duration) {
        self.controller_mut().on_ack_frequency_update(threshold, delay);
    }

    fn window(&self) -> u64 {
        let window = self.bounded(self.controller().window());
        match &self.distance {
            Distance::Far(_) => window,
            Distance::Near(near) => near.unblock.window(window, self.mtu),
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.controller().metrics();
        metrics.congestion_window = self.bounded(metrics.congestion_window);
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.controller().initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        match self.distance {
            Distance::Far(corrected) => corrected.into_any(),
            Distance::Near(near) => near.cubic.into_any(),
        }
    }
}

#[cfg(test)]
mod tests {
    use noq_proto::congestion::{Bbr3, Cubic};

    use super::*;

    #[test]
    fn far_paths_have_bbr_and_near_ones_cubic_with_the_window_that_was_reached() {
        let controller = || ByDistance::new(Parts::default(), Instant::now(), 1200);
        let mut far = controller();
        far.look(Instant::now(), LOCAL);
        assert!(Box::new(far).into_any().is::<Bbr3>());

        let mut near = controller();
        let window = near.window();
        near.look(Instant::now(), LOCAL - Duration::from_nanos(1));
        assert_eq!(near.window(), window);
        near.look(Instant::now(), Duration::from_millis(20));
        assert!(near.clone_box().into_any().is::<Cubic>(), "what was near once is near");
    }
}
