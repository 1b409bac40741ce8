//! The way that data takes, and since when. It comes from the counters in the kernel of the receiving machine, and
//! not from reports of the peers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::{counters::Counters, fault::Fault, nat, tools, world::Machine};
use crate::output::now_ns;

/// The time between two reads of the counters. It is the precision with which a change is dated.
const EVERY: Duration = Duration::from_millis(10);
/// Data takes a way when that way carries most of it for this time, which is six pieces of the transfer.
const WINDOW_NS: u64 = 200_000_000;
/// A fifth of the bytes that the transfer sends in a window.
const ENOUGH: u64 = 20_000;
/// The smallest number of bytes that is taken for data. Path probes have 1,200 bytes and arrive one or two at a time.
const DATA: u64 = 4_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Relayed,
    Direct,
}

/// The bytes that have arrived by a time, by source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    pub at_ns: u64,
    /// Bytes from the relay.
    pub relayed: u64,
    /// Bytes that arrived by UDP from machines other than the services.
    pub direct: u64,
    /// The part of `direct` from the source that the case is about.
    pub moved: u64,
}

impl Sample {
    pub fn since(self, earlier: Self) -> Self {
        Self {
            at_ns: self.at_ns,
            relayed: self.relayed.saturating_sub(earlier.relayed),
            direct: self.direct.saturating_sub(earlier.direct),
            moved: self.moved.saturating_sub(earlier.moved),
        }
    }

    fn by(self, way: Way) -> u64 {
        match way {
            Way::Relayed => self.relayed,
            Way::Direct => self.direct,
        }
    }

    /// Returns the way of most of the data, if there is enough. Path probes also arrive directly while data is
    /// relayed.
    fn way(self) -> Option<Way> {
        if self.direct >= ENOUGH && self.relayed * 10 <= self.direct {
            Some(Way::Direct)
        } else if self.relayed >= ENOUGH && self.direct * 4 <= self.relayed {
            Some(Way::Relayed)
        } else {
            None
        }
    }
}

#[derive(Debug, Default)]
pub struct Traffic(Vec<Sample>);

impl Traffic {
    pub fn push(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    pub fn last(&self) -> Sample {
        self.0.last().copied().unwrap_or_default()
    }

    /// Returns the last sample at or before this time.
    pub fn at(&self, at_ns: u64) -> Sample {
        self.0[..self.0.partition_point(|sample| sample.at_ns <= at_ns)].last().copied().unwrap_or_default()
    }

    pub fn since(&self, at_ns: u64) -> Sample {
        self.last().since(self.at(at_ns))
    }

    /// Returns the time at which data began to take this way, at `since_ns` or later.
    pub fn took(&self, way: Way, since_ns: u64) -> Option<u64> {
        self.windows(since_ns).find(|window| window.way() == Some(way)).and_then(Window::began)
    }

    /// Returns the time at which data began to arrive from the source that the case is about.
    pub fn moved(&self) -> Option<u64> {
        self.0.iter().find(|sample| sample.moved >= DATA).map(|sample| sample.at_ns)
    }

    /// Returns the way of the data in the last window.
    pub fn now(&self) -> Option<Way> {
        let last = self.last();
        self.since(last.at_ns.saturating_sub(WINDOW_NS)).way()
    }

    /// Returns the number of times that data has changed its way.
    pub fn changes(&self, since_ns: u64) -> usize {
        let mut ways: Vec<_> = self.windows(since_ns).filter_map(|window| window.way()).collect();
        ways.dedup();
        ways.len().saturating_sub(1)
    }

    fn windows(&self, since_ns: u64) -> impl Iterator<Item = Window<'_>> {
        let first = self.0.partition_point(|sample| sample.at_ns < since_ns);
        let mut end = first;
        (first..self.0.len()).map_while(move |begin| {
            let from = self.0[begin];
            end += self.0[end..].iter().take_while(|sample| sample.at_ns < from.at_ns + WINDOW_NS).count();
            self.0.get(begin..=end).map(Window)
        })
    }
}

/// Consecutive samples, at least one.
struct Window<'a>(&'a [Sample]);

impl Window<'_> {
    fn way(&self) -> Option<Way> {
        self.0[self.0.len() - 1].since(self.0[0]).way()
    }

    fn began(self) -> Option<u64> {
        let way = self.way()?;
        self.0.iter().find(|sample| sample.since(self.0[0]).by(way) >= DATA).map(|sample| sample.at_ns)
    }
}

/// Reads the counters of a machine until it is dropped.
#[derive(Debug)]
pub struct Watch {
    traffic: Arc<Mutex<Traffic>>,
    _reading: AbortOnDropHandle<()>,
}

impl Watch {
    /// Starts to read the counters. `moved` is an expression of `nft` that matches a source.
    pub async fn start(machine: &Machine, services: &[std::net::IpAddr], moved: Option<&str>) -> Result<Self, Fault> {
        tools::nft(&machine.netns, &nat::count(services, moved)).await?;
        let counters = Counters::open(&machine.netns)?;
        let traffic = Arc::new(Mutex::new(Traffic(vec![sample(&counters)?])));
        let reading = Arc::clone(&traffic);
        let reading = tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                // The read fails when the namespace has ended.
                let Ok(sample) = sample(&counters) else { return };
                lock(&reading).push(sample);
            }
        });
        Ok(Self { traffic, _reading: AbortOnDropHandle::new(reading) })
    }

    pub fn look<T>(&self, at: impl FnOnce(&Traffic) -> T) -> T {
        at(&lock(&self.traffic))
    }
}

fn sample(counters: &Counters) -> Result<Sample, Fault> {
    let counts = counters.read()?;
    let bytes = |name: &str| counts.get(name).copied().ok_or_else(|| Fault::Lab(format!("no counter {name}")));
    Ok(Sample { at_ns: now_ns(), relayed: bytes("relayed")?, direct: bytes("direct")?, moved: bytes("moved")? })
}

fn lock(traffic: &Mutex<Traffic>) -> MutexGuard<'_, Traffic> {
    traffic.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Returns samples every 10 ms from 1 s on. The letters are `r` for 5 kB of relayed data, `d` for 5 kB of direct
    /// data, and `p` for a path probe. Other characters mean that nothing arrives.
    fn traffic(ways: &str) -> Traffic {
        let mut sample = Sample { at_ns: 1000 * MS, ..Sample::default() };
        let mut traffic = Traffic(vec![sample]);
        for way in ways.chars() {
            sample.at_ns += 10 * MS;
            match way {
                'r' => sample.relayed += 5000,
                'd' => sample.direct += 5000,
                'p' => sample.direct += 1200,
                _ => {}
            }
            traffic.push(sample);
        }
        traffic
    }

    fn ways(parts: &[(&str, usize)]) -> Traffic {
        traffic(&parts.iter().map(|(way, times)| way.repeat(*times)).collect::<String>())
    }

    #[test]
    fn a_change_is_dated_when_it_happens_and_not_when_it_is_certain() {
        let traffic = ways(&[("r", 30), ("d", 50)]);
        assert_eq!(traffic.took(Way::Relayed, 0), Some(1010 * MS));
        let direct = traffic.took(Way::Direct, 0).unwrap();
        assert!((1300 * MS..=1320 * MS).contains(&direct), "{direct}");
        assert_eq!(traffic.now(), Some(Way::Direct));
        assert_eq!(traffic.changes(0), 1);
    }

    #[test]
    fn packets_that_look_for_a_path_are_no_data() {
        let traffic = ways(&[("rrrp", 40)]);
        assert_eq!(traffic.took(Way::Direct, 0), None);
        assert_eq!((traffic.now(), traffic.changes(0)), (Some(Way::Relayed), 0));
        assert_eq!(ways(&[("p...", 40)]).took(Way::Direct, 0), None);
    }

    #[test]
    fn what_goes_both_ways_at_once_has_not_changed_its_way() {
        assert_eq!(ways(&[("rd", 60)]).took(Way::Direct, 0), None);
    }

    #[test]
    fn a_way_that_was_taken_before_counts_from_the_time_that_is_asked_for() {
        let traffic = ways(&[("d", 50), (".", 100), ("r", 50), ("d", 50)]);
        let healed = 1000 * MS + 1600 * MS;
        let again = traffic.took(Way::Direct, healed).unwrap();
        assert!((3000 * MS..=3020 * MS).contains(&again), "{again}");
        assert_eq!(traffic.changes(0), 2);
        assert_eq!(traffic.changes(healed), 1);
    }

    #[test]
    fn what_arrived_by_a_time_is_the_sample_before_it() {
        let traffic = traffic("rd");
        assert_eq!(traffic.at(1015 * MS).relayed, 5000);
        assert_eq!(traffic.at(1015 * MS).direct, 0);
        assert_eq!(traffic.last().since(traffic.at(1010 * MS)).direct, 5000);
        assert_eq!(traffic.at(0), Sample::default());
    }

    #[test]
    fn too_few_samples_say_nothing() {
        assert_eq!(ways(&[("d", 10)]).took(Way::Direct, 0), None);
        assert_eq!(Traffic::default().took(Way::Direct, 0), None);
        assert_eq!(Traffic::default().now(), None);
    }
}
