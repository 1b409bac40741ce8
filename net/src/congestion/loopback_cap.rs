//! Limits the data in flight to a near peer: pure.
//!
//! noq's task of a connection takes the datagrams that have come, one by one, and sends after that. Both draw on the
//! budget that tokio gives a task for one turn, which is 128 operations. When it is used up, iroh (1.4) drops the
//! packets that are to be sent, ten at a time, as if a link had lost them. With 64 requests of 64 KiB in flight over
//! loopback that was one packet in forty. Each time the last packet of a flight was among them, all requests waited
//! for the probe timeout, 26 ms. With no more in flight than a turn can take, nothing is lost, and the data in
//! flight stays in the processor's caches: bulk is 7 % faster. On a wire packets come one after the other, and none
//! of this is needed.

use std::time::Duration;

use super::by_distance::LOCAL;

/// Maximum number of packets in flight. A turn has room for the answers to them as well: 124 packets lost none, 172
/// did.
const PACKETS: u64 = 100;
/// A peer whose shortest round-trip time is under this is on the same machine, where it is some 0.03 ms. Over a
/// switch it is 0.3 ms. On a wire that is as quick as this limit, [`PACKETS`] packets still fill 10 Gbit/s.
const SAME_MACHINE: Duration = Duration::from_micros(100);

/// Whether the peer is on the same machine, and quick. Where both ends have other things to do, more data has to be
/// in flight.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LoopbackCap {
    quick: bool,
}

impl LoopbackCap {
    /// Handles an acknowledgement, with the path's shortest round-trip time and the smoothed one.
    pub(super) fn on_ack(&mut self, shortest: Duration, smoothed: Duration) {
        self.quick = shortest < SAME_MACHINE && smoothed < LOCAL;
    }

    /// Returns the window, given the controller's window.
    pub(super) fn window(&self, window: u64, mtu: u16) -> u64 {
        if self.quick { window.min(PACKETS * u64::from(mtu)) } else { window }
    }

    /// Returns whether the cap limits the sender, and not the controller's window: that window must not grow for
    /// having been filled.
    pub(super) fn binds(&self, window: u64, mtu: u16) -> bool {
        self.window(window, mtu) < window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_on_the_same_machine_is_sent_no_more_at_once_than_a_turn_of_its_task_takes() {
        let mut near = LoopbackCap::default();
        assert_eq!((near.window(1 << 20, 1452), near.binds(1 << 20, 1452)), (1 << 20, false));
        near.on_ack(SAME_MACHINE / 2, SAME_MACHINE);
        assert_eq!((near.window(1 << 20, 1452), near.binds(1 << 20, 1452)), (145_200, true));
        assert_eq!((near.window(14_520, 1452), near.binds(14_520, 1452)), (14_520, false));
    }

    #[test]
    fn a_peer_over_a_wire_and_one_that_is_slow_now_are_sent_as_much_as_the_controller_says() {
        for (shortest, smoothed) in [(SAME_MACHINE, SAME_MACHINE), (SAME_MACHINE / 2, LOCAL)] {
            let mut near = LoopbackCap::default();
            near.on_ack(SAME_MACHINE / 2, SAME_MACHINE);
            near.on_ack(shortest, smoothed);
            assert_eq!((near.window(1 << 20, 1452), near.binds(1 << 20, 1452)), (1 << 20, false));
        }
    }
}
