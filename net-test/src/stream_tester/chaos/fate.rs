//! Fates: they restart endpoints, ban peers and close connections.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use twolane::StreamOptions;

use super::{
    PATIENCE,
    orders::{Blow, Dealer, Draft, Fate},
    plan::{End, Part},
    play::bounded,
    serve::HANDLED,
    talk::{number_of, plan},
    tally::Action,
    world::{Ended, World},
};

/// Time for what is under way in a shutdown with a deadline: streams take milliseconds.
const IN_TIME: Duration = Duration::from_secs(5);

/// Acts until it is told to stop.
pub async fn rule(world: Arc<World>, actor: usize, mean_us: u64) {
    let mut dealer = Dealer::new(world.seed, actor, world.len());
    for number in 0u64.. {
        let (wait, blow) = (dealer.wait_us(mean_us), dealer.blow());
        tokio::select! {
            () = sleep(Duration::from_micros(wait)) => {}
            () = world.stop.cancelled() => return,
        }
        let acting = Arc::clone(&world);
        world.tasks.spawn(async move {
            match blow.fate {
                Fate::ShutDownInTime | Fate::ShutDownNow | Fate::DropEndpoint => restart(&acting, actor, blow).await,
                Fate::Ban => ban(&acting, actor, blow, number_of(actor, number)).await,
                Fate::Close => close(&acting, blow).await,
            }
        });
    }
}

async fn restart(world: &Arc<World>, actor: usize, blow: Blow) {
    let place = world.place(blow.place);
    // One restart of a place at a time.
    let Ok(_restarting) = place.restart.try_lock() else {
        return;
    };
    let (what, action) = match blow.fate {
        Fate::ShutDownInTime => ("a shutdown in time", Action::ShutDownInTime),
        Fate::ShutDownNow => ("a shutdown without time", Action::ShutDownNow),
        _ => ("a dropped endpoint", Action::DropEndpoint),
    };
    let disturbance = world.pairs.disturb_all(blow.place, what);
    let Some(life) = place.take() else {
        return;
    };
    let wrong = |seen: String| world.tally.wrong(Some(actor), format!("{blow:?}"), seen);
    if blow.fate == Fate::DropEndpoint {
        if !life.end(PATIENCE).await {
            wrong("calls that were dropped hold the endpoint".into());
        }
    } else {
        let deadline = if blow.fate == Fate::ShutDownInTime { IN_TIME } else { Duration::ZERO };
        match bounded(life.endpoint.shutdown(deadline)).await {
            Ok(report) if report.tasks_left == 0 => {}
            Ok(report) => wrong(format!("handlers went on after the shutdown: {report:?}")),
            Err(_) => wrong("the shutdown took longer than its bound".into()),
        }
        drop(life);
    }
    if let Err(error) = world.revive(blow.place).await {
        return wrong(format!("no new endpoint: {error}"));
    }
    drop(disturbance);
    world.tally.done(action);
    world.tally.done(Action::Restart);
}

async fn ban(world: &World, actor: usize, blow: Blow, id: u64) {
    let (list, banned) = (&world.place(blow.place).list, world.place(blow.other).id);
    let disturbance = world.pairs.disturb(blow.place, blow.other, "a ban");
    // Another fate may have banned it.
    if !list.deny(banned) {
        return;
    }
    world.ban(blow.place, blow.other);
    probe(world, actor, blow, id).await;
    tokio::select! {
        () = sleep(Duration::from_millis(blow.hold_ms)) => {}
        () = world.stop.cancelled() => {}
    }
    world.lift(blow.place, blow.other);
    list.forget(&banned);
    drop(disturbance);
    world.tally.done(Action::Unban);
}

/// Whoever is banned tries.
async fn probe(world: &World, actor: usize, blow: Blow, id: u64) {
    let Some(held) = world.hold(blow.other) else {
        return;
    };
    let nothing = Part { len: 0, piece: 1, warnings: 0, end: End::Finish };
    let draft = Draft {
        to: blow.place,
        accepted: false,
        opener: nothing,
        acceptor: nothing,
        echo: false,
        early: 0,
        cancel_reads: false,
        pause_ms: 0,
    };
    let plan = plan(world, blow.other, id, &draft);
    let options = StreamOptions { metadata: plan.encode(), ..StreamOptions::default() };
    let opening = held.endpoint.get_stream_with(world.place(blow.place).ticket(), HANDLED, options);
    let ended = held.call(opening).await;
    held.books.bounds().opened.add_between(0, 1);
    match ended {
        Ended::With(Ok(_)) => world.tally.wrong(Some(actor), format!("{blow:?}"), "a peer that is denied got a stream"),
        Ended::With(Err(_)) => world.tally.done(Action::Ban),
        Ended::Left | Ended::Hung => {}
    }
}

async fn close(world: &World, blow: Blow) {
    let Some(held) = world.hold(blow.place) else {
        return;
    };
    let disturbance = world.pairs.disturb(blow.place, blow.other, "a closed connection");
    if let Ended::With(Ok(connection)) = held.call(held.endpoint.connect(world.place(blow.other).ticket())).await {
        connection.close("a part of the chaos");
        world.tally.done(Action::Close);
    }
    drop(disturbance);
}
