//! Acknowledgements that a full window withholds: pure.
//!
//! While its window is full and it has data to send, noq (1.4) sends nothing, and acknowledges nothing. (They are not part of
//! what the window bounds: RFC 9002, section 7.) So two sides with full windows wait for each other until a probe's timeout,
//! which is a round trip and 25 ms and more. Whoever was refused may therefore send a packet more, which takes the
//! acknowledgements along: each time it is refused, up to a few until something is acknowledged, as "limited transmit" has it
//! (RFC 3042) for senders whose acknowledgements do not come.
//!
//! For near peers alone: over a distance it gives nothing, and drives others out where the buffer at the bottleneck is small.

/// Packets more at most. A flight arrives in pieces and each of them, and each write of an application, is an occasion to be
/// refused: one packet has to be left when the last piece is here. Of the two of RFC 3042 there often is none; of eight there may
/// be none where dozens of streams write.
const PACKETS: u64 = 8;
/// And no more than this part of the window, for links that are slow.
const PART: u64 = 8;

/// How often the sender was refused since the last acknowledgement.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AckUnblock {
    blocked: u64,
}

impl AckUnblock {
    /// There was more to send than the window takes.
    pub(super) fn on_blocked(&mut self) {
        self.blocked += 1;
    }

    /// Something was acknowledged.
    pub(super) fn on_ack(&mut self) {
        self.blocked = 0;
    }

    /// The window, where it was to be this one.
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
