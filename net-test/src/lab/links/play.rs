//! One link: a world for each library, made the same.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    end::{Config, Said},
    file,
    library::Library,
    load::Loads,
    report::Row,
    table::Link,
};
use crate::lab::{
    fault::Fault,
    parts,
    process::Process,
    world::{Family, Machine, World},
};

/// How long an end may take to start.
const UP: Duration = Duration::from_secs(10);
/// Both libraries meet the same losses.
const SEED: u64 = 21;

/// Up to so many Mbit/s both libraries are measured at the same time, each on a link of its own: two processors hardly
/// notice. On faster ones they take turns, since together they would wait for the processor.
const AT_ONCE_MBIT: u64 = 10;

pub(super) async fn play(link: Link, lasting: Duration) -> Row {
    let mut row = Row::of(link);
    if let Err(fault) = fill(&mut row, link, lasting).await {
        row.fail(fault.to_string());
    }
    row.judge(link.promise());
    row
}

async fn fill(row: &mut Row, link: Link, lasting: Duration) -> Result<(), Fault> {
    if link.mbit <= AT_ONCE_MBIT {
        let (raw, ours) = tokio::join!(one(Library::Raw, link, lasting), one(Library::Ours, link, lasting));
        (row.raw, row.ours) = (Some(raw?), Some(ours?));
    } else {
        row.raw = Some(one(Library::Raw, link, lasting).await?);
        row.ours = Some(one(Library::Ours, link, lasting).await?);
    }
    if link.promise().file.is_some() {
        row.file = Some(file::rate(link, SEED).await?);
    }
    Ok(())
}

async fn one(library: Library, link: Link, lasting: Duration) -> Result<Loads, Fault> {
    let mut world = World::new(Family::V4).await?;
    let (a, b, wire) = world.two_on_a_link(link.shape(), SEED).await?;
    let config = |machine: &Machine, peer: Option<String>| -> Result<Config, Fault> {
        let addr = machine.v4.ok_or_else(|| Fault::Lab("an end without an address".into()))?;
        Ok(Config { library, addr, peer, ms: u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX) })
    };
    let mut server: Process<Said> = Process::start(&b.netns, "the end that serves", parts::END, &config(&b, None)?)?;
    let name = match timeout(UP, server.next()).await {
        Ok(Ok(Said::Serving { name })) => name,
        Ok(Ok(other)) => return Err(Fault::Lab(format!("an end says {other:?}"))),
        Ok(Err(fault)) => return Err(fault),
        Err(_) => return Err(Fault::Late { what: "an end that serves".into(), after: UP }),
    };
    let mut client: Process<Said> =
        Process::start(&a.netns, "the end that dials", parts::END, &config(&a, Some(name))?)?;
    // Three loads, what is between them, and a link on which everything takes several tries.
    let bound = lasting * 4 + Duration::from_secs(60);
    let loads = match timeout(bound, client.next()).await {
        Ok(Ok(Said::Loads(loads))) => loads,
        Ok(Ok(other)) => return Err(Fault::Lab(format!("an end says {other:?}"))),
        Ok(Err(fault)) => return Err(fault),
        Err(_) => return Err(Fault::Late { what: "the end of the loads".into(), after: bound }),
    };
    drop((server, client));
    let (there, shape) = (wire.there(), link.shape());
    // What a library made of losses counts only if there were some.
    let expected = shape.loss * there.packets as f64;
    if expected > 20.0 && (there.lost as f64) < expected / 2.0 {
        return Err(Fault::Lab(format!("the link lost {} packets of {}", there.lost, there.packets)));
    }
    drop(wire);
    world.end().await?;
    Ok(loads)
}
