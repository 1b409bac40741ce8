//! What the lab says: events for programs, a table for people.

use serde::{Deserialize, Serialize};

use super::figures::Figures;
use crate::{
    output::{Output, SCHEMA, now_ns},
    stream_tester::report::print,
};

/// One line of `--json`. (A lab that is interrupted says so with the `error` of [`crate::output::Event`].)
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line<E> {
    #[serde(flatten)]
    pub(super) event: E,
    /// When, in milliseconds since 1970.
    pub(super) ts: u64,
    pub(super) schema: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// A case has ended, or was skipped.
    Case(Box<Verdict>),
    /// The last line.
    Summary { passed: usize, failed: usize, skipped: usize, void: usize, ms: u64 },
    /// A line of `--list`.
    Listed { name: String, sentence: String, pair: Option<String> },
}

/// How a case went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) name: String,
    /// It held. A case that was skipped or is void did not.
    pub(super) ok: bool,
    pub(super) skipped: bool,
    /// The machine was too busy for the case to say anything, twice.
    pub(super) void: bool,
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// How long the case took.
    pub(super) ms: u64,
    /// What did not hold, or why it was skipped.
    pub(super) why: Option<String>,
}

/// Where the lab speaks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub(super) output: Output,
    width: usize,
}

impl Report {
    /// With names of at most `width` characters.
    pub(super) fn new(output: Output, width: usize) -> Self {
        Self { output, width }
    }

    pub(super) fn head(&self) {
        self.output.say(format_args!(
            "{:<width$}  {:<7} {:>8} {:>9} {:>8} {:>9} {:>9}  (times in ms, bytes in kB)",
            "case",
            "",
            "1st byte",
            "direct",
            "stall",
            "relayed",
            "directly",
            width = self.width
        ));
    }

    pub(super) fn verdict(&self, verdict: &Verdict) {
        self.output.say(format_args!("{}", self.row(verdict)));
        self.event(Event::Case(Box::new(verdict.clone())));
    }

    pub(super) fn event<E: Serialize>(&self, event: E) {
        if self.output.is_json() {
            event_line(event);
        }
    }

    fn row(&self, verdict: &Verdict) -> String {
        let word = match verdict {
            Verdict { skipped: true, .. } => "skipped",
            Verdict { void: true, .. } => "void",
            Verdict { ok: true, .. } => "ok",
            _ => "FAILED",
        };
        let figures = &verdict.figures;
        let time = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"));
        let kilo = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{}", bytes / 1000));
        let mut words = verdict.why.clone().unwrap_or_default();
        for (what, ms) in [
            ("relayed", figures.relayed_ms),
            ("from elsewhere", figures.moved_ms),
            ("direct again", figures.again_ms),
            ("online", figures.online_ms),
            ("answered", figures.answered_ms),
        ] {
            if let Some(ms) = ms {
                add(&mut words, &format!("{what} after {ms:.0} ms"));
            }
        }
        add(&mut words, figures.note.as_deref().unwrap_or_default());
        format!(
            "{:<width$}  {word:<7} {:>8} {:>9} {:>8} {:>9} {:>9}  {words}",
            verdict.name,
            time(figures.ttfb_ms),
            time(figures.direct_ms),
            time(figures.stall_ms),
            kilo(figures.relay_bytes),
            kilo(figures.direct_bytes),
            width = self.width
        )
        .trim_end()
        .to_owned()
    }
}

fn add(words: &mut String, more: &str) {
    if !words.is_empty() && !more.is_empty() {
        words.push_str("; ");
    }
    words.push_str(more);
}

pub(super) fn event_line<E: Serialize>(event: E) {
    if let Ok(text) = serde_json::to_string(&Line { event, ts: now_ns() / 1_000_000, schema: SCHEMA }) {
        print(&text);
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
        let line = Line { event: Event::Case(Box::new(verdict())), ts: 4, schema: SCHEMA };
        let value = serde_json::to_value(&line).unwrap();
        assert_eq!(value["event"], "case");
        assert_eq!(value["ttfb_ms"], 12.5);
        assert_eq!(value["relay_bytes"], 7000);
        assert!(value["direct_ms"].is_null());
        let summary = Event::Summary { passed: 1, failed: 2, skipped: 3, void: 4, ms: 5 };
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
}
