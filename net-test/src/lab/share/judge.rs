//! The medians of a row's rounds, and whether they hold the promises. The code is pure: it has no clock and no I/O.

use std::collections::BTreeMap;

use super::{
    bounds,
    play::{Round, Run},
    seen::Values,
    table::{BBR3, Check, IROH, OURS, Row},
};
use crate::{lab::report::Outcome, stats::median};

/// Medians of the runs that count, by side and figure.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures(BTreeMap<&'static str, Values>);

#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub row: Row,
    pub figures: Figures,
    pub rounds: usize,
    pub seeds: Vec<u64>,
    /// Runs that were void on every try.
    pub void_runs: usize,
    /// A side has no more than half of its runs left.
    pub void: bool,
    pub skipped: bool,
    /// Broken promises, or the reason why there are no rounds.
    pub why: Vec<String>,
    /// The rates of each side's flows in each second of the first round.
    pub series: BTreeMap<&'static str, Vec<Vec<f64>>>,
}

impl Figures {
    pub fn get(&self, side: &str, figure: &str) -> Option<f64> {
        self.0.get(side)?.get(figure).copied()
    }

    /// Returns the figures under the names that programs read. Those of twolane have the shortest names.
    pub fn flat(&self) -> BTreeMap<String, f64> {
        let name = |side: &str, figure: &str| match (side, figure) {
            (OURS, "mbps" | "loss") => format!("{OURS}_{figure}"),
            (OURS, _) => figure.to_owned(),
            _ => format!("{side}_{figure}"),
        };
        let all =
            self.0.iter().flat_map(|(side, values)| values.iter().map(move |(figure, value)| (side, figure, value)));
        all.map(|(side, figure, value)| (name(side, figure), *value)).collect()
    }
}

impl Judged {
    pub fn skipped(row: Row, why: &str) -> Self {
        let judged = Self::new(row, &[], None);
        Self { skipped: true, void: false, why: vec![why.to_owned()], ..judged }
    }

    /// Judges the rounds of a row. `fault` is the reason why there are no more rounds.
    pub fn new(row: Row, rounds: &[Round], fault: Option<String>) -> Self {
        let (mut figures, mut series) = (Figures::default(), BTreeMap::new());
        let (mut void, mut void_runs, mut whys) = (false, 0, Vec::new());
        for (index, side) in row.sides().iter().enumerate() {
            let runs: Vec<&Run> = rounds.iter().filter_map(|round| round.runs.get(index)).collect();
            let valid: Vec<&Run> = runs.iter().copied().filter(|run| run.void.is_none()).collect();
            void_runs += runs.len() - valid.len();
            whys.extend(runs.iter().find_map(|run| run.void.clone()));
            let is_void = valid.len() * 2 <= runs.len();
            void |= is_void;
            // A void row has the figures of all runs, to show why it is void.
            figures.0.insert(side.name, medians(if is_void { &runs } else { &valid }));
            series.extend(runs.first().map(|run| (side.name, run.series.clone())));
        }
        let void = void && fault.is_none();
        let why = match fault {
            Some(fault) => vec![fault],
            None if void => whys,
            None => broken(&row, &figures),
        };
        let seeds = rounds.iter().map(|round| round.seed).collect();
        Self { row, figures, rounds: rounds.len(), seeds, void_runs, void, skipped: false, why, series }
    }

    pub fn outcome(&self) -> Outcome {
        Outcome::of(self.skipped, self.void, self.why.is_empty())
    }
}

fn medians(runs: &[&Run]) -> Values {
    let mut medians = Values::new();
    for name in runs.iter().flat_map(|run| run.values.keys().copied()) {
        let values: Vec<f64> = runs.iter().filter_map(|run| run.values.get(name).copied()).collect();
        // A figure that half of the runs or more lack has no median.
        if values.len() * 2 > runs.len() {
            medians.insert(name, median(&values));
        }
    }
    medians
}

/// Returns the promises of a row that do not hold.
fn broken(row: &Row, figures: &Figures) -> Vec<String> {
    let link = row.mbit as f64;
    let ours = |figure| figures.get(OURS, figure);
    let (bbr3, iroh) = (|figure| figures.get(BBR3, figure), |figure| figures.get(IROH, figure));
    let mut promises = Promises::default();
    match row.check {
        Check::Cubic => {
            promises.least("ours", ours("mbps"), Some(link), bounds::BESIDE_CUBIC, "of the link");
            promises.least("ours", ours("mbps"), bbr3("mbps"), bounds::TO_BBR3, "of stock BBR3's");
            promises.least("Cubic", ours("theirs_mbps"), Some(link), bounds::CUBIC_KEEPS, "of the link");
        }
        Check::Shallow => {
            let (keeps, to) = (ours("theirs_mbps"), bbr3("theirs_mbps"));
            promises.least("Cubic", keeps, to, bounds::CUBIC_KEEPS_TO_BBR3, "of what it has beside stock BBR3");
            let loss = ours("loss").map(|loss| if loss > bounds::LOSS_THAT_IS_NONE { loss } else { 0.0 });
            promises.most("our loss", loss, bbr3("loss"), bounds::LOSS_TO_BBR3, "of stock BBR3's");
        }
        Check::Bbr => {
            promises.least("ours", ours("mbps"), iroh("mbps"), bounds::BESIDE_BBR_TO_IROH, "of iroh's");
        }
        Check::Siblings(_) => {
            promises.least("Jain's index", ours("jain"), Some(1.0), bounds::JAIN, "");
            let (queue, to) = (ours("queue_p95_ms"), iroh("queue_p95_ms"));
            promises.most("the queue", queue, to, bounds::QUEUE_TO_IROH, "of iroh's");
            let trip = Some(row.rtt_ms as f64);
            promises.most("the least queue", ours("least_queue_ms"), trip, bounds::LEAST_QUEUE, "of the round trip");
        }
        Check::Late => {
            promises.most("its share", ours("rises_s"), Some(1.0), bounds::RISES_WITHIN_S, "s after its start");
        }
        Check::Web => {
            for figure in ["fetch_p50_ms", "fetch_p95_ms"] {
                promises.most(figure, ours(figure), iroh(figure), bounds::WEB_TO_IROH, "of that beside iroh's");
            }
        }
        Check::Reordered => {
            promises.least("ours", ours("mbps"), iroh("mbps"), bounds::REORDERED_TO_IROH, "of iroh's");
        }
        Check::Step => {
            promises.most("the rate", ours("back_s"), Some(1.0), bounds::BACK_WITHIN_S, "s after the change");
        }
        Check::Pauses => {
            promises.least("ours", ours("outside_mbps"), Some(link), bounds::OUTSIDE_OF_PAUSES, "of the link");
        }
        Check::Wifi | Check::Rates => {
            promises.least("ours", ours("mbps"), iroh("mbps"), bounds::ALONE_TO_IROH, "of iroh's");
        }
        Check::Fair => promises.least("ours", ours("mbps"), Some(link), bounds::FAIR, "of the link"),
    }
    promises.broken
}

#[derive(Debug, Default)]
struct Promises {
    broken: Vec<String>,
}

impl Promises {
    fn least(&mut self, what: &str, value: Option<f64>, to: Option<f64>, bound: f64, unit: &str) {
        self.expect(what, value, to, (bound, "at least"), unit, |seen| seen >= bound);
    }

    fn most(&mut self, what: &str, value: Option<f64>, to: Option<f64>, bound: f64, unit: &str) {
        self.expect(what, value, to, (bound, "at most"), unit, |seen| seen <= bound);
    }

    fn expect(
        &mut self,
        what: &str,
        value: Option<f64>,
        to: Option<f64>,
        (bound, word): (f64, &str),
        unit: &str,
        held: impl Fn(f64) -> bool,
    ) {
        // A value of zero relative to zero holds exactly.
        let seen = value.zip(to).map(|of| if of == (0.0, 0.0) { bound } else { of.0 / of.1 });
        if seen.is_some_and(&held) {
            return;
        }
        let seen = seen.map_or_else(|| "not there".to_owned(), |seen| format!("{seen:.2}"));
        self.broken.push(format!("{what} {seen}, {word} {bound} {unit}").trim_end().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::share::table::all;

    fn run(values: &[(&'static str, f64)]) -> Run {
        Run { values: values.iter().copied().collect(), tries: 1, ..Run::default() }
    }

    fn named(name: &str) -> Row {
        all().into_iter().find(|row| row.name() == name).unwrap()
    }

    fn beside(ours: f64, cubic: f64) -> Round {
        let stock = run(&[("mbps", 8.0), ("theirs_mbps", 12.0), ("loss", 0.004)]);
        let ours = run(&[("mbps", ours), ("theirs_mbps", cubic), ("loss", 0.005)]);
        Round { seed: 1, runs: vec![ours, stock.clone(), stock] }
    }

    #[test]
    fn a_flow_that_starves_or_lets_others_starve_does_not_hold() {
        let row = named("20mbit-100ms-1bdp");
        let judged = |ours, cubic| Judged::new(row, &[beside(ours, cubic)], None);
        assert_eq!(judged(8.0, 12.0).outcome(), Outcome::Passed);
        assert_eq!(judged(0.5, 19.5).why.len(), 2);
        assert!(judged(0.5, 19.5).why[0].contains("0.03"), "{:?}", judged(0.5, 19.5).why);
        assert_eq!(judged(6.0, 13.0).why, ["ours 0.75, at least 0.8 of stock BBR3's"]);
        assert_eq!(judged(16.0, 4.0).why, ["Cubic 0.20, at least 0.35 of the link"]);
    }

    #[test]
    fn the_median_of_the_rounds_decides_and_void_ones_do_not() {
        let row = named("20mbit-100ms-1bdp");
        let mut rounds = vec![beside(8.0, 12.0), beside(0.5, 19.0), beside(7.0, 13.0)];
        let judged = Judged::new(row, &rounds, None);
        assert_eq!((judged.outcome(), judged.figures.get(OURS, "mbps")), (Outcome::Passed, Some(7.0)));
        rounds[1].runs[0].void = Some("the machine woke threads late".into());
        let judged = Judged::new(row, &rounds, None);
        assert_eq!((judged.outcome(), judged.figures.get(OURS, "mbps")), (Outcome::Passed, Some(7.5)));
        rounds[0].runs[0].void = Some("the machine woke threads late".into());
        let judged = Judged::new(row, &rounds, None);
        assert_eq!((judged.outcome(), judged.void_runs, judged.why.len()), (Outcome::Void, 2, 1));
        let broken = Judged::new(row, &rounds[..1], Some("twolane has ended".into()));
        assert_eq!((broken.outcome(), broken.why.len()), (Outcome::Failed, 1));
        assert_eq!(Judged::skipped(row, "no nft").outcome(), Outcome::Skipped);
    }

    #[test]
    fn loss_is_judged_beside_stock_bbr3s_and_none_is_no_harm() {
        let row = named("20mbit-50ms-policer-30kb");
        let judged = |ours: f64, stock: f64| {
            let side = |loss| run(&[("mbps", 9.0), ("theirs_mbps", 9.0), ("loss", loss)]);
            Judged::new(row, &[Round { seed: 1, runs: vec![side(ours), side(stock), side(stock)] }], None).outcome()
        };
        assert_eq!(judged(0.0055, 0.004), Outcome::Passed);
        assert_eq!(judged(0.04, 0.004), Outcome::Failed);
        assert_eq!((judged(0.0, 0.0), judged(0.0009, 0.0)), (Outcome::Passed, Outcome::Passed));
        assert_eq!(judged(0.04, 0.0), Outcome::Failed);
    }

    #[test]
    fn a_queue_that_is_as_long_as_irohs_is_too_long() {
        let row = all().into_iter().find(|row| matches!(row.check, Check::Siblings(_))).unwrap();
        let side = |queue| run(&[("jain", 1.0), ("queue_p95_ms", queue), ("least_queue_ms", 0.0)]);
        let judged = |ours| {
            let runs = row.sides().iter().map(|at| side(if at.name == OURS { ours } else { 49.0 })).collect();
            Judged::new(row, &[Round { seed: 1, runs }], None).why
        };
        assert_eq!(judged(24.0), Vec::<String>::new());
        assert_eq!(judged(49.0), ["the queue 1.00, at most 0.5 of iroh's"]);
    }

    #[test]
    fn what_was_not_reached_in_most_rounds_is_not_reached() {
        let row = named("late-20mbit-50ms-1bdp");
        let round = |rises: Option<f64>| {
            let mut ours = run(&[("mbps", 5.0)]);
            ours.values.extend(rises.map(|at| ("rises_s", at)));
            Round { seed: 1, runs: vec![ours, run(&[])] }
        };
        let judged = |rises: &[Option<f64>]| {
            let rounds: Vec<_> = rises.iter().map(|rises| round(*rises)).collect();
            Judged::new(row, &rounds, None).why
        };
        assert!(judged(&[Some(1.0), Some(2.0), None]).is_empty());
        assert_eq!(judged(&[Some(1.0), None, None]), ["its share not there, at most 10 s after its start"]);
        assert_eq!(judged(&[Some(12.0)]).len(), 1);
    }

    #[test]
    fn programs_find_our_figures_under_short_names_and_those_of_others_under_theirs() {
        let judged = Judged::new(named("20mbit-100ms-1bdp"), &[beside(8.0, 12.0)], None);
        let flat = judged.figures.flat();
        for (name, value) in [("ours_mbps", 8.0), ("theirs_mbps", 12.0), ("bbr3_mbps", 8.0), ("iroh_theirs_mbps", 12.0)]
        {
            assert_eq!(flat[name], value, "{flat:?}");
        }
    }

    #[test]
    fn every_row_has_a_promise_that_can_be_broken() {
        for row in all() {
            let runs = vec![Run::default(); row.sides().len()];
            let judged = Judged::new(row, &[Round { seed: 1, runs }], None);
            assert_eq!(judged.outcome(), Outcome::Failed, "{}", row.name());
        }
    }
}
