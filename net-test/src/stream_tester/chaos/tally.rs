//! The counts of actions, their floors, and the violations.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use twolane::Limits;

use super::{
    judge::Judged,
    orders::{self, Order},
    plan::{Answer, Draft, End, Wish},
};
use crate::stream_tester::lock;

/// The number of violations that are kept with their text. Further ones are only counted. One defect shows in many
/// streams.
const KEPT: usize = 50;
/// The share of expected actions that must succeed. The rest allows for slow machines, on which actors wait for
/// each other, and for disturbances. 77 % of streams were measured, with 24 places at 400 orders a second for 60 s.
const SURE: f64 = 0.1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Open,
    Serve,
    Accept,
    /// Both sides finished, and read to the end.
    Finish,
    /// The acceptor returned the data.
    Echo,
    /// Warnings of both sides arrived.
    Warn,
    Fail,
    Abort,
    Drop,
    CancelWrite,
    /// Reads were dropped, and no data was lost.
    CancelRead,
    Early,
    CancelOpen,
    Reject,
    Request,
    RequestError,
    CancelRequest,
    RequestDeadline,
    Connect,
    /// The peer was connected while it was kept.
    Keep,
    LetGo,
    ShutDownInTime,
    ShutDownNow,
    DropEndpoint,
    /// A new endpoint has the same key.
    Restart,
    Ban,
    Unban,
    Close,
    /// More than a stream's window arrived, up to its end.
    Bulk,
    /// A stream with warnings or an echo was failed, aborted or dropped.
    Mixed,
    /// A shutdown with a deadline, among pairs that nothing else disturbed, cut no stream.
    Drained,
    /// After a disturbance a stream was accepted within the bound.
    Recover,
}

impl Action {
    /// Returns whether fates perform the action, and not talkers.
    pub fn of_fates(self) -> bool {
        use Action::{Ban, Close, Drained, DropEndpoint, Recover, Restart, ShutDownInTime, ShutDownNow, Unban};
        matches!(self, ShutDownInTime | ShutDownNow | DropEndpoint | Restart | Ban | Unban | Close | Drained | Recover)
    }

    /// Returns whether a stream that goes as planned shows the action.
    pub fn shown(self, draft: &Draft) -> bool {
        let Draft { opener, acceptor, .. } = draft;
        let finishes = opener.end == End::Finish && acceptor.end == End::Finish;
        let ended = |end: End| opener.end == end || acceptor.end == end;
        match self {
            Self::Finish => finishes,
            Self::Bulk => finishes && opener.len.max(acceptor.len) > u64::from(Limits::STREAM_WINDOW),
            Self::Echo => finishes && draft.echo,
            Self::Warn => finishes && acceptor.warnings > 0,
            Self::Mixed => !finishes && (draft.echo || acceptor.warnings > 0),
            Self::Fail => ended(End::Fail),
            Self::Abort => ended(End::Abort),
            Self::Drop => ended(End::Drop),
            Self::CancelWrite => ended(End::CancelWrite),
            Self::CancelRead => draft.cancel_reads,
            Self::Early => draft.early > 0,
            _ => false,
        }
    }

    /// Returns the expected number of actions, with `orders`, `blows` and `near` neighbours.
    fn expected(self, orders: f64, blows: f64, near: usize) -> f64 {
        let talk = |wanted: fn(&Order) -> bool| orders * orders::share(wanted);
        let streams = |wanted: &dyn Fn(&Draft) -> bool| {
            orders * orders::share(|order| matches!(order, Order::Stream(draft) if wanted(draft)))
        };
        let fate = blows / orders::fates() as f64;
        match self {
            Self::Open => streams(&|_| true),
            Self::Serve | Self::Accept => streams(&|_| true) / 2.0,
            Self::CancelOpen => talk(|order| matches!(order, Order::CancelOpen(..))),
            Self::Reject => talk(|order| matches!(order, Order::Unknown { .. })),
            Self::Request => talk(|order| matches!(order, Order::Request(Wish { answer: Answer::Data(_), .. }))),
            Self::RequestError => talk(|order| matches!(order, Order::Request(Wish { answer: Answer::Error, .. }))),
            Self::CancelRequest => talk(|order| matches!(order, Order::Request(Wish { drop_after_ms: Some(_), .. }))),
            Self::RequestDeadline => talk(|order| matches!(order, Order::Request(Wish { deadline_ms: Some(_), .. }))),
            Self::Connect => talk(|order| matches!(order, Order::Connect { .. })),
            Self::Keep | Self::LetGo => talk(|order| matches!(order, Order::Keep { .. })),
            Self::ShutDownInTime | Self::ShutDownNow | Self::DropEndpoint | Self::Ban | Self::Unban | Self::Close => {
                fate
            }
            // Only if all neighbours are calm, which depends on how many fates disturb them.
            Self::Drained => fate / 4.0,
            Self::Restart => fate * 3.0,
            // In both directions: with every neighbour after a restart, and with one after a ban or a close.
            Self::Recover => fate * (3 * 2 * near + 2 * 2) as f64,
            _ => streams(&|draft| self.shown(draft)),
        }
    }
}

/// Returns how often each action must succeed, with `orders`, `blows` and `near` neighbours.
pub fn floors(orders: f64, blows: f64, near: usize) -> BTreeMap<Action, u64> {
    // An action that is expected once must be observed once.
    let floor = |action: Action| {
        let expected = action.expected(orders, blows, near);
        ((expected * SURE) as u64).max(u64::from(expected >= 1.0))
    };
    Action::value_variants().iter().map(|action| (*action, floor(*action))).collect()
}

/// Returns the actions that succeeded too seldom, as text.
pub fn too_few<K: Ord + Copy + std::fmt::Debug>(floors: &BTreeMap<K, u64>, done: &BTreeMap<K, u64>) -> Vec<String> {
    let count = |action: &K| done.get(action).copied().unwrap_or_default();
    let short = floors.iter().filter(|(action, floor)| count(action) < **floor);
    short
        .map(|(action, floor)| format!("{action:?} succeeded {} times, and must {floor} times", count(action)))
        .collect()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The actor whose seed decided: the place of a talker, or a fate. `null` if there is none.
    pub actor: Option<usize>,
    /// The plan, and the last disturbances of the pair.
    pub plan: String,
    pub seen: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Opening,
    Opener,
    Acceptor,
    /// A stream of a protocol that nobody serves.
    Unknown,
    Request,
    Connect,
    Keep,
    /// A call of a denied peer.
    Denied,
}

/// The numbers of outcomes of one kind, by how they were judged. Violations count as one of the first two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Only the planned outcome was legal.
    pub strictly: u64,
    /// The pair was disturbed, and nothing had to be forgiven.
    pub as_planned: u64,
    /// A disturbance explains an outcome that was not planned. For a call, it explains the failure.
    pub forgiven: u64,
}

impl Outcomes {
    pub fn total(&self) -> u64 {
        self.strictly + self.as_planned + self.forgiven
    }

    pub fn forgiven_share(&self) -> f64 {
        self.forgiven as f64 / self.total().max(1) as f64
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    done: Mutex<BTreeMap<Action, u64>>,
    judged: Mutex<BTreeMap<Kind, Outcomes>>,
    violations: Mutex<Vec<Violation>>,
    found: AtomicU64,
    /// The number of bytes of streams that were read to the end of their data.
    pub read_bytes: AtomicU64,
    /// The number of handlers of streams and requests that are running.
    pub handling: AtomicU64,
    /// The number of observations of [`super::known`] faults.
    pub known: AtomicU64,
    /// The milliseconds from the end of a disturbance to the first stream: sum and maximum.
    recovery_ms: [AtomicU64; 2],
}

impl Tally {
    pub fn done(&self, action: Action) {
        *lock(&self.done).entry(action).or_default() += 1;
    }

    pub fn count(&self, action: Action) -> u64 {
        lock(&self.done).get(&action).copied().unwrap_or_default()
    }

    pub fn actions(&self) -> BTreeMap<Action, u64> {
        Action::value_variants().iter().map(|action| (*action, self.count(*action))).collect()
    }

    /// Records that a stream was accepted at this time after a disturbance.
    pub fn recovered(&self, after: Duration) {
        let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.recovery_ms[0].fetch_add(ms, Relaxed);
        self.recovery_ms[1].fetch_max(ms, Relaxed);
        self.done(Action::Recover);
    }

    /// Returns the mean and the maximum.
    pub fn recovery_ms(&self) -> [u64; 2] {
        let [sum, most] = self.recovery_ms.each_ref().map(|ms| ms.load(Relaxed));
        [sum / self.count(Action::Recover).max(1), most]
    }

    pub fn judged(&self, kind: Kind, how: Judged) {
        let mut judged = lock(&self.judged);
        let outcomes = judged.entry(kind).or_default();
        *match how {
            Judged::Strictly => &mut outcomes.strictly,
            Judged::AsPlanned => &mut outcomes.as_planned,
            Judged::Forgiven => &mut outcomes.forgiven,
        } += 1;
    }

    pub fn outcomes(&self) -> BTreeMap<Kind, Outcomes> {
        let judged = lock(&self.judged);
        let of = |kind: &Kind| (*kind, judged.get(kind).copied().unwrap_or_default());
        Kind::value_variants().iter().map(of).collect()
    }

    pub fn wrong(&self, actor: Option<usize>, plan: impl Into<String>, seen: impl Into<String>) {
        self.found.fetch_add(1, Relaxed);
        let mut violations = lock(&self.violations);
        if violations.len() < KEPT {
            violations.push(Violation { actor, plan: plan.into(), seen: seen.into() });
        }
    }

    /// Returns the first violations, and the number of all violations.
    pub fn violations(&self) -> (Vec<Violation>, u64) {
        (lock(&self.violations).clone(), self.found.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_floor_that_grows_with_time_and_misses_are_named() {
        let (short, long) = (floors(100.0, 20.0, 2), floors(100_000.0, 10_000.0, 8));
        assert!(short.values().all(|floor| *floor >= 1));
        assert!(long.values().all(|floor| *floor >= 50), "{long:?}");
        let mut done: BTreeMap<_, _> = short.clone();
        assert!(too_few(&short, &done).is_empty());
        done.insert(Action::Ban, 0);
        done.remove(&Action::Echo);
        assert_eq!(too_few(&short, &done).len(), 2);
    }

    #[test]
    fn outcomes_are_counted_by_kind_and_by_how_they_were_judged() {
        let tally = Tally::default();
        for how in [Judged::Strictly, Judged::Strictly, Judged::AsPlanned, Judged::Forgiven] {
            tally.judged(Kind::Request, how);
        }
        let outcomes = tally.outcomes();
        let expected = Outcomes { strictly: 2, as_planned: 1, forgiven: 1 };
        assert_eq!((outcomes[&Kind::Request], outcomes[&Kind::Keep]), (expected, Outcomes::default()));
        assert!((expected.forgiven_share() - 0.25).abs() < f64::EPSILON);
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
