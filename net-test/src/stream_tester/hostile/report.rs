//! What `hostile` says: events for programs, a table for people.

use serde::Serialize;

use super::{
    judge::{Measured, Phase},
    scenes::Scene,
    tally::Counts,
};
use crate::{
    output::{Output, SCHEMA, now_ns},
    stream_tester::report::print,
};

/// One line of `--json`. (A program that ends before its first scene, or is interrupted, says so with the `error` of
/// [`crate::output::Event`].)
#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    event: Event,
    ts: u64,
    schema: u32,
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    Scene(Box<Verdict>),
    /// The last line.
    Summary {
        passed: usize,
        failed: usize,
        void: usize,
        ms: u64,
    },
    /// A line of `--list`.
    Listed {
        name: String,
        sentence: String,
    },
}

/// How a scene went.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    name: String,
    pub(super) ok: bool,
    /// Why nothing can be said.
    pub(super) void: Option<String>,
    /// What did not hold, in words.
    faults: Vec<String>,
    /// The honest peer's rate under attack and afterwards, each by that before.
    share: Option<f64>,
    share_bound: f64,
    share_afterwards: Option<f64>,
    slowest_ms: f64,
    newcomer_slowest_ms: f64,
    /// Newcomers that were served under attack, and that were turned away.
    newcomers: [u64; 2],
    /// By how much the heap was larger at most, and in the end, in bytes.
    held: u64,
    held_bound: u64,
    left: u64,
    left_bound: u64,
    /// What the hostile peers were told, and what the endpoint counted.
    seen: Counts,
    /// What of it had to be seen, at least.
    needed: Counts,
    /// The honest peer's requests a second in the windows before the attack, under it, and after it.
    rates: [Vec<f64>; 3],
    /// By how much the machine was late at most.
    late_ms: f64,
    ms: u64,
}

impl Verdict {
    /// What was measured, judged.
    pub(super) fn new(scene: &Scene, measured: &Measured, ms: u64) -> Self {
        let judged = measured.judge(scene);
        let [slowest_ms, newcomer_slowest_ms] = measured.slowest_ms();
        Self {
            name: scene.name.to_owned(),
            ok: judged.faults.is_empty() && judged.void.is_none(),
            // What failed has failed whatever the machine did.
            void: judged.void.filter(|_| judged.faults.is_empty()),
            faults: judged.faults,
            share: measured.share(),
            share_bound: scene.share,
            share_afterwards: measured.share_afterwards(),
            slowest_ms,
            newcomer_slowest_ms,
            newcomers: measured.newcomers(),
            held: measured.heap_held(),
            held_bound: scene.held,
            left: measured.heap_left(),
            left_bound: scene.left,
            seen: measured.seen.clone(),
            needed: scene.needs.iter().map(|(name, least)| ((*name).to_owned(), *least)).collect(),
            rates: [Phase::Before, Phase::Attacked, Phase::After].map(|phase| measured.rates(phase)),
            late_ms: measured.late_ms(),
            ms,
        }
    }
}

/// The first line of the table.
pub(super) fn head(output: Output, width: usize) {
    output.say(format_args!(
        "{:<width$}  {:<6} {:>5} {:>5} {:>8} {:>8} {:>8} {:>8} {:>6}  seen",
        "scene", "", "share", "after", "slowest", "newcomer", "held kB", "left kB", "ms"
    ));
}

/// A line of the table.
pub(super) fn row(verdict: &Verdict, width: usize) -> String {
    let word = match (&verdict.void, verdict.ok) {
        (Some(_), _) => "VOID",
        (None, true) => "ok",
        (None, false) => "FAILED",
    };
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{share:.2}"));
    let words = match &verdict.void {
        Some(why) => why.clone(),
        None if verdict.ok => {
            let count = |name: &String| verdict.seen.get(name).copied().unwrap_or_default();
            verdict.needed.keys().map(|name| format!("{name} {}", count(name))).collect::<Vec<_>>().join(", ")
        }
        None => verdict.faults.join("; "),
    };
    let row = format!(
        "{:<width$}  {word:<6} {:>5} {:>5} {:>8.1} {:>8.1} {:>8} {:>8} {:>6}  {words}",
        verdict.name,
        share(verdict.share),
        share(verdict.share_afterwards),
        verdict.slowest_ms,
        verdict.newcomer_slowest_ms,
        verdict.held / 1000,
        verdict.left / 1000,
        verdict.ms,
    );
    row.trim_end().to_owned()
}

/// An event, for programs.
pub(super) fn event(output: Output, event: Event) {
    if !output.is_json() {
        return;
    }
    if let Ok(text) = serde_json::to_string(&Line { event, ts: now_ns() / 1_000_000, schema: SCHEMA }) {
        print(&text);
    }
}
