//! The output of the subcommands: events for programs, and a table for users.

use serde::{Deserialize, Serialize};

use crate::output::Output;
pub use crate::report::{event as emit, failed, milliseconds, print};

/// One line of `--json`. A program that ends before its first case, or is interrupted, writes the `error` of
/// [`crate::output::Event`] instead.
pub type Line<E = Event> = crate::report::Line<E>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line of `run`.
    Start { id52: String, peer: String, cases: usize },
    /// A case has ended.
    Case(Verdict),
    /// The last line of `run`.
    Summary { passed: usize, failed: usize, ms: u64 },
    /// A line of `run --list`.
    Listed { name: String, sentence: String },
    /// The endpoint of `serve` can be reached.
    Ready {
        id52: String,
        /// The key and the known addresses.
        ticket: String,
        /// The command for the other side.
        command: String,
    },
    /// More addresses of `serve` are known.
    Ticket { ticket: String, command: String },
    /// A problem that does not end the program.
    Warning { message: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub name: String,
    pub ok: bool,
    pub ms: u64,
    /// The amount of data that the case moved, or a value that it measured.
    pub note: Option<String>,
    /// The check that did not hold.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy)]
pub struct Report {
    output: Output,
    width: usize,
}

impl Report {
    /// Makes a report. `width` is the length of the longest name in the table.
    pub fn new(output: Output, width: usize) -> Self {
        Self { output, width }
    }

    pub fn output(&self) -> Output {
        self.output
    }

    pub fn head(&self) {
        self.output.say(format_args!("{:<width$}  {:<6} {:>7}  note", "case", "", "ms", width = self.width));
    }

    pub fn event(&self, event: Event) {
        emit(self.output, event);
    }

    pub fn row(&self, verdict: &Verdict) -> String {
        let Verdict { name, ok, ms, note, error } = verdict;
        let word = if *ok { "ok" } else { "FAILED" };
        let words = error.as_deref().or(note.as_deref()).unwrap_or_default();
        format!("{name:<width$}  {word:<6} {ms:>7}  {words}", width = self.width).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::SCHEMA;

    #[test]
    fn an_event_is_one_flat_object() {
        let verdict = Verdict { name: "lines".into(), ok: true, ms: 7, note: None, error: None };
        let line = Line { event: Event::Case(verdict), ts: 4, schema: SCHEMA };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(
            text,
            r#"{"event":"case","name":"lines","ok":true,"ms":7,"note":null,"error":null,"ts":4,"schema":1}"#
        );
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        let line = Line { event: Event::Summary { passed: 3, failed: 0, ms: 9 }, ts: 4, schema: SCHEMA };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(text, r#"{"event":"summary","passed":3,"failed":0,"ms":9,"ts":4,"schema":1}"#);
    }

    #[test]
    fn a_row_says_what_failed_in_place_of_the_note() {
        let report = Report::new(Output::new(false, false), 5);
        let mut verdict =
            Verdict { name: "lines".into(), ok: true, ms: 7, note: Some("100 lines".into()), error: None };
        assert_eq!(report.row(&verdict), "lines  ok           7  100 lines");
        verdict = Verdict { ok: false, error: Some("lost".into()), ..verdict };
        assert_eq!(report.row(&verdict), "lines  FAILED       7  lost");
    }
}
