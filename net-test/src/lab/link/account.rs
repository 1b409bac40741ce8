//! Accounts for all packets: compares the counts of the model with those of the kernels at both ends.
//!
//! Losses that the model does not know of would be blamed on a library. A load is void if the link was late or lost
//! packets that the model did not drop.

use std::{fs, time::Duration};

use super::{
    carry::Plug,
    model::{Counts, Shape},
};
use crate::lab::fault::Fault;

/// A packet is late if it is given to the device more than this after its time. Most packets on busy machines are
/// less late. The value is a tenth of a round-trip time of 20 ms.
pub const LATE: Duration = Duration::from_millis(2);
/// The share of packets that may be late. It is too small to change a median.
const MAY_BE_LATE: f64 = 0.05;
/// The maximum delay of any packet. It is half of a queue, and more than timers of 20 ms tolerate.
const TOO_LATE: Duration = Duration::from_millis(50);
/// The maximum difference, in standard deviations, between the losses of the model and the configured share. With 5
/// deviations and two hundred loads in a run, one run in ten thousand is void without a reason.
const DEVIATIONS: f64 = 5.0;

/// The counters of a device, in its kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Device {
    /// Packets that the kernel gave to the link.
    pub sent: u64,
    /// Packets that the kernel dropped before the link.
    pub not_sent: u64,
    /// Packets that the kernel took from the link.
    pub received: u64,
    /// Packets that the kernel did not take from the link.
    pub not_received: u64,
}

/// Packets that a link's threads have given to a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Given {
    pub packets: u64,
    /// Packets that the device did not take.
    pub refused: u64,
    /// Packets that were later than [`LATE`].
    pub late: u64,
    /// The delay of the latest packet.
    pub latest: Duration,
}

impl Given {
    pub fn add(&mut self, more: Self) {
        self.packets += more.packets;
        self.refused += more.refused;
        self.late += more.late;
        self.latest = self.latest.max(more.latest);
    }

    pub fn late_share(&self) -> f64 {
        self.late as f64 / self.packets.max(1) as f64
    }
}

/// The account of one direction, from the beginning of a load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    pub counts: Counts,
    pub given: Given,
    /// The device of the sender. The next field is the device of the receiver.
    pub from: Device,
    pub to: Device,
}

impl Device {
    pub fn of(plug: &Plug) -> Result<Self, Fault> {
        // The view of the calling thread. The view of the process is that of its first thread's namespace.
        let text = plug.netns.inside(|| fs::read_to_string("/proc/thread-self/net/dev"))?;
        let text = text.map_err(|error| Fault::lab("counters", error))?;
        Self::parse(&text, &plug.interface).ok_or_else(|| Fault::Lab(format!("no counters of {}", plug.interface)))
    }

    fn parse(text: &str, interface: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'))?;
        let numbers: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        // Each direction has bytes, packets, errors, drops and four other columns. The received ones come first.
        let &[_, received, rx_errors, rx_drops, _, _, _, _, _, sent, tx_errors, tx_drops, ..] = numbers.as_slice()
        else {
            return None;
        };
        Some(Self { sent, not_sent: tx_errors + tx_drops, received, not_received: rx_errors + rx_drops })
    }

    pub fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(before.sent),
            not_sent: self.not_sent.saturating_sub(before.not_sent),
            received: self.received.saturating_sub(before.received),
            not_received: self.not_received.saturating_sub(before.not_received),
        }
    }
}

impl Account {
    /// Returns whether both kernels and the model agree: no packet is under way, and none is missing.
    pub fn balances(&self) -> bool {
        self.from.sent == self.counts.packets && self.to.received == self.counts.arriving()
    }

    /// Returns the reason why a load on the link is void, if it is.
    pub fn fault(&self, shape: &Shape) -> Option<String> {
        let Self { given, .. } = self;
        let late = given.late_share();
        // Without a rate, only the machine slows senders down. The queue in front of the giving thread then belongs
        // to them.
        let in_time = shape.rate.is_none() || (late <= MAY_BE_LATE && given.latest <= TOO_LATE);
        let late = || format!("{:.1} % of the packets were late, the latest by {:?}", late * 100.0, given.latest);
        self.missing(shape).or_else(|| (!in_time).then(late))
    }

    /// Does the same as [`Account::fault`], but only for missing packets, and not for late ones.
    pub fn missing(&self, shape: &Shape) -> Option<String> {
        let Self { counts, given, from, to } = self;
        let met = counts.packets - counts.too_large - counts.overflowed;
        let asked = shape.loss * met as f64;
        let deviation = (asked * (1.0 - shape.loss)).sqrt() * DEVIATIONS;
        if from.not_sent > 0 {
            Some(format!("a device dropped {} packets in front of the link", from.not_sent))
        } else if from.sent != counts.packets {
            Some(format!("{} packets were sent, and the link saw {}", from.sent, counts.packets))
        } else if given.refused + to.not_received > 0 || to.received != counts.arriving() {
            Some(format!("{} packets were to arrive, and {} did", counts.arriving(), to.received))
        } else if (counts.lost as f64 - asked).abs() > deviation {
            Some(format!("the link lost {} packets of {met}, and {asked:.0} were to be lost", counts.lost))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_kernels_counters_are_read_from_its_table() {
        let text = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0: 5000000    4000    1    2    0     0          0         0  6000000    5000    3    4    0     0       0          0
";
        let read = Device::parse(text, "eth0").unwrap();
        assert_eq!(read, Device { sent: 5000, not_sent: 7, received: 4000, not_received: 3 });
        assert_eq!(Device::parse(text, "eth"), None);
        assert_eq!(Device::parse("  eth0: 1 2 3\n", "eth0"), None);
    }

    #[test]
    fn a_packet_that_is_missing_a_drop_and_a_late_link_are_found() {
        let shape = Shape { loss: 0.01, rate: Some(1_000_000), ..Shape::CABLE };
        let counts =
            Counts { packets: 10_000, lost: 100, overflowed: 50, too_large: 10, doubled: 3, ..Counts::default() };
        let given = Given { packets: 9_843, late: 9, latest: 9 * MS, refused: 0 };
        let good = Account {
            counts,
            given,
            from: Device { sent: 10_000, ..Device::default() },
            to: Device { received: 9_843, ..Device::default() },
        };
        assert_eq!((good.balances(), good.fault(&shape)), (true, None));
        let lost = Counts { lost: 160, ..counts };
        let wrong = [
            (Account { to: Device { received: 9_842, ..good.to }, ..good }, "arrive"),
            (Account { to: Device { received: 9_844, ..good.to }, ..good }, "arrive"),
            (Account { to: Device { not_received: 1, ..good.to }, ..good }, "arrive"),
            (Account { given: Given { refused: 1, ..given }, ..good }, "arrive"),
            (Account { from: Device { sent: 10_001, ..good.from }, ..good }, "saw"),
            (Account { from: Device { not_sent: 1, ..good.from }, ..good }, "dropped"),
            (Account { counts: lost, to: Device { received: 9_783, ..good.to }, ..good }, "lost"),
            (Account { given: Given { late: 600, ..given }, ..good }, "late"),
            (Account { given: Given { latest: 51 * MS, ..given }, ..good }, "late"),
        ];
        for (account, word) in wrong {
            assert!(account.fault(&shape).is_some_and(|why| why.contains(word)), "{word}: {:?}", account.fault(&shape));
        }
        let late = Account { given: Given { late: 600, ..given }, ..good };
        assert_eq!(late.fault(&Shape { rate: None, ..shape }), None, "no rate, and nothing to be late for");
    }
}
