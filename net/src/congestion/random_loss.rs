//! Finds losses that say nothing about the sender's rate: pure.
//!
//! BBR takes more than 2 % of losses in a round trip for a queue that overflows (draft-ietf-ccwg-bbr, section
//! 5.5.10.2), and each loss for a reason to send less until it next probes for more. Wi-Fi and mobile links lose
//! packets by themselves. There BBR is as slow as Cubic: 3.4 of 20 Mbit/s where 3 % get lost.
//!
//! A path that loses packets by itself loses the same share of them at any rate. BBR sends slower than the path
//! carries and faster in turns, every 2 to 3 s. So it is known how many packets get lost with room at the
//! bottleneck, and how many without. Only as many losses as with room are random. No loss is random while there is a
//! queue, or where a faster rate means more losses: that is a shallow buffer, or a policer.

use std::collections::VecDeque;

/// Number of losses that have to be seen with room at the bottleneck before a loss is random.
const SEEN: f64 = 4.0;
/// Number of packets at which the counts are halved, so that older packets count for less.
const MEMORY: f64 = 2000.0;
/// Allowance for chance: this many times the losses with room at the bottleneck may be random.
const MORE: f64 = 1.25;
/// Of the packets that are sent faster than the path carries, at most this many times as many get lost by chance. A
/// policer and a full buffer lose one in five of those.
const FASTER: f64 = 2.0;
/// Maximum share of random losses among all packets. Links that lose 5 % are under it, with their clusters.
const MOST: f64 = 0.067;
/// Maximum number of random losses in a row. A queue that fills within one round trip is noticed this many packets
/// later.
const IN_A_ROW: f64 = 16.0;
/// Number of changes of pace that are remembered, for packets that are still in flight.
const CHANGES: usize = 16;

/// The pace of a packet, relative to what the path carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Slower,
    Even,
    Faster,
}

/// The packets that were sent, and those of them that got lost.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    sent: f64,
    lost: f64,
}

impl Count {
    fn on_sent(&mut self) {
        self.sent += 1.0;
        if self.sent >= MEMORY {
            *self = Self { sent: self.sent / 2.0, lost: self.lost / 2.0 };
        }
    }

    fn share(self) -> f64 {
        self.lost / self.sent.max(1.0)
    }
}

/// Tells random losses from others.
#[derive(Debug, Clone, Default)]
pub(super) struct RandomLoss {
    /// The number of the first packet of each pace.
    changes: VecDeque<(u64, Pace)>,
    slower: Count,
    faster: Count,
    /// The number of losses that may be random now.
    credit: f64,
}

impl RandomLoss {
    /// Records that a packet is sent.
    pub(super) fn on_sent(&mut self, number: u64, pace: Pace) {
        if self.changes.back().is_none_or(|(_, before)| *before != pace) {
            if self.changes.len() == CHANGES {
                self.changes.pop_front();
            }
            self.changes.push_back((number, pace));
        }
        match pace {
            Pace::Slower => self.slower.on_sent(),
            Pace::Even => {}
            Pace::Faster => self.faster.on_sent(),
        }
        self.credit = (self.credit + self.share()).min(IN_A_ROW);
    }

    /// Records that a packet is lost. Returns whether the loss is random. `congested`: whether there is a queue, or
    /// other flows are present.
    pub(super) fn on_lost(&mut self, number: u64, congested: bool) -> bool {
        match self.changes.iter().rev().find(|(from, _)| *from <= number) {
            Some((_, Pace::Slower)) if !congested => self.slower.lost += 1.0,
            Some((_, Pace::Faster)) => self.faster.lost += 1.0,
            _ => {}
        }
        let random = !congested && self.credit >= 1.0 && self.share() > 0.0;
        self.credit -= if random { 1.0 } else { 0.0 };
        random
    }

    /// Returns the share of packets that the path loses by itself, as far as is known.
    fn share(&self) -> f64 {
        if self.slower.lost < SEEN || self.faster.share() > self.slower.share() * FASTER {
            return 0.0;
        }
        (self.slower.share() * MORE).min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knuth's linear congruential generator. Its upper half is random enough.
    fn random(state: &mut u64) -> f64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((*state >> 32) as u32) / f64::from(u32::MAX)
    }

    /// Returns the share of losses that are not random, on a path that loses these shares of packets at each pace. A
    /// tenth of the packets is sent slower and a tenth faster than the path carries.
    fn told(slower: f64, even: f64, faster: f64, congested: bool) -> f64 {
        let (mut losses, mut state, mut lost, mut told) = (RandomLoss::default(), 7, 0, 0);
        for number in 0..200_000 {
            let (pace, loss) = match number / 100 % 10 {
                0 => (Pace::Slower, slower),
                1 => (Pace::Faster, faster),
                _ => (Pace::Even, even),
            };
            losses.on_sent(number, pace);
            if random(&mut state) < loss {
                lost += 1;
                told += u32::from(!losses.on_lost(number, congested));
            }
        }
        f64::from(told) / f64::from(lost)
    }

    #[test]
    fn a_path_that_loses_as_many_packets_at_any_pace_does_so_by_chance() {
        for share in [0.01, 0.03, 0.05] {
            let told = told(share, share, share, false);
            assert!(told < 0.1, "{share}: {told}");
        }
    }

    #[test]
    fn of_dense_losses_what_goes_beyond_a_fifteenth_is_told() {
        let told = told(0.2, 0.2, 0.2, false);
        assert!((0.6..0.75).contains(&told), "{told}");
    }

    #[test]
    fn where_faster_means_more_losses_all_are_told() {
        assert_eq!(told(0.0, 0.0, 0.2, false), 1.0, "a shallow buffer");
        let policer = told(0.01, 0.03, 0.2, false);
        assert!(policer > 0.98, "a policer that others use as well: {policer}");
    }

    #[test]
    fn no_loss_is_random_while_there_is_a_queue_or_company() {
        assert_eq!(told(0.03, 0.03, 0.03, true), 1.0);
    }

    #[test]
    fn a_loss_counts_for_the_pace_at_which_its_packet_was_sent() {
        let mut losses = RandomLoss::default();
        for number in 0..100 {
            losses.on_sent(number, Pace::Slower);
        }
        losses.on_sent(100, Pace::Even);
        for number in 0..4 {
            losses.on_lost(number, false);
        }
        assert_eq!((losses.slower.sent, losses.slower.lost), (100.0, 4.0));
        losses.on_lost(100, false);
        assert_eq!(losses.slower.lost, 4.0);
    }
}
