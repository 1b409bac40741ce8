//! Talkers: one at each place, which opens streams, sends requests, connects and keeps.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::yield_now,
    time::{sleep, timeout},
};
use twolane::{GetStreamError, StreamOptions};

use super::{
    judge,
    orders::{Dealer, Draft, Order},
    plan::{Answer, Ask, End, Part, Plan},
    play::play,
    serve::{ACCEPTED, ASKED, HANDLED, NOBODY, close},
    tally::Action,
    world::{Ended, Held, World},
};
use crate::stream_tester::{pattern, role::Side};

/// Orders of one talker under way at a time: more than wait for each other on an idle machine, and so few that a slow one
/// has a bounded number of streams.
const UNDER_WAY: usize = 12;
/// The bound on opening a stream, and on a request: below [`super::PATIENCE`], so that a call says itself what it was.
const OPENING: Duration = Duration::from_secs(25);

/// Acts until it is told to stop.
pub async fn talk(world: Arc<World>, me: usize, mean_us: u64) {
    let mut dealer = Dealer::new(world.seed, me, world.len());
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    for number in 0u64.. {
        let (wait, order) = (dealer.wait_us(mean_us), dealer.order());
        let turn = async {
            sleep(Duration::from_micros(wait)).await;
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

/// A number for a stream or a request, used once in a run.
pub fn number_of(actor: usize, number: u64) -> u64 {
    (actor as u64) << 32 | number
}

async fn carry_out(world: &World, me: usize, id: u64, order: Order) {
    let (Some(_turn), Some(held)) = (world.turn(me, order.to()), world.hold(me)) else {
        return;
    };
    match order {
        Order::Stream(draft) => stream(world, me, id, &draft, held).await,
        Order::CancelOpen(draft, turns) => cancel_open(world, me, id, draft, turns, &held).await,
        Order::Unknown { to } => unknown(world, me, to, &held).await,
        Order::Request { to, len, answer, drop_after_ms, deadline_ms } => {
            let (sight, ban) = (world.pairs.sight(me, to), world.banned(to, me));
            request(world, Ask { id, from: me, to, len, answer, drop_after_ms, deadline_ms, sight, ban }, &held).await;
        }
        Order::Connect { to } => connect(world, me, to, &held).await,
        Order::Keep { to, hold_ms } => keep(world, me, to, hold_ms, held).await,
    }
}

/// The plan of a stream that is opened now.
pub fn plan(world: &World, me: usize, id: u64, draft: &Draft) -> Plan {
    let Draft { to, opener, acceptor, echo, early, cancel_reads, pause_ms, .. } = *draft;
    let (sight, ban) = (world.pairs.sight(me, to), world.banned(to, me));
    Plan { id, from: me, to, opener, acceptor, echo, early, cancel_reads, pause_ms, sight, ban }
}

fn options(plan: &Plan) -> StreamOptions {
    let early = usize::try_from(plan.early).unwrap_or_default();
    let early_data = pattern::bytes(plan.pattern(Side::Opener), early).into();
    StreamOptions { metadata: plan.encode(), early_data, timeout: Some(OPENING) }
}

async fn stream(world: &World, me: usize, id: u64, draft: &Draft, held: Held) {
    let plan = plan(world, me, id, draft);
    let protocol = if draft.accepted { ACCEPTED } else { HANDLED };
    let opening = held.endpoint.get_stream_with(world.place(draft.to).ticket(), protocol, options(&plan));
    let stream = match held.call(opening).await {
        Ended::With(Ok(stream)) => stream,
        Ended::With(Err(error)) => {
            not_opened(&held, &plan);
            let undisturbed = world.pairs.undisturbed(me, draft.to, plan.sight);
            match judge::refused(&plan, &error, undisturbed) {
                Some(wrong) => world.wrong(me, draft.to, &plan, wrong),
                // The acceptor ended it, as planned, before its answer was read.
                None if undisturbed => {
                    let ended = actions(&plan)
                        .into_iter()
                        .filter(|action| !matches!(action, Action::CancelRead | Action::Early));
                    ended.for_each(|action| world.tally.done(action));
                }
                None => {}
            }
            return;
        }
        Ended::Left => return not_opened(&held, &plan),
        Ended::Hung => return world.wrong(me, draft.to, &plan, "get_stream took longer than its bound"),
    };
    world.pairs.confirm(me, draft.to, plan.sight);
    world.tally.done(Action::Open);
    let books = Arc::clone(&held.books);
    books.bounds().opened.add(1);
    // A stream does not need its endpoint's handle.
    drop(held);
    let seen = play(stream, &plan, Side::Opener).await;
    if close(world, &books, &plan, Side::Opener, seen) {
        actions(&plan).into_iter().for_each(|action| world.tally.done(action));
    }
}

/// It may have been opened, and answered, before the call knew.
fn not_opened(held: &Held, plan: &Plan) {
    let mut bounds = held.books.bounds();
    bounds.opened.add_between(0, 1);
    bounds.sent.add_between(0, plan.early);
    bounds.received.add_between(0, plan.acceptor.len);
}

/// What a stream that went as planned shows.
fn actions(plan: &Plan) -> Vec<Action> {
    let ended = |end: End| plan.opener.end == end || plan.acceptor.end == end;
    let all = [
        (plan.opener.end == End::Finish && plan.acceptor.end == End::Finish, Action::Finish),
        (plan.echo, Action::Echo),
        (plan.acceptor.warnings > 0, Action::Warn),
        (ended(End::Fail), Action::Fail),
        (ended(End::Abort), Action::Abort),
        (ended(End::Drop), Action::Drop),
        (ended(End::CancelWrite), Action::CancelWrite),
        (plan.cancel_reads, Action::CancelRead),
        (plan.early > 0, Action::Early),
    ];
    all.into_iter().filter(|(shown, _)| *shown).map(|(_, action)| action).collect()
}

async fn cancel_open(world: &World, me: usize, id: u64, mut draft: Draft, turns: u64, held: &Held) {
    // All that can go out is what travels with the header.
    draft.opener = Part { len: draft.early, warnings: 0, end: End::Drop, ..draft.opener };
    let plan = plan(world, me, id, &draft);
    let opening = held.endpoint.get_stream_with(world.place(draft.to).ticket(), HANDLED, options(&plan));
    // Whether it is dropped before it is ready or after, nobody plays its side.
    not_opened(held, &plan);
    let mut opening = pin!(opening);
    for _ in 0..turns {
        tokio::select! {
            biased;
            _ = &mut opening => return,
            () = yield_now() => {}
        }
    }
    world.tally.done(Action::CancelOpen);
}

async fn unknown(world: &World, me: usize, to: usize, held: &Held) {
    let sight = world.pairs.sight(me, to);
    let ended = held.call(held.endpoint.get_stream(world.place(to).ticket(), NOBODY)).await;
    let undisturbed = world.pairs.undisturbed(me, to, sight);
    let wrong = match ended {
        Ended::With(Ok(_)) => Some("it was accepted".into()),
        Ended::With(Err(error)) => {
            if error.rejection() == Some(twolane::Reason::UnknownProtocol) {
                world.tally.done(Action::Reject);
            }
            judge::unknown(&error, undisturbed)
        }
        Ended::Left => None,
        // Unlike the others this call has no bound of its own: a dial, an opening, and both once more.
        Ended::Hung => undisturbed.then(|| "it took longer than its bound".into()),
    };
    if let Some(wrong) = wrong {
        world.wrong(me, to, &NOBODY, wrong);
    }
}

async fn request(world: &World, ask: Ask, held: &Held) {
    let body = ask.encode();
    let len = body.len() as u64;
    let deadline = ask.deadline_ms.map_or(OPENING, Duration::from_millis);
    let asking = held.endpoint.request(world.place(ask.to).ticket(), ASKED, body, deadline);
    let asking = held.call(asking);
    let ended = match ask.drop_after_ms {
        Some(after) => timeout(Duration::from_millis(after), asking).await.ok(),
        None => Some(asking.await),
    };
    let response = if let Answer::Data(len) = ask.answer { len as u64 } else { 0 };
    let mut bounds = held.books.bounds();
    if matches!(ended, Some(Ended::With(Ok(_)))) {
        bounds.opened.add(1);
        bounds.sent.add(len);
        bounds.received.add(response);
    } else {
        bounds.opened.add_between(0, 1);
        bounds.sent.add_between(0, len);
        bounds.received.add_between(0, response);
        // The handler may never have got what its endpoint read.
        world.place(ask.to).unsure.fetch_add(len, Relaxed);
    }
    drop(bounds);
    let Some(ended) = ended else {
        return world.tally.done(Action::CancelRequest);
    };
    let undisturbed = world.pairs.undisturbed(ask.from, ask.to, ask.sight);
    let result = match ended {
        Ended::With(result) => result,
        Ended::Left => return,
        Ended::Hung => return world.wrong(ask.from, ask.to, &ask, "it took longer than its deadline"),
    };
    match &result {
        Ok(_) => {
            world.pairs.confirm(ask.from, ask.to, ask.sight);
            if !world.ledger.was_handled(ask.id) {
                world.wrong(ask.from, ask.to, &ask, "there is a response to what was not handled");
            }
        }
        Err(error) if !error.may_have_been_handled() => world.ledger.not_handled(ask.id),
        Err(_) => {}
    }
    if let Some(wrong) = judge::answer(&ask, &result, undisturbed) {
        return world.wrong(ask.from, ask.to, &ask, wrong);
    }
    match (&result, ask.answer) {
        (Ok(_), _) => world.tally.done(Action::Request),
        (Err(error), Answer::Error) if error.stream_error().is_some() => world.tally.done(Action::RequestError),
        (Err(_), Answer::Never) if undisturbed && ask.deadline_ms.is_some() => {
            world.tally.done(Action::RequestDeadline);
        }
        _ => {}
    }
}

async fn connect(world: &World, me: usize, to: usize, held: &Held) {
    let sight = world.pairs.sight(me, to);
    let ended = held.call(held.endpoint.connect(world.place(to).ticket())).await;
    let undisturbed = world.pairs.undisturbed(me, to, sight);
    let wrong = match ended {
        Ended::With(Ok(connection)) if connection.peer() == world.place(to).id => {
            world.tally.done(Action::Connect);
            None
        }
        Ended::With(Ok(connection)) => Some(format!("{} is connected in its place", connection.peer())),
        Ended::With(Err(source)) => {
            let peer = world.place(to).id;
            judge::disturbance(&GetStreamError::Dial { peer, source }, undisturbed)
        }
        Ended::Left => None,
        Ended::Hung => Some("it took longer than its bound".into()),
    };
    if let Some(wrong) = wrong {
        world.wrong(me, to, &"a connection", wrong);
    }
}

async fn keep(world: &World, me: usize, to: usize, hold_ms: u64, held: Held) {
    let sight = world.pairs.sight(me, to);
    let mut keep = held.endpoint.keep(world.place(to).ticket());
    let ended = held.call(keep.connected()).await;
    drop(held);
    if !matches!(ended, Ended::With(true)) {
        // A place that moves is not found by its old ticket.
        if world.pairs.undisturbed(me, to, sight) && !matches!(ended, Ended::Left) {
            world.wrong(
                me,
                to,
                &"a peer that is kept",
                format!("it did not get connected: {ended:?}, {:?}", keep.state()),
            );
        }
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
