//! Plays one link: measures it first, and then lets each library use it in turn, with the same seeds.

use std::time::Duration;

use super::{
    Plan,
    end::{Config, Library, Said},
    file,
    load::Loads,
    table::Link,
};
use crate::{
    busy::Watch,
    lab::{
        fault::Fault,
        link::{Account, Begun, Link as Wire, probe},
        parts, process,
        world::{Family, Machine, World, way},
    },
    report::milliseconds,
};

const UP: Duration = Duration::from_secs(10);
/// The seed for measuring the link before it is used. The loads have other seeds.
const VERIFYING: u64 = 1;

/// The results of all libraries over the link with one seed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Turn {
    pub seed: u64,
    /// The loads, in the order of [`Library::ALL`].
    pub loads: [Loads; 3],
    /// The rate of a file from `sender` to `receiver`, in 10^6 bytes per second.
    pub file: Option<f64>,
    /// The reasons why the turn is void: the link was late or lost packets that the model did not drop, or other
    /// processes kept the machine busy.
    pub void: Vec<String>,
    /// The delay of the latest packet of both directions. The next field is the larger share of late packets.
    pub latest_ms: f64,
    pub late_share: f64,
}

/// Returns the turns of a link, and the reason why there are no more of them, if there is one.
pub async fn play(link: Link, plan: &Plan) -> (Vec<Turn>, Option<Fault>) {
    let mut turns = Vec::new();
    let played = all(link, plan, &mut turns).await;
    (turns, played.err())
}

async fn all(link: Link, plan: &Plan, turns: &mut Vec<Turn>) -> Result<(), Fault> {
    let shape = link.shape();
    let mut world = World::new(Family::V4).await?;
    let (a, b, wire) = world.two_unverified(shape, VERIFYING).await?;
    probe::verify(&way(&a, &b)?, &shape).await?;
    probe::verify(&way(&b, &a)?, &shape).await?;
    let file = if link.promise().file.is_some() { Some(file::Sent::new(link)?) } else { None };
    let mut watch = Watch::start();
    for (round, seed) in plan.seeds().enumerate() {
        let mut turn = Turn { seed, ..Turn::default() };
        // Each library goes first as often as the others.
        for at in 0..Library::ALL.len() {
            let at = (at + round) % Library::ALL.len();
            let library = Library::ALL[at];
            let begun = begin(&wire, &mut watch, seed).await?;
            turn.loads[at] = loads(library, &a, &b, plan.lasting).await?;
            turn.account(library.name(), &wire.settle(begun).await?, link, &mut watch);
        }
        if let Some(file) = &file {
            let begun = begin(&wire, &mut watch, seed).await?;
            turn.file = Some(file.rate(&a, &b).await?);
            turn.account("the file", &wire.settle(begun).await?, link, &mut watch);
        }
        turns.push(turn);
    }
    drop::<Wire>(wire);
    world.end().await
}

async fn begin(wire: &Wire, watch: &mut Option<Watch>, seed: u64) -> Result<Begun, Fault> {
    watch.as_mut().and_then(Watch::lap);
    wire.begin(seed).await
}

impl Turn {
    fn account(&mut self, whose: &str, accounts: &[Account; 2], link: Link, watch: &mut Option<Watch>) {
        let shape = link.shape();
        for (account, way) in accounts.iter().zip(["there", "back"]) {
            self.latest_ms = self.latest_ms.max(account.given.latest.as_secs_f64() * 1e3);
            self.late_share = self.late_share.max(account.given.late_share());
            self.void.extend(account.fault(&shape).map(|why| format!("{whose}, {way}: {why}")));
        }
        self.void.extend(watch.as_mut().and_then(Watch::lap).map(|why| format!("{whose}: {why}")));
    }
}

/// Measures the loads of one library, with processes of their own.
async fn loads(library: Library, a: &Machine, b: &Machine, lasting: Duration) -> Result<Loads, Fault> {
    let start = |machine: &Machine, name: &str, peer: Option<String>| {
        let config = Config { library, addr: machine.addr()?, peer, ms: milliseconds(lasting) };
        process::start(&machine.netns, name, parts::END, &config)
    };
    let mut server = start(b, "the end that serves", None)?;
    let name = |said: &Said| match said {
        Said::Serving { name } => Some(name.clone()),
        Said::Loads(_) => None,
    };
    let name = process::answer(&mut server, "an end that serves", UP, name).await?;
    let mut client = start(a, "the end that dials", Some(name))?;
    // The time for bulk data, and for the loads before and after it on a link on which everything takes several
    // tries.
    let bound = lasting + Duration::from_secs(60);
    let loads = |said: &Said| match said {
        Said::Loads(loads) => Some(*loads),
        Said::Serving { .. } => None,
    };
    let loads = process::answer(&mut client, &format!("the loads of {}", library.name()), bound, loads).await?;
    client.end(process::END).await?;
    server.end(process::END).await?;
    Ok(loads)
}
