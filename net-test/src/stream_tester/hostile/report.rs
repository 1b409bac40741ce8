//! What `hostile` says: events for programs, a table for people.

use serde::{Deserialize, Serialize};

use super::{judge::Measured, scenes::Scene, tally::Counts};
use crate::{
    output::{Output, SCHEMA, now_ns},
    stream_tester::report::print,
};

/// One line of `--json`. (A program that ends before its first scene, or is interrupted, says so with the `error` of
/// [`crate::output::Event`].)
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// When, in milliseconds since 1970.
    pub ts: u64,
    /// [`SCHEMA`].
    pub schema: u32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A scene has ended.
    Scene(Verdict),
    /// The last line.
    Summary {
        /// Scenes that held.
        passed: usize,
        /// Scenes that did not.
        failed: usize,
        /// How long all of them took.
        ms: u64,
    },
    /// A line of `--list`.
    Listed {
        /// The scene's name.
        name: String,
        /// What it shows.
        sentence: String,
    },
}

/// How a scene went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// It held.
    pub ok: bool,
    /// The honest peer's rate under attack by its rate without, medians of the windows. `null` without a rate.
    pub honest_share: Option<f64>,
    /// The least that it may be.
    pub share_bound: f64,
    /// By how much the memory of the process with the endpoint under attack and the honest peer grew, in 10^6 bytes.
    pub peak_rss_mb: f64,
    /// The most that it may be.
    pub rss_bound_mb: f64,
    /// What the hostile peers were told, and what the endpoint counted.
    pub seen: Counts,
    /// What of it had to be seen, at least.
    pub needed: Counts,
    /// Honest requests that failed.
    pub failed_requests: u64,
    /// The honest peer's requests a second in each window without an attack.
    pub undisturbed: Vec<f64>,
    /// The same, under attack.
    pub attacked: Vec<f64>,
    /// How long it took.
    pub ms: u64,
    /// What did not hold, in words.
    pub faults: Vec<String>,
}

impl Verdict {
    /// What was measured, judged.
    pub fn new(scene: &Scene, measured: Measured, ms: u64) -> Self {
        let faults = measured.judge(scene);
        Self {
            name: scene.name.to_owned(),
            ok: faults.is_empty(),
            honest_share: measured.honest_share(),
            share_bound: scene.share,
            peak_rss_mb: measured.peak_rss_mb(),
            rss_bound_mb: scene.rss_mb,
            needed: scene.needs.iter().map(|(name, least)| ((*name).to_owned(), *least)).collect(),
            seen: measured.seen,
            failed_requests: measured.failed_requests,
            undisturbed: measured.undisturbed,
            attacked: measured.attacked,
            ms,
            faults,
        }
    }
}

/// The first line of the table.
pub(super) fn head(output: Output, width: usize) {
    output.say(format_args!("{:<width$}  {:<6} {:>6} {:>8} {:>7}  seen", "scene", "", "share", "MB", "ms"));
}

/// A line of the table.
pub(super) fn row(verdict: &Verdict, width: usize) -> String {
    let Verdict { name, ok, honest_share, peak_rss_mb, ms, needed, seen, faults, .. } = verdict;
    let word = if *ok { "ok" } else { "FAILED" };
    let share = honest_share.map_or_else(|| "-".to_owned(), |share| format!("{share:.2}"));
    let words = if *ok {
        let seen = needed.keys().map(|name| format!("{name} {}", seen.get(name).copied().unwrap_or_default()));
        seen.collect::<Vec<_>>().join(", ")
    } else {
        faults.join("; ")
    };
    format!("{name:<width$}  {word:<6} {share:>6} {peak_rss_mb:>8.1} {ms:>7}  {words}").trim_end().to_owned()
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
