//! The fates: actors that restart endpoints, ban peers and close connections.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use twolane::StreamOptions;

use super::{
    PATIENCE,
    cause::{self, CLOSE_WORDS, Cause},
    judge,
    orders::{Blow, Dealer, Fate, neighbours},
    plan::number_of,
    play::bounded,
    recovery,
    serve::HANDLED,
    shutdown::shut_down,
    talk::plan,
    tally::{Action, Kind},
    world::{Ended, World},
};

/// Maximum time for open streams in a shutdown with a deadline. They take milliseconds.
const IN_TIME: Duration = Duration::from_secs(5);

pub async fn rule(world: Arc<World>, actor: usize, mean_us: u64) {
    let mut dealer = Dealer::new(world.seed, actor, world.places());
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
                Fate::Close => close(&acting, actor, blow).await,
            }
        });
    }
}

/// Ends the endpoint of a place, and gives the place another endpoint with the same key.
pub async fn restart(world: &Arc<World>, actor: usize, blow: Blow) {
    let place = world.place(blow.place);
    // A place is restarted only once at a time.
    let Ok(_restarting) = place.restart.try_lock() else {
        return;
    };
    let action = match blow.fate {
        Fate::ShutDownInTime => Action::ShutDownInTime,
        Fate::ShutDownNow => Action::ShutDownNow,
        _ => Action::DropEndpoint,
    };
    let near = neighbours(world.places(), blow.place);
    let calm = near.iter().all(|n| world.pairs.calm(blow.place, *n) && world.pairs.calm(*n, blow.place));
    let disturbance = world.pairs.disturb_all(blow.place, Cause::Fate(blow.fate));
    let epochs = || near.iter().map(|n| world.pairs.sight(blow.place, *n).epoch).collect::<Vec<_>>();
    let before = epochs();
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
        match bounded(shut_down(&life.endpoint, deadline)).await {
            Ok((report, left @ 1..)) => wrong(format!("{left} tasks went on after the shutdown: {report:?}")),
            // If nothing else disturbed the neighbours, their streams had all the time that they needed.
            Ok((report, _)) if blow.fate == Fate::ShutDownInTime && calm && epochs() == before => {
                if (report.cut, report.silent, report.streams_cut) == (0, 0, 0) {
                    world.tally.done(Action::Drained);
                } else {
                    wrong(format!("a shutdown in time, with all neighbours calm, cut streams: {report:?}"));
                }
            }
            Ok(_) => {}
            Err(_) => wrong("the shutdown took longer than its bound".into()),
        }
        drop(life);
    }
    if let Err(error) = world.revive(blow.place).await {
        return wrong(format!("no new endpoint: {error}"));
    }
    drop(disturbance);
    recovery::watch(world, blow.place, &near);
    world.tally.done(action);
    world.tally.done(Action::Restart);
}

async fn ban(world: &Arc<World>, actor: usize, blow: Blow, id: u64) {
    let (list, banned) = (&world.place(blow.place).list, world.place(blow.other).id);
    let disturbance = world.pairs.disturb(blow.place, blow.other, Cause::Fate(Fate::Ban));
    // Another fate may have banned the peer already.
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
    recovery::watch(world, blow.place, &[blow.other]);
    world.tally.done(Action::Unban);
}

/// Lets the banned peer try to open a stream.
async fn probe(world: &World, actor: usize, blow: Blow, id: u64) {
    let Some(held) = world.hold(blow.other) else {
        return;
    };
    let plan = plan(world, blow.other, id, &recovery::draft(blow.place));
    let options = StreamOptions { metadata: plan.encode(), ..StreamOptions::default() };
    let opening = held.endpoint.get_stream_with(world.place(blow.place).ticket(), HANDLED, options);
    let ended = held.call(opening).await;
    held.books.bounds().opened.add_between(0, 1);
    let causes = world.pairs.causes(blow.place, blow.other, plan.sight);
    let wrong = |seen: &str| world.tally.wrong(Some(actor), format!("{blow:?}"), seen);
    match ended {
        Ended::With(Ok(_)) => wrong("a peer that is denied got a stream"),
        Ended::With(Err(error)) => {
            if cause::forbids(&error) {
                world.tally.done(Action::Ban);
            }
            world.judge(Kind::Denied, (blow.other, blow.place), &plan, &causes, |causes| judge::denied(&error, causes));
        }
        Ended::Left => {}
        Ended::Hung => wrong("a peer that is denied was not told within the bound"),
    }
}

pub async fn close(world: &Arc<World>, actor: usize, blow: Blow) {
    let Some(held) = world.hold(blow.place) else {
        return;
    };
    let disturbance = world.pairs.disturb(blow.place, blow.other, Cause::Fate(Fate::Close));
    let sight = world.pairs.sight(blow.place, blow.other);
    match held.call(held.endpoint.connect(world.place(blow.other).ticket())).await {
        Ended::With(Ok(connection)) => {
            connection.close(CLOSE_WORDS);
            world.tally.done(Action::Close);
        }
        Ended::With(Err(error)) => {
            let causes = world.pairs.causes(blow.place, blow.other, sight);
            world.judge(Kind::Connect, (blow.place, blow.other), &blow, &causes, |causes| judge::dial(&error, causes));
        }
        Ended::Left => {}
        Ended::Hung => world.tally.wrong(Some(actor), format!("{blow:?}"), "connect took longer than its bound"),
    }
    drop(disturbance);
    recovery::watch(world, blow.place, &[blow.other]);
}
