//! The disturbances of each pair of places. On an undisturbed pair only the planned outcome is legal. Pure.
//!
//! A disturbance begins before the action that causes it, and ends after it. After its end comes a tail, in which
//! one side does not know of it yet: that side counts a closed connection as live until the last packet of its end
//! has come. So a pair is calm again, in one direction, once a stream has been accepted that began in that
//! direction after the end of the disturbance. The connection that carried this stream is the one that further
//! streams use.

use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use super::cause::Cause;
use crate::stream_tester::lock;

/// The number of disturbances of a pair that a violation reports.
const TOLD: usize = 6;

/// The state of a pair at one moment, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// A counter that is raised when a disturbance begins and when it ends.
    pub epoch: u64,
    /// The number of disturbances that are over, including their tails.
    pub over: usize,
}

#[derive(Debug)]
pub struct Pairs {
    places: usize,
    pairs: Vec<Mutex<Pair>>,
}

#[derive(Debug)]
struct Pair {
    epoch: u64,
    under_way: usize,
    /// The number of disturbances that are over, in the direction from the lower place to the higher one, and back.
    over: [usize; 2],
    past: Vec<Cause>,
}

/// A disturbance of pairs. It ends when it is dropped.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Disturbance<'a> {
    all: &'a Pairs,
    touched: Vec<usize>,
}

impl Pairs {
    pub fn new(places: usize) -> Self {
        let pair = || Mutex::new(Pair { epoch: 0, under_way: 0, over: [0; 2], past: Vec::new() });
        Self { places, pairs: (0..places * places).map(|_| pair()).collect() }
    }

    pub fn disturb(&self, a: usize, b: usize, cause: Cause) -> Disturbance<'_> {
        self.begin(vec![self.at(a, b)], cause)
    }

    pub fn disturb_all(&self, place: usize, cause: Cause) -> Disturbance<'_> {
        let others = (0..self.places).filter(|other| *other != place);
        self.begin(others.map(|other| self.at(place, other)).collect(), cause)
    }

    pub fn sight(&self, from: usize, to: usize) -> Sight {
        let pair = self.lock(self.at(from, to));
        Sight { epoch: pair.epoch, over: pair.over[usize::from(from > to)] }
    }

    /// Records that a stream that began at `sight` was accepted.
    pub fn confirm(&self, from: usize, to: usize, sight: Sight) {
        let mut pair = self.lock(self.at(from, to));
        if pair.under_way == 0 && pair.epoch == sight.epoch {
            pair.over[usize::from(from > to)] = pair.past.len();
        }
    }

    /// Returns the causes of all disturbances since `sight`, or in progress then. If there are any, and a place had
    /// moved before them, [`Cause::MovedBefore`] is added.
    pub fn causes(&self, a: usize, b: usize, sight: Sight) -> Vec<Cause> {
        let pair = self.lock(self.at(a, b));
        let (before, since) = pair.past.split_at(sight.over);
        let moved = !since.is_empty() && before.iter().any(|cause| cause.moves());
        since.iter().copied().chain(moved.then_some(Cause::MovedBefore)).collect()
    }

    /// Returns the causes of all disturbances of the pair.
    pub fn history(&self, a: usize, b: usize) -> Vec<Cause> {
        self.lock(self.at(a, b)).past.clone()
    }

    /// Returns whether every disturbance is over, including its tail.
    pub fn calm(&self, from: usize, to: usize) -> bool {
        let pair = self.lock(self.at(from, to));
        pair.over[usize::from(from > to)] == pair.past.len()
    }

    /// Returns whether no disturbance is in progress or has been since `sight`.
    pub fn quiet_since(&self, a: usize, b: usize, sight: Sight) -> bool {
        let pair = self.lock(self.at(a, b));
        pair.under_way == 0 && pair.epoch == sight.epoch
    }

    /// Returns the last disturbances of a pair as text.
    pub fn past(&self, a: usize, b: usize) -> String {
        let pair = self.lock(self.at(a, b));
        let past = &pair.past[pair.past.len().saturating_sub(TOLD)..];
        format!("epoch {}, {} under way, of late: {past:?}", pair.epoch, pair.under_way)
    }

    fn begin(&self, touched: Vec<usize>, cause: Cause) -> Disturbance<'_> {
        for at in &touched {
            let mut pair = self.lock(*at);
            pair.epoch += 1;
            pair.under_way += 1;
            pair.past.push(cause);
        }
        Disturbance { all: self, touched }
    }

    fn at(&self, a: usize, b: usize) -> usize {
        a.min(b) * self.places + a.max(b)
    }

    fn lock(&self, at: usize) -> MutexGuard<'_, Pair> {
        lock(&self.pairs[at])
    }
}

impl Drop for Disturbance<'_> {
    fn drop(&mut self) {
        for at in &self.touched {
            let mut pair = self.all.lock(*at);
            pair.epoch += 1;
            pair.under_way -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream_tester::chaos::orders::Fate;

    const BAN: Cause = Cause::Fate(Fate::Ban);
    const CLOSE: Cause = Cause::Fate(Fate::Close);

    #[test]
    fn a_stream_is_undisturbed_if_nothing_began_or_ended_in_its_time() {
        let pairs = Pairs::new(3);
        let sight = pairs.sight(0, 1);
        assert_eq!(pairs.causes(1, 0, sight), []);
        drop(pairs.disturb(1, 2, CLOSE));
        assert_eq!(pairs.causes(0, 1, sight), []);
        drop(pairs.disturb_all(1, BAN));
        assert_eq!(pairs.causes(0, 1, sight), [BAN]);
        assert_eq!(pairs.history(2, 1), [CLOSE, BAN]);
    }

    #[test]
    fn a_pair_is_calm_again_in_the_direction_in_which_a_later_stream_was_accepted() {
        let pairs = Pairs::new(2);
        let before = pairs.sight(0, 1);
        let disturbance = pairs.disturb(0, 1, BAN);
        let within = pairs.sight(0, 1);
        assert!(!pairs.calm(0, 1) && !pairs.quiet_since(0, 1, within));
        pairs.confirm(0, 1, within);
        drop(disturbance);
        pairs.confirm(0, 1, before);
        pairs.confirm(0, 1, within);
        let after = pairs.sight(0, 1);
        assert!(!pairs.calm(0, 1) && pairs.quiet_since(0, 1, after) && !pairs.quiet_since(0, 1, within));
        pairs.confirm(0, 1, after);
        assert!(pairs.calm(0, 1) && !pairs.calm(1, 0));
        assert_eq!(pairs.causes(0, 1, pairs.sight(0, 1)), []);
        // A stream that began in the tail stays suspect.
        assert_eq!(pairs.causes(0, 1, after), [BAN]);
    }

    #[test]
    fn a_place_that_has_moved_before_a_disturbance_is_told_with_it() {
        let (pairs, moved) = (Pairs::new(2), Cause::Fate(Fate::DropEndpoint));
        drop(pairs.disturb_all(1, moved));
        let sight = pairs.sight(0, 1);
        assert_eq!(pairs.causes(0, 1, sight), [moved]);
        pairs.confirm(0, 1, sight);
        let sight = pairs.sight(0, 1);
        assert_eq!(pairs.causes(0, 1, sight), []);
        drop(pairs.disturb(0, 1, CLOSE));
        assert_eq!(pairs.causes(0, 1, sight), [CLOSE, Cause::MovedBefore]);
    }

    #[test]
    fn of_two_disturbances_the_last_end_counts_and_both_explain() {
        let pairs = Pairs::new(2);
        let (first, second) = (pairs.disturb(0, 1, BAN), pairs.disturb_all(0, CLOSE));
        drop(first);
        let sight = pairs.sight(0, 1);
        pairs.confirm(0, 1, sight);
        assert!(!pairs.calm(0, 1));
        drop(second);
        let sight = pairs.sight(0, 1);
        assert_eq!(pairs.causes(0, 1, sight), [BAN, CLOSE]);
        pairs.confirm(0, 1, sight);
        assert!(pairs.calm(0, 1));
        assert!(pairs.past(0, 1).contains("[Fate(Ban), Fate(Close)]"), "{}", pairs.past(0, 1));
    }
}
