//! The output of `chaos`: one event for programs, and a table for users.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    standstill,
    tally::{Action, Kind, Outcomes, Violation},
    trials::Trial,
};

/// The largest share of outcomes of a kind that disturbances may explain. In 15 s with 24 places, 2 % of streams
/// were measured, and up to 20 % of requests and of calls that open streams, while other users build software on
/// the two cores.
const FORGIVEN: f64 = 0.35;
/// The minimum number of outcomes for which the share is meaningful.
const ENOUGH: u64 = 50;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub ok: bool,
    pub seed: u64,
    pub seconds: u64,
    pub endpoints: usize,
    pub lives: u64,
    pub actions: BTreeMap<Action, u64>,
    pub floors: BTreeMap<Action, u64>,
    /// The number of times that each trial held.
    pub trials: BTreeMap<Trial, u64>,
    pub trial_floors: BTreeMap<Trial, u64>,
    pub missing: Vec<String>,
    pub outcomes: BTreeMap<Kind, Outcomes>,
    /// The time from the end of a disturbance to the next accepted stream: mean and maximum.
    pub recovery_ms: [u64; 2],
    /// The number of bytes of streams that were read to the end of their data.
    pub bytes: u64,
    pub violations: Vec<Violation>,
    pub violations_found: u64,
    pub known: u64,
    /// The number of panics in any task, including those that were caught.
    pub panics: u64,
    pub left: Vec<String>,
    pub tasks: [usize; 2],
    /// The numbers of open files before and after the run. `null` if the system does not list them.
    pub files: Option<[usize; 2]>,
    pub heap: [u64; 2],
    /// The number of standstills of the machine. Each disturbs every pair.
    pub standstills: u64,
    /// The longest time for which a worker of the runtime made no progress.
    pub worst_lag_ms: u64,
    /// The share of the run in which a thread waited for a processor. The floors are lowered by it.
    pub waited_share: f64,
    pub ms: u64,
}

impl Summary {
    pub fn holds(&self) -> bool {
        self.violations_found == 0 && self.missing.is_empty() && self.panics == 0 && self.left.is_empty()
    }

    /// Returns the reasons why a run proves less than it claims.
    pub fn too_lenient(&self) -> Vec<String> {
        // A dial that waits for a processor delays the next disturbance.
        let most = FORGIVEN.max(self.waited_share);
        let too_many = |outcomes: &Outcomes| outcomes.total() >= ENOUGH && outcomes.forgiven_share() > most;
        let forgiven = self.outcomes.iter().filter(|(_, outcomes)| too_many(outcomes));
        let mut words: Vec<_> = forgiven
            .map(|(kind, outcomes)| {
                format!(
                    "{:.0} % of {kind:?} were forgiven, and {:.0} % may be",
                    outcomes.forgiven_share() * 100.0,
                    most * 100.0
                )
            })
            .collect();
        let allowed = standstill::allowed(self.seconds);
        if self.standstills > allowed {
            words.push(format!("the machine stood still {} times, and may {allowed} times", self.standstills));
        }
        words
    }

    pub fn table(&self) -> String {
        let mut lines = vec![format!("{:<18} {:>9} {:>9}", "action", "succeeded", "at least")];
        lines.extend(counts(&self.actions, &self.floors));
        lines.push(format!("{:<18} {:>9} {:>9}", "trial", "held", "at least"));
        lines.extend(counts(&self.trials, &self.trial_floors));
        lines.push(format!("{:<18} {:>9} {:>10} {:>9}", "judged", "strictly", "as planned", "forgiven"));
        for (kind, Outcomes { strictly, as_planned, forgiven }) in &self.outcomes {
            lines.push(format!("{:<18} {strictly:>9} {as_planned:>10} {forgiven:>9}", name(kind)));
        }
        let [mean, most] = self.recovery_ms;
        lines.push(format!("recovery           {mean} ms on average, {most} ms at most"));
        lines.push(format!("heap               {} -> {} bytes", self.heap[0], self.heap[1]));
        for Violation { actor, plan, seen } in &self.violations {
            let actor = actor.map_or_else(String::new, |actor| format!("actor {actor}, "));
            lines.push(format!("VIOLATION: seed {}, {actor}{seen}; the plan: {plan}", self.seed));
        }
        lines.extend(self.missing.iter().map(|missing| format!("TOO LITTLE: {missing}")));
        lines.extend(self.left.iter().map(|left| format!("LEFT BEHIND: {left}")));
        let verdict = if self.ok { "all of it held" } else { "FAILED" };
        lines.push(format!(
            "{verdict}: seed {}, {} endpoints at {} places, {} violations, {} known faults, {} panics, {} standstills, {} ms the longest, {:.0} % of the time without a processor, in {:.1} s",
            self.seed, self.lives, self.endpoints, self.violations_found, self.known, self.panics, self.standstills, self.worst_lag_ms, self.waited_share * 100.0,
            self.ms as f64 / 1000.0,
        ));
        lines.join("\n")
    }
}

fn counts<K: Ord + Serialize>(counts: &BTreeMap<K, u64>, floors: &BTreeMap<K, u64>) -> Vec<String> {
    let line = |(what, count): (&K, &u64)| {
        let floor = floors.get(what).copied().unwrap_or_default();
        let word = if *count < floor { "  TOO FEW" } else { "" };
        format!("{:<18} {count:>9} {floor:>9}{word}", name(what))
    };
    counts.iter().map(line).collect()
}

fn name(of: impl Serialize) -> String {
    serde_json::to_value(of).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
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
    fn what_was_forgiven_too_often_and_too_many_standstills_are_named() {
        let outcomes = |strictly, forgiven| Outcomes { strictly, as_planned: 0, forgiven };
        let good = Summary {
            seconds: 60,
            standstills: 4,
            outcomes: [(Kind::Keep, outcomes(90, 10))].into(),
            ..Summary::default()
        };
        assert_eq!(good.too_lenient(), [""; 0]);
        let bad = Summary { standstills: 5, outcomes: [(Kind::Keep, outcomes(30, 30))].into(), ..good };
        assert_eq!(bad.too_lenient().len(), 2);
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
