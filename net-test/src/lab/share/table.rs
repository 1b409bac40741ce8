//! The bottlenecks, and the flows that share each.

use std::time::Duration;

use super::flow::Kind;
use crate::lab::link::{Neck, Pauses, Queue, Shape};

/// The subject of a row. It determines the promises: see [`super::bounds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Beside one TCP Cubic flow, with a queue of useful length.
    Cubic,
    /// Beside one TCP Cubic flow, with hardly a queue or with a policer.
    Shallow,
    /// Beside one TCP BBR flow.
    Bbr,
    /// This number of flows of one kind.
    Siblings(u8),
    /// Beside a TCP Cubic flow that started earlier.
    Late,
    /// Beside short downloads.
    Web,
    /// Alone, with packets that are overtaken.
    Reordered,
    /// Alone, while the round-trip time becomes three times as long.
    Step,
    /// Alone, on a link that pauses repeatedly.
    Pauses,
    /// Alone, with packets that arrive in aggregates.
    Wifi,
    /// Alone, while the rate falls to a tenth for 20 s.
    Rates,
    /// Beside one TCP Cubic flow, with a queue for each.
    Fair,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffer {
    /// Tenths of the product of the rate and the round-trip time.
    Tenths(u64),
    /// The burst of a policer, in bytes.
    Policer(u64),
    Fair,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub check: Check,
    pub mbit: u64,
    pub rtt_ms: u64,
    pub buffer: Buffer,
    /// The number of reordered packets of a thousand.
    pub reordered: u64,
}

/// One of the sides that use the bottleneck in turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    pub name: &'static str,
    pub flows: Vec<Flow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    pub kind: Kind,
    pub starts: Duration,
    /// The flow is a neighbour, beside which the side is measured.
    pub is_rival: bool,
}

/// The measured part of a run. Times are since the first flow started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: Duration,
    pub until: Duration,
}

/// The names of the sides.
pub const OURS: &str = "ours";
pub const BBR3: &str = "bbr3";
pub const IROH: &str = "iroh";

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The time between the starts of flows of one kind.
const APART: Duration = secs(10);
/// The time from the last start of flows of one kind until they have found their shares. Half a minute was enough for
/// all kinds.
const FINDING: Duration = secs(30);
/// The age of the earlier flow when the measured one starts. Cubic has left its slow start by then, even with a
/// buffer of 5 round trips.
pub const LATE: Duration = secs(20);
/// The time at which the round-trip time or the rate changes. Every congestion controller has found the first value
/// by then.
pub const CHANGE: Duration = secs(20);
const STEPS: &[(Duration, u64)] = &[(CHANGE, 10_000_000), (secs(40), 100_000_000)];
/// The pauses of a roaming phone, or of a laptop that scans for networks, are about this long.
pub const PAUSES: Pauses = Pauses { every: secs(15), lasting: Duration::from_millis(100) };
/// The shortest and the longest time between two aggregates of a busy Wi-Fi.
const HELD: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(20));
/// The length of the queue, as a time, for the check of the rate before use. The check has to last twice as long as
/// the burst of the largest policer.
const VERIFIED: Duration = Duration::from_millis(100);
const VERIFIED_POLICER: Duration = Duration::from_millis(500);

impl Row {
    const fn new(check: Check, mbit: u64, rtt_ms: u64, buffer: Buffer) -> Self {
        Self { check, mbit, rtt_ms, buffer, reordered: 0 }
    }

    pub fn name(&self) -> String {
        let Self { mbit, rtt_ms, .. } = self;
        let buffer = match self.buffer {
            Buffer::Tenths(tenths) => format!("{}bdp", tenths as f64 / 10.0),
            Buffer::Policer(burst) => format!("policer-{}kb", burst / 1000),
            Buffer::Fair => "fq-codel".to_owned(),
        };
        let link = format!("{mbit}mbit-{rtt_ms}ms-{buffer}");
        match self.check {
            Check::Cubic | Check::Shallow | Check::Fair => link,
            Check::Bbr => format!("bbr-{link}"),
            Check::Siblings(count) => format!("{count}-alike-{link}"),
            Check::Late => format!("late-{link}"),
            Check::Web => format!("web-{link}"),
            Check::Reordered => format!("reordered-{}%-{link}", self.reordered / 10),
            Check::Step => format!("step-{link}"),
            Check::Pauses => format!("pauses-{link}"),
            Check::Wifi => format!("wifi-{link}"),
            Check::Rates => format!("rates-{link}"),
        }
    }

    pub fn sentence(&self) -> &'static str {
        match self.check {
            Check::Cubic => "beside one TCP Cubic flow: both have their share",
            Check::Shallow => "beside one TCP Cubic flow, with hardly a queue: it keeps what stock BBR3 leaves to it",
            Check::Bbr => "beside one TCP BBR flow: no less than iroh's Cubic gets there",
            Check::Siblings(_) => "flows of one kind, 10 s apart: equal shares, and a short queue",
            Check::Late => "beside a TCP Cubic flow that was there before: a share within 10 s",
            Check::Web => "beside short downloads: they take no longer than beside iroh's Cubic",
            Check::Reordered => "alone, with packets that are overtaken: the rate of iroh's Cubic",
            Check::Step => "alone, and the round trip becomes three times as long: the rate is back soon",
            Check::Pauses => "alone, on a link that stands still for 100 ms every 15 s: the rate outside of that",
            Check::Wifi => "alone, with packets in aggregates: the rate of iroh's Cubic",
            Check::Rates => "alone, with a rate that falls to a tenth and rises again: the rate of iroh's Cubic",
            Check::Fair => "beside one TCP Cubic flow, with a queue for each: half of the link, nearly",
        }
    }

    /// Returns the bytes under way when the link is just full.
    pub fn bdp(&self) -> u64 {
        self.mbit * 1000 * self.rtt_ms / 8
    }

    /// Returns the shape of the way there, with the bottleneck, and of the way back, with the same delay and no load.
    pub fn shapes(&self) -> [Shape; 2] {
        let delay = Duration::from_micros(self.rtt_ms * 500);
        let rate = self.mbit * 1_000_000;
        let (queue, verified) = match self.buffer {
            Buffer::Tenths(tenths) => {
                let bytes = self.bdp() * tenths / 10;
                (Queue::Bytes(bytes as usize), Duration::from_millis(self.rtt_ms * tenths / 10).max(VERIFIED))
            }
            Buffer::Policer(burst) => (Queue::Policer(burst as usize), VERIFIED_POLICER),
            Buffer::Fair => (Queue::Fair, VERIFIED),
        };
        let neck = Neck {
            rate,
            queue,
            steps: if self.check == Check::Rates { STEPS } else { &[] },
            pauses: (self.check == Check::Pauses).then_some(PAUSES),
            held: (self.check == Check::Wifi).then_some(HELD),
        };
        let step = (self.check == Check::Step).then_some((CHANGE, delay * 3));
        let back = Shape { delay, step, ..Shape::CABLE };
        let there = Shape {
            rate: Some(rate),
            queue: verified,
            reorder: self.reordered as f64 / 1000.0,
            neck: Some(neck),
            ..back
        };
        [there, back]
    }

    pub fn sides(&self) -> Vec<Side> {
        let with = |kind: Kind, starts, rival: Option<Kind>| {
            let mut flows = vec![Flow { kind, starts, is_rival: false }];
            flows.extend(rival.map(|kind| Flow { kind, starts: Duration::ZERO, is_rival: true }));
            flows
        };
        let three = |starts, rival: Option<Kind>, names: &[&'static str]| {
            let side = |name: &&'static str| Side { name, flows: with(kind(name), starts, rival) };
            names.iter().map(side).collect::<Vec<_>>()
        };
        match self.check {
            Check::Cubic | Check::Shallow => three(Duration::ZERO, Some(Kind::TcpCubic), &[OURS, BBR3, IROH]),
            Check::Fair => three(Duration::ZERO, Some(Kind::TcpCubic), &[OURS, BBR3]),
            Check::Bbr => three(Duration::ZERO, Some(Kind::TcpBbr), &[OURS, BBR3, IROH]),
            Check::Late => three(LATE, Some(Kind::TcpCubic), &[OURS, BBR3]),
            Check::Web => three(Duration::ZERO, Some(Kind::Web), &[OURS, BBR3, IROH]),
            Check::Reordered | Check::Wifi | Check::Rates => three(Duration::ZERO, None, &[OURS, BBR3, IROH]),
            Check::Step | Check::Pauses => three(Duration::ZERO, None, &[OURS, BBR3]),
            Check::Siblings(count) => [OURS, IROH]
                .map(|name| {
                    let flow = |n| Flow { kind: kind(name), starts: APART * u32::from(n), is_rival: false };
                    Side { name, flows: (0..count).map(flow).collect() }
                })
                .to_vec(),
        }
    }

    /// Returns the measured part of a run: after `warm` if the row has no start of its own, and for `lasting`.
    pub fn window(&self, warm: Duration, lasting: Duration) -> Window {
        let from = match self.check {
            Check::Siblings(count) => APART * u32::from(count.saturating_sub(1)) + FINDING,
            Check::Late => LATE,
            Check::Step => CHANGE,
            _ => warm,
        };
        Window { from, until: from + lasting }
    }

    /// Returns the part of the machine that the row takes, as a number of rows of `AT_A_TIME`.
    pub fn weight(&self) -> u32 {
        match self.check {
            Check::Siblings(count) => u32::from(count).div_ceil(2),
            _ => (self.mbit / 25).max(1) as u32,
        }
    }
}

fn kind(name: &str) -> Kind {
    match name {
        BBR3 => Kind::Bbr3,
        IROH => Kind::Iroh,
        _ => Kind::Ours,
    }
}

/// The rows of `--quick`: one of each kind of bottleneck, with short and long round-trip times.
pub const QUICK: &[Row] = &[
    Row::new(Check::Cubic, 20, 100, Buffer::Tenths(10)),
    Row::new(Check::Cubic, 20, 100, Buffer::Tenths(5)),
    Row::new(Check::Cubic, 20, 20, Buffer::Tenths(50)),
    Row::new(Check::Shallow, 20, 20, Buffer::Tenths(1)),
    Row::new(Check::Shallow, 20, 50, Buffer::Policer(30_000)),
];

pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    for mbit in [20, 50] {
        for rtt_ms in [20, 100] {
            for tenths in [1, 5, 10, 50] {
                let check = if tenths == 1 { Check::Shallow } else { Check::Cubic };
                rows.push(Row::new(check, mbit, rtt_ms, Buffer::Tenths(tenths)));
            }
        }
    }
    rows.extend([30_000, 125_000].map(|burst| Row::new(Check::Shallow, 20, 50, Buffer::Policer(burst))));
    for rtt_ms in [20, 100] {
        rows.extend([10, 50].map(|tenths| Row::new(Check::Bbr, 20, rtt_ms, Buffer::Tenths(tenths))));
    }
    for check in [Check::Siblings(2), Check::Siblings(4), Check::Late] {
        rows.extend([10, 50].map(|tenths| Row::new(check, 20, 50, Buffer::Tenths(tenths))));
    }
    rows.extend([5, 10, 50].map(|tenths| Row::new(Check::Web, 20, 50, Buffer::Tenths(tenths))));
    let bdp = Buffer::Tenths(10);
    rows.extend([10, 20].map(|reordered| Row { reordered, ..Row::new(Check::Reordered, 20, 50, bdp) }));
    rows.push(Row::new(Check::Step, 20, 20, bdp));
    rows.extend([Check::Pauses, Check::Wifi].map(|check| Row::new(check, 20, 50, bdp)));
    rows.push(Row::new(Check::Rates, 100, 50, bdp));
    rows.push(Row::new(Check::Fair, 20, 50, Buffer::Fair));
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_the_quick_ones_are_among_all() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(Row::name).collect();
        assert_eq!((names.len(), all.len()), (38, 38));
        assert!(QUICK.iter().all(|row| all.contains(row)));
        for name in ["20mbit-100ms-1bdp", "20mbit-20ms-0.1bdp", "20mbit-50ms-policer-30kb", "2-alike-20mbit-50ms-5bdp"]
        {
            assert!(names.contains(name), "{name} of {names:?}");
        }
    }

    #[test]
    fn a_buffer_is_as_many_bytes_as_its_share_of_what_is_on_the_way() {
        let row = Row::new(Check::Cubic, 20, 100, Buffer::Tenths(5));
        let [there, back] = row.shapes();
        assert_eq!(there.neck.map(|neck| neck.queue), Some(Queue::Bytes(125_000)));
        assert_eq!((there.delay, back.delay, back.rate), (Duration::from_millis(50), Duration::from_millis(50), None));
    }

    #[test]
    fn every_side_has_the_same_rivals_and_starts_within_what_is_measured() {
        for row in all() {
            let sides = row.sides();
            let window = row.window(secs(10), secs(60));
            assert_eq!(sides[0].name, OURS, "{}", row.name());
            let rivals = |side: &Side| side.flows.iter().filter(|flow| flow.is_rival).copied().collect::<Vec<_>>();
            for side in &sides {
                assert_eq!(rivals(side), rivals(&sides[0]), "{}", row.name());
                assert!(side.flows.iter().all(|flow| flow.starts <= window.from));
            }
            assert!((1..=4).contains(&row.weight()));
        }
    }
}
