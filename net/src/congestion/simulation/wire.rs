//! A bottleneck in virtual time, which several connections share.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Headers of IP and UDP.
const HEADERS: u64 = 28;
/// How often the length of the queue is noted.
const SAMPLE: Duration = Duration::from_millis(10);
/// By so much a packet that is chosen for it is overtaken.
const REORDER_BY: Duration = Duration::from_millis(8);

/// A link, the same in both directions.
#[derive(Debug, Clone, Copy)]
pub(in crate::congestion) struct Link {
    pub(in crate::congestion) round_trip: Duration,
    /// Bits a second.
    pub(in crate::congestion) rate: u64,
    /// The share of packets that get lost, in each direction.
    pub(in crate::congestion) loss: f64,
    /// The share of packets that are overtaken, in each direction.
    pub(in crate::congestion) reorder: f64,
    /// What waits in front of it at most. Nothing does at a policer.
    pub(in crate::congestion) queue: Duration,
    /// It does not queue what goes beyond its rate, but drops it; so many bytes may come at once.
    pub(in crate::congestion) policer: Option<u64>,
    /// For so long the ends do nothing, after one in so many looks at what there is to do: a machine with other things to do.
    pub(in crate::congestion) held_up: (Duration, u32),
}

impl Link {
    /// Without impairments, with a queue of so many times what the link itself holds.
    pub(in crate::congestion) fn new(megabits: u64, round_trip: Duration, buffer: f64) -> Self {
        Self {
            round_trip,
            rate: megabits * 1_000_000,
            loss: 0.0,
            reorder: 0.0,
            queue: round_trip.mul_f64(buffer),
            policer: None,
            held_up: (Duration::ZERO, 0),
        }
    }

    fn takes(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes * 8 * 1_000_000_000 / self.rate)
    }
}

/// What became of the packets of one connection in one direction.
#[derive(Debug, Clone, Default)]
pub(in crate::congestion) struct Passed {
    pub(in crate::congestion) packets: u64,
    /// Dropped in front of the bottleneck.
    pub(in crate::congestion) dropped: u64,
    /// Bytes that passed the bottleneck, headers and all.
    pub(in crate::congestion) bytes: u64,
}

/// One direction of a link.
pub(super) struct Wire {
    pub(super) link: Link,
    free: Instant,
    /// Bytes that the policer lets pass now, and since when.
    tokens: (f64, Instant),
    random: u64,
    number: u64,
    on_the_way: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    passed: Vec<Passed>,
    sampled: Instant,
    queues: Vec<Duration>,
}

impl Wire {
    pub(super) fn new(link: Link, now: Instant, seed: u64, connections: usize) -> Self {
        Self {
            link,
            free: now,
            tokens: (link.policer.unwrap_or(0) as f64, now),
            random: seed,
            number: 0,
            on_the_way: BTreeMap::new(),
            passed: vec![Passed::default(); connections],
            sampled: now,
            queues: Vec::new(),
        }
    }

    pub(super) fn send(&mut self, now: Instant, connection: usize, packet: &[u8]) {
        self.sample(now);
        let bytes = packet.len() as u64 + HEADERS;
        self.passed[connection].packets += 1;
        let Some(leaves) = self.leaves(now, bytes) else {
            self.passed[connection].dropped += 1;
            return;
        };
        self.passed[connection].bytes += bytes;
        if self.random() < self.link.loss {
            return;
        }
        let held_up =
            if self.link.reorder > 0.0 && self.random() < self.link.reorder { REORDER_BY } else { Duration::ZERO };
        self.number += 1;
        let at = leaves + self.link.round_trip / 2 + held_up;
        self.on_the_way.insert((at, self.number), (connection, packet.to_vec()));
    }

    /// When the bottleneck has sent so many bytes more, or nothing if it does not take them.
    fn leaves(&mut self, now: Instant, bytes: u64) -> Option<Instant> {
        if let Some(burst) = self.link.policer {
            let (tokens, since) = self.tokens;
            let more = (now - since).as_secs_f64() * self.link.rate as f64 / 8.0;
            let tokens = (tokens + more).min(burst as f64) - bytes as f64;
            self.tokens = (if tokens < 0.0 { tokens + bytes as f64 } else { tokens }, now);
            return (tokens >= 0.0).then_some(now);
        }
        self.free = self.free.max(now);
        if self.free - now > self.link.queue {
            return None;
        }
        self.free += self.link.takes(bytes);
        Some(self.free)
    }

    /// The link is another one from now on; what is on the way is not changed.
    pub(super) fn change(&mut self, link: Link) {
        self.link = link;
    }

    /// Nothing leaves the queue for so long.
    pub(super) fn pause(&mut self, now: Instant, lasting: Duration) {
        self.free = self.free.max(now) + lasting;
    }

    fn sample(&mut self, now: Instant) {
        while self.sampled < now {
            self.queues.push(self.free.saturating_duration_since(self.sampled));
            self.sampled += SAMPLE;
        }
    }

    /// What has become of the packets of each connection, and how long the queue was every 10 ms, since it was last asked.
    pub(super) fn seen(&mut self, now: Instant) -> (Vec<Passed>, Vec<Duration>) {
        self.sample(now);
        let fresh = vec![Passed::default(); self.passed.len()];
        (std::mem::replace(&mut self.passed, fresh), std::mem::take(&mut self.queues))
    }

    fn random(&mut self) -> f64 {
        // Knuth's linear congruential generator.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((self.random >> 32) as u32) / f64::from(u32::MAX)
    }

    /// When the end that reads from here looks again.
    pub(super) fn awake(&mut self, now: Instant) -> Instant {
        let (most, every) = self.link.held_up;
        if every == 0 || self.random() * f64::from(every) >= 1.0 {
            return now;
        }
        now + most.mul_f64(self.random())
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.on_the_way.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn arrived(&mut self, now: Instant) -> Option<(usize, Vec<u8>)> {
        self.next().filter(|at| *at <= now)?;
        self.on_the_way.pop_first().map(|(_, packet)| packet)
    }
}
