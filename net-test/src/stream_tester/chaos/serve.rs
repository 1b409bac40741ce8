//! The acceptor's side: a place performs its part of the plans that other places open.

use std::{
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Waker},
};

use bytes::Bytes;
use twolane::{Endpoint, Protocol, Request, StreamError, XStream};

use super::{
    books::Books,
    cause::Cause,
    judge, known,
    plan::{Answer, Ask, Plan, other},
    play::{ReadEnd, Seen, play},
    tally::{Action, Kind},
    world::{Held, World},
};
use crate::stream_tester::role::Side;

/// The protocol whose streams a handler takes.
pub const HANDLED: Protocol = Protocol::from_static("chaos-handled/1");
/// The protocol whose streams `accept_bi` takes.
pub const ACCEPTED: Protocol = Protocol::from_static("chaos-accepted/1");
pub const ASKED: Protocol = Protocol::from_static("chaos-asked/1");
/// A protocol that is never accepted.
pub const NOBODY: Protocol = Protocol::from_static("chaos-nobody/1");

pub fn install(world: &Arc<World>, me: usize, endpoint: &Endpoint, books: &Arc<Books>) {
    // The protocol is named before anything is served. Once something is served, streams for protocols that were
    // not named are rejected, and the first call of `accept` may come a moment later. Dropping the call loses no
    // stream.
    let naming = pin!(endpoint.accept_bi(&[ACCEPTED]));
    let _ = naming.poll(&mut Context::from_waker(Waker::noop()));
    let shared = (Arc::clone(world), Arc::clone(books));
    let streams = endpoint.serve(HANDLED, move |stream| {
        let (world, books) = shared.clone();
        async move { take(&world, me, &books, stream, Action::Serve).await }
    });
    let shared = (Arc::clone(world), Arc::clone(books));
    let requests = endpoint.serve_requests(ASKED, move |request| {
        let (world, books) = shared.clone();
        async move { asked(&world, me, &books, &request).await }
    });
    for error in [streams.err(), requests.err()].into_iter().flatten() {
        world.tally.wrong(Some(me), "a new endpoint", error.to_string());
    }
}

pub async fn accept(world: Arc<World>, me: usize, held: Held) {
    loop {
        let accepted = tokio::select! {
            accepted = held.endpoint.accept_bi(&[ACCEPTED]) => accepted,
            () = held.left() => return,
        };
        let Ok((_, stream)) = accepted else {
            return;
        };
        let (taker, books) = (Arc::clone(&world), Arc::clone(&held.books));
        world.tasks.spawn(async move { take(&taker, me, &books, stream, Action::Accept).await });
    }
}

async fn take(world: &World, me: usize, books: &Books, stream: XStream, how: Action) {
    let _handling = Handling::new(&world.tally.handling);
    let Some(plan) = Plan::decode(stream.metadata()) else {
        return world.tally.wrong(None, format!("a stream at {me}"), "its metadata is no plan");
    };
    if plan.draft.to != me || plan.from >= world.places() || stream.peer() != world.place(plan.from).id {
        return world.wrong(
            plan.from.min(world.places() - 1),
            me,
            &plan,
            format!("it came to {me} from {}", stream.peer()),
        );
    }
    if plan.ban.is_some() && plan.ban == world.banned(me, plan.from) {
        world.wrong(plan.from, me, &plan, "a stream of a peer that was denied all the while was accepted");
    }
    world.tally.done(how);
    let seen = play(stream, &plan, Side::Acceptor).await;
    close(world, books, &plan, Side::Acceptor, seen);
}

/// Records and judges the observations of one side of a stream. Returns true if only the planned outcome was legal,
/// and it was observed.
pub fn close(world: &World, books: &Books, plan: &Plan, side: Side, seen: Seen) -> bool {
    // The causes are read after all observations. A disturbance that begins only now did not affect the stream.
    let causes = world.pairs.causes(plan.from, plan.draft.to, plan.sight);
    let mut bounds = books.bounds();
    bounds.sent.add(seen.wrote);
    match seen.read_end {
        ReadEnd::End | ReadEnd::Failed { .. } => bounds.received.add(seen.read),
        // Data that came together with the header or the answer counts as read.
        _ => bounds.received.add_between(seen.read, plan.part(other(side)).len),
    }
    drop(bounds);
    if seen.read_end == ReadEnd::End {
        world.tally.read_bytes.fetch_add(seen.read, Relaxed);
    }
    world.tally.known.fetch_add(known::hides_the_reason(plan, side, &seen).into(), Relaxed);
    let pair = (plan.from, plan.draft.to);
    let kind = if side == Side::Opener { Kind::Opener } else { Kind::Acceptor };
    let faults = |causes: &[Cause]| {
        let wrong = judge::side(plan, side, &seen, causes);
        wrong.into_iter().map(|wrong| format!("{wrong}; it saw {seen:?}")).collect::<Vec<_>>()
    };
    let legal = world.judge(kind, pair, plan, &causes, faults);
    let wrong = world.ledger.ended(plan, side, seen, causes.is_empty());
    let agreed = wrong.is_empty();
    wrong.into_iter().for_each(|wrong| world.wrong(pair.0, pair.1, plan, wrong));
    legal && agreed && causes.is_empty()
}

async fn asked(world: &World, me: usize, books: &Books, request: &Request) -> Result<Bytes, StreamError> {
    let _handling = Handling::new(&world.tally.handling);
    let Some((ask, intact)) = Ask::decode(&request.body) else {
        world.tally.wrong(None, format!("a request at {me}"), "it carries no plan");
        return Err(StreamError::new(0, "no plan"));
    };
    let mut wrong = Vec::new();
    if ask.wish.to != me || ask.from >= world.places() || request.peer != world.place(ask.from).id {
        wrong.push(format!("it came to {me} from {}", request.peer));
    }
    if !intact {
        wrong.push("its data is not what was sent".into());
    }
    if !world.ledger.handled(ask.id) {
        wrong.push("it was handled twice".into());
    }
    if ask.ban.is_some() && ask.ban == world.banned(me, ask.from) {
        wrong.push("it is of a peer that was denied all the while".into());
    }
    for wrong in wrong {
        world.wrong(ask.from.min(world.places() - 1), me, &ask, wrong);
    }
    books.bounds().received.add(request.body.len() as u64);
    match ask.wish.answer {
        Answer::Data(len) => {
            // A caller may give up before the whole response is written.
            books.bounds().sent.add_between(0, len as u64);
            Ok(ask.response(len))
        }
        Answer::Error => {
            let (code, text) = ask.error_words();
            Err(StreamError::new(code, text))
        }
        Answer::Never => pending().await,
    }
}

/// A handler that is running. It ends when it is dropped.
struct Handling<'a>(&'a AtomicU64);

impl<'a> Handling<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Handling<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
