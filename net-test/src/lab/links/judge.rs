//! Makes rows of the turns of a link, and checks the promises. The code is pure: it has no clock and no I/O.

use serde::Serialize;

use super::{
    end::Library,
    load::Loads,
    play::Turn,
    table::{Link, Promise},
};
use crate::{
    compare::{Better, Row},
    lab::report::Outcome,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    Bulk,
    Open,
    OpenP99,
    Request,
    RequestP99,
    /// The 99th percentile of a hundred requests beside bulk data.
    BesideBulk,
    /// A file from `sender` to `receiver`, compared with the link's rate.
    File,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinkRow {
    pub link: String,
    pub load: Load,
    /// The row is not void, and its promise holds.
    pub ok: bool,
    #[serde(flatten)]
    pub row: Row,
    /// The seeds of the turns that count.
    pub seeds: Vec<u64>,
    /// The smallest and the largest value of twolane. The next field has those of the other side.
    pub ours_range: (f64, f64),
    pub theirs_range: (f64, f64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub link: Link,
    pub rows: Vec<LinkRow>,
    pub turns: usize,
    pub void_turns: usize,
    /// Half of the turns or more are void.
    pub void: bool,
    pub skipped: bool,
    pub latest_ms: f64,
    pub late_share: f64,
    /// Broken promises, or the reason why there are no turns.
    pub why: Vec<String>,
}

impl Load {
    const ALL: [Self; 7] =
        [Self::Bulk, Self::Open, Self::OpenP99, Self::Request, Self::RequestP99, Self::BesideBulk, Self::File];

    fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Open => "open",
            Self::OpenP99 => "open-p99",
            Self::Request => "request",
            Self::RequestP99 => "request-p99",
            Self::BesideBulk => "beside-bulk-p99",
            Self::File => "file",
        }
    }

    fn of(self, loads: &Loads) -> f64 {
        match self {
            Self::Bulk | Self::File => loads.bulk,
            Self::Open => loads.open.p50,
            Self::OpenP99 => loads.open.p99,
            Self::Request => loads.request.p50,
            Self::RequestP99 => loads.request.p99,
            Self::BesideBulk => loads.beside.p99,
        }
    }

    fn unit(self) -> (&'static str, Better) {
        match self {
            Self::Bulk | Self::File => ("MB/s", Better::Higher),
            _ => ("ms", Better::Lower),
        }
    }

    /// Returns the name of the other side, and for each turn the values of twolane and of the other side.
    fn values(self, link: Link, other: Library, turns: &[&Turn]) -> (&'static str, Vec<(f64, f64)>) {
        if self == Self::File {
            let rate = link.bytes() / 1e6;
            return ("the link's rate", turns.iter().filter_map(|turn| Some((turn.file?, rate))).collect());
        }
        let (ours, theirs) = (Library::Ours as usize, other as usize);
        let values = turns.iter().map(|turn| (self.of(&turn.loads[ours]), self.of(&turn.loads[theirs])));
        (other.name(), values.collect())
    }
}

impl Judged {
    pub fn skipped(link: Link, why: &str) -> Self {
        let judged = Self::new(link, &[], None);
        Self { skipped: true, void: false, why: vec![why.to_owned()], ..judged }
    }

    /// Judges the turns of a link. `fault` is the reason why there are no more turns.
    pub fn new(link: Link, turns: &[Turn], fault: Option<String>) -> Self {
        let valid: Vec<&Turn> = turns.iter().filter(|turn| turn.void.is_empty()).collect();
        // More than half of the turns have to count, so that the choice of turns does not decide the result.
        let void = fault.is_none() && valid.len() * 2 <= turns.len();
        let mut judged = Self {
            link,
            rows: Vec::new(),
            turns: turns.len(),
            void_turns: turns.len() - valid.len(),
            void,
            skipped: false,
            latest_ms: turns.iter().map(|turn| turn.latest_ms).fold(0.0, f64::max),
            late_share: turns.iter().map(|turn| turn.late_share).fold(0.0, f64::max),
            why: fault.into_iter().collect(),
        };
        let why = turns.iter().find_map(|turn| turn.void.first());
        for load in Load::ALL {
            // A void row has the values of all turns, to show why it is void.
            let used = if void { turns.iter().collect() } else { valid.clone() };
            let others: &[Library] = if load == Load::File { &[Library::Raw] } else { &[Library::Raw, Library::Tuned] };
            for other in others {
                judged.rows.extend(row(link, load, *other, &used, void.then(|| why.cloned().unwrap_or_default())));
            }
        }
        if void {
            judged.why.extend(why.cloned());
        } else if judged.why.is_empty() {
            judged.judge(link.promise());
        }
        judged
    }

    fn judge(&mut self, promise: Promise) {
        let round_trip = self.link.rtt().as_secs_f64() * 1e3;
        let ratio = |row: &Row| row.advantage.unwrap_or(f64::INFINITY);
        let round_trips = |row: &Row| row.ours / round_trip;
        let mut expect = |load: Load, promised: Option<f64>, seen: &dyn Fn(&Row) -> f64, at_least: bool| {
            let Some(promised) = promised else { return };
            let row = self.rows.iter_mut().find(|row| row.load == load);
            let held = row.as_ref().is_some_and(|row| match at_least {
                true => seen(&row.row) >= promised,
                false => seen(&row.row) <= promised,
            });
            if held {
                return;
            }
            let word = if at_least { "at least" } else { "at most" };
            let value = row.as_ref().map_or_else(|| "not known".to_owned(), |row| format!("{:.3}", seen(&row.row)));
            self.why.push(format!("{} is {value}, and {word} {promised} is promised", load.name()));
            if let Some(row) = row {
                row.ok = false;
            }
        };
        expect(Load::Bulk, Some(promise.bulk), &ratio, true);
        expect(Load::File, promise.file, &ratio, true);
        expect(Load::Open, promise.round_trips, &round_trips, false);
        expect(Load::Request, promise.round_trips, &round_trips, false);
        expect(Load::BesideBulk, promise.beside, &round_trips, false);
    }

    pub fn outcome(&self) -> Outcome {
        Outcome::of(self.skipped, self.void, self.why.is_empty())
    }

    pub fn ok(&self) -> bool {
        self.outcome() == Outcome::Passed
    }

    pub fn row(&self, load: Load, other: Library) -> Option<&Row> {
        let of = |row: &&LinkRow| row.load == load && (load == Load::File || row.row.peer == other.name());
        self.rows.iter().find(of).map(|row| &row.row)
    }
}

fn row(link: Link, load: Load, other: Library, turns: &[&Turn], void: Option<String>) -> Option<LinkRow> {
    let (peer, values) = load.values(link, other, turns);
    if values.is_empty() {
        return None;
    }
    let (unit, better) = load.unit();
    let ok = void.is_none();
    let row = Row { void, ..Row::new(format!("{}-{}", link.name(), load.name()), unit, better, peer, &values) };
    let range = |pick: fn(&(f64, f64)) -> f64| {
        let values = values.iter().map(pick);
        (values.clone().fold(f64::INFINITY, f64::min), values.fold(0.0, f64::max))
    };
    let seeds = turns.iter().map(|turn| turn.seed).collect();
    let (ours_range, theirs_range) = (range(|turn| turn.0), range(|turn| turn.1));
    Some(LinkRow { link: link.name(), load, ok, row, seeds, ours_range, theirs_range })
}

/// Returns the median of the turns that count, in round-trip times of the link.
pub fn round_trips(judged: &Judged, load: Load, ours: bool) -> Option<f64> {
    let row = judged.row(load, Library::Raw)?;
    Some(if ours { row.ours } else { row.theirs } / (judged.link.rtt().as_secs_f64() * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::links::{load::Latency, table::LINKS};

    fn loads(bulk: f64, ms: f64) -> Loads {
        let latency = Latency { p50: ms, p99: ms };
        Loads { bulk, open: latency, request: latency, beside: latency }
    }

    fn failed(judged: &Judged) -> bool {
        judged.outcome() == Outcome::Failed
    }

    fn turn(seed: u64, ours: f64, ms: f64, file: f64) -> Turn {
        let loads = [loads(ours, ms), loads(10.0, ms), loads(ours, ms)];
        Turn { seed, loads, file: Some(file * LINKS[0].bytes() / 1e6), ..Turn::default() }
    }

    fn judged(ours: f64, ms: f64, file: f64) -> Judged {
        Judged::new(LINKS[0], &[turn(1, ours, ms, file), turn(2, ours, ms, file), turn(3, ours, ms, file)], None)
    }

    #[test]
    fn each_promise_that_is_broken_is_named_and_its_row_is_not_ok() {
        assert!(judged(16.0, 101.0, 0.9).ok());
        for (broken, load) in [
            (judged(14.0, 101.0, 0.9), Load::Bulk),
            (judged(16.0, 104.0, 0.9), Load::Open),
            (judged(16.0, 104.0, 0.9), Load::Request),
            (judged(16.0, 301.0, 0.9), Load::BesideBulk),
            (judged(16.0, 101.0, 0.7), Load::File),
        ] {
            assert!(failed(&broken) && broken.why.iter().any(|why| why.starts_with(load.name())), "{:?}", broken.why);
            assert!(broken.rows.iter().any(|row| row.load == load && !row.ok));
        }
    }

    #[test]
    fn one_turn_that_is_quick_does_not_hold_what_the_others_break() {
        let turns = [turn(1, 16.0, 101.0, 0.9), turn(2, 16.0, 150.0, 0.9), turn(3, 16.0, 150.0, 0.9)];
        assert!(failed(&Judged::new(LINKS[0], &turns, None)));
    }

    #[test]
    fn a_turn_on_a_link_that_was_not_what_it_was_said_to_be_does_not_count_and_a_row_of_such_is_void() {
        let bad = |seed| Turn { void: vec!["packets are missing".into()], ..turn(seed, 1.0, 500.0, 0.1) };
        let good = |seed| turn(seed, 16.0, 101.0, 0.9);
        let one = Judged::new(LINKS[0], &[good(1), bad(2), good(3)], None);
        assert!(one.ok() && one.void_turns == 1 && one.rows.iter().all(|row| row.seeds == [1, 3]), "{one:?}");
        let most = Judged::new(LINKS[0], &[good(1), bad(2), bad(3)], None);
        assert!(most.void && !most.ok() && !failed(&most) && most.why == ["packets are missing"]);
        assert!(most.rows.iter().all(|row| !row.ok && row.row.void.is_some()));
        assert!(Judged::new(LINKS[0], &[bad(1)], None).void);
        assert!(Judged::new(LINKS[0], &[], None).void, "nothing was measured");
    }

    #[test]
    fn a_link_that_could_not_be_played_to_its_end_has_failed() {
        let judged = Judged::new(LINKS[0], &[turn(1, 16.0, 101.0, 0.9)], Some("the lab failed".into()));
        assert!(failed(&judged) && judged.why == ["the lab failed"]);
        assert!(failed(&Judged::new(LINKS[0], &[], Some("the lab failed".into()))));
    }

    #[test]
    fn a_row_is_one_flat_object_with_its_link_load_seeds_and_range() {
        let judged = judged(15.0, 101.0, 0.9);
        let value = serde_json::to_value(&judged.rows[0]).unwrap();
        assert_eq!((&value["link"], &value["load"]), (&"100ms-500mbit".into(), &"bulk".into()));
        assert_eq!((value["ours"].as_f64(), value["theirs"].as_f64()), (Some(15.0), Some(10.0)));
        assert_eq!((&value["peer"], &value["advantage"]), (&"raw iroh".into(), &1.5.into()));
        assert_eq!(
            (&value["seeds"], &value["ours_range"]),
            (&[1, 2, 3].as_slice().into(), &[15.0, 15.0].as_slice().into())
        );
        // Six loads beside both other libraries, and the file.
        assert_eq!(judged.rows.len(), 13);
    }
}
