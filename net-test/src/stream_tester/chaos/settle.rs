//! The end of a chaos run: ends everything, and checks that the counts agree.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{task::JoinSet, time::timeout};

use super::{
    PATIENCE,
    cause::{self, Cause},
    orders::Fate,
    play::bounded,
    recovery::roll_call,
    world::{Life, World},
};
use crate::stream_tester::scale::footprint::until;

/// Maximum time for calls in progress when the actors stop. Calls that wait for a peer that moved take longer, and
/// are dropped.
const GRACE: Duration = Duration::from_secs(5);
/// Maximum time for a shutdown when nothing is open.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// The minimum share of connected peers for which `on_connect` was called. It is not called for peers that come and
/// go during another call. 0.97 and more were measured.
const TOLD: f64 = 0.5;

/// Ends the actors and every endpoint, and compares the counts.
pub async fn settle(world: &Arc<World>) {
    let wrong = |what: &str, seen: String| world.tally.wrong(None, what, seen);
    world.stop.cancel();
    world.tasks.close();
    if timeout(GRACE, world.tasks.wait()).await.is_err() {
        let giving_up: Vec<_> =
            (0..world.places()).map(|place| world.pairs.disturb_all(place, Cause::GivingUp)).collect();
        world.give_up();
        if timeout(PATIENCE * 2, world.tasks.wait()).await.is_err() {
            wrong("the actors", format!("{} of their tasks go on after they were stopped", world.tasks.len()));
        }
        drop(giving_up);
    }
    roll_call(world).await;
    if !quiet(world).await {
        let open: Vec<_> = world.books().iter().map(|books| books.open_streams()).filter(|open| *open != 0).collect();
        let handling = world.tally.handling.load(Relaxed);
        wrong("the streams", format!("{handling} handlers go on, and by the counters of endpoints streams {open:?}"));
    }
    let last: Vec<_> =
        (0..world.places()).map(|place| world.pairs.disturb_all(place, Cause::Fate(Fate::ShutDownInTime))).collect();
    shut_down_all(world).await;
    world.acceptors.close();
    if timeout(PATIENCE, world.acceptors.wait()).await.is_err() {
        wrong("accept_bi", format!("{} calls go on after the shutdown", world.acceptors.len()));
    }
    close_books(world).await;
    drop(last);
}

/// Waits until nothing is in progress. Returns false if something goes on.
pub async fn quiet(world: &World) -> bool {
    until(PATIENCE, || {
        world.tally.handling.load(Relaxed) == 0 && world.books().iter().all(|books| books.open_streams() == 0)
    })
    .await
}

/// Compares and forgets all streams, and all endpoints that are gone. Must be called when nothing is in progress.
pub async fn close_books(world: &World) {
    let wrong = |what: &str, seen: String| world.tally.wrong(None, what, seen);
    let gone = world.retire();
    // Endpoints that were dropped may still be closing.
    until(PATIENCE, || gone.iter().all(|books| books.check().is_empty())).await;
    for books in &gone {
        match timeout(PATIENCE, books.seen()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => wrong("the watch of the hooks", error.to_string()),
            Err(_) => wrong("the events", format!("they of an endpoint that is gone do not end: {:?}", books.name)),
        }
    }
    let (mut told, mut connected) = (0, 0);
    for books in &gone {
        let (place, life) = books.name;
        for seen in books.check() {
            wrong(&format!("endpoint {life} of place {place}"), seen);
        }
        for (peer, lost) in books.losses() {
            let causes = world.place_of(&peer).map(|other| world.pairs.history(place, other)).unwrap_or_default();
            if !cause::lost(&causes, &lost) {
                let what = format!("on_disconnect of endpoint {life} of place {place}");
                wrong(&what, format!("{peer} was lost with {lost:?}, and {causes:?} do not explain that"));
            }
        }
        let [calls, peers] = books.told();
        (told, connected) = (told + calls, connected + peers);
    }
    if (told as f64) < connected as f64 * TOLD {
        wrong("the hooks", format!("on_connect was called {told} times for {connected} peers"));
    }
    for (plan, seen) in world.ledger.rest() {
        wrong(&plan.map_or_else(|| "requests".into(), |plan| format!("{plan:?}")), seen);
    }
}

async fn shut_down_all(world: &Arc<World>) {
    let mut ending = JoinSet::new();
    for n in 0..world.places() {
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

/// Shuts an endpoint down when nothing is open. Returns the report if the shutdown cut anything.
async fn shut_down(life: Life) -> Option<String> {
    let report = life.endpoint.shutdown(SHUTDOWN).await;
    let clean = (report.cut, report.silent, report.streams_cut, report.tasks_left) == (0, 0, 0, 0);
    (!clean).then(|| format!("{report:?}"))
}
