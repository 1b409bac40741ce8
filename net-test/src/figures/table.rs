//! Rows as Markdown, and numbers in readable form.

use crate::{compare::Row, stats::median};

use super::file::Case;

const VOID: &str = "void";
const NONE: &str = "-";

/// Formats a number with three digits. More digits differ from run to run.
pub fn figure(value: f64) -> String {
    let digits = match value {
        value if value >= 999.5 => return grouped(value),
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        value if value >= 0.0995 || value == 0.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

fn grouped(value: f64) -> String {
    let last = 10f64.powi(value.log10().floor() as i32 - 2);
    let digits = format!("{:.0}", (value / last).round() * last);
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub fn advantage(row: &Row) -> String {
    row.advantage.map_or_else(|| NONE.into(), figure)
}

pub fn interval(row: &Row) -> String {
    match (row.low, row.high, row.rounds) {
        (Some(low), Some(high), _) => format!("{} to {}", figure(low), figure(high)),
        (.., 1) => "one round".into(),
        _ => "too few rounds".into(),
    }
}

/// Makes a line for each row, with the medians of both sides. A row that a rule names but that has no figures says
/// "not measured".
pub fn full<'a>(rows: impl IntoIterator<Item = (&'a str, Option<&'a Row>)>) -> String {
    let mut text = String::from("| what | unit | twolane | beside | the other | advantage | in 95 of 100 | rounds |\n");
    text.push_str("| --- | --- | --: | --- | --: | --: | --- | --: |\n");
    for (words, row) in rows {
        text.push_str(&match row {
            None => format!("| {words} | not measured |\n"),
            Some(Row { unit, peer, rounds, void: Some(why), .. }) => {
                format!("| {words} | {unit} | {VOID} | {peer} | {VOID} | {VOID} | {why} | {rounds} |\n")
            }
            Some(row) => {
                let Row { unit, peer, rounds, .. } = row;
                let [ours, theirs] = [row.ours, row.theirs].map(figure);
                let (advantage, interval) = (advantage(row), interval(row));
                format!("| {words} | {unit} | {ours} | {peer} | {theirs} | {advantage} | {interval} | {rounds} |\n")
            }
        });
    }
    text
}

/// Makes a table of the advantages with their intervals. Each of `rows` is the line, the column and the figures.
/// Lines and columns keep the order in which they first come. `head` is the head of the first column.
pub(super) fn pivot<'a>(head: &str, rows: impl IntoIterator<Item = (String, String, &'a Row)>) -> String {
    let (mut lines, mut columns) = (Vec::<(String, Vec<(String, &Row)>)>::new(), Vec::<String>::new());
    for (words, column, row) in rows {
        if !columns.contains(&column) {
            columns.push(column.clone());
        }
        match lines.iter_mut().find(|(known, _)| *known == words) {
            Some((_, line)) => line.push((column, row)),
            None => lines.push((words, vec![(column, row)])),
        }
    }
    let mut text = format!("| {head} | {} |\n| --- |{}\n", columns.join(" | "), " --: |".repeat(columns.len()));
    for (words, line) in lines {
        let cells = columns.iter().map(|column| match line.iter().find(|(known, _)| known == column) {
            None => NONE.to_owned(),
            Some((_, Row { void: Some(_), .. })) => VOID.to_owned(),
            Some((_, row)) => format!("{} ({})", advantage(row), interval(row)),
        });
        text.push_str(&format!("| {words} | {} |\n", cells.collect::<Vec<_>>().join(" | ")));
    }
    text
}

/// Makes a line for each case of the lab. It has the median and the range of each figure, over the runs that held
/// and were not disturbed. Each of `columns` is the column head, the name of the figure, and its divisor.
pub(super) fn cases(cases: &[Case], columns: &[(&str, &str, f64)]) -> String {
    let heads: Vec<_> = columns.iter().map(|(words, ..)| *words).collect();
    let mut text =
        format!("| case | held | {} |\n| --- | --- |{}\n", heads.join(" | "), " --: |".repeat(columns.len()));
    let mut names: Vec<&str> = Vec::new();
    for case in cases {
        if !names.contains(&case.name.as_str()) {
            names.push(&case.name);
        }
    }
    for name in names {
        let runs: Vec<&Case> = cases.iter().filter(|case| case.name == name).collect();
        let good: Vec<&Case> = runs.iter().filter(|case| case.ok && !case.void).copied().collect();
        let held = match runs.iter().filter(|case| case.skipped).count() {
            0 => format!("{} of {}", good.len(), runs.len()),
            skipped => format!("{} of {}, {skipped} skipped", good.len(), runs.len()),
        };
        let cells = columns.iter().map(|(_, figure, unit)| {
            range(&good.iter().filter_map(|case| Some(case.figure(figure)? / unit)).collect::<Vec<_>>())
        });
        text.push_str(&format!("| {name} | {held} | {} |\n", cells.collect::<Vec<_>>().join(" | ")));
    }
    text
}

/// Returns the median, and the range if the values differ.
fn range(values: &[f64]) -> String {
    let least = values.iter().copied().reduce(f64::min).map(figure);
    let most = values.iter().copied().reduce(f64::max).map(figure);
    match least.zip(most) {
        None => NONE.into(),
        Some((least, most)) if least == most => least,
        Some((least, most)) => format!("{} ({least} to {most})", figure(median(values))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Better;

    fn row(peer: &str, turns: &[(f64, f64)]) -> Row {
        Row::new("cpu-per-GB", "s", Better::Lower, peer, turns)
    }

    #[test]
    fn a_number_has_three_digits_and_its_thousands_apart() {
        let figures =
            [0.0, 0.0123, 0.456, 1.0, 12.34, 99.96, 123.4, 999.6, 10_154.0, 155_149.0, 1_234_567.0].map(figure);
        let expected =
            ["0.00", "0.012", "0.46", "1.00", "12.3", "100", "123", "1,000", "10,200", "155,000", "1,230,000"];
        assert_eq!(figures, expected);
    }

    #[test]
    fn a_row_has_both_medians_its_advantage_and_where_that_lies() {
        let (many, one) = (row("raw iroh", &[(2.0, 3.0); 5]), row("raw iroh", &[(2.0, 3.0)]));
        let text = full([("cpu", Some(&many)), ("once", Some(&one)), ("never", None)]);
        assert!(text.contains("| cpu | s | 2.00 | raw iroh | 3.00 | 1.50 | 1.50 to 1.50 | 5 |\n"), "{text}");
        assert!(text.contains("| 1.50 | one round | 1 |\n") && text.ends_with("| never | not measured |\n"), "{text}");
    }

    #[test]
    fn a_row_that_others_disturbed_shows_no_figure() {
        let void = Row { void: Some("others took 40 % of the machine".into()), ..row("raw iroh", &[(2.0, 3.0); 5]) };
        for text in [full([("cpu", Some(&void))]), pivot("", [("cpu".to_owned(), "a".to_owned(), &void)])] {
            assert!(text.contains("| void |") && !text.contains("1.50"), "{text}");
        }
    }

    #[test]
    fn every_column_has_a_cell_in_every_line_whatever_was_measured() {
        let (many, few) = (row("a", &[(2.0, 3.0); 5]), row("b", &[(3.0, 3.0); 4]));
        let cells = [("cpu", "a", &many), ("cpu", "b", &few), ("rate", "b", &few)];
        let text = pivot("over", cells.map(|(line, column, row)| (line.to_owned(), column.to_owned(), row)));
        let expected = "| over | a | b |\n| --- | --: | --: |\n\
            | cpu | 1.50 (1.50 to 1.50) | 1.00 (too few rounds) |\n| rate | - | 1.00 (too few rounds) |\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_case_has_the_median_and_the_range_of_the_runs_that_held() {
        let case = |ok: bool, stall: f64| {
            let text =
                format!(r#"{{"name":"lossy","ok":{ok},"skipped":false,"void":false,"stall_ms":{stall},"bytes":null}}"#);
            serde_json::from_str::<Case>(&text).unwrap()
        };
        let runs = [case(true, 5.0), case(true, 7.0), case(true, 6.0), case(false, 900.0)];
        let text = cases(&runs, &[("stall, ms", "stall_ms", 1.0), ("MB", "bytes", 1e6)]);
        assert!(text.ends_with("| lossy | 3 of 4 | 6.00 (5.00 to 7.00) | - |\n"), "{text}");
    }
}
