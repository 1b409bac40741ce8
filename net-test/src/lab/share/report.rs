//! The output of the rows: events for programs, and a table for people.

use std::{collections::BTreeMap, time::Instant};

use serde::Serialize;

use super::{
    Plan,
    judge::Judged,
    table::{BBR3, IROH, OURS, Row},
};
use crate::{
    conditions::Conditions,
    exit::Exit,
    lab::report::{Outcome, Tally},
    output::Output,
    report::{columns, event, number, print},
};

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    /// The result of a row that has been played or was skipped.
    Row {
        name: String,
        ok: bool,
        skipped: bool,
        void: bool,
        #[serde(flatten)]
        figures: BTreeMap<String, f64>,
        rounds: usize,
        void_runs: usize,
        seeds: &'a [u64],
        why: Option<String>,
        series: &'a BTreeMap<&'static str, Vec<Vec<f64>>>,
    },
    /// A line of `--list`.
    Listed { name: String, sentence: &'static str },
}

/// The number of characters of the longest name.
const NAME: isize = 29;
const WIDTHS: &[isize] = &[-NAME, -7, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6];

#[derive(Debug, Clone, Copy)]
pub struct Report {
    output: Output,
    begun: Instant,
}

impl Report {
    pub fn new(output: Output) -> Self {
        Self { output, begun: Instant::now() }
    }

    pub fn list(&self, rows: &[Row]) {
        for row in rows {
            let (name, sentence) = (row.name(), row.sentence());
            if self.output.is_json() {
                event(self.output, Event::Listed { name, sentence });
            } else {
                print(&format!("{name}: {sentence}"));
            }
        }
    }

    pub fn head(&self, plan: &Plan) {
        let Plan { warm, measured, rounds, seed, ours } = plan;
        let settings = BTreeMap::from([
            ("twolane", format!("the endpoint's defaults; congestion control: {ours}")),
            ("bbr3", "raw iroh with twolane's windows and noq's BBR3".to_owned()),
            ("iroh", "raw iroh with its defaults, which are noq's Cubic".to_owned()),
            ("tcp-cubic, tcp-bbr", "the kernel's, with its defaults".to_owned()),
            ("share", format!("{measured:?} after {warm:?}, {rounds} rounds, the first with seed {seed}")),
        ]);
        let settings = settings.into_iter().map(|(side, words)| (side.to_owned(), words)).collect();
        Conditions::of("lab share", settings).tell(self.output);
        self.output.say(format_args!(
            "Mbit/s of IP packets through the bottleneck, of each side and of who shares it; losses in %, queues in ms (95th \
             percentile); medians of the rounds."
        ));
        let heads = [
            "row", "", "ours", "theirs", "loss", "queue", "bbr3", "theirs", "loss", "queue", "iroh", "theirs", "queue",
        ];
        self.output.say(format_args!("{}", columns(WIDTHS, heads)));
    }

    pub fn row(&self, judged: &Judged) {
        self.output.say(format_args!("{}", line(judged)));
        let row = Event::Row {
            name: judged.row.name(),
            ok: judged.outcome() == Outcome::Passed,
            skipped: judged.skipped,
            void: judged.void,
            figures: judged.figures.flat(),
            rounds: judged.rounds,
            void_runs: judged.void_runs,
            seeds: &judged.seeds,
            why: (!judged.why.is_empty()).then(|| judged.why.join("; ")),
            series: &judged.series,
        };
        event(self.output, row);
    }

    /// Writes the last line, and returns the exit code of the program. Each row counts once.
    pub fn end(&self, rows: &[Judged]) -> Exit {
        Tally::of(rows.iter().map(Judged::outcome)).end(self.output, self.begun.elapsed())
    }

    /// Reports all rows as skipped, on a machine that cannot play any.
    pub fn nothing(&self, rows: &[Row], why: &str) -> Exit {
        let skipped: Vec<Judged> = rows.iter().map(|row| Judged::skipped(*row, why)).collect();
        skipped.iter().for_each(|judged| self.row(judged));
        self.end(&skipped)
    }
}

fn line(judged: &Judged) -> String {
    let figure = |side, name, digits| number(judged.figures.get(side, name), digits);
    let loss = |side| number(judged.figures.get(side, "loss").map(|loss| loss * 100.0), 2);
    let mut said = judged.why.clone();
    if judged.void_runs > 0 && !judged.void {
        said.push(format!("{} runs void", judged.void_runs));
    }
    for (name, what) in [
        ("jain", "Jain"),
        ("rises_s", "s until its share"),
        ("end_mbps", "in the end"),
        ("back_s", "s until its rate"),
        ("fetch_p50_ms", "ms a page"),
        ("fetch_p95_ms", "ms p95"),
        ("outside_mbps", "outside of pauses"),
    ] {
        let of = |side| judged.figures.get(side, name).map(|value| format!("{value:.2}"));
        let values: Vec<String> = [OURS, BBR3, IROH].into_iter().filter_map(of).collect();
        if !values.is_empty() {
            said.push(format!("{what}: {}", values.join(", ")));
        }
    }
    let cells = [
        judged.row.name(),
        judged.outcome().word().to_owned(),
        figure(OURS, "mbps", 1),
        figure(OURS, "theirs_mbps", 1),
        loss(OURS),
        figure(OURS, "queue_p95_ms", 0),
        figure(BBR3, "mbps", 1),
        figure(BBR3, "theirs_mbps", 1),
        loss(BBR3),
        figure(BBR3, "queue_p95_ms", 0),
        figure(IROH, "mbps", 1),
        figure(IROH, "theirs_mbps", 1),
        figure(IROH, "queue_p95_ms", 0),
        said.join("; "),
    ];
    columns(WIDTHS, cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::share::{
        play::{Round, Run},
        table::all,
    };

    #[test]
    fn no_name_is_wider_than_its_column() {
        for row in all() {
            assert!(row.name().len() <= NAME.unsigned_abs(), "{}", row.name());
        }
    }

    #[test]
    fn a_row_is_one_flat_object_with_the_figures_in_it() {
        let run = |mbps| Run { values: [("mbps", mbps), ("loss", 0.5)].into(), tries: 1, ..Run::default() };
        let judged = Judged::new(all()[0], &[Round { seed: 3, runs: vec![run(1.0), run(2.0), run(3.0)] }], None);
        assert!(line(&judged).contains("FAILED") && line(&judged).contains("50.00"), "{}", line(&judged));
        let row = Event::Row {
            name: judged.row.name(),
            ok: false,
            skipped: false,
            void: false,
            figures: judged.figures.flat(),
            rounds: 1,
            void_runs: 0,
            seeds: &judged.seeds,
            why: None,
            series: &judged.series,
        };
        let value = serde_json::to_value(row).unwrap();
        assert_eq!(
            (&value["event"], &value["ours_mbps"], &value["iroh_mbps"]),
            (&"row".into(), &1.0.into(), &3.0.into())
        );
        assert_eq!((&value["ours_loss"], &value["seeds"][0]), (&0.5.into(), &3.into()));
    }
}
