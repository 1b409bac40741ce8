//! What `chaos` says: one event for programs, a table for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tally::{Action, Violation};

/// The last line of `--json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// All of it held.
    pub ok: bool,
    /// The same seed makes the same plans.
    pub seed: u64,
    /// How long actors acted.
    pub seconds: u64,
    /// Places.
    pub endpoints: usize,
    /// Endpoints that there were at them, one after the other.
    pub lives: usize,
    /// How often each action succeeded.
    pub actions: BTreeMap<Action, u64>,
    /// How often each must have.
    pub floors: BTreeMap<Action, u64>,
    /// The actions of which there were too few.
    pub missing: Vec<String>,
    /// Sides of streams for which only the planned was legal.
    pub strict: u64,
    /// Sides of streams that something disturbed.
    pub disturbed: u64,
    /// Data bytes that were read up to an end of data.
    pub bytes: u64,
    /// The first violations.
    pub violations: Vec<Violation>,
    /// All of them.
    pub violations_found: u64,
    /// Panics, wherever they were caught.
    pub panics: u64,
    /// What was left behind.
    pub left: Vec<String>,
    /// Tasks before and after.
    pub tasks: [usize; 2],
    /// Open files and sockets before and after; `null` where they cannot be counted.
    pub files: Option<[usize; 2]>,
    /// By how much a timer was late at worst: where that is seconds, the machine has no time for what is to be tested.
    pub worst_lag_ms: u64,
    /// How long all of it took.
    pub ms: u64,
}

impl Summary {
    /// Whether all of it held.
    pub fn holds(&self) -> bool {
        self.violations_found == 0 && self.missing.is_empty() && self.panics == 0 && self.left.is_empty()
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut lines = vec![format!("{:<18} {:>9} {:>9}", "action", "succeeded", "at least")];
        for (action, count) in &self.actions {
            let floor = self.floors.get(action).copied().unwrap_or_default();
            let word = if *count < floor { "  TOO FEW" } else { "" };
            lines.push(format!("{:<18} {count:>9} {floor:>9}{word}", name(*action)));
        }
        for Violation { actor, plan, seen } in &self.violations {
            let actor = actor.map_or_else(String::new, |actor| format!("actor {actor}, "));
            lines.push(format!("VIOLATION: seed {}, {actor}{seen}; the plan: {plan}", self.seed));
        }
        lines.extend(self.left.iter().map(|left| format!("LEFT BEHIND: {left}")));
        let verdict = if self.ok { "all of it held" } else { "FAILED" };
        lines.push(format!(
            "{verdict}: seed {}, {} endpoints at {} places, {} sides of streams undisturbed and {} disturbed, {} violations, {} panics, timers late by {} ms at worst, in {:.1} s",
            self.seed, self.lives, self.endpoints, self.strict, self.disturbed, self.violations_found, self.panics, self.worst_lag_ms,
            self.ms as f64 / 1000.0,
        ));
        lines.join("\n")
    }
}

fn name(action: Action) -> String {
    serde_json::to_value(action).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_is_one() {
        let good = Summary::default();
        assert!(good.holds());
        assert!(!Summary { violations_found: 1, ..good.clone() }.holds());
        assert!(!Summary { missing: vec!["Ban".into()], ..good.clone() }.holds());
        assert!(!Summary { panics: 1, ..good.clone() }.holds());
        assert!(!Summary { left: vec!["a task".into()], ..good }.holds());
    }

    #[test]
    fn the_table_names_what_was_done_too_seldom_and_what_was_wrong() {
        let violation = Violation { actor: Some(3), plan: "a stream".into(), seen: "nothing".into() };
        let summary = Summary {
            seed: 7,
            actions: [(Action::Ban, 1), (Action::Open, 9)].into(),
            floors: [(Action::Ban, 2), (Action::Open, 9)].into(),
            violations: vec![violation],
            ..Summary::default()
        };
        let table = summary.table();
        assert!(table.contains("TOO FEW") && table.contains("seed 7, actor 3, nothing; the plan: a stream"), "{table}");
        assert_eq!(table.matches("TOO FEW").count(), 1);
    }
}
