//! Plays one row: a world with a bottleneck, which is measured first and which the sides then use in turns.

use std::{
    fs, io,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use super::{
    Plan,
    canary::{self, Canary},
    flow::{Config, Kind, Said},
    seen::{self, FIRST_FLOW, Values},
    table::{Row, Side},
};
use crate::{
    child::Child,
    lab::{
        fault::Fault,
        link::{Link, probe},
        netns::Netns,
        parts, process, tools,
        world::{Family, Machine, World, way},
    },
    output::now_ns,
};

const UP: Duration = Duration::from_secs(20);
/// The seed for measuring the link before it is used. The runs have other seeds.
const VERIFYING: u64 = 1;
/// The number of times that a run may be played if the machine was too busy.
const TRIES: usize = 3;
/// The difference between the last bytes of the receiver's and the sender's address of a flow.
const RECEIVERS: u8 = 100;
/// The number of flows that have their own addresses.
const FLOWS: u8 = 4;

/// The results of all sides, once each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Round {
    pub seed: u64,
    /// The runs, in the order of [`Row::sides`].
    pub runs: Vec<Run>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    pub values: Values,
    /// The rate of each flow in each second.
    pub series: Vec<Vec<f64>>,
    /// The reason why the run is void, if it was void on every try.
    pub void: Option<String>,
    /// The number of times that the run was played.
    pub tries: usize,
}

/// A download.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fetched {
    /// The beginning of the download, since the first flow started.
    pub at: Duration,
    pub ms: f64,
}

struct Stage<'a> {
    source: Machine,
    sink: Machine,
    link: Link,
    row: Row,
    plan: &'a Plan,
    canary: &'a Canary,
}

/// Returns the rounds of a row, and the reason why there are no more of them, if there is one.
pub async fn play(row: Row, plan: &Plan, canary: &Canary) -> (Vec<Round>, Option<Fault>) {
    let mut rounds = Vec::new();
    let played = all(row, plan, canary, &mut rounds).await;
    (rounds, played.err())
}

async fn all(row: Row, plan: &Plan, canary: &Canary, rounds: &mut Vec<Round>) -> Result<(), Fault> {
    let mut world = World::new(Family::V4).await?;
    let shapes = row.shapes();
    let (source, sink, link) = world.two_unequal(shapes, VERIFYING).await?;
    for (machine, first) in [(&source, FIRST_FLOW), (&sink, FIRST_FLOW + RECEIVERS)] {
        prepare(machine, first).await?;
    }
    probe::verify(&way(&source, &sink)?, &shapes[0]).await?;
    probe::verify(&way(&sink, &source)?, &shapes[1]).await?;
    let stage = Stage { source, sink, link, row, plan, canary };
    let sides = row.sides();
    for (n, seed) in plan.seeds().enumerate() {
        let mut runs = vec![Run::default(); sides.len()];
        // Each side goes first as often as the others.
        for at in (0..sides.len()).map(|at| (at + n) % sides.len()) {
            runs[at] = stage.run(&sides[at], seed).await?;
        }
        rounds.push(Round { seed, runs });
    }
    drop(stage);
    world.end().await
}

/// Gives a machine an address for each flow, and stops its kernel from remembering properties of one flow for the
/// next.
async fn prepare(machine: &Machine, first: u8) -> Result<(), Fault> {
    let addrs = (first..first + FLOWS).map(|last| format!("addr add {}/24 dev {}\n", addr(last), machine.uplink));
    tools::ip(Some(&machine.netns), &addrs.collect::<String>()).await?;
    let forget = || fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1");
    let forgot: io::Result<()> = machine.netns.inside(forget)?;
    forgot.map_err(|error| Fault::lab("a kernel cannot be told to forget", error))
}

fn addr(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, last)
}

impl Stage<'_> {
    /// Plays a run, and plays it again if it was void.
    async fn run(&self, side: &Side, seed: u64) -> Result<Run, Fault> {
        let mut tries = 1;
        loop {
            let run = self.once(side, seed).await?;
            if run.void.is_none() || tries == TRIES {
                return Ok(Run { tries, ..run });
            }
            tries += 1;
        }
    }

    async fn once(&self, side: &Side, seed: u64) -> Result<Run, Fault> {
        let window = self.row.window(self.plan.warm, self.plan.measured);
        let counted = self.link.begin(seed).await?;
        let mut flows = Vec::new();
        for (index, flow) in side.flows.iter().enumerate() {
            flows.push((flow.starts, Playing::prepare(self, flow.kind, index, seed).await?));
        }
        flows.sort_by_key(|(starts, _)| *starts);
        self.link.record();
        let (begun, begun_ns) = (Instant::now(), now_ns());
        for (starts, flow) in &mut flows {
            sleep_until((begun + *starts).into()).await;
            flow.begin().await?;
        }
        sleep_until((begun + window.until).into()).await;
        let record = self.link.recorded().ok_or_else(|| Fault::Lab("the link has recorded nothing".into()))?;
        let ended = Instant::now();
        let mut fetched = Vec::new();
        for (_, flow) in flows {
            fetched.extend(flow.end(begun_ns).await?);
        }
        let accounts = self.link.settle(counted).await?;
        let missing = accounts.iter().zip(self.row.shapes()).find_map(|(account, shape)| account.missing(&shape));
        let woken = self.canary.late(begun, ended);
        let late = (woken > canary::MOST).then(|| format!("{}: the machine woke threads {woken:.1?} late", side.name));
        let mut values = seen::values(&self.row, side, window, &record, &fetched);
        values.insert("woken_late_ms", woken.as_secs_f64() * 1e3);
        Ok(Run { values, series: seen::series(side, window, &record), void: missing.or(late), tries: 1 })
    }
}

/// Both ends of a flow. They are killed when this is dropped.
struct Playing {
    serves: Child<Said>,
    dials: Child<Said>,
    kind: Kind,
}

impl Playing {
    async fn prepare(stage: &Stage<'_>, kind: Kind, index: usize, seed: u64) -> Result<Self, Fault> {
        let source = (&stage.source.netns, addr(seen::flow(index)));
        let sink = (&stage.sink.netns, addr(seen::flow(index) + RECEIVERS));
        let (dials, serves) = if kind.dials_from_the_source() { (source, sink) } else { (sink, source) };
        let start = |(netns, addr): (&Netns, Ipv4Addr), name: &str, to: Option<String>| {
            let config = Config { kind, ours: stage.plan.ours.clone(), addr, to, seed };
            process::start(netns, &format!("{} that {name}", kind.name()), parts::FLOW, &config)
        };
        let mut serves = start(serves, "serves", None)?;
        let name = |said: &Said| match said {
            Said::Serving { name } => Some(name.clone()),
            _ => None,
        };
        let name = process::answer(&mut serves, "a flow that serves", UP, name).await?;
        let mut dials = start(dials, "dials", Some(name))?;
        process::answer(&mut dials, "a flow that is ready", UP, |said| (*said == Said::Ready).then_some(())).await?;
        Ok(Self { serves, dials, kind })
    }

    async fn begin(&mut self) -> Result<(), Fault> {
        Ok(self.dials.tell(&"begin").await?)
    }

    /// Kills both ends. Returns the downloads, or the reason why the flow had ended before.
    async fn end(mut self, begun_ns: u64) -> Result<Vec<Fetched>, Fault> {
        let mut fetched = Vec::new();
        for child in [&mut self.dials, &mut self.serves] {
            while let Some(said) = child.said_already() {
                match said {
                    Said::Fetched { at_ns, ms } => {
                        let at = Duration::from_nanos(at_ns.saturating_sub(begun_ns));
                        fetched.push(Fetched { at, ms });
                    }
                    Said::Broken { why } => return Err(Fault::Not(format!("{} has ended: {why}", self.kind.name()))),
                    Said::Serving { .. } | Said::Ready => {}
                }
            }
        }
        self.dials.kill().await?;
        self.serves.kill().await?;
        Ok(fetched)
    }
}
