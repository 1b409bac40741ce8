//! What was done, how often it must have been, and what was found to be wrong.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::{Deserialize, Serialize};

use super::{
    orders::{self, Order},
    plan::{Answer, End},
};

/// Violations that are kept with their words; more are counted. One defect shows up in many streams.
const KEPT: usize = 50;
/// Of what is to be expected, so much must have succeeded: the rest is for slow machines, where actors wait for each
/// other, and for what a disturbance hit. (Measured with 24 places at 400 orders a second, 60 s: 77 % of streams.)
const SURE: f64 = 0.1;

/// Something that succeeds or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A stream was opened.
    Open,
    /// A stream was taken by a handler.
    Serve,
    /// A stream was taken by `accept_bi`.
    Accept,
    /// Both sides finished, and read to the end.
    Finish,
    /// The acceptor sent back what it read.
    Echo,
    /// Warnings of both sides arrived.
    Warn,
    /// A side failed the stream.
    Fail,
    /// A side aborted the stream.
    Abort,
    /// A side dropped the stream.
    Drop,
    /// A side dropped a write, and the stream.
    CancelWrite,
    /// Reads were dropped, and nothing was lost by it.
    CancelRead,
    /// Data travelled with the header.
    Early,
    /// `get_stream` was dropped.
    CancelOpen,
    /// A stream that nobody serves was rejected.
    Reject,
    /// A request was answered.
    Request,
    /// A request was failed by its handler.
    RequestError,
    /// A request was dropped.
    CancelRequest,
    /// A request's deadline passed.
    RequestDeadline,
    /// A connection was asked for.
    Connect,
    /// A peer that was kept was connected.
    Keep,
    /// It was let go.
    LetGo,
    /// A shutdown with a deadline.
    ShutDownInTime,
    /// A shutdown without time.
    ShutDownNow,
    /// An endpoint's last handle was dropped.
    DropEndpoint,
    /// A new endpoint with the same key.
    Restart,
    /// A peer was denied, and refused.
    Ban,
    /// It was allowed again.
    Unban,
    /// A connection was closed.
    Close,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::Open,
        Self::Serve,
        Self::Accept,
        Self::Finish,
        Self::Echo,
        Self::Warn,
        Self::Fail,
        Self::Abort,
        Self::Drop,
        Self::CancelWrite,
        Self::CancelRead,
        Self::Early,
        Self::CancelOpen,
        Self::Reject,
        Self::Request,
        Self::RequestError,
        Self::CancelRequest,
        Self::RequestDeadline,
        Self::Connect,
        Self::Keep,
        Self::LetGo,
        Self::ShutDownInTime,
        Self::ShutDownNow,
        Self::DropEndpoint,
        Self::Restart,
        Self::Ban,
        Self::Unban,
        Self::Close,
    ];

    /// How many of these are to be expected in so many orders and blows.
    fn expected(self, orders: f64, blows: f64) -> f64 {
        let talk = |wanted: fn(&Order) -> bool| orders * orders::share(wanted);
        let ended = |end: End| {
            orders
                * orders::share(
                    |order| matches!(order, Order::Stream(draft) if draft.opener.end == end || draft.acceptor.end == end),
                )
        };
        let fate = blows / orders::fates() as f64;
        let streams = talk(|order| matches!(order, Order::Stream(_)));
        match self {
            Self::Open => streams,
            Self::Serve | Self::Accept => streams / 2.0,
            Self::CancelRead | Self::Early => streams / 4.0,
            Self::Finish => talk(|order| {
                matches!(order, Order::Stream(draft)
                    if draft.opener.end == End::Finish && draft.acceptor.end == End::Finish)
            }),
            Self::Echo => talk(|order| matches!(order, Order::Stream(draft) if draft.echo)),
            Self::Warn => talk(|order| matches!(order, Order::Stream(draft) if draft.acceptor.warnings > 0)),
            Self::Fail => ended(End::Fail),
            Self::Abort => ended(End::Abort),
            Self::Drop => ended(End::Drop),
            Self::CancelWrite => ended(End::CancelWrite),
            Self::CancelOpen => talk(|order| matches!(order, Order::CancelOpen(..))),
            Self::Reject => talk(|order| matches!(order, Order::Unknown { .. })),
            Self::Request => talk(|order| matches!(order, Order::Request { answer: Answer::Data(_), .. })),
            Self::RequestError => talk(|order| matches!(order, Order::Request { answer: Answer::Error, .. })),
            Self::CancelRequest => talk(|order| matches!(order, Order::Request { drop_after_ms: Some(_), .. })),
            Self::RequestDeadline => talk(|order| matches!(order, Order::Request { deadline_ms: Some(_), .. })),
            Self::Connect => talk(|order| matches!(order, Order::Connect { .. })),
            Self::Keep | Self::LetGo => talk(|order| matches!(order, Order::Keep { .. })),
            Self::ShutDownInTime | Self::ShutDownNow | Self::DropEndpoint | Self::Ban | Self::Unban | Self::Close => {
                fate
            }
            Self::Restart => fate * 3.0,
        }
    }
}

/// How often each action must have succeeded, where so many orders and blows are due in all.
pub fn floors(orders: f64, blows: f64) -> BTreeMap<Action, u64> {
    let floor = |action: Action| ((action.expected(orders, blows) * SURE) as u64).max(1);
    Action::ALL.into_iter().map(|action| (action, floor(action))).collect()
}

/// The actions of which there were too few, in words.
pub fn too_few(floors: &BTreeMap<Action, u64>, done: &BTreeMap<Action, u64>) -> Vec<String> {
    let count = |action| done.get(action).copied().unwrap_or_default();
    let short = floors.iter().filter(|(action, floor)| count(action) < **floor);
    short
        .map(|(action, floor)| format!("{action:?} succeeded {} times, and must {floor} times", count(action)))
        .collect()
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Whose seed decided on it: a talker's place, or a fate behind them. `null` if nobody's.
    pub actor: Option<usize>,
    /// The plan, and what had disturbed the pair of late.
    pub plan: String,
    /// What was seen.
    pub seen: String,
}

/// Counts and violations.
#[derive(Debug, Default)]
pub struct Tally {
    done: [AtomicU64; Action::ALL.len()],
    violations: Mutex<Vec<Violation>>,
    found: AtomicU64,
    /// Data bytes that were planned for directions whose end both sides saw.
    pub planned_bytes: AtomicU64,
    /// Data bytes that readers counted up to an end of data.
    pub read_bytes: AtomicU64,
    /// Streams of which nothing but the plan was legal, of both sides.
    pub strict: AtomicU64,
    /// The others.
    pub disturbed: AtomicU64,
    /// Handlers that run, of streams and of requests.
    pub handling: AtomicU64,
}

impl Tally {
    /// An action has succeeded.
    pub fn done(&self, action: Action) {
        self.done[action as usize].fetch_add(1, Relaxed);
    }

    /// How often each has.
    pub fn actions(&self) -> BTreeMap<Action, u64> {
        Action::ALL.into_iter().map(|action| (action, self.done[action as usize].load(Relaxed))).collect()
    }

    /// Something is wrong.
    pub fn wrong(&self, actor: Option<usize>, plan: impl Into<String>, seen: impl Into<String>) {
        self.found.fetch_add(1, Relaxed);
        let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        if violations.len() < KEPT {
            violations.push(Violation { actor, plan: plan.into(), seen: seen.into() });
        }
    }

    /// What is wrong, and how much of it there is in all.
    pub fn violations(&self) -> (Vec<Violation>, u64) {
        (self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone(), self.found.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_floor_that_grows_with_time_and_misses_are_named() {
        let (short, long) = (floors(100.0, 10.0), floors(100_000.0, 10_000.0));
        assert!(short.values().all(|floor| *floor >= 1));
        assert!(long.values().all(|floor| *floor >= 100), "{long:?}");
        let mut done: BTreeMap<_, _> = short.clone();
        assert!(too_few(&short, &done).is_empty());
        done.insert(Action::Ban, 0);
        done.remove(&Action::Echo);
        assert_eq!(too_few(&short, &done).len(), 2);
    }

    #[test]
    fn the_numbers_of_actions_are_their_places() {
        for (n, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, n);
        }
    }

    #[test]
    fn of_many_violations_some_are_kept_and_all_are_counted() {
        let tally = Tally::default();
        for n in 0..KEPT as u64 + 10 {
            tally.wrong(None, "", n.to_string());
        }
        let (kept, found) = tally.violations();
        assert_eq!((kept.len(), found), (KEPT, KEPT as u64 + 10));
    }
}
