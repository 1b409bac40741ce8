//! The events and the table of `hostile`.

use serde::Serialize;

use super::{
    judge::{Measured, Phase},
    scenes::Scene,
    tally::Counts,
};
use crate::report::{columns, number};

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
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

#[derive(Debug, Serialize)]
pub struct Verdict {
    name: String,
    pub ok: bool,
    /// The reason why the scene has no result.
    pub void: Option<String>,
    faults: Vec<String>,
    /// The ratio of the honest peer's rate under attack, and after it, to its rate before the attack.
    share: Option<f64>,
    share_bound: f64,
    share_afterwards: Option<f64>,
    slowest_ms: f64,
    newcomer_slowest_ms: f64,
    /// The numbers of newcomers that were served under attack, and that were turned away.
    newcomers: [u64; 2],
    /// The maximum growth of the heap, and its growth at the end, in bytes.
    held: u64,
    held_bound: u64,
    left: u64,
    left_bound: u64,
    /// The counts of the hostile peers and of the endpoint.
    seen: Counts,
    /// The minimum counts.
    needed: Counts,
    /// The honest peer's requests a second in the windows before the attack, under attack, and after it.
    rates: [Vec<f64>; 3],
    /// The longest delay of the machine.
    late_ms: f64,
    ms: u64,
}

impl Verdict {
    pub fn new(scene: &Scene, measured: &Measured, ms: u64) -> Self {
        let judged = measured.judge(scene);
        let [slowest_ms, newcomer_slowest_ms] = measured.slowest_ms();
        Self {
            name: scene.name.to_owned(),
            ok: judged.faults.is_empty() && judged.void.is_none(),
            // A fault counts even if the machine was late.
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

const WIDTHS: [isize; 8] = [-6, 5, 5, 8, 8, 8, 8, 6];

pub fn head(width: usize) -> String {
    row_of(
        width,
        ["scene", "", "share", "after", "slowest", "newcomer", "held kB", "left kB", "ms", "seen"].map(String::from),
    )
}

pub fn row(verdict: &Verdict, width: usize) -> String {
    let word = match (&verdict.void, verdict.ok) {
        (Some(_), _) => "VOID",
        (None, true) => "ok",
        (None, false) => "FAILED",
    };
    let words = match &verdict.void {
        Some(why) => why.clone(),
        None if verdict.ok => {
            let count = |name: &String| verdict.seen.get(name).copied().unwrap_or_default();
            verdict.needed.keys().map(|name| format!("{name} {}", count(name))).collect::<Vec<_>>().join(", ")
        }
        None => verdict.faults.join("; "),
    };
    let cells = [
        verdict.name.clone(),
        word.to_owned(),
        number(verdict.share, 2),
        number(verdict.share_afterwards, 2),
        number(Some(verdict.slowest_ms), 1),
        number(Some(verdict.newcomer_slowest_ms), 1),
        (verdict.held / 1000).to_string(),
        (verdict.left / 1000).to_string(),
        verdict.ms.to_string(),
        words,
    ];
    row_of(width, cells)
}

fn row_of(width: usize, cells: [String; 10]) -> String {
    let widths: Vec<_> = [-(width as isize)].into_iter().chain(WIDTHS).collect();
    columns(&widths, cells)
}
