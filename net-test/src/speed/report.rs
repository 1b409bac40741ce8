//! The rows, for programs and for people.

use serde::{Deserialize, Serialize};

use super::compare::{Better, Row};
use crate::{
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
    /// The last line.
    Summary {
        /// How many rows there were.
        rows: usize,
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
        "{:<36} {:>12} {:>12}  {:<5} {:>7} {:>7}  better",
        "", "twolane", "the other", "unit", "ratio", "spread"
    ));
}

/// A line of the table.
pub fn line(row: &Row) -> String {
    let Row { name, ours, theirs, unit, ratio, spread, .. } = row;
    let [ours, theirs] = [*ours, *theirs].map(figure);
    let spread = spread * 100.0;
    format!("{name:<36} {ours:>12} {theirs:>12}  {unit:<5} {ratio:>7.3} {spread:>6.1}%  {}", better(row))
}

/// The table in Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| what | unit | twolane | against | there | ratio | better |\n");
    text.push_str("| --- | --- | --: | --- | --: | --: | --- |\n");
    for row in rows {
        let Row { name, unit, peer, ratio, .. } = row;
        let [ours, theirs] = [row.ours, row.theirs].map(figure);
        text.push_str(&format!("| {name} | {unit} | {ours} | {peer} | {theirs} | {ratio:.2} | {} |\n", better(row)));
    }
    text
}

fn better(row: &Row) -> &'static str {
    match row.better {
        Better::Higher => "higher",
        Better::Lower => "lower",
    }
}

/// Three digits are what repeats.
fn figure(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speed::compare::Values;

    fn row() -> Row {
        let values = Values { ours: vec![980.0], theirs: vec![1_000.0] };
        Row::new("bulk-one-way-1", "MB/s", Better::Higher, "raw iroh", &values)
    }

    #[test]
    fn a_row_for_programs_can_be_read_back() {
        let line = Line { event: Event::Row(row()), ts: 1, schema: SCHEMA };
        let text = serde_json::to_string(&line).unwrap();
        assert!(text.starts_with(r#"{"event":"row","name":"bulk-one-way-1","ours":980.0"#), "{text}");
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }

    #[test]
    fn a_row_for_people_has_its_ratio() {
        assert!(line(&row()).contains(" 0.980"), "{}", line(&row()));
        assert!(markdown(&[row()]).contains("| 980 | raw iroh | 1000 | 0.98 | higher |"), "{}", markdown(&[row()]));
    }
}
