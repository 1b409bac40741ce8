//! The links, for programs and for people.

use std::{collections::BTreeMap, env};

use serde::Serialize;

use super::{
    Plan,
    end::Library,
    judge::{Judged, LinkRow, Load, round_trips},
    table::Link,
};
use crate::{compare::Row, conditions::Conditions, exit::Exit, lab::report::event_line, output::Output};

/// A line for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    /// A figure of both sides.
    Row(&'a LinkRow),
    /// A link has been played, or was skipped.
    Link {
        name: String,
        ok: bool,
        skipped: bool,
        void: bool,
        turns: usize,
        void_turns: usize,
        /// The packet that was given the latest of all.
        latest_ms: f64,
        /// Of all loads, the largest share of late packets.
        late_share: f64,
        why: Option<String>,
    },
    /// The last line. Each link counts once.
    Summary { passed: usize, failed: usize, skipped: usize, void: usize },
}

/// Where the table goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    output: Output,
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        Self { output }
    }

    pub(super) fn head(&self, plan: &Plan) {
        let mut settings = BTreeMap::from(Library::ALL.map(|library| (library.name().to_owned(), library.settings())));
        let Plan { lasting, rounds, seed } = plan;
        let plan = format!("bulk for {lasting:?} on one stream, {rounds} turns, the first with seed {seed}");
        settings.insert("links".to_owned(), plan);
        Conditions::of("lab links", settings).tell(self.output);
        self.output.say(format_args!("Bulk in MB/s, the rest in round trips of the link; medians of the turns."));
        self.output.say(format_args!(
            "{:<19}  {:<7} {:>7} {:>7} {:>7} {:<15} {:>7} {:>5} {:>6} {:>6} {:>7} {:>7} {:>6}",
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
            "raw's"
        ));
    }

    pub(super) fn link(&self, judged: &Judged) {
        self.output.say(format_args!("{}", line(judged)));
        judged.rows.iter().for_each(|row| self.say(Event::Row(row)));
        self.say(Event::Link {
            name: judged.link.name(),
            ok: judged.ok(),
            skipped: judged.skipped,
            void: judged.void,
            turns: judged.turns,
            void_turns: judged.void_turns,
            latest_ms: judged.latest_ms,
            late_share: judged.late_share,
            why: (!judged.why.is_empty()).then(|| judged.why.join("; ")),
        });
    }

    /// The last line, and how the program ends.
    pub(super) fn end(&self, links: &[Judged]) -> Exit {
        let count = |is: fn(&Judged) -> bool| links.iter().filter(|judged| is(judged)).count();
        let (passed, failed) = (count(Judged::ok), count(Judged::failed));
        let (skipped, void) = (count(|judged| judged.skipped), count(|judged| judged.void));
        self.output.say(format_args!("{passed} held, {failed} failed, {skipped} skipped, {void} void"));
        self.say(Event::Summary { passed, failed, skipped, void });
        let strict = env::var_os("CI").is_some_and(|ci| ci == "true");
        if failed > 0 || (strict && skipped + void > 0) { Exit::Failure } else { Exit::Done }
    }

    /// A machine that has no links.
    pub(super) fn nothing(&self, links: &[Link], why: &str) -> Exit {
        let skipped: Vec<Judged> = links.iter().map(|link| Judged::skipped(*link, why)).collect();
        skipped.iter().for_each(|judged| self.link(judged));
        self.end(&skipped)
    }

    fn say(&self, event: Event<'_>) {
        if self.output.is_json() {
            event_line(event);
        }
    }
}

fn line(judged: &Judged) -> String {
    let number =
        |value: Option<f64>, digits: usize| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"));
    let word = match (judged.skipped, judged.void, judged.ok()) {
        (true, ..) => "skipped",
        (_, true, _) => "void",
        (.., true) => "ok",
        _ => "FAILED",
    };
    let (bulk, tuned) = (judged.row(Load::Bulk, Library::Raw), judged.row(Load::Bulk, Library::Tuned));
    let interval = bulk.and_then(|row| row.low.zip(row.high)).map(|(low, high)| format!("{low:.2} to {high:.2}"));
    let advantage = |row: Option<&Row>| row.and_then(|row| row.advantage);
    let mut said = judged.why.clone();
    if judged.void_turns > 0 && !judged.void {
        said.push(format!("{} of {} turns void", judged.void_turns, judged.turns));
    }
    format!(
        "{:<19}  {word:<7} {:>7} {:>7} {:>7} {:<15} {:>7} {:>5} {:>6} {:>6} {:>7} {:>7} {:>6}  {}",
        judged.link.name(),
        number(bulk.map(|row| row.ours), 2),
        number(bulk.map(|row| row.theirs), 2),
        number(advantage(bulk), 2),
        interval.unwrap_or_else(|| "-".to_owned()),
        number(advantage(tuned), 2),
        number(advantage(judged.row(Load::File, Library::Raw)), 2),
        number(round_trips(judged, Load::Open, true), 3),
        number(round_trips(judged, Load::OpenP99, true), 2),
        number(round_trips(judged, Load::Request, true), 3),
        number(round_trips(judged, Load::BesideBulk, true), 2),
        number(round_trips(judged, Load::BesideBulk, false), 2),
        said.join("; ")
    )
    .trim_end()
    .to_owned()
}
