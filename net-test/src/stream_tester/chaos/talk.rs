//! The talkers. There is one at each place, which opens streams, sends requests, connects and keeps peers.

use std::{pin::pin, sync::Arc, time::Duration};

use clap::ValueEnum;
use tokio::{
    sync::Semaphore,
    task::yield_now,
    time::{Instant, sleep, sleep_until, timeout},
};
use twolane::{Reason, RequestFailure, StreamOptions, XStream};

use super::{
    books::Books,
    cause::Cause,
    judge,
    orders::{Dealer, Order},
    plan::{Answer, Ask, Draft, End, Part, Plan, number_of},
    play::play,
    serve::{ACCEPTED, ASKED, HANDLED, NOBODY, close},
    tally::{Action, Kind},
    world::{Ended, Held, World},
};
use crate::stream_tester::{pattern, role::Side};

/// The number of orders of one talker in progress at a time. It is more than wait for each other on an idle
/// machine, and limits the number of streams on a slow machine.
const UNDER_WAY: usize = 12;
/// A delay up to this is in time. On an idle machine, timers are late by 1 to 2 ms.
const IN_TIME: Duration = Duration::from_millis(3);
/// The factor of a delay for which a talker pauses. Without the pause, on a machine whose timers were late by 100
/// ms and more, the responses of a trial took over 70 s, although its link needs only 30 s.
const PAUSES: u32 = 2;
/// The timeout of a request and of the opening of a stream. It is below [`super::PATIENCE`], so that the call
/// itself returns the error.
const OPENING: Duration = Duration::from_secs(25);

pub async fn talk(world: Arc<World>, me: usize, mean_us: u64) {
    let mut dealer = Dealer::new(world.seed, me, world.places());
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    for number in 0u64.. {
        let (wait, order) = (dealer.wait_us(mean_us), dealer.order());
        let turn = async {
            let at = Instant::now() + Duration::from_micros(wait);
            sleep_until(at).await;
            // A talker that is late because the machine is busy must not add load: trials with timeouts run at the
            // same time.
            sleep(at.elapsed().saturating_sub(IN_TIME) * PAUSES).await;
            Arc::clone(&places).acquire_owned().await
        };
        let place = tokio::select! {
            Ok(place) = turn => place,
            () = world.stop.cancelled() => return,
        };
        let id = number_of(me, number);
        let acting = Arc::clone(&world);
        world.tasks.spawn(async move {
            carry_out(&acting, me, id, order).await;
            drop(place);
        });
    }
}

pub async fn carry_out(world: &World, me: usize, id: u64, order: Order) {
    let (Some(_turn), Some(held)) = (world.turn(me, order.to()), world.hold(me)) else {
        return;
    };
    match order {
        Order::Stream(draft) => {
            if let Some(opened) = open(world, me, id, &draft, held).await
                && finish(world, opened).await
            {
                show(world, &draft);
            }
        }
        Order::CancelOpen(draft, polls) => cancel_open(world, me, id, draft, polls, &held).await,
        Order::Unknown { to } => unknown(world, me, to, &held).await,
        Order::Request(wish) => {
            let (sight, ban) = (world.pairs.sight(me, wish.to), world.banned(wish.to, me));
            request(world, Ask { id, from: me, wish, sight, ban }, &held).await;
        }
        Order::Connect { to } => connect(world, me, to, &held).await,
        Order::Keep { to, hold_ms } => keep(world, me, to, hold_ms, held).await,
    }
}

pub fn plan(world: &World, me: usize, id: u64, draft: &Draft) -> Plan {
    let (sight, ban) = (world.pairs.sight(me, draft.to), world.banned(draft.to, me));
    Plan { id, from: me, draft: draft.clone(), sight, ban }
}

fn options(plan: &Plan) -> StreamOptions {
    let early = usize::try_from(plan.draft.early).unwrap_or_default();
    let early_data = pattern::bytes(plan.pattern(Side::Opener), early).into();
    StreamOptions { metadata: plan.encode(), early_data, timeout: Some(OPENING) }
}

#[derive(Debug)]
pub struct Opened {
    stream: XStream,
    plan: Plan,
    books: Arc<Books>,
}

/// Opens a stream, and judges the call.
pub async fn open(world: &World, me: usize, id: u64, draft: &Draft, held: Held) -> Option<Opened> {
    let plan = plan(world, me, id, draft);
    let protocol = if draft.accepted { ACCEPTED } else { HANDLED };
    let opening = held.endpoint.get_stream_with(world.place(draft.to).ticket(), protocol, options(&plan));
    let ended = held.call(opening).await;
    let causes = world.pairs.causes(me, draft.to, plan.sight);
    let judge = |faults: &dyn Fn(&[Cause]) -> Option<String>| {
        world.judge(Kind::Opening, (me, draft.to), &plan, &causes, faults)
    };
    match ended {
        Ended::With(Ok(stream)) => {
            judge(&|_| None);
            world.pairs.confirm(me, draft.to, plan.sight);
            world.tally.done(Action::Open);
            held.books.bounds().opened.add(1);
            // A stream does not need its endpoint's handle, which is dropped here.
            return Some(Opened { stream, plan, books: Arc::clone(&held.books) });
        }
        Ended::With(Err(error)) => {
            let legal = judge(&|causes| judge::refused(&plan, &error, causes));
            if legal && causes.is_empty() {
                // The acceptor ended the stream as planned, before its answer was read.
                show(world, &Draft { cancel_reads: false, early: 0, ..draft.clone() });
            }
        }
        Ended::Left => {}
        Ended::Hung => world.wrong(me, draft.to, &plan, "get_stream took longer than its bound"),
    }
    not_opened(&held, &plan);
    None
}

/// Performs the opener's side. Returns true if only the planned outcome was legal, and it was observed.
pub async fn finish(world: &World, Opened { stream, plan, books }: Opened) -> bool {
    let seen = play(stream, &plan, Side::Opener).await;
    close(world, &books, &plan, Side::Opener, seen)
}

/// Counts the actions that a stream shows that went as planned.
fn show(world: &World, draft: &Draft) {
    let shown = Action::value_variants().iter().filter(|action| action.shown(draft));
    shown.for_each(|action| world.tally.done(*action));
}

/// Widens the limits of the counters. The peer may have opened and answered the stream before the call failed.
fn not_opened(held: &Held, plan: &Plan) {
    let mut bounds = held.books.bounds();
    bounds.opened.add_between(0, 1);
    bounds.sent.add_between(0, plan.draft.early);
    bounds.received.add_between(0, plan.draft.acceptor.len);
}

async fn cancel_open(world: &World, me: usize, id: u64, mut draft: Draft, polls: u64, held: &Held) {
    // Only the data that travels with the header can be sent.
    draft.opener = Part { len: draft.early, warnings: 0, end: End::Drop, ..draft.opener };
    let plan = plan(world, me, id, &draft);
    let opening = held.endpoint.get_stream_with(world.place(draft.to).ticket(), HANDLED, options(&plan));
    // Nobody performs the opener's side, whether the call is dropped before or after it is ready.
    not_opened(held, &plan);
    let mut opening = pin!(opening);
    for _ in 0..polls {
        let opened = tokio::select! {
            biased;
            opened = &mut opening => opened,
            () = yield_now() => continue,
        };
        if let Err(error) = opened {
            let causes = world.pairs.causes(me, draft.to, plan.sight);
            world.judge(Kind::Opening, (me, draft.to), &plan, &causes, |causes| judge::refused(&plan, &error, causes));
        }
        return;
    }
    world.tally.done(Action::CancelOpen);
}

async fn unknown(world: &World, me: usize, to: usize, held: &Held) {
    let sight = world.pairs.sight(me, to);
    let options = StreamOptions { timeout: Some(OPENING), ..StreamOptions::default() };
    let ended = held.call(held.endpoint.get_stream_with(world.place(to).ticket(), NOBODY, options)).await;
    let causes = world.pairs.causes(me, to, sight);
    match ended {
        Ended::With(Ok(_)) => world.wrong(me, to, &NOBODY, "it was accepted"),
        Ended::With(Err(error)) => {
            if error.rejection() == Some(Reason::UnknownProtocol) {
                world.tally.done(Action::Reject);
            }
            world.judge(Kind::Unknown, (me, to), &NOBODY, &causes, |causes| judge::unknown(&error, causes));
        }
        Ended::Left => {}
        Ended::Hung => world.wrong(me, to, &NOBODY, "it took longer than its bound"),
    }
}

async fn request(world: &World, ask: Ask, held: &Held) {
    let body = ask.encode();
    let len = body.len() as u64;
    let deadline = ask.wish.deadline_ms.map_or(OPENING, Duration::from_millis);
    let asked = world.place(ask.wish.to);
    let first = asked.life_now();
    let asking = held.call(held.endpoint.request(asked.ticket(), ASKED, body, deadline));
    let ended = match ask.wish.drop_after_ms {
        Some(after) => timeout(Duration::from_millis(after), asking).await.ok(),
        None => Some(asking.await),
    };
    let response = if let Answer::Data(len) = ask.wish.answer { len as u64 } else { 0 };
    let mut bounds = held.books.bounds();
    if matches!(ended, Some(Ended::With(Ok(_)))) {
        bounds.opened.add(1);
        bounds.sent.add(len);
        bounds.received.add(response);
        drop(bounds);
    } else {
        bounds.opened.add_between(0, 1);
        bounds.sent.add_between(0, len);
        bounds.received.add_between(0, response);
        drop(bounds);
        // A request that was handled is counted in the handler's books.
        if !world.ledger.was_handled(ask.id) {
            world.unsure(ask.wish.to, first..asked.life_now() + 1, len);
        }
    }
    let pair = (ask.from, ask.wish.to);
    let result = match ended {
        Some(Ended::With(result)) => result,
        Some(Ended::Left) => return,
        Some(Ended::Hung) => return world.wrong(pair.0, pair.1, &ask, "it took longer than its deadline"),
        None => return world.tally.done(Action::CancelRequest),
    };
    let causes = world.pairs.causes(pair.0, pair.1, ask.sight);
    match &result {
        Ok(_) => {
            world.pairs.confirm(pair.0, pair.1, ask.sight);
            if !world.ledger.was_handled(ask.id) {
                world.wrong(pair.0, pair.1, &ask, "there is a response to what was not handled");
            }
        }
        Err(error) if !error.may_have_been_handled() => world.ledger.not_handled(ask.id),
        Err(_) => {}
    }
    if !world.judge(Kind::Request, pair, &ask, &causes, |causes| judge::answer(&ask, &result, causes)) {
        return;
    }
    match (&result, ask.wish.answer) {
        (Ok(_), _) => world.tally.done(Action::Request),
        (Err(error), Answer::Error) if error.stream_error().is_some() => world.tally.done(Action::RequestError),
        // A disturbance of the pair does not change that the deadline has ended the request.
        (Err(error), Answer::Never)
            if ask.wish.deadline_ms.is_some() && matches!(error.cause, RequestFailure::TimedOut { .. }) =>
        {
            world.tally.done(Action::RequestDeadline);
        }
        _ => {}
    }
}

async fn connect(world: &World, me: usize, to: usize, held: &Held) {
    let sight = world.pairs.sight(me, to);
    let ended = held.call(held.endpoint.connect(world.place(to).ticket())).await;
    let causes = world.pairs.causes(me, to, sight);
    let faults = |causes: &[Cause]| match &ended {
        Ended::With(Ok(connection)) if connection.peer() == world.place(to).id => None,
        Ended::With(Ok(connection)) => Some(format!("{} is connected in its place", connection.peer())),
        Ended::With(Err(error)) => judge::dial(error, causes),
        Ended::Left => None,
        Ended::Hung => Some("it took longer than its bound".into()),
    };
    if matches!(ended, Ended::Left) {
        return;
    }
    let legal = world.judge(Kind::Connect, (me, to), &"a connection", &causes, faults);
    if legal && matches!(ended, Ended::With(Ok(_))) {
        world.tally.done(Action::Connect);
    }
}

async fn keep(world: &World, me: usize, to: usize, hold_ms: u64, held: Held) {
    let sight = world.pairs.sight(me, to);
    let mut keep = held.endpoint.keep(world.place(to).ticket());
    let ended = held.call(keep.connected()).await;
    drop(held);
    let connected = matches!(ended, Ended::With(true));
    let faults = |causes: &[Cause]| {
        // The old ticket does not lead to a place that has moved.
        let legal = connected || causes.iter().any(|cause| cause.moves());
        (!legal).then(|| format!("it did not get connected: {ended:?}, {:?}", keep.state()))
    };
    if !matches!(ended, Ended::Left) {
        world.judge(Kind::Keep, (me, to), &"a peer that is kept", &world.pairs.causes(me, to, sight), faults);
    }
    if !connected {
        return;
    }
    world.tally.done(Action::Keep);
    tokio::select! {
        () = sleep(Duration::from_millis(hold_ms)) => {}
        () = world.stop.cancelled() => {}
    }
    drop(keep);
    world.tally.done(Action::LetGo);
}
