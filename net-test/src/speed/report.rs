//! The output of the rows: events for programs, and a table for people.

use serde::{Deserialize, Serialize};

use crate::{
    compare::Row,
    figures::table::{advantage, figure, interval},
    output::Output,
    report::columns,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A figure of both sides.
    Row(Row),
    /// A remark about a side.
    Note { peer: String, text: String },
    /// The last line. `failed` is the number of rates under the bound that was asked for.
    Summary { rows: usize, failed: usize, void: usize, ms: u64 },
}

const WIDTHS: &[isize] = &[-36, 12, 12, -5, 9, -14, 6];

pub fn head(output: Output) {
    let heads = ["", "twolane", "the other", "unit", "advantage", "in 95 of 100", "rounds"];
    output.say(format_args!("{}", columns(WIDTHS, heads)));
}

pub fn line(row: &Row) -> String {
    let cells = [
        row.name.clone(),
        figure(row.ours),
        figure(row.theirs),
        row.unit.clone(),
        advantage(row),
        interval(row),
        row.rounds.to_string(),
        row.void.as_ref().map(|why| format!("void: {why}")).unwrap_or_default(),
    ];
    columns(WIDTHS, cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::Better,
        report::{self, Line},
    };

    fn row() -> Row {
        Row::new("bulk-one-way-1", "MB/s", Better::Higher, "raw iroh", &[(980.0, 1_000.0)])
    }

    #[test]
    fn a_row_for_programs_can_be_read_back() {
        let text = report::line(Event::Row(row()));
        assert!(text.starts_with(r#"{"event":"row","name":"bulk-one-way-1","unit":"MB/s"#), "{text}");
        assert_eq!(serde_json::from_str::<Line<Event>>(&text).unwrap().event, Event::Row(row()));
    }

    #[test]
    fn a_row_for_people_has_its_advantage_and_says_where_that_lies() {
        assert!(line(&row()).contains("     0.98  one round            1"), "{}", line(&row()));
        let void = Row { void: Some("others were here".into()), ..row() };
        assert!(line(&void).ends_with("void: others were here"), "{}", line(&void));
    }
}
