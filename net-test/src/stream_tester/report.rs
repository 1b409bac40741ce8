//! What the subcommands say: events for programs, a table for people.

use std::{
    io::{self, Write},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::output::{Output, SCHEMA, now_ns};

/// One line of `--json`. (A program that ends before its first case, or is interrupted, says so with the `error` of
/// [`crate::output::Event`].)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line of `run`.
    Start {
        /// Our key.
        id52: String,
        /// The acceptor's.
        peer: String,
        /// How many cases there will be.
        cases: usize,
    },
    /// A case has ended.
    Case(Verdict),
    /// The last line of `run`.
    Summary {
        /// Cases that held.
        passed: usize,
        /// Cases that did not.
        failed: usize,
        /// How long all of them took.
        ms: u64,
    },
    /// A line of `run --list`.
    Listed {
        /// The case's name.
        name: String,
        /// What it shows.
        sentence: String,
    },
    /// `serve` can be reached.
    Ready {
        /// Our key.
        id52: String,
        /// Our key with what is known of where we are.
        ticket: String,
        /// What to run on the other side.
        command: String,
    },
    /// More is known of where `serve` is.
    Ticket {
        /// As in `Ready`.
        ticket: String,
        /// As in `Ready`.
        command: String,
    },
    /// Something that is not as it should be and ends nothing.
    Warning {
        /// In words.
        message: String,
    },
}

/// How a case went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// It held.
    pub ok: bool,
    /// How long it took.
    pub ms: u64,
    /// What it moved or measured.
    pub note: Option<String>,
    /// What did not hold.
    pub error: Option<String>,
}

/// Where the subcommands speak.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    output: Output,
    width: usize,
}

impl Report {
    /// With names of at most `width` characters in the table.
    pub fn new(output: Output, width: usize) -> Self {
        Self { output, width }
    }

    /// Where words go.
    pub fn output(&self) -> Output {
        self.output
    }

    /// The first line of the table.
    pub fn head(&self) {
        self.output.say(format_args!("{:<width$}  {:<6} {:>7}  note", "case", "", "ms", width = self.width));
    }

    /// An event, for programs.
    pub fn event(&self, event: Event) {
        if !self.output.is_json() {
            return;
        }
        if let Ok(text) = serde_json::to_string(&Line { event, ts: now_ns() / 1_000_000, schema: SCHEMA }) {
            print(&text);
        }
    }

    /// A line of the table.
    pub fn row(&self, verdict: &Verdict) -> String {
        let Verdict { name, ok, ms, note, error } = verdict;
        let word = if *ok { "ok" } else { "FAILED" };
        let words = error.as_deref().or(note.as_deref()).unwrap_or_default();
        format!("{name:<width$}  {word:<6} {ms:>7}  {words}", width = self.width).trim_end().to_owned()
    }
}

/// A line of what was asked for.
pub fn print(text: &str) {
    // A program that stopped listening is no reason to stop.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// For both the table and the events.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
