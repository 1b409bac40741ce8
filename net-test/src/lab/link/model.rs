//! The effects of a bad link on a packet. The code is pure: time and randomness go in, and a fate comes out.
//!
//! A packet meets the impairments in the order of a real link. A router drops packets that are larger than the next
//! hop takes. The queue in front of the bottleneck takes the packet, or is full. The bottleneck sends the packet at
//! its rate. On the way the packet may be lost, duplicated or delayed. Delay and jitter keep the order, and only
//! packets that are chosen for it are overtaken.
//!
//! If a link has a [`Neck`], that is the queue and the bottleneck: packets wait in it, and leave it with their fates.

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};

use super::{
    neck::{Bottleneck, Neck},
    record::Record,
};

/// One direction of a link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    pub delay: Duration,
    /// The maximum that is added to the delay. It is evenly distributed, and keeps the order of packets.
    pub jitter: Duration,
    /// The share of packets that are lost.
    pub loss: f64,
    /// The share of packets that are delayed by [`REORDER_BY`], so that others overtake them.
    pub reorder: f64,
    /// The share of packets that arrive twice.
    pub duplicate: f64,
    /// The rate in bits per second.
    pub rate: Option<u64>,
    /// The length of the queue in front of the bottleneck, as a time. Packets beyond it are dropped.
    pub queue: Duration,
    /// The size of the largest IP packet that passes. Larger ones vanish silently. The kernel keeps to the 1,500
    /// bytes of the interface.
    pub mtu: Option<usize>,
    /// A bottleneck of another kind. With one, `rate` and `queue` only say what a measurement should find.
    pub neck: Option<Neck>,
    /// A change of the delay: the time since the beginning of a record, and the delay from then on.
    pub step: Option<(Duration, Duration)>,
}

pub const REORDER_BY: Duration = Duration::from_millis(8);

impl Shape {
    /// A cable, without any impairment.
    pub const CABLE: Self = Self {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        reorder: 0.0,
        duplicate: 0.0,
        rate: None,
        // As in home routers. A longer queue is bufferbloat, and a shorter one makes every sender look bad.
        queue: Duration::from_millis(100),
        mtu: None,
        neck: None,
        step: None,
    };
}

/// What happens to a packet. Times are since the start of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Arrives(Duration),
    Twice(Duration),
    Lost,
    Overflowed,
    TooLarge,
}

/// The number of packets by fate. Each packet counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub packets: u64,
    pub lost: u64,
    pub overflowed: u64,
    pub too_large: u64,
    pub doubled: u64,
    pub reordered: u64,
}

impl Counts {
    /// Returns the number of packets for the other end, including duplicates.
    pub fn arriving(&self) -> u64 {
        (self.packets + self.doubled).saturating_sub(self.lost + self.overflowed + self.too_large)
    }
}

#[derive(Debug)]
pub struct Model {
    shape: Shape,
    rng: SmallRng,
    /// The time at which the bottleneck has sent all packets.
    free: Duration,
    /// The arrival time of the last packet that keeps the order.
    last: Duration,
    counts: Counts,
    neck: Option<Bottleneck>,
    /// The beginning of the record.
    begun: Option<Duration>,
}

impl Model {
    /// Creates a model. With the same seed, the same packets have the same fates.
    pub fn new(shape: Shape, seed: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        let neck = shape.neck.map(|neck| Bottleneck::new(neck, seed));
        let (free, last) = (Duration::ZERO, Duration::ZERO);
        Self { shape, rng, free, last, counts: Counts::default(), neck, begun: None }
    }

    pub fn delay(&self) -> Duration {
        self.shape.delay
    }

    pub fn counts(&self) -> Counts {
        let dropped = self.neck.as_ref().map_or(0, Bottleneck::dropped);
        Counts { overflowed: self.counts.overflowed + dropped, ..self.counts }
    }

    /// Begins a record of what passes the neck. Steps count from now on.
    pub fn begin(&mut self, now: Duration) {
        self.begun = Some(now);
        self.neck.iter_mut().for_each(|neck| neck.begin(now));
    }

    /// Ends the record, and returns it if there is a neck.
    pub fn end(&mut self, now: Duration) -> Option<Record> {
        self.neck.as_mut().map(|neck| neck.end(now))
    }

    pub fn has_neck(&self) -> bool {
        self.neck.is_some()
    }

    /// Adds a packet to the neck. The caller has to take all packets that have left the neck from [`Model::next`]
    /// before.
    pub fn push(&mut self, now: Duration, packet: &[u8]) {
        self.counts.packets += 1;
        if self.shape.mtu.is_some_and(|mtu| packet.len() > mtu) {
            self.counts.too_large += 1;
        } else if let Some(neck) = &mut self.neck {
            neck.push(now, packet);
        }
    }

    /// Returns the next packet that has left the neck, and its fate.
    pub fn next(&mut self, now: Duration) -> Option<(Fate, Vec<u8>)> {
        let (left, packet) = self.neck.as_mut()?.next(now)?;
        let fate = self.on_the_way(left);
        self.count(fate);
        Some((fate, packet))
    }

    /// Returns the earliest time at which a packet that is still in the neck can arrive.
    pub fn next_arrives(&self) -> Option<Duration> {
        Some(self.neck.as_ref()?.starts()? + self.delay())
    }

    /// Returns the fate of a packet of `len` bytes that comes at `now`. The time never goes back between calls.
    pub fn packet(&mut self, now: Duration, len: usize) -> Fate {
        let fate = self.fate(now, len);
        self.counts.packets += 1;
        self.count(fate);
        fate
    }

    fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Arrives(_) => {}
            Fate::Twice(_) => self.counts.doubled += 1,
            Fate::Lost => self.counts.lost += 1,
            Fate::Overflowed => self.counts.overflowed += 1,
            Fate::TooLarge => self.counts.too_large += 1,
        }
    }

    fn fate(&mut self, now: Duration, len: usize) -> Fate {
        let shape = self.shape;
        if shape.mtu.is_some_and(|mtu| len > mtu) {
            return Fate::TooLarge;
        }
        let mut sent = now;
        if let Some(rate) = shape.rate.filter(|rate| *rate > 0) {
            self.free = self.free.max(now);
            if self.free - now > shape.queue {
                return Fate::Overflowed;
            }
            // No overflow: a packet has at most 2^19 bits, and 2^19 * 10^9 fits in 64 bits.
            self.free += Duration::from_nanos(len as u64 * 8 * 1_000_000_000 / rate);
            sent = self.free;
        }
        self.on_the_way(sent)
    }

    /// Returns the fate of a packet that has left the bottleneck.
    fn on_the_way(&mut self, sent: Duration) -> Fate {
        let shape = self.shape;
        // A lost packet has used the bottleneck, too.
        if self.happens(shape.loss) {
            return Fate::Lost;
        }
        let step = shape.step.filter(|(at, _)| self.begun.is_some_and(|begun| sent >= begun + *at));
        let mut arrives = sent + step.map_or(shape.delay, |(_, delay)| delay);
        if !shape.jitter.is_zero() {
            arrives += shape.jitter.mul_f64(self.rng.random());
        }
        arrives = arrives.max(self.last);
        if self.happens(shape.reorder) {
            // Packets after this one do not wait for it.
            self.counts.reordered += 1;
            arrives += REORDER_BY;
        } else {
            self.last = arrives;
        }
        if self.happens(shape.duplicate) { Fate::Twice(arrives) } else { Fate::Arrives(arrives) }
    }

    fn happens(&mut self, share: f64) -> bool {
        // An impairment that a link does not have draws no random number, so it does not change the fates by the
        // others.
        share > 0.0 && self.rng.random::<f64>() < share
    }
}

/// Returns a seed for each direction.
pub fn seeds(seed: u64) -> (u64, u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    (rng.next_u64(), rng.next_u64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::link::neck::Queue;

    const MS: Duration = Duration::from_millis(1);

    /// Returns the fates of this number of packets of 1,000 bytes, one every millisecond.
    fn fates(shape: Shape, packets: u32) -> Vec<(Duration, Fate)> {
        let mut model = Model::new(shape, 7);
        (0..packets).map(|n| (n * MS, model.packet(n * MS, 1000))).collect()
    }

    fn share(fates: &[(Duration, Fate)], is: impl Fn(&Fate) -> bool) -> f64 {
        fates.iter().filter(|(_, fate)| is(fate)).count() as f64 / fates.len() as f64
    }

    #[test]
    fn a_cable_delivers_at_once() {
        for (at, fate) in fates(Shape::CABLE, 100) {
            assert_eq!(fate, Fate::Arrives(at));
        }
    }

    #[test]
    fn delay_is_added_to_every_packet() {
        for (at, fate) in fates(Shape { delay: 50 * MS, ..Shape::CABLE }, 100) {
            assert_eq!(fate, Fate::Arrives(at + 50 * MS));
        }
    }

    #[test]
    fn jitter_stays_within_its_bound_and_keeps_the_order() {
        let mut last = Duration::ZERO;
        let mut used = Duration::ZERO;
        for (at, fate) in fates(Shape { delay: 5 * MS, jitter: 20 * MS, ..Shape::CABLE }, 2000) {
            let Fate::Arrives(arrives) = fate else { panic!("{fate:?}") };
            let extra = arrives - at - 5 * MS;
            assert!(extra <= 20 * MS && arrives >= last);
            (last, used) = (arrives, used.max(extra));
        }
        assert!(used > 15 * MS, "{used:?}");
    }

    #[test]
    fn loss_takes_its_share() {
        let lost = share(&fates(Shape { loss: 0.05, ..Shape::CABLE }, 20_000), |fate| *fate == Fate::Lost);
        assert!((0.045..0.055).contains(&lost), "{lost}");
    }

    #[test]
    fn what_is_doubled_is_its_share() {
        let twice =
            share(&fates(Shape { duplicate: 0.1, ..Shape::CABLE }, 20_000), |fate| matches!(fate, Fate::Twice(_)));
        assert!((0.09..0.11).contains(&twice), "{twice}");
    }

    #[test]
    fn what_is_reordered_is_overtaken_by_its_followers_and_by_no_others() {
        let fates = fates(Shape { reorder: 0.1, ..Shape::CABLE }, 1000);
        let mut overtaken = 0;
        for pair in fates.windows(2) {
            let [(_, Fate::Arrives(first)), (_, Fate::Arrives(second))] = pair else { panic!("{pair:?}") };
            overtaken += u32::from(second < first);
        }
        assert!((60..120).contains(&overtaken), "{overtaken}");
        let late = fates.iter().filter(|(at, fate)| *fate == Fate::Arrives(*at + REORDER_BY)).count();
        assert!((70..130).contains(&late), "{late}");
    }

    #[test]
    fn the_bottleneck_sends_at_its_rate() {
        // 1,000 bytes at 4 Mbit/s take 2 ms, and one packet comes every millisecond.
        let shape = Shape { rate: Some(4_000_000), queue: Duration::from_secs(60), ..Shape::CABLE };
        for (n, (_, fate)) in fates(shape, 1000).into_iter().enumerate() {
            assert_eq!(fate, Fate::Arrives(2 * MS * (n as u32 + 1)));
        }
    }

    #[test]
    fn a_full_queue_drops_what_comes_and_the_rest_goes_at_the_rate() {
        let shape = Shape { rate: Some(4_000_000), queue: 20 * MS, ..Shape::CABLE };
        let fates = fates(shape, 2000);
        let dropped = share(&fates, |fate| *fate == Fate::Overflowed);
        assert!((0.48..0.52).contains(&dropped), "half of it is too much: {dropped}");
        for (at, fate) in fates {
            if let Fate::Arrives(arrives) = fate {
                assert!(arrives - at <= 22 * MS, "the queue holds 20 ms, and the packet takes 2");
            }
        }
    }

    #[test]
    fn an_idle_bottleneck_saves_nothing_up() {
        let mut model = Model::new(Shape { rate: Some(8_000_000), ..Shape::CABLE }, 7);
        assert_eq!(model.packet(Duration::ZERO, 1000), Fate::Arrives(MS));
        assert_eq!(model.packet(Duration::from_secs(9), 1000), Fate::Arrives(Duration::from_secs(9) + MS));
        assert_eq!(model.packet(Duration::from_secs(9), 1000), Fate::Arrives(Duration::from_secs(9) + 2 * MS));
    }

    #[test]
    fn what_is_too_large_vanishes_and_takes_no_time() {
        let mut model = Model::new(Shape { mtu: Some(1280), rate: Some(8_000_000), ..Shape::CABLE }, 7);
        assert_eq!(model.packet(Duration::ZERO, 1281), Fate::TooLarge);
        assert_eq!(model.packet(Duration::ZERO, 1280), Fate::Arrives(Duration::from_micros(1280)));
    }

    #[test]
    fn every_packet_is_counted_once_under_its_fate() {
        let shape = Shape {
            loss: 0.1,
            reorder: 0.1,
            duplicate: 0.1,
            rate: Some(6_000_000),
            queue: 20 * MS,
            mtu: Some(1200),
            ..Shape::CABLE
        };
        let mut model = Model::new(shape, 7);
        let mut fates = Vec::new();
        for n in 0..5000u32 {
            fates.push(model.packet(n * MS, if n % 10 == 0 { 1300 } else { 1000 }));
        }
        let count = |is: fn(&Fate) -> bool| fates.iter().filter(|fate| is(fate)).count() as u64;
        let counts = model.counts();
        assert_eq!(counts.packets, 5000);
        assert_eq!(counts.too_large, 500);
        assert_eq!(counts.lost, count(|fate| *fate == Fate::Lost));
        assert_eq!(counts.overflowed, count(|fate| *fate == Fate::Overflowed));
        assert_eq!(counts.doubled, count(|fate| matches!(fate, Fate::Twice(_))));
        assert!(counts.lost > 0 && counts.overflowed > 0 && counts.doubled > 0 && counts.reordered > 0);
    }

    #[test]
    fn a_delay_changes_during_a_record_and_not_before() {
        let shape = Shape { delay: 10 * MS, step: Some((50 * MS, 30 * MS)), ..Shape::CABLE };
        let mut model = Model::new(shape, 7);
        assert_eq!(model.packet(80 * MS, 1000), Fate::Arrives(90 * MS));
        model.begin(100 * MS);
        assert_eq!(model.packet(149 * MS, 1000), Fate::Arrives(159 * MS));
        assert_eq!(model.packet(150 * MS, 1000), Fate::Arrives(180 * MS));
    }

    #[test]
    fn what_passes_a_neck_is_counted_as_without_one() {
        let neck = Neck { rate: 8_000_000, queue: Queue::Bytes(10_000), steps: &[], pauses: None, held: None };
        let shape = Shape { delay: 5 * MS, loss: 0.1, neck: Some(neck), mtu: Some(1200), ..Shape::CABLE };
        let mut model = Model::new(shape, 7);
        let mut fates = Vec::new();
        for n in 0..2000u32 {
            fates.extend(std::iter::from_fn(|| model.next(n * MS / 2)));
            model.push(n * MS / 2, &vec![0; if n % 10 == 0 { 1300 } else { 1000 }]);
        }
        fates.extend(std::iter::from_fn(|| model.next(5000 * MS)));
        let (counts, lost) = (model.counts(), fates.iter().filter(|(fate, _)| *fate == Fate::Lost).count() as u64);
        assert_eq!((counts.packets, counts.too_large, counts.lost), (2000, 200, lost));
        assert_eq!(counts.arriving() + lost, fates.len() as u64);
        assert!(counts.overflowed > 700 && lost > 70, "{counts:?}");
        assert_eq!(model.next_arrives(), None);
        // The first packet that is not too large comes after 0.5 ms, and each takes 1 ms.
        let arrived = fates.iter().filter_map(|(fate, _)| if let Fate::Arrives(at) = fate { Some(*at) } else { None });
        assert!(arrived.map(|at| at - 6 * MS - MS / 2).all(|since| since.as_micros() % 1000 == 0));
    }

    #[test]
    fn the_same_seed_gives_the_same_fates_and_another_one_others() {
        let shape = Shape { loss: 0.3, jitter: 5 * MS, ..Shape::CABLE };
        let run = |seed| {
            let mut model = Model::new(shape, seed);
            (0..100u32).map(|n| model.packet(n * MS, 1000)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert_ne!(seeds(1).0, seeds(1).1);
    }
}
