//! The rows, in groups that are measured together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use super::{
    Broken,
    bulk::Load,
    half::Half,
    side::Side,
    work::{self, Pace},
};
use crate::compare::{Better, Row, in_turns};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    /// Data over 1, 8 and 64 streams, one way and both ways.
    Bulk,
    /// Requests of 64 B, 1 KiB and 64 KiB, with 1 to 512 in flight: rate and latencies.
    Requests,
    /// Streams that are opened and ended with nothing in them.
    Opens,
    /// Streams that end with an error.
    Errors,
    /// New peers, one after the other.
    Connects,
    /// The first byte on a second protocol with a peer that is connected.
    SecondProtocol,
    /// Resident memory of a server, and of each peer that is connected and idle.
    Memory,
    /// Processor time of both processes for a GB, and for 100,000 requests.
    Cpu,
    /// Bulk and requests while something else takes both processors.
    Busy,
    /// Requests of one peer while many others are connected.
    Peers,
    /// Bulk and requests of 10 and 100 times the size.
    Growth,
    /// Some rows beside raw iroh with twolane's windows and congestion controller: the difference is the layer.
    Transport,
}

/// Bytes of bulk data in a round. At 0.8 GB/s they take 80 ms.
const VOLUME: u64 = 64 << 20;
/// The time for requests in a round. The slowest requests, of 64 KiB at 3,400 a second, are over 1,000 in this time,
/// so 10 of them lie beyond the 99th percentile.
const SLICE: Duration = Duration::from_millis(400);
/// The number of endpoints that connect in a round.
const CONNECTS: usize = 24;
/// The number of idle connected peers for the memory of one peer.
const IDLE: usize = 100;
/// The number of idle connected peers of each side while another peer sends requests. More would take more memory
/// than a small machine has.
const CROWD: usize = 500;

/// Does the same work on both sides, in turns. The work gets a flag that tells whether it only warms up.
macro_rules! turns {
    ($bench:ident, |$half:ident, $warm:ident| $work:expr) => {
        measured(
            $bench.rounds,
            async |$warm: bool| {
                let $half = &$bench.ours;
                $work
            },
            async |$warm: bool| {
                let $half = &$bench.theirs;
                $work
            },
        )
        .await?
    };
}

/// Warms up both sides with one turn, whose results are left out, and then measures the turns that count.
pub(super) async fn measured<T>(
    rounds: usize,
    mut ours: impl AsyncFnMut(bool) -> Result<T, Broken>,
    mut theirs: impl AsyncFnMut(bool) -> Result<T, Broken>,
) -> Result<Vec<(T, T)>, Broken> {
    ours(true).await?;
    theirs(true).await?;
    in_turns(rounds, async || ours(false).await, async || theirs(false).await).await
}

#[derive(Debug)]
pub struct Bench<A: Side, B: Side> {
    pub ours: Half<A>,
    pub theirs: Half<B>,
    pub rounds: usize,
}

impl<A: Side, B: Side> Bench<A, B> {
    pub async fn start(rounds: usize) -> Result<Self, Broken> {
        Ok(Self { ours: Half::start().await?, theirs: Half::start().await?, rounds })
    }

    pub async fn close(self) {
        self.ours.client.close().await;
        self.theirs.client.close().await;
    }

    pub async fn measure(&self, group: Group, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        match group {
            Group::Bulk => self.bulk(row).await,
            Group::Requests => {
                for size in [64, 1024, 65_536] {
                    for in_flight in [1, 16, 64, 512] {
                        self.requests("", size, in_flight, row).await?;
                    }
                }
                Ok(())
            }
            Group::Opens => {
                pace_rows("open", B::NAME, &turns!(self, |half, _warm| work::opens(&half.client, SLICE).await), row);
                Ok(())
            }
            // These groups exist only for certain sides: see `speed::run`.
            Group::Errors | Group::Transport => Ok(()),
            Group::Connects => self.connects("connect", false, row).await,
            Group::SecondProtocol => {
                let turns = turns!(self, |half, _warm| work::second_protocol(half).await);
                row(Row::new("second-protocol", "us", Better::Lower, B::NAME, &turns));
                Ok(())
            }
            Group::Memory => self.memory(row).await,
            Group::Cpu => self.cpu(row).await,
            Group::Busy => self.busy(row).await,
            Group::Peers => self.peers(row).await,
            Group::Growth => self.growth(row).await,
        }
    }

    /// Measures the rows that are common to all comparisons.
    pub async fn common(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        self.move_data("bulk-one-way-1".into(), 1, (VOLUME, 0), row).await?;
        self.connects("connect-first-answer", true, row).await?;
        for in_flight in [1, 16, 64] {
            self.requests("", 64, in_flight, row).await?;
        }
        Ok(())
    }

    async fn bulk(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        for (way, up, down) in [("one-way", VOLUME, 0), ("both-ways", VOLUME / 2, VOLUME / 2)] {
            for streams in [1, 8, 64] {
                self.move_data(format!("bulk-{way}-{streams}"), streams, (up, down), row).await?;
            }
        }
        Ok(())
    }

    async fn move_data(
        &self,
        name: String,
        streams: u64,
        (up, down): (u64, u64),
        row: &mut impl FnMut(Row),
    ) -> Result<(), Broken> {
        // The data of the turn that warms up is checked as well: both ends hash, which costs as much as the transfer.
        let turns = turns!(self, |half, warm| work::bulk(&half.client, streams, Load { up, down, check: warm }).await);
        row(Row::new(name, "MB/s", Better::Higher, B::NAME, &turns));
        Ok(())
    }

    async fn requests(
        &self,
        before: &str,
        size: usize,
        in_flight: usize,
        row: &mut impl FnMut(Row),
    ) -> Result<(), Broken> {
        let words = if size < 1024 { format!("{size}B") } else { format!("{}KiB", size / 1024) };
        let turns = turns!(self, |half, _warm| work::requests(&half.client, size, in_flight, SLICE).await);
        pace_rows(&format!("{before}request-{words}-{in_flight}"), B::NAME, &turns, row);
        Ok(())
    }

    async fn connects(&self, name: &str, answered: bool, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let turns = turns!(self, |half, _warm| work::connects(half, CONNECTS, answered).await);
        row(Row::new(name, "1/s", Better::Higher, B::NAME, &turns));
        Ok(())
    }

    async fn memory(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let turns = turns!(self, |half, _warm| work::idle_memory(half, IDLE).await);
        let part = |pick: fn(&(f64, f64)) -> f64| pairs(&turns, pick);
        row(Row::new("memory-server", "MB", Better::Lower, B::NAME, &part(|used| used.0)));
        row(Row::new("memory-idle-peer", "kB", Better::Lower, B::NAME, &part(|used| used.1)));
        Ok(())
    }

    async fn cpu(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let load = Load { up: VOLUME * 4, down: 0, check: false };
        let turns = turns!(self, |half, _warm| {
            let (_, used) = half.spent(async || work::bulk(&half.client, 1, load).await).await?;
            Ok(used / (load.up as f64 / 1e9))
        });
        row(Row::new("cpu-per-GB", "s", Better::Lower, B::NAME, &turns));
        for in_flight in [1, 64] {
            let turns = turns!(self, |half, _warm| {
                let work = async || work::requests(&half.client, 64, in_flight, SLICE).await;
                let (pace, used) = half.spent(work).await?;
                Ok(used / pace.count as f64 * 1e5)
            });
            row(Row::new(format!("cpu-per-100k-requests-{in_flight}"), "s", Better::Lower, B::NAME, &turns));
        }
        Ok(())
    }

    async fn busy(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let busy = Busy::start(thread::available_parallelism().map_or(2, usize::from));
        self.move_data("busy-bulk-one-way-1".into(), 1, (VOLUME, 0), row).await?;
        for in_flight in [1, 64] {
            self.requests("busy-", 64, in_flight, row).await?;
        }
        drop(busy);
        Ok(())
    }

    /// Measures the rate of one peer beside many idle ones. Both crowds are connected at the same time, so their cost
    /// affects both sides.
    async fn peers(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let alone = self.rates().await?;
        let crowds =
            (work::crowd::<A>(&self.ours.server, CROWD).await?, work::crowd::<B>(&self.theirs.server, CROWD).await?);
        let crowded = self.rates().await?;
        work::close(crowds.0).await?;
        work::close(crowds.1).await?;
        for ((in_flight, alone), (_, crowded)) in alone.iter().zip(&crowded) {
            let turns: Vec<_> =
                alone.iter().zip(crowded).map(|(alone, now)| (now.0 / alone.0, now.1 / alone.1)).collect();
            let name = format!("rate-of-1-with-{CROWD}-peers-{in_flight}");
            row(Row::new(name, "x", Better::Higher, B::NAME, &turns));
        }
        Ok(())
    }

    async fn rates(&self) -> Result<Vec<(usize, Vec<(f64, f64)>)>, Broken> {
        let mut rates = Vec::new();
        for in_flight in [1, 64] {
            let turns = turns!(self, |half, _warm| work::requests(&half.client, 64, in_flight, SLICE).await);
            rates.push((in_flight, pairs(&turns, |pace| pace.rate)));
        }
        Ok(rates)
    }

    /// Measures work of growing size. Work that grows faster than its size shows as a falling rate.
    async fn growth(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        for times in [1, 10, 100] {
            self.move_data(format!("growth-bulk-{times}x"), 1, (VOLUME / 4 * times, 0), row).await?;
        }
        for times in [1, 10, 100u32] {
            let turns = turns!(self, |half, _warm| work::requests(&half.client, 64, 16, SLICE / 10 * times).await);
            let rates = pairs(&turns, |pace| pace.rate);
            row(Row::new(format!("growth-requests-{times}x"), "1/s", Better::Higher, B::NAME, &rates));
        }
        Ok(())
    }
}

/// Threads that use the processors until this is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start(threads: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(over)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn pairs<T>(turns: &[(T, T)], pick: impl Fn(&T) -> f64) -> Vec<(f64, f64)> {
    turns.iter().map(|(ours, theirs)| (pick(ours), pick(theirs))).collect()
}

/// Adds a row for each figure. There is no row for a percentile if any turn had too few requests for it.
fn pace_rows(name: &str, peer: &str, turns: &[(Pace, Pace)], row: &mut impl FnMut(Row)) {
    type Pick = fn(&Pace) -> Option<f64>;
    let figures: [(&str, &str, Better, Pick); 4] = [
        ("rate", "1/s", Better::Higher, |pace| Some(pace.rate)),
        ("p50", "us", Better::Lower, |pace| Some(pace.p50)),
        ("p99", "us", Better::Lower, |pace| pace.p99),
        ("p99.9", "us", Better::Lower, |pace| pace.p999),
    ];
    for (what, unit, better, pick) in figures {
        let values: Option<Vec<_>> = turns.iter().map(|(ours, theirs)| pick(ours).zip(pick(theirs))).collect();
        if let Some(values) = values {
            row(Row::new(format!("{name}-{what}"), unit, better, peer, &values));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn both_sides_warm_up_once_and_that_is_left_out() {
        let order = RefCell::new(String::new());
        let note = |side: char, warm: bool| {
            order.borrow_mut().push(if warm { side.to_ascii_uppercase() } else { side });
            Ok(side)
        };
        let turns = measured(2, async |warm| note('o', warm), async |warm| note('t', warm)).await.unwrap();
        assert_eq!((order.into_inner().as_str(), turns.len()), ("OTotto", 2));
    }

    #[test]
    fn a_percentile_that_one_turn_lacks_has_no_row() {
        let full = Pace { count: 10_000, rate: 1.0, p50: 1.0, p99: Some(2.0), p999: Some(3.0) };
        let few = Pace { p999: None, ..full };
        let mut names = Vec::new();
        pace_rows("request", "raw iroh", &[(full, full), (full, few)], &mut |row| names.push(row.name));
        assert_eq!(names, ["request-rate", "request-p50", "request-p99"]);
    }
}
