//! What passed a bottleneck: the bytes, the drops and the queue of each flow, by time. The code is pure: it has no
//! clock and no I/O.
//!
//! Flows are distinguished by the last byte of the sender's IPv4 address, so the record relies on no report of a
//! flow.

use std::{collections::BTreeMap, time::Duration};

/// The length of a bucket. It is a tenth of the second whose mean is judged, and holds several packets at 1 Mbit/s.
pub const BUCKET: Duration = Duration::from_millis(100);
/// The time between two samples of the queue. A packet is half a millisecond of a queue at 20 Mbit/s. 200 samples a
/// second give a 95th percentile of each second.
pub const LOOK: Duration = Duration::from_millis(5);

/// The packets of a flow in one bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Bytes of IP packets that the bottleneck has sent.
    pub bytes: u64,
    /// Packets that came.
    pub came: u64,
    pub dropped: u64,
}

/// The record of a bottleneck. Times are since the beginning of the record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    begun: Duration,
    flows: BTreeMap<u8, Vec<Bucket>>,
    /// The time that a packet would have waited at each sample, in microseconds.
    queue: Vec<u32>,
}

impl Record {
    pub fn new(begun: Duration) -> Self {
        Self { begun, ..Self::default() }
    }

    pub fn came(&mut self, at: Duration, flow: u8) {
        self.bucket(at, flow).came += 1;
    }

    pub fn dropped(&mut self, at: Duration, flow: u8) {
        self.bucket(at, flow).dropped += 1;
    }

    pub fn sent(&mut self, at: Duration, flow: u8, len: usize) {
        self.bucket(at, flow).bytes += len as u64;
    }

    /// Samples the queue until `until`, up to which no packet comes or goes. `waits` returns the time that a packet
    /// would wait.
    pub fn look(&mut self, until: Duration, waits: impl Fn(Duration) -> Duration) {
        loop {
            let next = self.begun + LOOK * u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
            if next >= until {
                return;
            }
            self.queue.push(u32::try_from(waits(next).as_micros()).unwrap_or(u32::MAX));
        }
    }

    fn bucket(&mut self, at: Duration, flow: u8) -> &mut Bucket {
        let index = index(at.saturating_sub(self.begun), BUCKET);
        let buckets = self.flows.entry(flow).or_default();
        if buckets.len() <= index {
            buckets.resize(index + 1, Bucket::default());
        }
        &mut buckets[index]
    }

    /// Returns the sum of a flow's buckets.
    pub fn sum(&self, flow: u8, from: Duration, until: Duration) -> Bucket {
        let buckets = self.flows.get(&flow).map(Vec::as_slice).unwrap_or_default();
        let within = part(buckets, index(from, BUCKET), index(until, BUCKET));
        within.iter().fold(Bucket::default(), |sum, more| Bucket {
            bytes: sum.bytes + more.bytes,
            came: sum.came + more.came,
            dropped: sum.dropped + more.dropped,
        })
    }

    /// Returns the rate of a flow in 10^6 bits per second.
    pub fn rate(&self, flow: u8, from: Duration, until: Duration) -> f64 {
        let lasting = until.saturating_sub(from).as_secs_f64();
        self.sum(flow, from, until).bytes as f64 * 8.0 / 1e6 / lasting.max(BUCKET.as_secs_f64())
    }

    /// Returns the times that packets would have waited, in milliseconds and in the order of time.
    pub fn queue(&self, from: Duration, until: Duration) -> Vec<f64> {
        let looks = part(&self.queue, index(from, LOOK), index(until, LOOK));
        looks.iter().map(|micros| f64::from(*micros) / 1e3).collect()
    }
}

fn index(at: Duration, step: Duration) -> usize {
    (at.as_micros() / step.as_micros()) as usize
}

fn part<T>(all: &[T], from: usize, until: usize) -> &[T] {
    let until = until.min(all.len());
    &all[from.min(until)..until]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn each_flow_has_its_own_bytes_and_drops_and_a_time_for_them() {
        let mut record = Record::new(1000 * MS);
        for n in 0..100 {
            let at = (1000 + 10 * n) * MS;
            record.came(at, 1);
            record.sent(at, 1, 1250);
            record.came(at, 2);
            record.dropped(at, 2);
        }
        assert!((record.rate(1, Duration::ZERO, 1000 * MS) - 1.0).abs() < 1e-9);
        assert!((record.rate(1, 500 * MS, 1000 * MS) - 1.0).abs() < 1e-9);
        assert_eq!(record.rate(2, Duration::ZERO, 1000 * MS), 0.0);
        let dropped = |flow| record.sum(flow, Duration::ZERO, 1000 * MS).dropped;
        assert_eq!((dropped(1), dropped(2)), (0, 100));
        assert_eq!(record.sum(3, Duration::ZERO, 1000 * MS), Bucket::default());
        assert_eq!(record.sum(1, 5000 * MS, 9000 * MS), Bucket::default());
    }

    #[test]
    fn the_queue_is_looked_at_in_equal_steps_however_packets_come() {
        let mut record = Record::new(100 * MS);
        record.look(100 * MS, |_| MS);
        record.look(107 * MS, |at| 120 * MS - at);
        record.look(200 * MS, |_| Duration::ZERO);
        let queue = record.queue(Duration::ZERO, 100 * MS);
        assert_eq!((queue.len(), queue[0], queue[1], queue[2]), (20, 20.0, 15.0, 0.0));
        assert_eq!(record.queue(5 * MS, 10 * MS), [15.0]);
    }
}
