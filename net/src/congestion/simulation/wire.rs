//! A bottleneck in virtual time, which several connections share.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The length of the IP and UDP headers.
const HEADERS: u64 = 28;
/// The interval at which the length of the queue is noted.
const SAMPLE: Duration = Duration::from_millis(10);
/// The time by which a packet that is chosen for it is delayed, so that others overtake it.
const REORDER_BY: Duration = Duration::from_millis(8);

/// A link, the same in both directions.
#[derive(Debug, Clone, Copy)]
pub(in crate::congestion) struct Link {
    pub(in crate::congestion) round_trip: Duration,
    /// In bits per second.
    pub(in crate::congestion) rate: u64,
    /// The share of packets that get lost, in each direction.
    pub(in crate::congestion) loss: f64,
    /// The share of packets that later ones overtake, in each direction.
    pub(in crate::congestion) reorder: f64,
    /// The longest queue in front of the link. A policer has no queue.
    pub(in crate::congestion) queue: Duration,
    /// If set, the link drops what exceeds its rate, and does not queue it. This many bytes may come at once.
    pub(in crate::congestion) policer: Option<u64>,
    /// The longest time for which an end does nothing, after one in this many looks: a machine with other things to
    /// do.
    pub(in crate::congestion) held_up: (Duration, u32),
}

impl Link {
    /// Creates a link without impairments, whose queue holds `buffer` times what the link itself holds.
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

/// The packets of one connection in one direction.
#[derive(Debug, Clone, Default)]
pub(in crate::congestion) struct Passed {
    pub(in crate::congestion) packets: u64,
    /// Packets dropped in front of the bottleneck.
    pub(in crate::congestion) dropped: u64,
    /// Bytes that passed the bottleneck, headers included.
    pub(in crate::congestion) bytes: u64,
}

/// One direction of a link.
pub(super) struct Wire {
    pub(super) link: Link,
    free: Instant,
    /// The bytes that the policer lets pass now, and the time of this count.
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

    /// Returns when the bottleneck has sent these bytes as well. `None` if it does not take them.
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

    /// Changes the link from now on. Packets in flight are not changed.
    pub(super) fn change(&mut self, link: Link) {
        self.link = link;
    }

    /// Lets nothing leave the queue for this time.
    pub(super) fn pause(&mut self, now: Instant, lasting: Duration) {
        self.free = self.free.max(now) + lasting;
    }

    fn sample(&mut self, now: Instant) {
        while self.sampled < now {
            self.queues.push(self.free.saturating_duration_since(self.sampled));
            self.sampled += SAMPLE;
        }
    }

    /// Returns the packets of each connection, and the length of the queue every 10 ms, since the last call.
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

    /// Returns when the end that reads from here looks again.
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
