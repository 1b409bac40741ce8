//! One link, played: measured first, and then given to each library in turn, with the same seeds.

use std::time::Duration;

use tokio::time::timeout;

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
        parts,
        process::Process,
        world::{Family, Machine, World, way},
    },
};

/// How long an end may take to start.
const UP: Duration = Duration::from_secs(10);
/// What a link is measured with before it is used. The seeds of the loads are others.
const VERIFYING: u64 = 1;

/// What one turn came to: every library over the link with one seed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Turn {
    pub(super) seed: u64,
    /// As [`Library::ALL`] has them.
    pub(super) loads: [Loads; 3],
    /// A file from `sender` to `receiver`, in 10^6 bytes a second.
    pub(super) file: Option<f64>,
    /// Why it shows nothing: a link that lost packets of its own or was late, or a machine that others kept busy.
    pub(super) void: Vec<String>,
    /// Of all packets in both directions, the one that was given the latest, in milliseconds; and the largest share that was
    /// late.
    pub(super) latest_ms: f64,
    pub(super) late_share: f64,
}

/// The turns of a link, and why there are no more of them.
pub(super) async fn play(link: Link, plan: &Plan) -> (Vec<Turn>, Option<Fault>) {
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

/// What came before is no load's.
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

/// The loads of one library, with processes of their own.
async fn loads(library: Library, a: &Machine, b: &Machine, lasting: Duration) -> Result<Loads, Fault> {
    let config = |machine: &Machine, peer: Option<String>| -> Result<Config, Fault> {
        let addr = machine.v4.ok_or_else(|| Fault::Lab("an end without an address".into()))?;
        Ok(Config { library, addr, peer, ms: u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX) })
    };
    let mut server: Process<Said> = Process::start(&b.netns, "the end that serves", parts::END, &config(b, None)?)?;
    let name = match timeout(UP, server.next()).await {
        Ok(Ok(Said::Serving { name })) => name,
        Ok(Ok(other)) => return Err(Fault::Lab(format!("an end says {other:?}"))),
        Ok(Err(fault)) => return Err(fault),
        Err(_) => return Err(Fault::Late { what: "an end that serves".into(), after: UP }),
    };
    let config = config(a, Some(name))?;
    let mut client: Process<Said> = Process::start(&a.netns, "the end that dials", parts::END, &config)?;
    // Bulk, and what is before and after it, on a link on which everything takes several tries.
    let bound = lasting + Duration::from_secs(60);
    let loads = match timeout(bound, client.next()).await {
        Ok(Ok(Said::Loads(loads))) => loads,
        Ok(Ok(other)) => return Err(Fault::Lab(format!("an end says {other:?}"))),
        Ok(Err(fault)) => return Err(fault),
        Err(_) => return Err(Fault::Late { what: format!("the loads of {}", library.name()), after: bound }),
    };
    client.end().await?;
    server.end().await?;
    Ok(loads)
}
