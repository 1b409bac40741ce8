//! The rows, for programs and for people.

use serde::{Deserialize, Serialize};

use crate::{
    compare::Row,
    figures::table::{advantage, figure, interval},
    output::{Output, SCHEMA, now_ns},
    stream_tester::report::print,
};

/// One line of `--json`.
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
    /// A figure of both sides.
    Row(Row),
    /// What else has to be known of a side.
    Note {
        /// Which side.
        peer: String,
        /// In words.
        text: String,
    },
    /// The last line.
    Summary {
        /// How many rows there were.
        rows: usize,
        /// How many of them are worth nothing.
        void: usize,
        /// How long all of it took.
        ms: u64,
    },
}

/// Says it to programs, if they listen.
pub fn event(output: Output, event: Event) {
    if !output.is_json() {
        return;
    }
    let line = Line { event, ts: now_ns() / 1_000_000, schema: SCHEMA };
    if let Ok(text) = serde_json::to_string(&line) {
        print(&text);
    }
}

/// The head of the table.
pub fn head(output: Output) {
    output.say(format_args!(
        "{:<36} {:>12} {:>12}  {:<5} {:>9}  {:<14}  rounds",
        "", "twolane", "the other", "unit", "advantage", "in 95 of 100"
    ));
}

/// A line of the table.
pub fn line(row: &Row) -> String {
    let Row { name, unit, rounds, .. } = row;
    let [ours, theirs] = [row.ours, row.theirs].map(figure);
    format!(
        "{name:<36} {ours:>12} {theirs:>12}  {unit:<5} {:>9}  {:<14}  {rounds:>6}{}",
        advantage(row),
        interval(row),
        row.void.as_ref().map(|why| format!("  void: {why}")).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Better;

    fn row() -> Row {
        Row::new("bulk-one-way-1", "MB/s", Better::Higher, "raw iroh", &[(980.0, 1_000.0)])
    }

    #[test]
    fn a_row_for_programs_can_be_read_back() {
        let line = Line { event: Event::Row(row()), ts: 1, schema: SCHEMA };
        let text = serde_json::to_string(&line).unwrap();
        assert!(text.starts_with(r#"{"event":"row","name":"bulk-one-way-1","unit":"MB/s"#), "{text}");
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }

    #[test]
    fn a_row_for_people_has_its_advantage_and_says_where_that_lies() {
        assert!(line(&row()).contains("     0.98  one round            1"), "{}", line(&row()));
        let void = Row { void: Some("others were here".into()), ..row() };
        assert!(line(&void).ends_with("void: others were here"), "{}", line(&void));
    }
}
