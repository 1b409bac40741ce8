//! What a file of figures has in it: the output of one program with `--json`, of one run or of several.

use std::collections::BTreeMap;

use eyre::{Report, WrapErr, eyre};
use serde::Deserialize;

use crate::{
    compare::{Better, Row},
    conditions::Conditions,
};

/// A line. What a table needs nothing of is another one.
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
    /// A turn of `python -m twolane.bench`.
    Round {
        round: usize,
        what: String,
        who: String,
        value: f64,
        unit: String,
    },
    #[serde(other)]
    Other,
}

/// The kind of a line, for those that have another shape in another program.
#[derive(Debug, Deserialize)]
struct Shape {
    #[serde(default)]
    median: Option<f64>,
}

/// A row, and on which link it was measured, with which load.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Found {
    pub(super) link: Option<String>,
    pub(super) load: Option<String>,
    #[serde(flatten)]
    pub(super) row: Row,
}

/// A case of the lab, in one run: its figures are whatever numbers it has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) ok: bool,
    pub(super) skipped: bool,
    #[serde(default)]
    pub(super) void: Option<String>,
    #[serde(flatten)]
    figures: BTreeMap<String, serde_json::Value>,
}

impl Case {
    pub(super) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name)?.as_f64()
    }
}

/// A file of figures.
#[derive(Debug)]
pub(super) struct File {
    /// Of its first run.
    pub(super) conditions: Conditions,
    pub(super) rows: Vec<Found>,
    pub(super) cases: Vec<Case>,
    pub(super) notes: Vec<(String, String)>,
}

impl File {
    pub(super) fn read(text: &str) -> Result<Self, Report> {
        let (mut conditions, mut rows, mut cases, mut notes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut turns = Turns::default();
        for (n, text) in text.lines().enumerate() {
            let at = || format!("line {}", n + 1);
            // The medians of Python's program: they are made again, of the rounds.
            if serde_json::from_str::<Shape>(text).is_ok_and(|shape| shape.median.is_some()) {
                continue;
            }
            match serde_json::from_str(text).wrap_err_with(at)? {
                Line::Conditions(found) => conditions.push(*found),
                Line::Row(found) => rows.push(*found),
                Line::Case(found) => cases.push(found),
                Line::Note { peer, text } => notes.push((peer, text)),
                Line::Round { round, what, who, value, unit } => turns.add(round, (what, unit), who, value),
                Line::Other => {}
            }
        }
        rows.extend(turns.rows());
        let first = conditions.first().cloned().ok_or_else(|| eyre!("there are no conditions in it"))?;
        if conditions.iter().any(|other| (&other.commit, &other.processor) != (&first.commit, &first.processor)) {
            return Err(eyre!("it is not of one commit on one machine"));
        }
        if rows.is_empty() && cases.is_empty() {
            return Err(eyre!("there are no figures in it"));
        }
        Ok(Self { conditions: first, rows, cases, notes })
    }

    /// Those that are of no link.
    pub(super) fn plain_rows(&self) -> Vec<Row> {
        self.rows.iter().filter(|found| found.link.is_none()).map(|found| found.row.clone()).collect()
    }
}

/// Values of Python's program, by what was measured: by its round and by whose they are.
#[derive(Default)]
struct Turns(Vec<((String, String), Sides)>);

type Sides = BTreeMap<String, BTreeMap<usize, f64>>;

impl Turns {
    const OURS: &str = "twolane";

    fn add(&mut self, round: usize, what: (String, String), who: String, value: f64) {
        if !self.0.iter().any(|(known, _)| *known == what) {
            self.0.push((what.clone(), BTreeMap::new()));
        }
        for (_, sides) in self.0.iter_mut().filter(|(known, _)| *known == what) {
            sides.entry(who.clone()).or_default().insert(round, value);
        }
    }

    fn rows(&self) -> impl Iterator<Item = Found> {
        self.0.iter().flat_map(|((what, unit), sides)| {
            let ours = sides.get(Self::OURS);
            let others = sides.iter().filter(|(who, _)| *who != Self::OURS);
            others.filter_map(move |(who, theirs)| {
                let turns: Vec<_> =
                    ours?.iter().filter_map(|(round, value)| Some((*value, *theirs.get(round)?))).collect();
                let row = Row::new(what.clone(), unit, Better::Higher, who, &turns);
                Some(Found { link: None, load: None, row })
            })
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::figures) fn conditions() -> String {
        Conditions::of("speed", BTreeMap::new()).line()
    }

    #[test]
    fn figures_without_conditions_or_of_two_commits_are_refused() {
        let row = serde_json::to_string(&Row::new("x", "s", Better::Lower, "raw iroh", &[(1.0, 2.0)])).unwrap();
        let row = row.replacen('{', r#"{"event":"row","#, 1);
        let refused = |text: &str| File::read(text).unwrap_err().to_string();
        assert!(refused(&row).contains("no conditions"));
        assert!(refused(&conditions()).contains("no figures"));
        let mut other: serde_json::Value = serde_json::from_str(&conditions()).unwrap();
        other["commit"] = "another".into();
        assert!(refused(&format!("{}\n{other}\n{row}", conditions())).contains("one commit"));
        let file = File::read(&format!("{}\n{row}\n", conditions())).unwrap();
        assert_eq!((file.plain_rows().len(), file.rows[0].row.advantage), (1, Some(2.0)));
    }

    #[test]
    fn a_row_of_a_link_says_which_and_a_case_has_its_figures() {
        let lines = r#"{"event":"row","link":"20ms","load":"bulk","name":"bulk","unit":"MB/s","better":"higher","peer":"raw iroh","ours":2,"theirs":1,"advantage":2,"low":null,"high":null,"rounds":1,"void":null}
{"event":"case","name":"lossy","ok":true,"skipped":false,"stall_ms":7,"why":null}
{"event":"summary","passed":1}"#;
        let file = File::read(&format!("{}\n{lines}", conditions())).unwrap();
        assert_eq!(file.rows[0].link.as_deref(), Some("20ms"));
        assert!(file.plain_rows().is_empty());
        assert_eq!((file.cases[0].figure("stall_ms"), file.cases[0].figure("ttfb_ms")), (Some(7.0), None));
    }

    #[test]
    fn rounds_of_python_become_rows_turn_by_turn() {
        let mut text = conditions();
        for (round, ours, theirs) in [(0, 2.0, 1.0), (1, 9.0, 3.0), (2, 4.0, 1.0)] {
            for (who, value) in [("twolane", ours), ("tcp", theirs)] {
                text += &format!(
                    "\n{{\"event\":\"round\",\"round\":{round},\"what\":\"bulk\",\"who\":\"{who}\",\"value\":{value},\"unit\":\"MB/s\"}}"
                );
            }
        }
        text += "\n{\"event\":\"row\",\"what\":\"bulk\",\"who\":\"tcp\",\"median\":1.0,\"unit\":\"MB/s\"}";
        let row = &File::read(&text).unwrap().rows[0].row;
        assert_eq!(
            (row.peer.as_str(), row.ours, row.theirs, row.advantage, row.rounds),
            ("tcp", 4.0, 1.0, Some(3.0), 3)
        );
    }
}
