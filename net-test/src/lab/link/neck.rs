//! A bottleneck that flows share: a queue with an exact length, a rate that may change, and a record of all that
//! passes.
//!
//! The code is pure and runs in virtual time. A thread that is late makes packets late, and changes nothing else.

use std::{collections::VecDeque, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{fair::FairQueues, record::Record};

/// The properties of a bottleneck. Times of steps and pauses are since the beginning of the record. Before the record
/// there are no steps and no pauses, and no packet is held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neck {
    /// The rate in bits per second.
    pub rate: u64,
    pub queue: Queue,
    /// Changes of the rate: a time, and the rate from then on.
    pub steps: &'static [(Duration, u64)],
    pub pauses: Option<Pauses>,
    /// The shortest and the longest time for which sent packets are held. They are released together, as the
    /// aggregates of Wi-Fi.
    pub held: Option<(Duration, Duration)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Queue {
    /// One queue of this number of bytes of IP packets. Packets that do not fit are dropped.
    Bytes(usize),
    /// No queue. Packets that exceed the rate by more than this number of bytes are dropped.
    Policer(usize),
    /// A queue for each flow, with CoDel.
    Fair,
}

/// Repeated pauses in which the bottleneck sends nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pauses {
    pub every: Duration,
    pub lasting: Duration,
}

/// A packet in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub came: Duration,
    /// The flow of the packet: the last byte of the sender's address.
    pub flow: u8,
    /// A hash of the addresses, the protocol and the ports.
    pub hash: u32,
    pub packet: Vec<u8>,
}

#[derive(Debug)]
pub struct Bottleneck {
    neck: Neck,
    rng: SmallRng,
    waiting: Packets,
    /// The time at which all packets that are not in the queue have been sent.
    free: Duration,
    /// The end of the present aggregate.
    released: Duration,
    /// The tokens of a policer, in units of 10^-9 bits.
    tokens: u128,
    filled: Duration,
    begun: Option<Duration>,
    record: Record,
    dropped: u64,
}

#[derive(Debug)]
enum Packets {
    One { queue: VecDeque<Waiting>, bytes: usize },
    Fair(FairQueues),
}

const NANO: u128 = 1_000_000_000;

impl Waiting {
    pub fn new(came: Duration, packet: &[u8]) -> Self {
        let (flow, hash) = (packet.get(15).copied().unwrap_or_default(), hash(packet));
        Self { came, flow, hash, packet: packet.to_vec() }
    }

    pub fn len(&self) -> usize {
        self.packet.len()
    }
}

/// Returns the FNV-1a hash of the protocol, the addresses and the ports of an IPv4 packet without options.
fn hash(packet: &[u8]) -> u32 {
    let parts = [packet.get(9..10), packet.get(12..24)];
    let bytes = parts.into_iter().flatten().flatten();
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl Bottleneck {
    pub fn new(neck: Neck, seed: u64) -> Self {
        let waiting = match neck.queue {
            Queue::Fair => Packets::Fair(FairQueues::default()),
            Queue::Bytes(_) | Queue::Policer(_) => Packets::One { queue: VecDeque::new(), bytes: 0 },
        };
        Self {
            neck,
            rng: SmallRng::seed_from_u64(seed),
            waiting,
            free: Duration::ZERO,
            released: Duration::ZERO,
            tokens: if let Queue::Policer(burst) = neck.queue { burst as u128 * 8 * NANO } else { 0 },
            filled: Duration::ZERO,
            begun: None,
            record: Record::default(),
            dropped: 0,
        }
    }

    /// Begins a record. Steps and pauses also count from now on.
    pub fn begin(&mut self, now: Duration) {
        self.begun = Some(now);
        self.record = Record::new(now);
    }

    /// Ends the record at `now`, and returns it.
    pub fn end(&mut self, now: Duration) -> Record {
        self.look(now);
        self.begun = None;
        std::mem::take(&mut self.record)
    }

    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Adds a packet. The caller has to take all packets that were sent until `now` from [`Bottleneck::next`] before.
    pub fn push(&mut self, now: Duration, packet: &[u8]) {
        self.look(now);
        let packet = Waiting::new(now, packet);
        if self.begun.is_some() {
            self.record.came(now, packet.flow);
        }
        self.free = self.free.max(now);
        let passes = self.passes(now, packet.len());
        let lost = match &mut self.waiting {
            Packets::One { queue, bytes } if passes => {
                *bytes += packet.len();
                queue.push_back(packet);
                None
            }
            Packets::One { .. } => Some(packet),
            Packets::Fair(fair) => fair.push(packet),
        };
        if let Some(lost) = lost {
            self.lose(now, lost.flow);
        }
    }

    /// Returns the next packet whose sending has begun by `now`, and the time at which it leaves.
    pub fn next(&mut self, now: Duration) -> Option<(Duration, Vec<u8>)> {
        let starts = self.starts()?;
        if starts > now {
            return None;
        }
        self.look(starts);
        let mut lost = Vec::new();
        let packet = match &mut self.waiting {
            Packets::One { queue, bytes } => queue.pop_front().inspect(|packet| *bytes -= packet.len()),
            Packets::Fair(fair) => fair.pop(starts, |packet| lost.push(packet.flow)),
        };
        lost.into_iter().for_each(|flow| self.lose(starts, flow));
        let packet = packet?;
        let mut leaves = starts;
        if !matches!(self.neck.queue, Queue::Policer(_)) {
            leaves += takes(packet.len(), self.rate(starts));
            self.free = leaves;
        }
        if self.begun.is_some() {
            self.record.sent(leaves, packet.flow, packet.len());
        }
        if let Some((least, most)) = self.neck.held.filter(|_| self.begun.is_some()) {
            if leaves > self.released {
                self.released = leaves + least + (most - least).mul_f64(self.rng.random());
            }
            leaves = self.released;
        }
        Some((leaves, packet.packet))
    }

    /// Returns the time at which the bottleneck can send the next packet.
    pub fn starts(&self) -> Option<Duration> {
        let is_empty = match &self.waiting {
            Packets::One { queue, .. } => queue.is_empty(),
            Packets::Fair(fair) => fair.is_empty(),
        };
        (!is_empty).then(|| self.after_pause(self.free))
    }

    fn after_pause(&self, at: Duration) -> Duration {
        let (Some(begun), Some(Pauses { every, lasting })) = (self.begun, self.neck.pauses) else { return at };
        let since = at.saturating_sub(begun);
        let within = Duration::from_nanos((since.as_nanos() % every.as_nanos().max(1)) as u64);
        // The first pause begins after one full interval.
        if since >= every && within < lasting { at + (lasting - within) } else { at }
    }

    fn rate(&self, at: Duration) -> u64 {
        let since = self.begun.map(|begun| at.saturating_sub(begun));
        let passed = self.neck.steps.iter().rev().find(|(when, _)| since.is_some_and(|since| since >= *when));
        passed.map_or(self.neck.rate, |(_, rate)| *rate).max(1)
    }

    fn passes(&mut self, now: Duration, len: usize) -> bool {
        match (self.neck.queue, &self.waiting) {
            (Queue::Bytes(most), Packets::One { bytes, .. }) => bytes + len <= most,
            (Queue::Policer(burst), _) => {
                let earned = (now - self.filled).as_nanos() * u128::from(self.rate(now));
                self.filled = now;
                self.tokens = (self.tokens + earned).min(burst as u128 * 8 * NANO);
                let costs = len as u128 * 8 * NANO;
                let passes = self.tokens >= costs;
                self.tokens -= if passes { costs } else { 0 };
                passes
            }
            _ => true,
        }
    }

    fn lose(&mut self, at: Duration, flow: u8) {
        self.dropped += 1;
        if self.begun.is_some() {
            self.record.dropped(at, flow);
        }
    }

    /// Records the queue until `until`, up to which no packet has come or gone.
    fn look(&mut self, until: Duration) {
        if self.begun.is_none() {
            return;
        }
        let bytes = match &self.waiting {
            Packets::One { bytes, .. } => *bytes,
            Packets::Fair(fair) => fair.bytes(),
        };
        let (free, all) = (self.free, takes(bytes, self.rate(until)));
        self.record.look(until, |at| free.saturating_sub(at) + all);
    }
}

/// Returns the time that the bottleneck takes for these bytes.
fn takes(bytes: usize, rate: u64) -> Duration {
    Duration::from_nanos(bytes as u64 * 8 * 1_000_000_000 / rate.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);
    /// At this rate 1,000 bytes take a millisecond.
    const PLAIN: Neck = Neck { rate: 8_000_000, queue: Queue::Bytes(10_000), steps: &[], pauses: None, held: None };

    fn packet(flow: u8) -> Vec<u8> {
        let mut packet = vec![0; 1000];
        packet[15] = flow;
        packet
    }

    /// Sends packets of flow 1 at equal intervals. Returns the time at which each left, and the record.
    fn play(neck: Neck, every: Duration, lasting: Duration) -> (Vec<Duration>, Record) {
        let mut neck = Bottleneck::new(neck, 7);
        let (mut left, mut now) = (Vec::new(), Duration::ZERO);
        neck.begin(now);
        while now < lasting {
            left.extend(std::iter::from_fn(|| neck.next(now)).map(|(leaves, _)| leaves));
            neck.push(now, &packet(1));
            now += every;
        }
        left.extend(std::iter::from_fn(|| neck.next(lasting * 2)).map(|(leaves, _)| leaves));
        (left, neck.end(lasting))
    }

    /// Returns the share of flow 1's packets that were dropped.
    fn loss(record: &Record) -> f64 {
        let sum = record.sum(1, Duration::ZERO, SECOND);
        sum.dropped as f64 / sum.came as f64
    }

    #[test]
    fn a_queue_has_its_length_to_the_byte_and_goes_at_the_rate() {
        let (left, record) = play(PLAIN, MS / 2, SECOND);
        // One packet is being sent, and ten wait.
        assert_eq!(left.len(), 1000 + 10);
        assert!(left.windows(2).all(|pair| pair[1] - pair[0] == MS));
        let loss = loss(&record);
        assert!((0.48..0.5).contains(&loss), "{loss}");
        let queue = record.queue(500 * MS, SECOND);
        assert!(queue.iter().all(|waits| (9.5..=11.0).contains(waits)), "{queue:?}");
        assert!((record.rate(1, 100 * MS, SECOND) - 8.0).abs() < 0.1);
    }

    #[test]
    fn a_link_that_is_not_full_has_no_queue_and_no_loss() {
        let (left, record) = play(PLAIN, 2 * MS, SECOND);
        assert_eq!((left.len(), loss(&record)), (500, 0.0));
        assert!(record.queue(Duration::ZERO, SECOND).iter().all(|waits| *waits <= 1.0));
    }

    #[test]
    fn a_policer_takes_a_burst_at_once_and_then_its_rate() {
        let (left, record) = play(Neck { queue: Queue::Policer(30_000), ..PLAIN }, MS / 2, SECOND);
        assert_eq!(left.iter().filter(|at| **at < 30 * MS).count(), 59, "the burst, and what was earned meanwhile");
        assert!((1020..=1030).contains(&left.len()), "{}", left.len());
        assert!(record.queue(Duration::ZERO, SECOND).iter().all(|waits| *waits == 0.0));
    }

    #[test]
    fn a_rate_changes_when_it_is_said_to_and_what_waits_goes_at_the_new_one() {
        const STEPS: &[(Duration, u64)] = &[(Duration::from_millis(500), 800_000)];
        let neck = Neck { steps: STEPS, ..PLAIN };
        let (left, record) = play(neck, MS / 2, SECOND);
        let before = left.iter().filter(|at| **at <= 500 * MS).count();
        assert!((499..=500).contains(&before), "{before}");
        assert!((record.rate(1, 600 * MS, SECOND) - 0.8).abs() < 0.05);
        let queue = record.queue(600 * MS, SECOND);
        assert!(queue.iter().all(|waits| (90.0..=110.0).contains(waits)), "{queue:?}");
    }

    #[test]
    fn nothing_is_sent_during_a_pause() {
        let neck = Neck { pauses: Some(Pauses { every: 300 * MS, lasting: 100 * MS }), ..PLAIN };
        let (left, _) = play(neck, MS, SECOND);
        let within = |from: u32, until: u32| left.iter().filter(|at| (from * MS..until * MS).contains(*at)).count();
        assert!(within(0, 300) >= 298, "{}", within(0, 300));
        // A packet whose sending has begun is sent to its end.
        assert!(within(301, 400) <= 1 && within(601, 700) <= 1);
        assert!(within(400, 600) >= 198);
    }

    #[test]
    fn aggregates_arrive_together_and_as_many_as_were_sent() {
        let (left, _) = play(Neck { held: Some((4 * MS, 20 * MS)), ..PLAIN }, MS, SECOND);
        assert_eq!(left.len(), 1000);
        let mut bursts = left.clone();
        bursts.dedup();
        assert!((60..140).contains(&bursts.len()), "{}", bursts.len());
        assert!(bursts.windows(2).all(|pair| pair[1] - pair[0] <= 22 * MS));
    }

    #[test]
    fn flows_are_told_apart_by_their_ports_too() {
        let ports = |port: u8| {
            let mut packet = packet(1);
            packet[21] = port;
            hash(&packet)
        };
        assert_ne!(ports(1), ports(2));
        assert_ne!(hash(&packet(1)), hash(&packet(2)));
        assert_eq!(Waiting::new(MS, &packet(9)).flow, 9);
        assert_eq!((Waiting::new(MS, &[]).flow, Waiting::new(MS, &[]).len()), (0, 0));
    }

    #[test]
    fn fair_queues_share_a_bottleneck_between_a_flow_that_asks_for_all_of_it_and_one_that_asks_for_more() {
        let mut neck = Bottleneck::new(Neck { queue: Queue::Fair, ..PLAIN }, 7);
        neck.begin(Duration::ZERO);
        for n in 0..4000 {
            let now = n * MS / 2;
            while neck.next(now).is_some() {}
            for _ in 0..3 {
                neck.push(now, &packet(1));
            }
            neck.push(now, &packet(2));
        }
        let record = neck.end(2 * SECOND);
        let (one, two) = (record.rate(1, SECOND, 2 * SECOND), record.rate(2, SECOND, 2 * SECOND));
        assert!((one - 4.0).abs() < 0.1 && (two - 4.0).abs() < 0.1, "{one} {two}");
    }
}
