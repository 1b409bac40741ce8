//! Measures a hub with up to thousands of peers, and the cost of each peer, compared with raw iroh.

pub mod crowd;

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use serde::Serialize;
use tokio::time::sleep;

use self::crowd::{Ask, Process, Used, datagrams};
use super::{Broken, ours::Ours, raw::Raw, side::Side};
use crate::{
    busy::Watch,
    compare::{Better, Row, in_turns},
    conditions::Conditions,
    figures::table::figure,
    output::Output,
    report::{self, columns, milliseconds, number},
};

/// The number of peers that connect at the same time. More would wait for a processor of this machine.
const AT_A_TIME: usize = 16;
/// The time after which the first probes of new connections and path MTU discovery are over.
const SETTLED: Duration = Duration::from_secs(6);
/// The time for which the peers are idle. A keep-alive comes every 5 s.
const IDLE: Duration = Duration::from_secs(30);
/// A status page looks at all connections for so long, once a second.
const WATCHED: Duration = Duration::from_secs(5);
const REQUESTS: [(&str, usize); 3] = [("requests-1", 1), ("requests-64", 64), ("requests-512", 512)];
const SLICE: Duration = Duration::from_secs(2);
/// Maximum time for a shutdown.
const END: Duration = Duration::from_secs(10);
/// The time between killing the peers and the shutdown of the hub.
const DEAD: Duration = Duration::from_secs(1);
/// The two numbers of peers between which growth is measured. The growth is compared with that of raw iroh.
const GROWTH: (usize, usize) = (100, 3_000);

const AFTER: &str = "\
A ratio is twolane's over raw iroh's, the median of those of the rounds: over 1 is better where more is better, and worse where
less is. A hub is a process, and its peers are another one; the sides take turns, and while one is there nothing of the other is.
An idle peer's processor time and wakes are those of the whole process, by the peer; `watched` is the same while a program subscribes
to events and asks for all peers and the endpoint's status once a second. Growth is a figure with 3,000 peers over that
with 100. The datagrams are all that this machine sends.

Examples:
  speed many
  speed many --peers 10 100 --rounds 1
  speed many --json

";

/// Measure a hub with many peers beside raw iroh
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER)]
pub struct Many {
    /// The numbers of peers
    #[arg(long, value_name = "N", num_args = 1.., default_values_t = [10, 100, 1_000, 3_000], value_parser = peers)]
    peers: Vec<usize>,

    /// How often each number of peers is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,

    /// For how many seconds they are idle
    #[arg(long, value_name = "SECONDS", default_value_t = IDLE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    idle: u64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,

    /// Be the hub of one side
    #[arg(long, hide = true, value_name = "SIDE")]
    hub: Option<String>,

    /// Be peers of this hub
    #[arg(long, hide = true, value_name = "ADDRESS", requires = "of")]
    peers_of: Option<String>,

    /// The side of these peers
    #[arg(long, hide = true, value_name = "SIDE")]
    of: Option<String>,
}

fn peers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=6_000) => Ok(count),
        _ => Err("not a number from 1 to 6000".to_owned()),
    }
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Row(&'a Figure),
    Summary { rows: usize, void: usize, ms: u64 },
}

/// A row.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    name: &'static str,
    peers: usize,
    unit: &'static str,
    better: Better,
    /// The median of twolane over the rounds. The next field is that of raw iroh.
    ours: f64,
    raw: f64,
    /// The median of the ratios of the rounds.
    ratio: f64,
    /// The smallest ratio of a round. The next field is the largest.
    low: f64,
    high: f64,
    rounds: usize,
    /// The reason why the row is void, if it is.
    void: Option<String>,
}

impl Many {
    pub fn is_json(&self) -> bool {
        self.json
    }
}

pub async fn run(many: &Many, output: Output) -> Result<(), Broken> {
    match (many.hub.as_deref(), many.peers_of.as_deref(), many.of.as_deref()) {
        (Some(Ours::NAME), ..) => return crowd::hub::<Ours>().await,
        (Some(_), ..) => return crowd::hub::<Raw>().await,
        (None, Some(hub), Some(Ours::NAME)) => return crowd::peers::<Ours>(hub).await,
        (None, Some(hub), _) => return crowd::peers::<Raw>(hub).await,
        (None, None, _) => {}
    }
    let settings = [(Ours::NAME, Ours::settings()), (Raw::NAME, Raw::settings())];
    let settings = settings.map(|(side, settings)| (side.to_owned(), settings));
    Conditions::of("speed many", settings.into()).tell(output);
    output.say(format_args!("{}", columns(WIDTHS, HEADS)));
    let began = std::time::Instant::now();
    let mut figures = Vec::new();
    for peers in &many.peers {
        let mut watch = Watch::start();
        let idle = Duration::from_secs(many.idle);
        let seen = in_turns(
            many.rounds.into(),
            async || one::<Ours>(*peers, idle).await,
            async || one::<Raw>(*peers, idle).await,
        );
        let seen: Vec<(Seen, Seen)> = seen.await?;
        let void = watch.as_mut().and_then(Watch::lap);
        for (name, unit, better) in NAMES {
            let turns: Vec<_> = seen.iter().map(|(ours, raw)| (ours[name], raw[name])).collect();
            let mut figure = Figure::new(name, *peers, unit, better, &turns);
            figure.void.clone_from(&void);
            tell(output, &figure);
            figures.push((figure, turns));
        }
    }
    let growth = grown(&figures);
    for figure in &growth {
        tell(output, figure);
    }
    let rows = figures.len() + growth.len();
    let void = figures.iter().map(|(figure, _)| figure).chain(&growth).filter(|figure| figure.void.is_some()).count();
    output.say(format_args!("{rows} rows, of which others disturbed {void}"));
    report::event(output, Event::Summary { rows, void, ms: milliseconds(began.elapsed()) });
    Ok(())
}

const WIDTHS: &[isize] = &[-24, 6, 12, 12, -8, 7, -14];
const HEADS: [&str; 7] = ["", "peers", "twolane", "raw iroh", "unit", "ratio", "of the rounds"];

fn tell(output: Output, figure: &Figure) {
    let cells = [
        figure.name.to_owned(),
        figure.peers.to_string(),
        self::figure(figure.ours),
        self::figure(figure.raw),
        figure.unit.to_owned(),
        number(Some(figure.ratio), 2),
        format!("{:.2} to {:.2}", figure.low, figure.high),
        figure.void.as_ref().map(|why| format!("void: {why}")).unwrap_or_default(),
    ];
    output.say(format_args!("{}", columns(WIDTHS, cells)));
    report::event(output, Event::Row(figure));
}

/// The figures, in the order of their measurement: the name, the unit, and which direction is better.
const NAMES: [(&str, &str, Better); 15] = [
    ("connects", "1/s", Better::Higher),
    ("memory-hub", "kB", Better::Lower),
    ("memory-peer", "kB", Better::Lower),
    ("idle-cpu-hub", "us/s", Better::Lower),
    ("idle-cpu-peer", "us/s", Better::Lower),
    ("idle-wakes-hub", "1/s", Better::Lower),
    ("idle-wakes-peer", "1/s", Better::Lower),
    ("idle-datagrams", "1/s", Better::Lower),
    ("watched-cpu-hub", "us/s", Better::Lower),
    ("requests-1", "1/s", Better::Higher),
    ("requests-64", "1/s", Better::Higher),
    ("requests-512", "1/s", Better::Higher),
    ("request-datagrams", "", Better::Lower),
    ("end-alive", "ms", Better::Lower),
    ("end-dead", "ms", Better::Lower),
];

impl Figure {
    fn new(name: &'static str, peers: usize, unit: &'static str, better: Better, turns: &[(f64, f64)]) -> Self {
        // With `Better::Lower`, `Row` would invert the ratio. A ratio here is always twolane's value over raw iroh's.
        let row = Row::new(name, unit, Better::Higher, Raw::NAME, turns);
        let ratios = || turns.iter().map(|(ours, raw)| ours / raw);
        Self {
            name,
            peers,
            unit,
            better,
            ours: row.ours,
            raw: row.theirs,
            ratio: row.advantage.unwrap_or(f64::INFINITY),
            low: ratios().fold(f64::INFINITY, f64::min),
            high: ratios().fold(0.0, f64::max),
            rounds: turns.len(),
            void: None,
        }
    }
}

/// Returns the growth of each figure: its value with the larger number of peers over that with the smaller one.
fn grown(figures: &[(Figure, Vec<(f64, f64)>)]) -> Vec<Figure> {
    let at = |peers: usize| figures.iter().filter(move |(figure, _)| figure.peers == peers);
    let pairs = at(GROWTH.1).filter_map(|many| Some((at(GROWTH.0).find(|few| few.0.name == many.0.name)?, many)));
    let grown = pairs.map(|(few, many)| {
        let turns: Vec<_> = few.1.iter().zip(&many.1).map(|(few, many)| (many.0 / few.0, many.1 / few.1)).collect();
        let mut figure = Figure::new(many.0.name, many.0.peers, "growth", many.0.better, &turns);
        figure.void = many.0.void.clone().or_else(|| few.0.void.clone());
        figure
    });
    grown.collect()
}

type Seen = BTreeMap<&'static str, f64>;

/// Measures a hub of one side and its peers, from the first connection to the shutdown. No process of the other side
/// exists meanwhile.
async fn one<S: Side>(peers: usize, idle: Duration) -> Result<Seen, Broken> {
    let each = peers as f64;
    let (mut hub, address) = Process::hub::<S>().await?;
    let mut crowd = Process::peers::<S>(&address)?;
    let mut seen = Seen::new();

    // This measurement comes before `Bind`, so the memory of the peers' endpoints counts as memory of the peers,
    // whatever they are connected to.
    let (alone, bare) = (hub.used().await?, crowd.used().await?);
    crowd.ask(Ask::Bind(peers)).await?;
    seen.insert("connects", crowd.number(Ask::Connect(AT_A_TIME)).await?);
    sleep(SETTLED).await;
    let before = (hub.used().await?, crowd.used().await?, datagrams()?);
    let grown = |now: Used, then: Used| now.usage.resident.saturating_sub(then.usage.resident) as f64 / 1e3 / each;
    seen.insert("memory-hub", grown(before.0, alone));
    seen.insert("memory-peer", grown(before.1, bare));

    sleep(idle).await;
    let (hubs, crowds, sent) = (hub.used().await?, crowd.used().await?, datagrams()?);
    let seconds = idle.as_secs_f64() * each;
    let cpu = |now: Used, then: Used| (now.usage.cpu - then.usage.cpu) * 1e6 / seconds;
    let wakes = |now: Used, then: Used| now.wakes.saturating_sub(then.wakes) as f64 / seconds;
    seen.insert("idle-cpu-hub", cpu(hubs, before.0));
    seen.insert("idle-cpu-peer", cpu(crowds, before.1));
    seen.insert("idle-wakes-hub", wakes(hubs, before.0));
    seen.insert("idle-wakes-peer", wakes(crowds, before.1));
    seen.insert("idle-datagrams", (sent - before.2) as f64 / seconds);

    let (before, watched) = (hub.used().await?, hub.watch(WATCHED).await?);
    if watched != peers {
        return Err(Broken::msg(format!("{watched} of {peers} connections were seen")));
    }
    let cpu = hub.used().await?.usage.cpu - before.usage.cpu;
    seen.insert("watched-cpu-hub", cpu * 1e6 / (WATCHED.as_secs_f64() * each));

    for (name, in_flight) in REQUESTS {
        let sent = datagrams()?;
        let rate = crowd.number(Ask::Requests(in_flight, SLICE)).await?;
        seen.insert(name, rate);
        if in_flight == 1 {
            seen.insert("request-datagrams", (datagrams()? - sent) as f64 / (rate * SLICE.as_secs_f64()));
        }
    }

    seen.insert("end-alive", hub.number(Ask::End(END)).await? * 1e3);
    crowd.number(Ask::End(END)).await?;
    seen.insert("end-dead", dead::<S>(peers).await? * 1e3);
    Ok(seen)
}

/// Returns the time in which a hub shuts down after all its peers were killed, in seconds.
async fn dead<S: Side>(peers: usize) -> Result<f64, Broken> {
    let (mut hub, address) = Process::hub::<S>().await?;
    let mut crowd = Process::peers::<S>(&address)?;
    crowd.ask(Ask::Bind(peers)).await?;
    crowd.number(Ask::Connect(AT_A_TIME)).await?;
    sleep(SETTLED).await;
    crowd.kill().await?;
    sleep(DEAD).await;
    hub.number(Ask::End(END)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_the_rounds_and_growth_is_held_against_growth() {
        let row = |peers, turns: &[(f64, f64)]| {
            (Figure::new("connects", peers, "1/s", Better::Higher, turns), turns.to_vec())
        };
        let few = row(100, &[(10.0, 10.0), (20.0, 10.0), (30.0, 10.0)]);
        assert_eq!((few.0.ours, few.0.raw, few.0.ratio, few.0.low, few.0.high), (20.0, 10.0, 2.0, 1.0, 3.0));
        let many = row(3_000, &[(20.0, 10.0), (40.0, 10.0), (60.0, 5.0)]);
        let grown = grown(&[few.clone(), row(10, &[(1.0, 1.0)]), many]);
        assert_eq!(grown.len(), 1);
        assert_eq!((grown[0].ours, grown[0].raw, grown[0].ratio, grown[0].unit), (2.0, 1.0, 2.0, "growth"));
        assert!(super::grown(&[few]).is_empty());
    }

    #[tokio::test]
    async fn every_name_has_a_row_and_no_other() {
        let named: std::collections::BTreeSet<_> = NAMES.iter().map(|(name, ..)| *name).collect();
        assert_eq!(named.len(), NAMES.len());
        assert!(REQUESTS.iter().all(|(name, _)| named.contains(name)));
    }
}
