//! What has disturbed each pair of places, and when: on a pair that nothing disturbed only the planned is legal. Pure.
//!
//! A disturbance begins before what is done and ends after it. Its tail is as long as one side does not know of it: a
//! closed connection counts as live there until the last packet of its end has come. So a pair is calm again, in one
//! direction, once a stream in that direction that began after the end of the disturbance has been accepted: the
//! connection that carried it is the one that further streams take.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

/// What is kept of a pair's past for the words of a violation.
const REMEMBERED: usize = 6;

/// How a pair stood at one moment, seen in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Raised when a disturbance begins and when it ends.
    pub epoch: u64,
    /// No disturbance was under way, and the tail of the last one was over.
    pub calm: bool,
}

/// Every pair.
#[derive(Debug)]
pub struct Pairs {
    places: usize,
    pairs: Vec<Mutex<Pair>>,
}

#[derive(Debug)]
struct Pair {
    epoch: u64,
    under_way: usize,
    /// From the lower place to the higher, and back.
    settled: [bool; 2],
    past: VecDeque<&'static str>,
}

/// Something that disturbs pairs, from its begin until it is dropped.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Disturbance<'a> {
    all: &'a Pairs,
    touched: Vec<usize>,
}

impl Pairs {
    /// All pairs of so many places, undisturbed.
    pub fn new(places: usize) -> Self {
        let pair = || Mutex::new(Pair { epoch: 0, under_way: 0, settled: [true; 2], past: VecDeque::new() });
        Self { places, pairs: (0..places * places).map(|_| pair()).collect() }
    }

    /// Something begins that one pair may notice.
    pub fn disturb(&self, a: usize, b: usize, what: &'static str) -> Disturbance<'_> {
        self.begin(vec![self.at(a, b)], what)
    }

    /// Something begins that every pair of one place may notice.
    pub fn disturb_all(&self, place: usize, what: &'static str) -> Disturbance<'_> {
        let others = (0..self.places).filter(|other| *other != place);
        self.begin(others.map(|other| self.at(place, other)).collect(), what)
    }

    /// How a pair stands now, for a stream from the one to the other.
    pub fn sight(&self, from: usize, to: usize) -> Sight {
        let pair = self.lock(self.at(from, to));
        Sight { epoch: pair.epoch, calm: pair.under_way == 0 && pair.settled[usize::from(from > to)] }
    }

    /// A stream from the one to the other that began at `sight` was accepted.
    pub fn confirm(&self, from: usize, to: usize, sight: Sight) {
        let mut pair = self.lock(self.at(from, to));
        if pair.under_way == 0 && pair.epoch == sight.epoch {
            pair.settled[usize::from(from > to)] = true;
        }
    }

    /// Whether nothing has disturbed the pair since `sight`, nor had then.
    pub fn undisturbed(&self, a: usize, b: usize, sight: Sight) -> bool {
        sight.calm && self.lock(self.at(a, b)).epoch == sight.epoch
    }

    /// The last disturbances of a pair, for people.
    pub fn past(&self, a: usize, b: usize) -> String {
        let pair = self.lock(self.at(a, b));
        let past: Vec<_> = pair.past.iter().copied().collect();
        format!("epoch {}, {} under way, of late: {}", pair.epoch, pair.under_way, past.join(", "))
    }

    fn begin(&self, touched: Vec<usize>, what: &'static str) -> Disturbance<'_> {
        for at in &touched {
            let mut pair = self.lock(*at);
            pair.epoch += 1;
            pair.under_way += 1;
            pair.settled = [false; 2];
            if pair.past.len() == REMEMBERED {
                pair.past.pop_front();
            }
            pair.past.push_back(what);
        }
        Disturbance { all: self, touched }
    }

    fn at(&self, a: usize, b: usize) -> usize {
        a.min(b) * self.places + a.max(b)
    }

    fn lock(&self, at: usize) -> MutexGuard<'_, Pair> {
        self.pairs[at].lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_stream_is_undisturbed_if_nothing_began_or_ended_in_its_time() {
        let pairs = Pairs::new(3);
        let sight = pairs.sight(0, 1);
        assert!(pairs.undisturbed(1, 0, sight));
        drop(pairs.disturb(1, 2, "close"));
        assert!(pairs.undisturbed(0, 1, sight));
        drop(pairs.disturb_all(1, "restart"));
        assert!(!pairs.undisturbed(0, 1, sight));
    }

    #[test]
    fn a_pair_is_calm_again_in_the_direction_in_which_a_later_stream_was_accepted() {
        let pairs = Pairs::new(2);
        let before = pairs.sight(0, 1);
        let disturbance = pairs.disturb(0, 1, "ban");
        let within = pairs.sight(0, 1);
        assert!(!within.calm);
        pairs.confirm(0, 1, within);
        drop(disturbance);
        pairs.confirm(0, 1, before);
        pairs.confirm(0, 1, within);
        let after = pairs.sight(0, 1);
        assert!(!after.calm && !pairs.undisturbed(0, 1, after));
        pairs.confirm(0, 1, after);
        assert!(pairs.sight(0, 1).calm && !pairs.sight(1, 0).calm);
        // One that began in the tail stays suspect.
        assert!(!pairs.undisturbed(0, 1, after));
    }

    #[test]
    fn of_two_disturbances_the_last_end_counts() {
        let pairs = Pairs::new(2);
        let (first, second) = (pairs.disturb(0, 1, "ban"), pairs.disturb_all(0, "restart"));
        drop(first);
        let sight = pairs.sight(0, 1);
        pairs.confirm(0, 1, sight);
        assert!(!pairs.sight(0, 1).calm);
        drop(second);
        let sight = pairs.sight(0, 1);
        pairs.confirm(0, 1, sight);
        assert!(pairs.sight(0, 1).calm);
        assert!(pairs.past(0, 1).contains("ban, restart"));
    }
}
