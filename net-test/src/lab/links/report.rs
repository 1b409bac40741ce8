//! The output of the links: events for programs, and a table for people.

use std::{collections::BTreeMap, time::Instant};

use serde::Serialize;

use super::{
    Plan,
    end::Library,
    judge::{Judged, LinkRow, Load, round_trips},
    table::Link,
};
use crate::{
    compare::Row,
    conditions::Conditions,
    exit::Exit,
    lab::report::Tally,
    output::Output,
    report::{columns, event, number},
};

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    /// A figure of both sides.
    Row(&'a LinkRow),
    /// The result of a link that has been played or was skipped.
    Link {
        name: String,
        ok: bool,
        skipped: bool,
        void: bool,
        turns: usize,
        void_turns: usize,
        latest_ms: f64,
        late_share: f64,
        why: Option<String>,
    },
}

const WIDTHS: &[isize] = &[-17, -7, 6, 6, 6, -14, 7, 5, 6, 5, 7, 6, 5];

#[derive(Debug, Clone, Copy)]
pub struct Report {
    output: Output,
    begun: Instant,
}

impl Report {
    pub fn new(output: Output) -> Self {
        Self { output, begun: Instant::now() }
    }

    pub fn head(&self, plan: &Plan) {
        let mut settings = BTreeMap::from(Library::ALL.map(|library| (library.name().to_owned(), library.settings())));
        let Plan { lasting, rounds, seed } = plan;
        let plan = format!("bulk for {lasting:?} on one stream, {rounds} turns, the first with seed {seed}");
        settings.insert("links".to_owned(), plan);
        Conditions::of("lab links", settings).tell(self.output);
        self.output.say(format_args!("Bulk in MB/s, the rest in round trips of the link; medians of the turns."));
        let heads = [
            "link",
            "",
            "ours",
            "raw",
            "to raw",
            "in 95 of 100",
            "to both",
            "file",
            "open",
            "p99",
            "request",
            "beside",
            "raw's",
        ];
        self.output.say(format_args!("{}", columns(WIDTHS, heads)));
    }

    pub fn link(&self, judged: &Judged) {
        self.output.say(format_args!("{}", line(judged)));
        judged.rows.iter().for_each(|row| event(self.output, Event::Row(row)));
        let link = Event::Link {
            name: judged.link.name(),
            ok: judged.ok(),
            skipped: judged.skipped,
            void: judged.void,
            turns: judged.turns,
            void_turns: judged.void_turns,
            latest_ms: judged.latest_ms,
            late_share: judged.late_share,
            why: (!judged.why.is_empty()).then(|| judged.why.join("; ")),
        };
        event(self.output, link);
    }

    /// Writes the last line, and returns the exit code of the program. Each link counts once.
    pub fn end(&self, links: &[Judged]) -> Exit {
        Tally::of(links.iter().map(Judged::outcome)).end(self.output, self.begun.elapsed())
    }

    /// Reports all links as skipped, on a machine that cannot have links.
    pub fn nothing(&self, links: &[Link], why: &str) -> Exit {
        let skipped: Vec<Judged> = links.iter().map(|link| Judged::skipped(*link, why)).collect();
        skipped.iter().for_each(|judged| self.link(judged));
        self.end(&skipped)
    }
}

fn line(judged: &Judged) -> String {
    let (bulk, tuned) = (judged.row(Load::Bulk, Library::Raw), judged.row(Load::Bulk, Library::Tuned));
    let interval = bulk.and_then(|row| row.low.zip(row.high)).map(|(low, high)| format!("{low:.2} to {high:.2}"));
    let advantage = |row: Option<&Row>| number(row.and_then(|row| row.advantage), 2);
    let trips = |load, ours, digits| number(round_trips(judged, load, ours), digits);
    let mut said = judged.why.clone();
    if judged.void_turns > 0 && !judged.void {
        said.push(format!("{} of {} turns void", judged.void_turns, judged.turns));
    }
    let cells = [
        judged.link.name(),
        judged.outcome().word().to_owned(),
        number(bulk.map(|row| row.ours), 2),
        number(bulk.map(|row| row.theirs), 2),
        advantage(bulk),
        interval.unwrap_or_else(|| "-".to_owned()),
        advantage(tuned),
        advantage(judged.row(Load::File, Library::Raw)),
        trips(Load::Open, true, 3),
        trips(Load::OpenP99, true, 2),
        trips(Load::Request, true, 3),
        trips(Load::BesideBulk, true, 2),
        trips(Load::BesideBulk, false, 2),
        said.join("; "),
    ];
    columns(WIDTHS, cells)
}
