//! The rows, for programs and for people.

use serde::{Deserialize, Serialize};

use crate::{
    compare::Row,
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
        "{:<36} {:>12} {:>12}  {:<5} {:>9}  {:<12}  rounds",
        "", "twolane", "the other", "unit", "advantage", "in 95 of 100"
    ));
}

/// A line of the table.
pub fn line(row: &Row) -> String {
    let Row { name, unit, rounds, .. } = row;
    let [ours, theirs] = [row.ours, row.theirs].map(figure);
    let line = format!(
        "{name:<36} {ours:>12} {theirs:>12}  {unit:<5} {:>9}  {:<12}  {rounds}{}",
        advantage(row),
        interval(row),
        row.void.as_ref().map(|why| format!("  void: {why}")).unwrap_or_default()
    );
    line
}

/// The table in Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| what | unit | twolane | beside | there | advantage | in 95 of 100 | rounds |\n");
    text.push_str("| --- | --- | --: | --- | --: | --: | --- | --: |\n");
    for row in rows {
        let Row { name, unit, peer, rounds, .. } = row;
        let [ours, theirs] = [row.ours, row.theirs].map(figure);
        let (advantage, interval) = (advantage(row), interval(row));
        text.push_str(&format!(
            "| {name} | {unit} | {ours} | {peer} | {theirs} | {advantage} | {interval} | {rounds} |\n"
        ));
    }
    text
}

fn advantage(row: &Row) -> String {
    row.advantage.map_or_else(|| "-".into(), figure)
}

/// Where the advantage lies, or that there were too few turns to say.
fn interval(row: &Row) -> String {
    match (row.low, row.high) {
        (Some(low), Some(high)) => format!("{} to {}", figure(low), figure(high)),
        _ => "not known".into(),
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
        assert!(line(&row()).contains("     0.98  not known     1"), "{}", line(&row()));
        let many = Row::new("cpu", "s", Better::Lower, "raw iroh", &[(2.0, 3.0); 5]);
        assert!(markdown(&[many]).contains("| 2.00 | raw iroh | 3.00 | 1.50 | 1.50 to 1.50 | 5 |"));
    }
}
