//! Flow queues with CoDel (RFC 8290 and RFC 8289), in virtual time. The code is pure: it has no clock and no I/O.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::neck::Waiting;

/// The values that both RFCs recommend and that kernels have as defaults.
const TARGET: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(100);
const QUANTUM: i64 = 1514;
const QUEUES: u32 = 1024;
const LIMIT: usize = 10_240;
/// One packet of the largest size. CoDel drops nothing from a queue that is not longer.
const MTU: usize = 1514;

#[derive(Debug, Default)]
pub struct FairQueues {
    queues: BTreeMap<u32, Queue>,
    /// Flows that have just begun. They are served first.
    new: VecDeque<u32>,
    old: VecDeque<u32>,
    packets: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    credit: i64,
    codel: Codel,
}

/// The state of RFC 8289, section 5.
#[derive(Debug, Default)]
struct Codel {
    /// The time at which dropping may begin: one interval after the queue became too long. `None` if the queue is
    /// short enough.
    first_above: Option<Duration>,
    drop_next: Duration,
    count: u32,
    last_count: u32,
    dropping: bool,
}

impl FairQueues {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// Adds a packet. Returns the packet that is dropped if there are too many, which is the first of the longest
    /// queue.
    pub fn push(&mut self, packet: Waiting) -> Option<Waiting> {
        let key = packet.hash % QUEUES;
        let queue = self.queues.entry(key).or_default();
        if !self.new.contains(&key) && !self.old.contains(&key) {
            queue.credit = QUANTUM;
            self.new.push_back(key);
        }
        self.packets += 1;
        self.bytes += packet.len();
        queue.bytes += packet.len();
        queue.waiting.push_back(packet);
        if self.packets <= LIMIT {
            return None;
        }
        let dropped = self.queues.values_mut().max_by_key(|queue| queue.bytes)?.pop()?;
        self.forget(&dropped);
        Some(dropped)
    }

    /// Returns the packet that is sent at `now`. The packets that CoDel drops are given to `drop`.
    pub fn pop(&mut self, now: Duration, mut drop: impl FnMut(Waiting)) -> Option<Waiting> {
        loop {
            let from_new = !self.new.is_empty();
            let key = *self.new.front().or_else(|| self.old.front())?;
            let queue = self.queues.entry(key).or_default();
            if queue.credit <= 0 {
                queue.credit += QUANTUM;
                self.advance(from_new, Some(key));
                continue;
            }
            let mut dropped = Vec::new();
            let packet = queue.codel_pop(now, |packet| dropped.push(packet));
            if let Some(packet) = &packet {
                queue.credit -= packet.len() as i64;
            }
            for packet in dropped {
                self.forget(&packet);
                drop(packet);
            }
            if let Some(packet) = packet {
                self.forget(&packet);
                return Some(packet);
            }
            // A new queue that is empty becomes an old one first, so no flow can stay new.
            self.advance(from_new, (from_new && !self.old.is_empty()).then_some(key));
        }
    }

    fn advance(&mut self, from_new: bool, to_old: Option<u32>) {
        let list = if from_new { &mut self.new } else { &mut self.old };
        list.pop_front();
        self.old.extend(to_old);
    }

    fn forget(&mut self, packet: &Waiting) {
        self.packets -= 1;
        self.bytes -= packet.len();
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Waiting> {
        let packet = self.waiting.pop_front()?;
        self.bytes -= packet.len();
        Some(packet)
    }

    /// Takes the next packet. Returns it, and whether it may be dropped.
    fn look(&mut self, now: Duration) -> (Option<Waiting>, bool) {
        let Some(packet) = self.pop() else {
            self.codel.first_above = None;
            return (None, false);
        };
        if now.saturating_sub(packet.came) < TARGET || self.bytes <= MTU {
            self.codel.first_above = None;
            return (Some(packet), false);
        }
        let above = *self.codel.first_above.get_or_insert(now + INTERVAL);
        (Some(packet), now >= above)
    }

    fn codel_pop(&mut self, now: Duration, mut drop: impl FnMut(Waiting)) -> Option<Waiting> {
        let (mut packet, may_drop) = self.look(now);
        if self.codel.dropping {
            if !may_drop {
                self.codel.dropping = false;
            }
            while self.codel.dropping && now >= self.codel.drop_next {
                packet.map(&mut drop);
                self.codel.count += 1;
                let (next, may_drop) = self.look(now);
                packet = next;
                if may_drop {
                    self.codel.drop_next = control(self.codel.drop_next, self.codel.count);
                } else {
                    self.codel.dropping = false;
                }
            }
        } else if may_drop {
            packet.map(&mut drop);
            packet = self.look(now).0;
            self.codel.dropping = true;
            // If CoDel was dropping a moment ago, it continues at the rate that it had found.
            let since = self.codel.count - self.codel.last_count;
            let recently = now.saturating_sub(self.codel.drop_next) < INTERVAL * 16;
            self.codel.count = if since > 1 && recently { since } else { 1 };
            self.codel.drop_next = control(now, self.codel.count);
            self.codel.last_count = self.codel.count;
        }
        packet
    }
}

fn control(at: Duration, count: u32) -> Duration {
    at + INTERVAL.div_f64(f64::from(count.max(1)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn packet(came: Duration, hash: u32, len: usize) -> Waiting {
        Waiting { came, flow: hash as u8, hash, packet: vec![0; len] }
    }

    /// Serves one packet a millisecond. Each flow is its hash and the interval of its packets in milliseconds.
    ///
    /// Returns, for each flow, the numbers of packets that were served and dropped, and the longest wait in the
    /// second half.
    fn play(flows: &[(u32, u32)], lasting: u32) -> Vec<(u32, u32, Duration)> {
        let mut fair = FairQueues::default();
        let mut seen = vec![(0, 0, Duration::ZERO); flows.len()];
        let index = |hash: u32| flows.iter().position(|(flow, _)| *flow == hash).unwrap();
        for n in 0..lasting {
            let now = n * MS;
            for (hash, every) in flows {
                // An interval of 1 stands for two packets a millisecond, twice what the link serves.
                for _ in 0..if *every == 1 { 2 } else { u32::from(n % every == 0) } {
                    assert!(fair.push(packet(now, *hash, 1500)).is_none());
                }
            }
            let sent = fair.pop(now, |packet| seen[index(packet.hash)].1 += 1);
            if let Some(packet) = sent {
                let of = &mut seen[index(packet.hash)];
                of.0 += 1;
                if n > lasting / 2 {
                    of.2 = of.2.max(now - packet.came);
                }
            }
        }
        seen
    }

    #[test]
    fn two_greedy_flows_have_half_of_the_link_each() {
        let seen = play(&[(1, 1), (2, 1)], 2000);
        assert!((990..=1010).contains(&seen[0].0) && (990..=1010).contains(&seen[1].0), "{seen:?}");
        assert!(seen[0].1 > 0 && seen[1].1 > 0, "both are told that they are too fast: {seen:?}");
    }

    #[test]
    fn a_flow_that_takes_less_than_its_share_does_not_wait_and_loses_nothing() {
        let seen = play(&[(1, 1), (2, 5)], 4000);
        assert_eq!(seen[1].1, 0, "{seen:?}");
        assert!(seen[1].0 >= 799 && seen[1].2 <= 3 * MS, "{seen:?}");
    }

    #[test]
    fn a_queue_that_is_short_enough_is_left_alone() {
        let mut fair = FairQueues::default();
        for n in 0..1000 {
            fair.push(packet(n * MS, 1, 1500));
            let sent = fair.pop(n * MS + 4 * MS, |packet| panic!("{packet:?}"));
            assert!(sent.is_some());
        }
        assert!(fair.is_empty() && fair.bytes() == 0);
    }

    #[test]
    fn a_queue_that_stays_long_loses_a_packet_after_an_interval_and_then_more_and_more() {
        let mut fair = FairQueues::default();
        let mut drops = Vec::new();
        for n in 0..1000 {
            fair.push(packet(n * MS, 1, 1500));
            if n >= 20 {
                fair.pop(n * MS, |_| drops.push(n));
                // The queue stays as long as before, whatever was dropped.
                while fair.bytes() < 20 * 1500 {
                    fair.push(packet(n * MS - 10 * MS, 1, 1500));
                }
            }
        }
        assert_eq!(drops[0], 120, "{drops:?}");
        let gaps: Vec<_> = drops.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps[0] >= 95 && gaps[5] < gaps[0] * 6 / 10, "{gaps:?}");
    }

    #[test]
    fn over_the_limit_the_longest_queue_loses_a_packet() {
        let mut fair = FairQueues::default();
        assert!(fair.push(packet(MS, 2, 1500)).is_none());
        let dropped: Vec<_> = (0..LIMIT).filter_map(|_| fair.push(packet(MS, 1, 100))).collect();
        assert_eq!(dropped.len(), 1);
        assert_eq!(dropped[0].hash, 1);
    }
}
