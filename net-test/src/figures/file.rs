//! A file of figures: the `--json` output of one program, for one or several runs.

use std::collections::BTreeMap;

use eyre::{Report, WrapErr, eyre};
use serde::Deserialize;

use crate::{compare::Row, conditions::Conditions};

/// The build profile of figures that are published.
const RELEASE: &str = "release";

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Conditions(Box<Conditions>),
    Row(Box<Found>),
    Note {
        peer: String,
        text: String,
    },
    Case(Case),
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Found {
    pub(super) link: Option<String>,
    pub(super) load: Option<String>,
    #[serde(flatten)]
    pub(super) row: Row,
}

/// A case of the lab in one run. Its figures are all its fields that are numbers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) ok: bool,
    pub(super) skipped: bool,
    pub(super) void: bool,
    #[serde(flatten)]
    figures: BTreeMap<String, serde_json::Value>,
}

impl Case {
    pub(super) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name)?.as_f64()
    }
}

#[derive(Debug)]
pub(super) struct File {
    /// The conditions of the first run.
    pub(super) conditions: Conditions,
    pub(super) rows: Vec<Found>,
    pub(super) cases: Vec<Case>,
    pub(super) notes: Vec<(String, String)>,
}

impl File {
    pub(super) fn read(text: &str) -> Result<Self, Report> {
        let (mut conditions, mut rows, mut cases, mut notes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (n, text) in text.lines().enumerate() {
            let at = || format!("line {}", n + 1);
            match serde_json::from_str(text).wrap_err_with(at)? {
                Line::Conditions(found) => conditions.push(*found),
                Line::Row(found) => rows.push(*found),
                Line::Case(found) => cases.push(found),
                Line::Note { peer, text } => notes.push((peer, text)),
                Line::Other => {}
            }
        }
        let first = conditions.first().cloned().ok_or_else(|| eyre!("there are no conditions in it"))?;
        if conditions.iter().any(|other| (&other.commit, &other.processor) != (&first.commit, &first.processor)) {
            return Err(eyre!("it is not of one commit on one machine"));
        }
        if let Some(other) = conditions.iter().find(|other| other.profile != RELEASE) {
            return Err(eyre!("it was measured with a {} build", other.profile));
        }
        if rows.is_empty() && cases.is_empty() {
            return Err(eyre!("there are no figures in it"));
        }
        Ok(Self { conditions: first, rows, cases, notes })
    }

    /// Returns the rows without a link.
    pub(super) fn plain_rows(&self) -> Vec<Row> {
        self.rows.iter().filter(|found| found.link.is_none()).map(|found| found.row.clone()).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::compare::Better;

    pub(in crate::figures) fn conditions() -> String {
        Conditions { profile: RELEASE.into(), ..Conditions::of("speed", BTreeMap::new()) }.line()
    }

    #[test]
    fn figures_without_conditions_of_two_commits_or_of_another_profile_are_refused() {
        let row = serde_json::to_string(&Row::new("x", "s", Better::Lower, "raw iroh", &[(1.0, 2.0)])).unwrap();
        let row = row.replacen('{', r#"{"event":"row","#, 1);
        let refused = |text: &str| File::read(text).unwrap_err().to_string();
        assert!(refused(&row).contains("no conditions"));
        assert!(refused(&conditions()).contains("no figures"));
        let mut other: serde_json::Value = serde_json::from_str(&conditions()).unwrap();
        other["commit"] = "another".into();
        assert!(refused(&format!("{}\n{other}\n{row}", conditions())).contains("one commit"));
        let debug = conditions().replace("release", "debug");
        assert!(refused(&format!("{debug}\n{row}")).contains("a debug build"));
        let file = File::read(&format!("{}\n{row}\n", conditions())).unwrap();
        assert_eq!((file.plain_rows().len(), file.rows[0].row.advantage), (1, Some(2.0)));
    }

    #[test]
    fn a_row_of_a_link_says_which_and_a_case_has_its_figures() {
        let lines = r#"{"event":"row","link":"20ms","load":"bulk","name":"bulk","unit":"MB/s","better":"higher","peer":"raw iroh","ours":2,"theirs":1,"advantage":2,"low":null,"high":null,"rounds":1,"void":null}
{"event":"case","name":"lossy","ok":true,"skipped":false,"void":false,"stall_ms":7,"why":null}
{"event":"summary","passed":1}"#;
        let file = File::read(&format!("{}\n{lines}", conditions())).unwrap();
        assert_eq!(file.rows[0].link.as_deref(), Some("20ms"));
        assert!(file.plain_rows().is_empty());
        assert_eq!((file.cases[0].figure("stall_ms"), file.cases[0].figure("ttfb_ms")), (Some(7.0), None));
    }
}
