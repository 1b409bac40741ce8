//! The rows, in groups that are measured together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    Broken,
    bulk::Load,
    server::{Server, Usage},
    side::{Service, Side},
    work::{self, Pace},
};
use crate::{
    compare::{Better, Row, in_turns},
    stats::median,
};

/// A group of rows.
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
    /// Requests of one peer while 1,000 others are connected.
    Peers,
    /// Bulk and requests of 10 and 100 times the size.
    Growth,
}

impl Group {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 11] = [
        Self::Bulk,
        Self::Requests,
        Self::Opens,
        Self::Errors,
        Self::Connects,
        Self::SecondProtocol,
        Self::Memory,
        Self::Cpu,
        Self::Busy,
        Self::Peers,
        Self::Growth,
    ];
}

/// What bulk moves in a round: 80 ms at 0.8 GB/s.
const VOLUME: u64 = 64 << 20;
/// How long requests are sent in a round.
const SLICE: Duration = Duration::from_millis(250);
/// Endpoints that connect in a round.
const CONNECTS: usize = 24;
/// Peers that are connected and idle, for the memory of one.
const IDLE: usize = 100;
/// Peers that are connected and idle while one is not.
const CROWD: usize = 1_000;

/// A server and a client of both sides, connected.
#[derive(Debug)]
pub struct Pair<A: Side, B: Side> {
    /// twolane's server.
    pub our_server: Server,
    /// The other side's.
    pub their_server: Server,
    /// twolane's client.
    pub ours: A,
    /// The other side's.
    pub theirs: B,
}

impl<A: Side, B: Side> Pair<A, B> {
    /// Starts both, and connects them.
    pub async fn start() -> Result<Self, Broken> {
        let (our_server, their_server) = (Server::start::<A>().await?, Server::start::<B>().await?);
        let (ours, theirs) = (A::client(&our_server.address).await?, B::client(&their_server.address).await?);
        for service in [Service::Echo, Service::Bulk] {
            ours.connect(service).await?;
            theirs.connect(service).await?;
        }
        Ok(Self { our_server, their_server, ours, theirs })
    }

    /// Closes both.
    pub async fn close(self) {
        self.ours.close().await;
        self.theirs.close().await;
    }
}

/// What rows are measured with.
#[derive(Debug)]
pub struct Bench<A: Side, B: Side> {
    /// Both sides.
    pub pair: Pair<A, B>,
    /// How often each is measured for a row.
    pub rounds: usize,
}

impl<A: Side, B: Side> Bench<A, B> {
    /// Starts both sides. `rounds` is how often each is measured for a row.
    pub async fn start(rounds: usize) -> Result<Self, Broken> {
        Ok(Self { pair: Pair::start().await?, rounds })
    }

    /// Closes both sides.
    pub async fn close(self) {
        self.pair.close().await;
    }

    /// Measures a group, and hands over its rows one by one.
    pub async fn measure(&mut self, group: Group, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        match group {
            Group::Bulk => self.bulk("", row).await,
            Group::Requests => self.requests(row).await,
            Group::Opens => self.opens(row).await,
            // Other sides than these two have nothing like it.
            Group::Errors => Ok(()),
            Group::Connects => self.connects(row).await,
            Group::SecondProtocol => self.second_protocol(row).await,
            Group::Memory => self.memory(row).await,
            Group::Cpu => self.cpu(row).await,
            Group::Busy => self.busy(row).await,
            Group::Peers => self.peers(row).await,
            Group::Growth => self.growth(row).await,
        }
    }

    async fn bulk(&self, name: &str, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        for (way, up, down) in [("one-way", VOLUME, 0), ("both-ways", VOLUME / 2, VOLUME / 2)] {
            for streams in [1, 8, 64] {
                self.bulk_row(format!("{name}bulk-{way}-{streams}"), streams, (up, down), row).await?;
            }
        }
        Ok(())
    }

    /// 64 MiB over one stream to the server: one row.
    pub async fn bulk_one_way(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        self.bulk_row("bulk-one-way-1".into(), 1, (VOLUME, 0), row).await
    }

    async fn bulk_row(
        &self,
        name: String,
        streams: u64,
        (up, down): (u64, u64),
        row: &mut impl FnMut(Row),
    ) -> Result<(), Broken> {
        let Pair { ours, theirs, .. } = &self.pair;
        // What warms up is also what is checked: both ends hash.
        let (warm, load) = (Load { up, down, check: true }, Load { up, down, check: false });
        work::bulk(ours, streams, warm).await?;
        work::bulk(theirs, streams, warm).await?;
        let values = in_turns(
            self.rounds,
            async || work::bulk(ours, streams, load).await,
            async || work::bulk(theirs, streams, load).await,
        );
        row(Row::new(name, "MB/s", Better::Higher, B::NAME, &values.await?));
        Ok(())
    }

    async fn requests(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        for (size, words) in [(64, "64B"), (1024, "1KiB"), (65_536, "64KiB")] {
            for in_flight in [1, 16, 64, 512] {
                let paces = self.paces(size, in_flight).await?;
                pace_rows(&format!("request-{words}-{in_flight}"), B::NAME, &paces, row);
            }
        }
        Ok(())
    }

    /// Requests of 64 B, with so many in flight: a row for the rate, and one for each latency.
    pub async fn small_requests(&self, in_flight: usize, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let paces = self.paces(64, in_flight).await?;
        pace_rows(&format!("request-64B-{in_flight}"), B::NAME, &paces, row);
        Ok(())
    }

    /// New peers one after the other, each until the first byte that it sends has been answered: one row.
    pub async fn first_answers(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let (to_us, to_them) = (&self.pair.our_server.address, &self.pair.their_server.address);
        work::first_answers::<A>(to_us, CONNECTS).await?;
        work::first_answers::<B>(to_them, CONNECTS).await?;
        let values = in_turns(
            self.rounds,
            async || work::first_answers::<A>(to_us, CONNECTS).await,
            async || work::first_answers::<B>(to_them, CONNECTS).await,
        );
        row(Row::new("connect-first-answer", "1/s", Better::Higher, B::NAME, &values.await?));
        Ok(())
    }

    async fn paces(&self, size: usize, in_flight: usize) -> Result<Vec<(Pace, Pace)>, Broken> {
        let Pair { ours, theirs, .. } = &self.pair;
        work::requests(ours, size, in_flight, SLICE / 2).await?;
        work::requests(theirs, size, in_flight, SLICE / 2).await?;
        in_turns(
            self.rounds,
            async || work::requests(ours, size, in_flight, SLICE).await,
            async || work::requests(theirs, size, in_flight, SLICE).await,
        )
        .await
    }

    async fn opens(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let Pair { ours, theirs, .. } = &self.pair;
        work::opens(ours, SLICE / 2).await?;
        work::opens(theirs, SLICE / 2).await?;
        let paces =
            in_turns(self.rounds, async || work::opens(ours, SLICE).await, async || work::opens(theirs, SLICE).await);
        pace_rows("open", B::NAME, &paces.await?, row);
        Ok(())
    }

    async fn connects(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let (to_us, to_them) = (&self.pair.our_server.address, &self.pair.their_server.address);
        let values = in_turns(
            self.rounds,
            async || work::connects::<A>(to_us, CONNECTS).await,
            async || work::connects::<B>(to_them, CONNECTS).await,
        );
        row(Row::new("connect", "1/s", Better::Higher, B::NAME, &values.await?));
        Ok(())
    }

    async fn second_protocol(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let (to_us, to_them) = (&self.pair.our_server.address, &self.pair.their_server.address);
        let values = in_turns(
            self.rounds * 3,
            async || work::second_protocol::<A>(to_us).await,
            async || work::second_protocol::<B>(to_them).await,
        );
        row(Row::new("second-protocol", "us", Better::Lower, B::NAME, &values.await?));
        Ok(())
    }

    /// Servers of their own, since memory that was used once is kept.
    async fn memory(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let rounds = self.rounds.div_ceil(2);
        let turns = in_turns(rounds, async || idle_memory::<A>().await, async || idle_memory::<B>().await).await?;
        let endpoint: Vec<_> = turns.iter().map(|(ours, theirs)| (ours.0, theirs.0)).collect();
        let peer: Vec<_> = turns.iter().map(|(ours, theirs)| (ours.1, theirs.1)).collect();
        row(Row::new("memory-server", "MB", Better::Lower, B::NAME, &endpoint));
        row(Row::new("memory-idle-peer", "kB", Better::Lower, B::NAME, &peer));
        Ok(())
    }

    async fn cpu(&mut self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let Pair { ours, theirs, our_server, their_server } = &mut self.pair;
        let load = Load { up: VOLUME * 4, down: 0, check: false };
        let giga = load.up as f64 / 1e9;
        let turns = in_turns(
            self.rounds,
            async || Ok(spent(our_server, async || work::bulk(ours, 1, load).await).await?.1 / giga),
            async || Ok(spent(their_server, async || work::bulk(theirs, 1, load).await).await?.1 / giga),
        );
        let values = turns.await?;
        row(Row::new("cpu-per-GB", "s", Better::Lower, B::NAME, &values));
        for in_flight in [1, 64] {
            let per_100_000 = |(pace, used): (Pace, f64)| used / (pace.rate * SLICE.as_secs_f64()) * 1e5;
            let turns = in_turns(
                self.rounds,
                async || {
                    let used = spent(our_server, async || work::requests(ours, 64, in_flight, SLICE).await).await?;
                    Ok(per_100_000(used))
                },
                async || {
                    let used = spent(their_server, async || work::requests(theirs, 64, in_flight, SLICE).await).await?;
                    Ok(per_100_000(used))
                },
            );
            let values = turns.await?;
            row(Row::new(format!("cpu-per-100k-requests-{in_flight}"), "s", Better::Lower, B::NAME, &values));
        }
        Ok(())
    }

    async fn busy(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let busy = Busy::start(thread::available_parallelism().map_or(2, usize::from));
        self.bulk_row("busy-bulk-one-way-1".into(), 1, (VOLUME, 0), row).await?;
        for in_flight in [1, 64] {
            let paces = self.paces(64, in_flight).await?;
            pace_rows(&format!("busy-request-64B-{in_flight}"), B::NAME, &paces, row);
        }
        drop(busy);
        Ok(())
    }

    async fn peers(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let (mut alone, mut of_ours, mut of_theirs) = (Vec::new(), Vec::new(), Vec::new());
        for in_flight in [1, 64] {
            let paces = self.paces(64, in_flight).await?;
            let side = |pick: fn(&(Pace, Pace)) -> f64| median(&paces.iter().map(pick).collect::<Vec<_>>());
            alone.push((side(|turn| turn.0.rate), side(|turn| turn.1.rate)));
        }
        // One side at a time: a thousand endpoints take gigabytes.
        let crowd = work::crowd::<A>(&self.pair.our_server.address, CROWD).await?;
        for in_flight in [1, 64] {
            of_ours.push(self.our_rate(in_flight).await?);
        }
        work::close(crowd).await?;
        let crowd = work::crowd::<B>(&self.pair.their_server.address, CROWD).await?;
        for in_flight in [1, 64] {
            of_theirs.push(self.their_rate(in_flight).await?);
        }
        work::close(crowd).await?;
        for (n, in_flight) in [1, 64].into_iter().enumerate() {
            let part = [(of_ours[n] / alone[n].0, of_theirs[n] / alone[n].1)];
            row(Row::new(format!("rate-of-1-with-{CROWD}-peers-{in_flight}"), "x", Better::Higher, B::NAME, &part));
        }
        Ok(())
    }

    async fn our_rate(&self, in_flight: usize) -> Result<f64, Broken> {
        Ok(work::requests(&self.pair.ours, 64, in_flight, SLICE * 4).await?.rate)
    }

    async fn their_rate(&self, in_flight: usize) -> Result<f64, Broken> {
        Ok(work::requests(&self.pair.theirs, 64, in_flight, SLICE * 4).await?.rate)
    }

    /// What takes longer the more there is of it shows as a rate that falls.
    async fn growth(&self, row: &mut impl FnMut(Row)) -> Result<(), Broken> {
        let Pair { ours, theirs, .. } = &self.pair;
        for times in [1, 10, 100] {
            let load = Load { up: (VOLUME / 2) * times, down: 0, check: false };
            let values = in_turns(
                if times == 100 { 1 } else { self.rounds.min(3) },
                async || work::bulk(ours, 1, load).await,
                async || work::bulk(theirs, 1, load).await,
            );
            row(Row::new(format!("growth-bulk-{times}x"), "MB/s", Better::Higher, B::NAME, &values.await?));
        }
        for times in [1, 10, 100u32] {
            let time = SLICE / 5 * times;
            let paces = in_turns(
                if times == 100 { 1 } else { self.rounds.min(3) },
                async || work::requests(ours, 64, 16, time).await,
                async || work::requests(theirs, 64, 16, time).await,
            );
            let values: Vec<_> = paces.await?.iter().map(|(ours, theirs)| (ours.rate, theirs.rate)).collect();
            row(Row::new(format!("growth-requests-{times}x"), "1/s", Better::Higher, B::NAME, &values));
        }
        Ok(())
    }
}

/// Takes processors away. Dropped, it gives them back.
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

/// Processor seconds that both processes spend on something.
async fn spent<T>(server: &mut Server, mut what: impl AsyncFnMut() -> Result<T, Broken>) -> Result<(T, f64), Broken> {
    let (before, here) = (server.usage().await?, Usage::now());
    let done = what().await?;
    let (after, there) = (Usage::now(), server.usage().await?);
    Ok((done, (after.cpu - here.cpu) + (there.cpu - before.cpu)))
}

/// Resident memory of a server alone, in MB, and of each peer that is connected and has said nothing since, in kB.
async fn idle_memory<S: Side>() -> Result<(f64, f64), Broken> {
    /// After that the first probes of a connection are over.
    const SETTLED: Duration = Duration::from_secs(2);
    let mut server = Server::start::<S>().await?;
    let alone = server.usage().await?;
    // What a first connection sets up once is no peer's.
    let first = work::crowd::<S>(&server.address, 1).await?;
    let before = server.usage().await?;
    let began = Instant::now();
    let crowd = work::crowd::<S>(&server.address, IDLE).await?;
    tokio::time::sleep(SETTLED.saturating_sub(began.elapsed())).await;
    let after = server.usage().await?;
    work::close(crowd).await?;
    work::close(first).await?;
    let each = (after.resident.saturating_sub(before.resident)) as f64 / IDLE as f64;
    Ok((alone.resident as f64 / 1e6, each / 1e3))
}

/// A row for each figure of a pace.
fn pace_rows(name: &str, peer: &str, paces: &[(Pace, Pace)], row: &mut impl FnMut(Row)) {
    type Pick = fn(&Pace) -> f64;
    let figures: [(&str, &str, Better, Pick); 4] = [
        ("rate", "1/s", Better::Higher, |pace| pace.rate),
        ("p50", "us", Better::Lower, |pace| pace.p50),
        ("p99", "us", Better::Lower, |pace| pace.p99),
        ("p99.9", "us", Better::Lower, |pace| pace.p999),
    ];
    for (what, unit, better, pick) in figures {
        let values: Vec<_> = paces.iter().map(|(ours, theirs)| (pick(ours), pick(theirs))).collect();
        row(Row::new(format!("{name}-{what}"), unit, better, peer, &values));
    }
}
