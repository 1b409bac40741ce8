//! The end of the chaos: everything ends, everything is counted, and the counts agree.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{task::JoinSet, time::timeout};

use super::{
    PATIENCE,
    play::bounded,
    world::{Life, World},
};
use crate::stream_tester::scale::footprint::until;

/// Time for what is under way when actors stop. Calls that wait for a peer that moved take longer: they are dropped.
const GRACE: Duration = Duration::from_secs(5);
/// Time for a shutdown with nothing under way.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Ends the actors and every endpoint, and compares what is left to compare.
pub async fn settle(world: &Arc<World>) {
    let wrong = |what: &str, seen: String| world.tally.wrong(None, what, seen);
    world.stop.cancel();
    world.tasks.close();
    let mut disturbances = Vec::new();
    if timeout(GRACE, world.tasks.wait()).await.is_err() {
        disturbances.extend((0..world.len()).map(|place| world.pairs.disturb_all(place, "the end")));
        world.give_up.cancel();
        if timeout(PATIENCE * 2, world.tasks.wait()).await.is_err() {
            wrong("the actors", format!("{} of their tasks go on after they were stopped", world.tasks.len()));
        }
    }
    let quiet = until(PATIENCE, || {
        world.tally.handling.load(Relaxed) == 0 && world.books().iter().all(|books| books.open_streams() == 0)
    });
    if !quiet.await {
        let open: Vec<_> = world.books().iter().map(|books| books.open_streams()).filter(|open| *open != 0).collect();
        let handling = world.tally.handling.load(Relaxed);
        wrong("the streams", format!("{handling} handlers go on, and by the counters of endpoints streams {open:?}"));
    }
    shut_down_all(world).await;
    world.acceptors.close();
    if timeout(PATIENCE, world.acceptors.wait()).await.is_err() {
        wrong("accept_bi", format!("{} calls go on after the shutdown", world.acceptors.len()));
    }
    // Endpoints that were dropped may still be closing.
    until(PATIENCE, || world.books().iter().all(|books| books.check(unsure(world, books.name.0)).is_empty())).await;
    for books in world.books() {
        let (place, life) = books.name;
        for seen in books.check(unsure(world, place)) {
            wrong(&format!("endpoint {life} of place {place}"), seen);
        }
    }
    for (plan, seen) in world.ledger.rest() {
        wrong(&plan.map_or_else(|| "requests".into(), |plan| format!("{plan:?}")), seen);
    }
    let (planned, read) = (world.tally.planned_bytes.load(Relaxed), world.tally.read_bytes.load(Relaxed));
    if planned != read {
        wrong("all streams", format!("{planned} bytes were to be read up to an end of data, and {read} were"));
    }
}

fn unsure(world: &World, place: usize) -> u64 {
    world.place(place).unsure.load(Relaxed)
}

async fn shut_down_all(world: &Arc<World>) {
    let mut ending = JoinSet::new();
    for n in 0..world.len() {
        if let Some(life) = world.place(n).take() {
            ending.spawn(async move { (n, bounded(shut_down(life)).await) });
        }
    }
    while let Some(ended) = ending.join_next().await {
        let seen = match ended {
            Ok((_, Ok(None))) => continue,
            Ok((n, Ok(Some(report)))) => format!("place {n}: {report}"),
            Ok((n, Err(_))) => format!("place {n}: it took longer than its bound"),
            Err(error) => error.to_string(),
        };
        world.tally.wrong(None, "the last shutdown", seen);
    }
}

/// With nothing under way nothing is cut.
async fn shut_down(life: Life) -> Option<String> {
    let report = life.endpoint.shutdown(SHUTDOWN).await;
    let clean = (report.cut, report.streams_cut, report.tasks_left) == (0, 0, 0);
    (!clean).then(|| format!("{report:?}"))
}
