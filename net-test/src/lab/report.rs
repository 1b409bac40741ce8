//! The output of the lab: events for programs, and a table for people.

use std::{env, time::Duration};

use serde::{Deserialize, Serialize};

use super::figures::Figures;
use crate::{
    exit::Exit,
    output::Output,
    report::{columns, event, milliseconds, number},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The result of a case that has ended or was skipped.
    Case(Box<Verdict>),
    /// The last line.
    Summary {
        #[serde(flatten)]
        tally: Tally,
        ms: u64,
    },
    /// A line of `--list`.
    Listed { name: String, sentence: String, pair: Option<String> },
}

/// The result of a case or of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
    /// The machine was too busy.
    Void,
}

impl Outcome {
    pub fn of(skipped: bool, void: bool, ok: bool) -> Self {
        match (skipped, void, ok) {
            (true, ..) => Self::Skipped,
            (_, true, _) => Self::Void,
            (.., true) => Self::Passed,
            _ => Self::Failed,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
            Self::Void => "void",
        }
    }
}

/// The number of results of each kind. Each outcome counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    pub void: usize,
}

impl Tally {
    pub fn of(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            *match outcome {
                Outcome::Passed => &mut tally.passed,
                Outcome::Failed => &mut tally.failed,
                Outcome::Skipped => &mut tally.skipped,
                Outcome::Void => &mut tally.void,
            } += 1;
        }
        tally
    }

    /// Writes the last line, and returns the exit code of the program.
    pub fn end(self, output: Output, lasting: Duration) -> Exit {
        let Self { passed, failed, skipped, void } = self;
        let seconds = lasting.as_secs_f64();
        output.say(format_args!("{passed} held, {failed} failed, {skipped} skipped, {void} void, in {seconds:.0} s"));
        event(output, Event::Summary { tally: self, ms: milliseconds(lasting) });
        self.judge(env::var_os("CI").is_some_and(|ci| ci == "true"))
    }

    /// Returns the exit code. With `strict` (in CI), a skipped or void case is a failure, since nobody reads the reason
    /// there.
    pub fn judge(self, strict: bool) -> Exit {
        let open = self.skipped + self.void;
        if self.failed > 0 || (strict && open > 0) { Exit::Failure } else { Exit::Done }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub name: String,
    /// Whether the case held. It is `false` for a case that was skipped or is void.
    pub ok: bool,
    pub skipped: bool,
    /// Whether the machine was too busy, twice.
    pub void: bool,
    #[serde(flatten)]
    pub figures: Figures,
    pub ms: u64,
    /// The fault, or the reason for skipping.
    pub why: Option<String>,
}

impl Verdict {
    pub fn outcome(&self) -> Outcome {
        Outcome::of(self.skipped, self.void, self.ok)
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Report {
    pub output: Output,
    widths: [isize; 7],
}

impl Report {
    /// Creates a report. `name` is the number of characters of the longest name.
    pub fn new(output: Output, name: usize) -> Self {
        Self { output, widths: [-name.cast_signed(), -7, 8, 7, 7, 7, 8] }
    }

    pub fn head(&self) {
        let heads = ["case", "", "1st byte", "direct", "stall", "relayed", "directly", "(times in ms, bytes in kB)"];
        self.output.say(format_args!("{}", columns(&self.widths, heads)));
    }

    pub fn verdict(&self, verdict: &Verdict) {
        self.output.say(format_args!("{}", self.row(verdict)));
        event(self.output, Event::Case(Box::new(verdict.clone())));
    }

    fn row(&self, verdict: &Verdict) -> String {
        let figures = &verdict.figures;
        let kilo = |bytes: Option<u64>| number(bytes.map(|bytes| (bytes / 1000) as f64), 0);
        let mut words: Vec<String> = verdict.why.iter().cloned().collect();
        for (what, ms) in [
            ("relayed", figures.relayed_ms),
            ("from elsewhere", figures.moved_ms),
            ("direct again", figures.again_ms),
            ("online", figures.online_ms),
            ("answered", figures.answered_ms),
        ] {
            words.extend(ms.map(|ms| format!("{what} after {ms:.0} ms")));
        }
        words.extend(figures.note.clone());
        let cells = [
            verdict.name.clone(),
            verdict.outcome().word().to_owned(),
            number(figures.ttfb_ms, 0),
            number(figures.direct_ms, 0),
            number(figures.stall_ms, 0),
            kilo(figures.relay_bytes),
            kilo(figures.direct_bytes),
            words.join("; "),
        ];
        columns(&self.widths, cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict() -> Verdict {
        let figures = Figures { ttfb_ms: Some(12.5), relay_bytes: Some(7_000), ..Figures::default() };
        Verdict { name: "lossy".into(), ok: true, skipped: false, void: false, figures, ms: 9, why: None }
    }

    #[test]
    fn a_case_is_one_flat_object_with_the_figures_in_it() {
        let value = serde_json::to_value(Event::Case(Box::new(verdict()))).unwrap();
        assert_eq!(value["event"], "case");
        assert_eq!(value["ttfb_ms"], 12.5);
        assert_eq!(value["relay_bytes"], 7000);
        assert!(value["direct_ms"].is_null());
        let summary = Event::Summary { tally: Tally { passed: 1, failed: 2, skipped: 3, void: 4 }, ms: 5 };
        let text = serde_json::to_string(&summary).unwrap();
        assert_eq!(text, r#"{"event":"summary","passed":1,"failed":2,"skipped":3,"void":4,"ms":5}"#);
    }

    #[test]
    fn a_row_says_what_failed() {
        let report = Report::new(Output::new(false, false), 5);
        let row = report.row(&Verdict { ok: false, why: Some("lost".into()), ..verdict() });
        assert!(row.starts_with("lossy  FAILED") && row.ends_with("lost"), "{row}");
        let row = report.row(&Verdict { ok: false, skipped: true, ..verdict() });
        assert!(row.starts_with("lossy  skipped"), "{row}");
        let row = report.row(&Verdict { ok: false, void: true, ..verdict() });
        assert!(row.starts_with("lossy  void"), "{row}");
    }

    #[test]
    fn what_is_skipped_fails_in_ci_alone() {
        let tally = Tally { passed: 3, skipped: 1, ..Tally::default() };
        assert_eq!((tally.judge(false), tally.judge(true)), (Exit::Done, Exit::Failure));
        assert_eq!(Tally { passed: 3, ..Tally::default() }.judge(true), Exit::Done);
    }
}
