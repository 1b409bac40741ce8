//! Acknowledgements that a full window withholds: pure.
//!
//! While its window is full and it has data to send, noq (1.4) sends nothing, and acknowledges nothing. (The window
//! does not limit acknowledgements: RFC 9002, section 7.) So two sides with full windows wait for each other until a
//! probe timeout, which is a round trip and 25 ms and more. A sender that was refused may therefore send one packet
//! more, which takes the acknowledgements along. It may do so each time that it is refused, up to a few times until
//! something is acknowledged, as "limited transmit" (RFC 3042) allows to senders whose acknowledgements do not come.
//!
//! Only for near peers: over a distance it gains nothing, and drives other flows out where the buffer at the
//! bottleneck is small.

/// Maximum number of additional packets. A flight arrives in pieces. Each piece, and each write of the program, is
/// an occasion to be refused, and one packet has to be left when the last piece is here. Of the two packets of RFC
/// 3042 there often is none left. Of eight there may be none left where dozens of streams write.
const PACKETS: u64 = 8;
/// The additional packets are at most this part of the window, for links that are slow.
const PART: u64 = 8;

/// The number of times that the sender was refused since the last acknowledgement.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AckUnblock {
    blocked: u64,
}

impl AckUnblock {
    /// There was more to send than the window takes.
    pub(super) fn on_blocked(&mut self) {
        self.blocked += 1;
    }

    /// A packet was acknowledged.
    pub(super) fn on_ack(&mut self) {
        self.blocked = 0;
    }

    /// Returns the window with the additional packets, given the window without them.
    pub(super) fn window(&self, window: u64, mtu: u16) -> u64 {
        let mtu = u64::from(mtu);
        let most = (window / PART / mtu).clamp(1, PACKETS);
        window + self.blocked.min(most) * mtu
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_may_send_a_packet_more_a_few_times_until_something_is_acknowledged() {
        let mut unblock = AckUnblock::default();
        let mut windows = Vec::new();
        for _ in 0..10 {
            windows.push(unblock.window(100_000, 1_000));
            unblock.on_blocked();
        }
        let expected: Vec<_> = [0, 1, 2, 3, 4, 5, 6, 7, 8, 8].map(|more| 100_000 + more * 1_000).into();
        assert_eq!(windows, expected);
        unblock.on_ack();
        assert_eq!(unblock.window(100_000, 1_000), 100_000);
    }

    #[test]
    fn a_small_window_grows_by_one_packet() {
        let mut unblock = AckUnblock::default();
        unblock.on_blocked();
        unblock.on_blocked();
        assert_eq!(unblock.window(4_800, 1_200), 6_000);
    }
}
