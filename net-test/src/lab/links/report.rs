//! A row for each link: what both libraries made of it, and whether what is promised holds.

use std::env;

use serde::{Deserialize, Serialize};

use super::{
    load::Loads,
    table::{Link, Promise},
};
use crate::{exit::Exit, lab::report::event_line, output::Output};

/// How a link went. `ours`, `raw` and `ratio` are of bulk on one stream, in 10^6 bytes a second.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) rtt_ms: u64,
    pub(super) mbit: u64,
    pub(super) ours: Option<Loads>,
    pub(super) raw: Option<Loads>,
    /// Bytes a second, from sender to receiver.
    pub(super) file: Option<f64>,
    skipped: bool,
    why: Vec<String>,
}

/// The row as programs see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Link {
        name: String,
        ok: bool,
        skipped: bool,
        /// Bulk on one stream, in 10^6 bytes a second.
        ours: Option<f64>,
        raw: Option<f64>,
        ratio: Option<f64>,
        /// From sender to receiver, as a share of the link's rate.
        file_share: Option<f64>,
        /// In round trips of the link.
        open_rtts: Option<f64>,
        request_rtts: Option<f64>,
        /// The slowest of a hundred requests beside bulk.
        beside_p99_rtts: Option<f64>,
        raw_beside_p99_rtts: Option<f64>,
        our_loads: Option<Box<Loads>>,
        raw_loads: Option<Box<Loads>>,
        why: Option<String>,
    },
    Summary {
        passed: usize,
        failed: usize,
        skipped: usize,
    },
}

impl Row {
    pub(super) fn of(link: Link) -> Self {
        Self { name: link.name(), rtt_ms: link.rtt_ms, mbit: link.mbit, ..Self::default() }
    }

    pub(super) fn fail(&mut self, why: String) {
        self.why.push(why);
    }

    /// Compares with what is promised.
    pub(super) fn judge(&mut self, promise: Promise) {
        let mut why = Vec::new();
        let mut at_least = |what: &str, seen: Option<f64>, promised: f64| match seen {
            Some(seen) if seen >= promised => {}
            Some(seen) => why.push(format!("{what} is {seen:.2}, and at least {promised} is promised")),
            None => why.push(format!("{what} is not known")),
        };
        at_least("bulk to raw iroh's", self.ratio(), promise.bulk);
        if let Some(promised) = promise.file {
            at_least("a file's share of the link", self.file_share(), promised);
        }
        let mut at_most = |what: &str, seen: Option<f64>, promised: f64| match seen {
            Some(seen) if seen <= promised => {}
            Some(seen) => why.push(format!("{what} takes {seen:.3} round trips, and at most {promised} are promised")),
            None => why.push(format!("{what} is not known")),
        };
        if let Some(promised) = promise.round_trips {
            at_most("opening a stream", self.open_rtts(), promised);
            at_most("a request", self.request_rtts(), promised);
        }
        if let Some(promised) = promise.beside {
            at_most("a request beside bulk", self.beside_rtts(self.ours), promised);
        }
        if self.ours.is_some() && self.raw.is_some() {
            self.why.extend(why);
        }
    }

    fn ok(&self) -> bool {
        !self.skipped && self.why.is_empty()
    }

    fn ratio(&self) -> Option<f64> {
        let (ours, raw) = (self.ours?.bulk, self.raw?.bulk);
        (raw > 0.0).then(|| ours / raw)
    }

    fn file_share(&self) -> Option<f64> {
        self.file.map(|rate| rate / (self.mbit as f64 * 1e6 / 8.0))
    }

    fn open_rtts(&self) -> Option<f64> {
        self.ours?.open_ms.map(|ms| ms / self.rtt_ms as f64)
    }

    fn request_rtts(&self) -> Option<f64> {
        self.ours.map(|ours| ours.request_ms.p50 / self.rtt_ms as f64)
    }

    fn beside_rtts(&self, loads: Option<Loads>) -> Option<f64> {
        loads.map(|loads| loads.beside_ms.p99 / self.rtt_ms as f64)
    }

    fn event(&self) -> Event {
        Event::Link {
            name: self.name.clone(),
            ok: self.ok(),
            skipped: self.skipped,
            ours: self.ours.map(|loads| loads.bulk / 1e6),
            raw: self.raw.map(|loads| loads.bulk / 1e6),
            ratio: self.ratio(),
            file_share: self.file_share(),
            open_rtts: self.open_rtts(),
            request_rtts: self.request_rtts(),
            beside_p99_rtts: self.beside_rtts(self.ours),
            raw_beside_p99_rtts: self.beside_rtts(self.raw),
            our_loads: self.ours.map(Box::new),
            raw_loads: self.raw.map(Box::new),
            why: (!self.why.is_empty()).then(|| self.why.join("; ")),
        }
    }

    fn line(&self) -> String {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let word = match (self.skipped, self.ok()) {
            (true, _) => "skipped",
            (_, true) => "ok",
            (_, false) => "FAILED",
        };
        format!(
            "{:<19}  {word:<7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}  {}",
            self.name,
            number(self.ours.map(|loads| loads.bulk / 1e6), 2),
            number(self.raw.map(|loads| loads.bulk / 1e6), 2),
            number(self.ratio(), 2),
            number(self.file_share(), 2),
            number(self.open_rtts(), 3),
            number(self.request_rtts(), 3),
            number(self.beside_rtts(self.ours), 2),
            number(self.beside_rtts(self.raw), 2),
            self.why.join("; ")
        )
        .trim_end()
        .to_owned()
    }
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

    pub(super) fn head(&self) {
        self.output.say(format_args!(
            "{:<19}  {:<7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}  (bulk in MB/s; the rest in round trips)",
            "link", "", "ours", "raw", "ratio", "file", "open", "request", "beside", "raw's"
        ));
    }

    pub(super) fn row(&self, row: &Row) {
        self.output.say(format_args!("{}", row.line()));
        if self.output.is_json() {
            event_line(row.event());
        }
    }

    /// The last line, and how the program ends.
    pub(super) fn end(&self, rows: &[Row]) -> Exit {
        let passed = rows.iter().filter(|row| row.ok()).count();
        let skipped = rows.iter().filter(|row| row.skipped).count();
        let failed = rows.len() - passed - skipped;
        self.output.say(format_args!("{passed} held, {failed} failed, {skipped} skipped"));
        if self.output.is_json() {
            event_line(Event::Summary { passed, failed, skipped });
        }
        let strict = env::var_os("CI").is_some_and(|ci| ci == "true");
        if failed > 0 || (strict && skipped > 0) { Exit::Failure } else { Exit::Done }
    }

    /// A machine that has no links.
    pub(super) fn nothing(&self, links: &[Link], why: &str) -> Exit {
        let skip = |link: &Link| Row { skipped: true, why: vec![why.to_owned()], ..Row::of(*link) };
        let rows: Vec<Row> = links.iter().map(skip).collect();
        self.head();
        rows.iter().for_each(|row| self.row(row));
        self.end(&rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::links::{load::Latency, table::LINKS};

    fn loads(bulk: f64, request: f64) -> Loads {
        let latency = Latency { count: 100, least: request, p50: request, p99: request };
        Loads { bulk, request_ms: latency, open_ms: Some(request), bulk_beside: bulk, beside_ms: latency }
    }

    fn row(ours: f64, request: f64, file: f64) -> Row {
        let mut row = Row::of(LINKS[0]);
        (row.ours, row.raw, row.file) =
            (Some(loads(ours, request)), Some(loads(10e6, request)), Some(file * LINKS[0].bytes()));
        row.judge(LINKS[0].promise());
        row
    }

    #[test]
    fn each_promise_that_is_broken_is_named() {
        assert!(row(16e6, 101.0, 0.9).ok());
        for (broken, word) in [
            (row(14e6, 101.0, 0.9), "bulk"),
            (row(16e6, 104.0, 0.9), "opening"),
            (row(16e6, 301.0, 0.9), "beside"),
            (row(16e6, 101.0, 0.7), "file"),
        ] {
            assert!(!broken.ok() && broken.line().contains(word), "{}", broken.line());
        }
    }

    #[test]
    fn what_was_not_measured_has_not_held() {
        let mut row = Row::of(LINKS[0]);
        row.fail("the lab failed".into());
        row.judge(LINKS[0].promise());
        assert!(!row.ok());
        assert_eq!(row.why.len(), 1, "{:?}", row.why);
    }

    #[test]
    fn a_row_is_one_flat_object_with_ours_raws_and_the_ratio() {
        let value = serde_json::to_value(row(15e6, 101.0, 0.9).event()).unwrap();
        assert_eq!(value["event"], "link");
        assert_eq!((value["ours"].as_f64(), value["raw"].as_f64()), (Some(15.0), Some(10.0)));
        assert_eq!(value["ratio"], 1.5);
    }
}
