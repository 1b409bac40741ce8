//! Runs `speed` as a process, and checks that its output can be parsed and contains the conditions of the
//! measurement.

use std::process::{Command, Stdio};

use serde_json::Value;
use twolane_test::{compare::Row, conditions::Conditions};

use crate::lines;

fn speed(arguments: &[&str]) -> (bool, Vec<Value>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_speed")).args(arguments).stdin(Stdio::null()).output().unwrap();
    (output.status.success(), lines(&output), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_run_begins_with_its_conditions_and_ends_with_the_count_of_its_rows() {
    let (done, lines, stderr) = speed(&["--only", "connects", "opens", "--rounds", "1", "--json"]);
    assert!(done, "{stderr}");
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!((events.first(), events.last()), (Some(&"conditions"), Some(&"summary")), "{events:?}");
    let conditions: Conditions = serde_json::from_value(lines[0].clone()).unwrap();
    let streams = |side: &str| conditions.settings[side].split(' ').next().unwrap().to_owned();
    assert_eq!(streams("raw iroh"), streams("twolane"), "{conditions:?}");
    let rows: Vec<Row> =
        lines[1..lines.len() - 1].iter().map(|line| serde_json::from_value(line.clone()).unwrap()).collect();
    for name in ["connect", "open-rate"] {
        let row = rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name} in {rows:?}"));
        assert!(row.ours > 0.0 && row.theirs > 0.0, "{row:?}");
        assert_eq!((row.rounds, row.low, row.peer.as_str()), (1, None, "raw iroh"));
        assert!((row.advantage.unwrap() - row.ours / row.theirs).abs() < 1e-9, "{row:?}");
    }
    let void = rows.iter().filter(|row| row.void.is_some()).count();
    let summary = &lines[lines.len() - 1];
    assert_eq!((summary["rows"].as_u64(), summary["void"].as_u64()), (Some(rows.len() as u64), Some(void as u64)));
}

#[test]
fn a_program_without_conditions_of_its_own_is_given_some() {
    let (done, lines, stderr) = speed(&["conditions", "lab"]);
    assert!(done && lines.len() == 1, "{stderr}");
    assert_eq!((lines[0]["event"].as_str(), lines[0]["program"].as_str()), (Some("conditions"), Some("lab")));
}
