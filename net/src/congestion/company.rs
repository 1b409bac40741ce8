//! Whether the queue at the bottleneck is somebody else's: pure, with time as input.
//!
//! A sender that keeps to what a path holds has a short queue. Where packets take longer than that explains, for some round trips
//! in a row, the packets of others stand in front of them. To keep to what the path holds then means to give way for ever: what
//! is delivered in a longer round trip is less, and so is what the path seems to hold. Beside one flow of TCP Cubic that left
//! 0.4 of 20 Mbit/s, without one loss. (Copa, NSDI 2018, and Nimbus, SIGCOMM 2022, switch modes by such signs as well.)
//!
//! Or the path has become longer. Then packets take as long with half of them on the way, which is tried where round trips hardly
//! differ from each other.

use std::time::{Duration, Instant};

/// Round trips in a row with a queue that is not ours, until it counts as that of others. With three, four senders of our kind
/// took each other for others, and their queue was twice as long.
const ROUNDS: u32 = 5;
/// Packets that a round trip needs, to say something about it: fewer are chance.
const PACKETS: u32 = 4;
/// A queue is empty where packets take longer by this part of the path, and a little for machines, at most.
const EMPTY: u32 = 16;
const LITTLE: Duration = Duration::from_millis(1);
/// Round trips hardly differ where so many in a row are within a tenth of what they are longer than the path.
const STEADY: u32 = 8;
const STEADY_WITHIN: u32 = 10;
/// For so many round trips half of the packets are on the way, to see whether packets take less: one until they are, one until
/// that is seen, and one that is whole.
const TEST: u32 = 3;
/// By a twentieth of what they are longer: a queue of others is shorter by our part of it, and where that is less, we have so
/// little that it does no harm to take the path for a longer one.
const LESS: u32 = 20;
/// A test costs half of three round trips: one in so many is a hundredth of the rate.
const BETWEEN: u32 = 64;

/// Who else is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody, and for so many round trips there has been a queue that is not ours.
    Alone { queued: u32 },
    /// Others. The last so many round trips were between these two; no test within so many.
    Company { steady: u32, low: Duration, high: Duration, wait: u32 },
    /// Half of the packets are on the way for so many round trips, where one took this long before.
    Test { before: Duration, rounds: u32 },
}

/// Whether others are there.
#[derive(Debug, Clone)]
pub(super) struct Company {
    state: State,
    /// Packets sent from then on belong to the next round trip.
    begun: Option<Instant>,
    packets: u32,
    shortest: Option<Duration>,
}

impl Default for Company {
    fn default() -> Self {
        Self { state: State::Alone { queued: 0 }, begun: None, packets: 0, shortest: None }
    }
}

impl Company {
    /// A packet that was sent at `sent` was acknowledged after `round_trip`, on a path whose shortest is `base`. `own` is the longest
    /// that a packet takes where all that stands in the queue is ours; it is none while that cannot be told. The path's new
    /// round trip, if it has become longer.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        round_trip: Duration,
        base: Duration,
        own: Option<Duration>,
    ) -> Option<Duration> {
        let begun = *self.begun.get_or_insert(now);
        let mut longer = None;
        if sent >= begun {
            match self.shortest.filter(|_| self.packets >= PACKETS) {
                Some(shortest) => longer = self.on_round(shortest, base, own),
                None => self.on_little(),
            }
            (self.begun, self.packets, self.shortest) = (Some(now), 0, None);
        }
        self.packets += 1;
        self.shortest = Some(self.shortest.map_or(round_trip, |shortest| shortest.min(round_trip)));
        longer
    }

    /// A round trip is over that had too few packets to say something. A test ends: half of so little would be too little for good.
    /// Beside Cubic, at 20 ms and a buffer of 5 times what the path holds, one run in a hundred kept to 0.014 of the link.
    fn on_little(&mut self) {
        if let State::Test { before, .. } = self.state {
            self.state = State::Company { steady: 0, low: before, high: before, wait: BETWEEN };
        }
    }

    /// A round trip is over, of whose packets the quickest took `shortest`.
    fn on_round(&mut self, shortest: Duration, base: Duration, own: Option<Duration>) -> Option<Duration> {
        let others = own.is_some_and(|own| shortest > own);
        if shortest <= base + base / EMPTY + LITTLE {
            self.state = State::Alone { queued: 0 };
            return None;
        }
        self.state = match self.state {
            State::Alone { queued } if others && queued + 1 >= ROUNDS => {
                State::Company { steady: 0, low: shortest, high: shortest, wait: 0 }
            }
            State::Alone { queued } => State::Alone { queued: if others { queued + 1 } else { 0 } },
            State::Company { steady, low, high, wait } => {
                let (low, high) = (low.min(shortest), high.max(shortest));
                let within = LITTLE + (shortest - base) / STEADY_WITHIN;
                let wait = wait.saturating_sub(1);
                match high - low <= within {
                    true if steady + 1 >= STEADY && wait == 0 => State::Test { before: low, rounds: 0 },
                    true => State::Company { steady: steady + 1, low, high, wait },
                    false => State::Company { steady: 0, low: shortest, high: shortest, wait },
                }
            }
            State::Test { before, rounds } if rounds + 1 < TEST => State::Test { before, rounds: rounds + 1 },
            State::Test { before, .. } if shortest + LITTLE + before.saturating_sub(base) / LESS >= before => {
                self.state = State::Alone { queued: 0 };
                return Some(shortest);
            }
            State::Test { .. } => State::Company { steady: 0, low: shortest, high: shortest, wait: BETWEEN },
        };
        None
    }

    /// There was nothing to send: what is known says nothing about now.
    pub(super) fn on_idle(&mut self) {
        if let State::Alone { .. } = self.state {
            self.state = State::Alone { queued: 0 };
        }
    }

    pub(super) fn is_present(&self) -> bool {
        !matches!(self.state, State::Alone { .. })
    }

    /// Whether half of the packets are to be on the way.
    pub(super) fn is_testing(&self) -> bool {
        matches!(self.state, State::Test { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BASE: Duration = Duration::from_millis(100);
    const OWN: Option<Duration> = Some(Duration::from_millis(130));
    const ALONE: State = State::Alone { queued: 0 };

    /// What comes of round trips that take this long, on a path of 100 ms whose queue of ours takes 30.
    fn after(company: &mut Company, took: &[Duration]) -> Option<Duration> {
        took.iter().filter_map(|took| company.on_round(*took, BASE, OWN)).last()
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
            let found = company.on_round(took * MS, BASE, OWN);
            assert_eq!((company.state, found), (is, longer.map(|longer| longer * MS)), "{was:?}, {took} ms");
        }
    }

    #[test]
    fn what_cannot_be_told_does_not_count() {
        let mut company = Company::default();
        after(&mut company, &[140 * MS; 4]);
        assert_eq!(company.on_round(140 * MS, BASE, None), None);
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
                company.on_ack(now, now - took(n), took(n), BASE, OWN);
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
                    tested.on_ack(now + n * MS, now - 140 * MS + n * MS, 140 * MS, BASE, OWN);
                }
                now += 145 * MS;
            }
            // With enough of them it finds a path that has become longer.
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
}
