//! Decides whether the queue at the bottleneck belongs to other flows: pure, with time as input.
//!
//! A sender that keeps to what a path holds has a short queue. Where packets take longer than that queue explains,
//! for some round trips in a row, packets of other flows stand in front of them. A sender that then keeps to what
//! the path holds gives way for ever: less is delivered in a longer round trip, and so the path seems to hold less.
//! Beside one flow of TCP Cubic that left 0.4 of 20 Mbit/s, without one loss. (Copa, NSDI 2018, and Nimbus, SIGCOMM
//! 2022, switch modes by such signs as well.)
//!
//! A queue that overflows while this sender keeps to what the path holds is that of other flows as well. In front of
//! a buffer of half of what the path holds it is the only sign: the queue is hardly ever a third longer for five round
//! trips.
//!
//! Or the path has become longer. Then packets take as long with half of them in flight. This is tested where round
//! trips hardly differ from each other.

use std::time::{Duration, Instant};

/// Number of round trips in a row, with a queue that is not this sender's, after which the queue counts as other
/// flows'. With three, four twolane senders took each other for other flows, and their queue was twice as long. A
/// queue that is [`FAR`] times as long as this sender's, or more, counts as so many round trips. Where it is ten times
/// as long, five round trips take as long as fifty, and the rate of a sender that kept to the path meanwhile was a
/// fifth.
const ROUNDS: u32 = 5;
/// The queue of two twolane senders is at most twice as long as the one that each expects of itself, with a buffer of
/// what the path holds. That of one Cubic flow with a buffer of 5 times that is 5 to 10 times as long.
const FAR: u32 = 4;
/// The time for which other flows are taken to be present after they have overflowed the queue. Cubic's queue is empty
/// for some seconds after each time. Over 100 ms with a buffer of half of what the path holds, twolane had 0.65 of
/// what BBR3 has beside TCP Cubic without this. Losses within this time may be this sender's own, and say nothing.
const OVERFLOWED: Duration = Duration::from_secs(8);
/// Number of round trips in a row, with a queue that is longer than this sender's even while it probes for more, after
/// which an overflow is due to other flows. Cubic takes more to fill the queue. The queue of a twolane sender that
/// probes for more beside another one is as long for one or two. With none, the queue of two of them was 39 of 49 ms,
/// and it is 30 to 33 with this.
const OVERFULL: u32 = 3;
/// Minimum number of packets for a round trip to count. Fewer packets are chance.
const PACKETS: u32 = 4;
/// A queue is empty if packets take longer than the path by at most this part of it, and a little for the machines.
const EMPTY: u32 = 16;
const LITTLE: Duration = Duration::from_millis(1);
/// Round trips hardly differ if this many in a row are within a tenth of the time by which they exceed the path's.
const STEADY: u32 = 8;
const STEADY_WITHIN: u32 = 10;
/// Round trips are not alike if this sender's window has shrunk to less than this many tenths: BBR empties the path
/// now and then, and the queue of other flows grows meanwhile.
const SHRUNK_TENTHS: u64 = 7;
/// Number of round trips with half of the packets in flight, to see whether packets then take less time: one until
/// half of them are in flight, one until the effect is seen, and one that is measured whole.
const TEST: u32 = 3;
/// Less time means less by a twentieth of the time by which packets exceed the path. A queue of other flows gets
/// shorter by this sender's part of it. Where that part is smaller, this sender has so little that it does no harm
/// to take the path for a longer one.
const LESS: u32 = 20;
/// Minimum number of round trips between two tests. A test costs half of three round trips, so this costs a
/// hundredth of the rate.
const BETWEEN: u32 = 64;

/// Whether other flows use the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No other flow. There was a queue that is not this sender's in the last round trips, which count as `queued`.
    Alone { queued: u32 },
    /// Other flows are present. The last `steady` round trips were between `low` and `high`. No test begins within
    /// `wait` round trips.
    Company { steady: u32, low: Duration, high: Duration, wait: u32 },
    /// Half of the packets are in flight, for `rounds` round trips so far. A round trip took `before` before the
    /// test.
    Test { before: Duration, rounds: u32 },
}

/// A path, as far as it is known when a packet is acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// The shortest round-trip time.
    pub(super) base: Duration,
    /// The longest time that a packet takes where the whole queue is this sender's. `None` while that is not known.
    pub(super) own: Option<Duration>,
    /// The same while this sender probes for more.
    pub(super) own_probing: Option<Duration>,
    /// The bytes that may be in flight.
    pub(super) window: u64,
}

impl Known {
    /// Returns the number of round trips for which one counts whose quickest packet took `shortest`. 0 if the queue may
    /// be this sender's.
    fn others(&self, shortest: Duration) -> u32 {
        let Some(own) = self.own.filter(|own| shortest > *own) else { return 0 };
        let (queue, most) = (shortest.saturating_sub(self.base), own.saturating_sub(self.base).max(LITTLE));
        match u32::try_from(queue.as_nanos() / most.as_nanos()).unwrap_or(ROUNDS) {
            times if times >= FAR => times,
            _ => 1,
        }
    }
}

/// The detection of other flows on the path.
#[derive(Debug, Clone)]
pub(super) struct Company {
    state: State,
    /// Other flows have overflowed the queue, and are taken to be present until then.
    until: Option<Instant>,
    /// The number of round trips in a row with a longer queue than this sender makes.
    overfull: u32,
    /// The window at the end of the last round trip.
    window: u64,
    /// Packets that are sent from this time on belong to the next round trip.
    begun: Option<Instant>,
    packets: u32,
    shortest: Option<Duration>,
}

impl Default for Company {
    fn default() -> Self {
        Self {
            state: State::Alone { queued: 0 },
            until: None,
            overfull: 0,
            window: 0,
            begun: None,
            packets: 0,
            shortest: None,
        }
    }
}

impl Company {
    /// Handles the acknowledgement of a packet that was sent at `sent` and took `round_trip`. Returns the path's new
    /// round-trip time if the path has become longer.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        round_trip: Duration,
        path: Known,
    ) -> Option<Duration> {
        let begun = *self.begun.get_or_insert(now);
        let mut longer = None;
        if sent >= begun {
            match self.shortest.filter(|_| self.packets >= PACKETS) {
                Some(shortest) => longer = self.on_round(now, shortest, path),
                None => self.on_little(),
            }
            (self.begun, self.packets, self.shortest) = (Some(now), 0, None);
        }
        self.packets += 1;
        self.shortest = Some(self.shortest.map_or(round_trip, |shortest| shortest.min(round_trip)));
        longer
    }

    /// The queue has overflowed although this sender kept to what the path holds.
    pub(super) fn on_overflow(&mut self, now: Instant) {
        if matches!(self.state, State::Alone { .. }) && self.overfull >= OVERFULL {
            self.until = Some(now + OVERFLOWED);
            self.state = State::Company { steady: 0, low: Duration::ZERO, high: Duration::ZERO, wait: BETWEEN };
        }
    }

    /// Ends a round trip that had too few packets to count. A test ends with it: half of so few packets would stay
    /// too few for good. Without that, at 20 ms and a buffer of 5 times what the path holds, one run in a hundred
    /// beside Cubic kept to 0.014 of the link.
    fn on_little(&mut self) {
        self.overfull = 0;
        if let State::Test { before, .. } = self.state {
            self.state = State::Company { steady: 0, low: before, high: before, wait: BETWEEN };
        }
    }

    /// Ends a round trip whose quickest packet took `shortest`.
    fn on_round(&mut self, now: Instant, shortest: Duration, path: Known) -> Option<Duration> {
        let (base, others) = (path.base, path.others(shortest));
        let shrunk = path.window.saturating_mul(10) < self.window.saturating_mul(SHRUNK_TENTHS);
        self.window = path.window;
        self.overfull = if path.own_probing.is_some_and(|own| shortest > own) { self.overfull + 1 } else { 0 };
        if shortest <= base + base / EMPTY + LITTLE {
            self.state = match self.until.is_some_and(|until| now < until) {
                true => State::Company { steady: 0, low: shortest, high: shortest, wait: BETWEEN },
                false => State::Alone { queued: 0 },
            };
            return None;
        }
        self.state = match self.state {
            State::Alone { queued } if others > 0 && queued.saturating_add(others) >= ROUNDS => {
                State::Company { steady: 0, low: shortest, high: shortest, wait: 0 }
            }
            State::Alone { queued } => State::Alone { queued: if others > 0 { queued + others } else { 0 } },
            State::Company { steady, low, high, wait } => {
                let (low, high) = (low.min(shortest), high.max(shortest));
                let within = LITTLE + (shortest - base) / STEADY_WITHIN;
                let wait = wait.saturating_sub(1);
                match high - low <= within && !shrunk {
                    true if steady + 1 >= STEADY && wait == 0 => State::Test { before: low, rounds: 0 },
                    true => State::Company { steady: steady + 1, low, high, wait },
                    false => State::Company { steady: 0, low: shortest, high: shortest, wait },
                }
            }
            State::Test { before, rounds } if rounds + 1 < TEST => State::Test { before, rounds: rounds + 1 },
            State::Test { before, .. } if shortest + LITTLE + before.saturating_sub(base) / LESS >= before => {
                (self.state, self.until) = (State::Alone { queued: 0 }, None);
                return Some(shortest);
            }
            State::Test { .. } => State::Company { steady: 0, low: shortest, high: shortest, wait: BETWEEN },
        };
        None
    }

    /// There was nothing to send, so the round trips before say nothing about now.
    pub(super) fn on_idle(&mut self) {
        self.overfull = 0;
        if let State::Alone { .. } = self.state {
            self.state = State::Alone { queued: 0 };
        }
    }

    pub(super) fn is_present(&self) -> bool {
        !matches!(self.state, State::Alone { .. })
    }

    /// Returns whether half of the packets are to be in flight.
    pub(super) fn is_testing(&self) -> bool {
        matches!(self.state, State::Test { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BASE: Duration = Duration::from_millis(100);
    const PATH: Known = Known { base: BASE, own: Some(Duration::from_millis(130)), own_probing: None, window: 100_000 };
    const ALONE: State = State::Alone { queued: 0 };

    /// Returns the result of round trips that take this long, on a path of 100 ms where this sender's own queue
    /// takes 30.
    fn after(company: &mut Company, took: &[Duration]) -> Option<Duration> {
        took.iter().filter_map(|took| company.on_round(Instant::now(), *took, PATH)).last()
    }

    #[test]
    fn every_change_of_state_is_one_of_these() {
        let company =
            |steady, low: u32, high: u32, wait| State::Company { steady, low: low * MS, high: high * MS, wait };
        let test = |before: u32, rounds| State::Test { before: before * MS, rounds };
        for (was, took, is, longer) in [
            (ALONE, 107, ALONE, None),
            (ALONE, 130, ALONE, None),
            (ALONE, 131, State::Alone { queued: 1 }, None),
            (State::Alone { queued: 3 }, 120, ALONE, None),
            (State::Alone { queued: 3 }, 140, State::Alone { queued: 4 }, None),
            (State::Alone { queued: 4 }, 140, company(0, 140, 140, 0), None),
            (ALONE, 219, State::Alone { queued: 1 }, None),
            (ALONE, 220, State::Alone { queued: 4 }, None),
            (ALONE, 250, company(0, 250, 250, 0), None),
            (company(3, 140, 142, 5), 107, ALONE, None),
            (company(3, 140, 142, 5), 143, company(4, 140, 143, 4), None),
            (company(3, 140, 142, 5), 146, company(0, 146, 146, 4), None),
            (company(7, 140, 142, 0), 143, test(140, 0), None),
            (company(7, 140, 142, 2), 143, company(8, 140, 143, 1), None),
            (test(140, 0), 120, test(140, 1), None),
            (test(140, 1), 120, test(140, 2), None),
            (test(140, 2), 120, company(0, 120, 120, BETWEEN), None),
            (test(140, 2), 137, ALONE, Some(137)),
            (test(140, 1), 107, ALONE, None),
        ] {
            let mut company = Company { state: was, ..Company::default() };
            let found = company.on_round(Instant::now(), took * MS, PATH);
            assert_eq!((company.state, found), (is, longer.map(|longer| longer * MS)), "{was:?}, {took} ms");
        }
    }

    #[test]
    fn what_cannot_be_told_does_not_count() {
        let mut company = Company::default();
        after(&mut company, &[140 * MS; 4]);
        assert_eq!(company.on_round(Instant::now(), 140 * MS, Known { own: None, ..PATH }), None);
        after(&mut company, &[140 * MS; 4]);
        assert!(!company.is_present());
        company.on_idle();
        after(&mut company, &[140 * MS; 4]);
        assert!(!company.is_present());
    }

    #[test]
    fn a_round_trip_is_that_of_its_quickest_packet_and_ends_with_the_first_that_was_sent_in_it() {
        let (mut company, mut now) = (Company::default(), Instant::now());
        let mut send = |company: &mut Company, took: &dyn Fn(u32) -> Duration| {
            for n in 0..200 {
                now += 10 * MS;
                company.on_ack(now, now - took(n), took(n), PATH);
            }
        };
        send(&mut company, &|n| if n % 8 == 0 { 100 * MS } else { 180 * MS });
        assert!(!company.is_present(), "single packets that are late are no queue");
        send(&mut company, &|_| 180 * MS);
        assert!(company.is_present());
    }

    #[test]
    fn a_test_of_too_few_packets_ends() {
        let company = State::Company { steady: 0, low: 140 * MS, high: 140 * MS, wait: BETWEEN };
        for packets in [3, 4] {
            let mut tested = Company { state: State::Test { before: 140 * MS, rounds: 0 }, ..Company::default() };
            let mut now = Instant::now();
            for _ in 0..4 {
                for n in 0..packets {
                    tested.on_ack(now + n * MS, now - 140 * MS + n * MS, 140 * MS, PATH);
                }
                now += 145 * MS;
            }
            // With enough packets, the test finds a path that has become longer.
            assert_eq!(tested.state, if packets < PACKETS { company } else { ALONE }, "{packets} packets");
        }
    }

    #[test]
    fn a_path_that_has_become_longer_is_known_after_sixteen_round_trips() {
        let mut company = Company::default();
        assert_eq!(after(&mut company, &[160 * MS; 15]), None);
        assert_eq!(after(&mut company, &[160 * MS; 1]), Some(160 * MS));
        assert!(!company.is_present());
    }

    #[test]
    fn other_flows_that_overflowed_the_queue_are_there_for_eight_seconds_though_it_is_empty_meanwhile() {
        let (mut company, start) = (Company { overfull: OVERFULL, ..Company::default() }, Instant::now());
        company.on_overflow(start);
        for second in 0..8 {
            assert_eq!(company.on_round(start + second * Duration::from_secs(1), BASE, PATH), None);
            assert!(company.is_present(), "after {second} s");
            // The queue may be this sender's own now.
            company.on_overflow(start + second * Duration::from_secs(1));
        }
        assert_eq!(company.on_round(start + OVERFLOWED, BASE, PATH), None);
        assert!(!company.is_present());
    }

    #[test]
    fn a_test_begins_where_the_window_has_not_shrunk() {
        for (window, test) in [(70_000, true), (69_000, false)] {
            let steady = State::Company { steady: 7, low: 140 * MS, high: 140 * MS, wait: 0 };
            let mut company = Company { state: steady, window: 100_000, ..Company::default() };
            company.on_round(Instant::now(), 140 * MS, Known { window, ..PATH });
            assert_eq!(company.is_testing(), test, "{window}");
        }
    }

    #[test]
    fn an_overflow_is_due_to_other_flows_after_three_round_trips_with_a_longer_queue_than_this_senders() {
        let probing = |own: u32| Known { own_probing: Some(own * MS), ..PATH };
        for (round_trips, others) in [([125; 3], true), ([119, 125, 125], false), ([125, 125, 119], false)] {
            let mut company = Company::default();
            for took in round_trips {
                company.on_round(Instant::now(), took * MS, probing(120));
            }
            assert!(!company.is_present());
            company.on_overflow(Instant::now());
            assert_eq!(company.is_present(), others, "{round_trips:?}");
        }
    }
}
