//! Pairs the observations of the two sides of a stream, and counts how often a request was handled.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard},
};

use super::{judge, plan::Plan, play::Seen};
use crate::stream_tester::{lock, role::Side};

/// The streams and requests, by their numbers.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    streams: HashMap<u64, Entry>,
    handled: HashSet<u64>,
    unhandled: HashSet<u64>,
}

#[derive(Debug)]
enum Entry {
    Opener(Box<Half>),
    Acceptor(Box<Half>),
    Both,
}

#[derive(Debug)]
struct Half {
    plan: Plan,
    seen: Seen,
    undisturbed: bool,
}

impl Ledger {
    /// Records that one side of a stream has ended. When the second side has ended, returns the faults that the
    /// comparison shows.
    pub fn ended(&self, plan: &Plan, side: Side, seen: Seen, undisturbed: bool) -> Vec<String> {
        let mut state = self.lock();
        let (opener, acceptor) = match (state.streams.remove(&plan.id), side) {
            (Some(Entry::Opener(opener)), Side::Acceptor) => (opener.seen, seen),
            (Some(Entry::Acceptor(acceptor)), Side::Opener) => (seen, acceptor.seen),
            (None, side) => {
                let half = Box::new(Half { plan: plan.clone(), seen, undisturbed });
                let entry = if side == Side::Opener { Entry::Opener(half) } else { Entry::Acceptor(half) };
                state.streams.insert(plan.id, entry);
                return Vec::new();
            }
            (Some(entry), _) => {
                state.streams.insert(plan.id, entry);
                return vec![format!("the stream came out twice at the {side:?}")];
            }
        };
        state.streams.insert(plan.id, Entry::Both);
        drop(state);
        judge::both(plan, &opener, &acceptor)
    }

    /// Records that a handler received a request. Returns false if a handler had received it before.
    pub fn handled(&self, id: u64) -> bool {
        self.lock().handled.insert(id)
    }

    /// Records that a caller was told that no handler saw its request.
    pub fn not_handled(&self, id: u64) {
        self.lock().unhandled.insert(id);
    }

    /// Returns whether a handler has received a request.
    pub fn was_handled(&self, id: u64) -> bool {
        self.lock().handled.contains(&id)
    }

    /// Returns the faults of the remaining entries, with their plans, and forgets everything. Must be called when
    /// nothing is in progress.
    pub fn rest(&self) -> Vec<(Option<Plan>, String)> {
        let state = std::mem::take(&mut *self.lock());
        let mut wrong = Vec::new();
        for entry in state.streams.values() {
            match entry {
                Entry::Opener(half) if half.undisturbed => {
                    wrong.push((
                        Some(half.plan.clone()),
                        "the stream was opened, and nobody had it at the other side".into(),
                    ));
                }
                Entry::Acceptor(half) => {
                    let words = judge::unopened(&half.plan, &half.seen);
                    wrong.extend(words.map(|words| (Some(half.plan.clone()), words)));
                }
                Entry::Opener(_) | Entry::Both => {}
            }
        }
        for id in state.unhandled.intersection(&state.handled) {
            wrong.push((None, format!("request {id} was said not to have been handled, and was")));
        }
        wrong
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}
