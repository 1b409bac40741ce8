//! A congestion control that says with which bounds its connection was made.
//!
//! iroh shows nothing of the transport configuration of a connection but the controllers that the configuration has
//! made. So where the bounds of a connection have to be known, its controllers say them: a configuration of
//! [`Builder::transport_config`](crate::Builder::transport_config) is known by that, and no other one says anything.

use std::{
    any::Any,
    iter,
    sync::Arc,
    time::{Duration, Instant},
};

use iroh::endpoint::{Connection, Controller, ControllerFactory, ControllerMetrics, PathId, RttEstimator};

/// The bounds of a connection that cannot be set on it any more when its protocol is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Maximum number of unread bytes that the peer can make this side hold.
    pub(crate) unread_bytes: u64,
    /// Maximum time of silence.
    pub(crate) idle_timeout: Duration,
}

/// Makes controllers that say the bounds.
pub(crate) struct MarkedConfig {
    pub(crate) factory: Arc<dyn ControllerFactory + Send + Sync>,
    pub(crate) bounds: Bounds,
}

impl ControllerFactory for MarkedConfig {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let controller = Arc::clone(&self.factory).build(now, mtu);
        Box::new(Marked { controller, bounds: self.bounds })
    }
}

/// Returns the bounds with which a connection was made, if its controllers say them.
pub(crate) fn bounds(connection: &Connection) -> Option<Bounds> {
    let open = connection.paths();
    // The controllers of all paths are made by the same configuration. The first path may be closed by now.
    let mut paths = iter::once(PathId::ZERO).chain(open.iter().map(|path| path.id()));
    let controller = paths.find_map(|path| connection.congestion_state(path))?;
    controller.into_any().downcast::<Marked>().ok().map(|marked| marked.bounds)
}

/// Another controller, with a mark.
#[derive(Debug)]
struct Marked {
    controller: Box<dyn Controller>,
    bounds: Bounds,
}

impl Controller for Marked {
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
        Box::new(Self { controller: self.controller.clone_box(), bounds: self.bounds })
    }

    fn initial_window(&self) -> u64 {
        self.controller.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Congestion;

    #[test]
    fn a_controller_with_a_mark_does_what_the_other_one_does_and_its_copies_say_the_mark() {
        let bounds = Bounds { unread_bytes: 1 << 20, idle_timeout: Duration::from_secs(20) };
        let (factory, now) = (Congestion::Cubic.factory(), Instant::now());
        let mut plain = Arc::clone(&factory).build(now, 1200);
        let mut marked = Arc::new(MarkedConfig { factory, bounds }).build(now, 1200);
        assert_eq!(marked.initial_window(), plain.initial_window());
        for controller in [&mut plain, &mut marked] {
            controller.on_mtu_update(1400);
            controller.on_congestion_event(now + Duration::from_secs(1), now, false, false, 1200, 7);
        }
        assert_eq!(marked.window(), plain.window());
        assert!(plain.window() < plain.initial_window(), "the loss counted");
        let copy = marked.clone_box().into_any().downcast::<Marked>().unwrap();
        assert_eq!(copy.bounds, bounds);
        assert!(!plain.into_any().is::<Marked>());
    }
}
