//! The figures of one run, from the record of the link. The code is pure: it has no clock and no I/O.

use std::{collections::BTreeMap, time::Duration};

use super::{
    bounds,
    play::Fetched,
    table::{Check, PAUSES, Row, Side, Window},
};
use crate::{
    lab::link::{BUCKET, LOOK, Record},
    stats::percentile,
};

/// Figures by name.
pub type Values = BTreeMap<&'static str, f64>;

/// The length of a window whose mean is judged.
const SECOND: Duration = Duration::from_secs(1);
/// The time for which a share has to be kept to count as reached.
const SUSTAINED: Duration = Duration::from_secs(3);
/// The time in which the queue has to run empty once. BBR's windows for the shortest round-trip time have this
/// length.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);

/// The number of the first flow, which is also the last byte of its address: see [`super::play`].
pub const FIRST_FLOW: u8 = 11;

pub fn flow(index: usize) -> u8 {
    FIRST_FLOW + u8::try_from(index).unwrap_or(u8::MAX - FIRST_FLOW)
}

pub fn values(row: &Row, side: &Side, window: Window, record: &Record, fetched: &[Fetched]) -> Values {
    let Window { from, until } = window;
    let of = |rival: bool| {
        side.flows.iter().enumerate().filter(move |(_, flow)| flow.is_rival == rival).map(|(index, _)| flow(index))
    };
    let rate = |id| record.rate(id, from, until);
    let loss = |rival| {
        let sums = of(rival)
            .map(|id| record.sum(id, from, until))
            .fold((0, 0), |(dropped, came), sum| (dropped + sum.dropped, came + sum.came));
        sums.0 as f64 / (sums.1 as f64).max(1.0)
    };
    let mut values = Values::from([("mbps", of(false).map(rate).sum()), ("loss", loss(false))]);
    if of(true).next().is_some() {
        values.extend([("theirs_mbps", of(true).map(rate).sum()), ("theirs_loss", loss(true))]);
    }
    let mut queue = record.queue(from, until);
    values.insert("least_queue_ms", least(&queue));
    queue.sort_by(f64::total_cmp);
    values.extend([("queue_p50_ms", percentile(&queue, 0.5)), ("queue_p95_ms", percentile(&queue, 0.95))]);
    let link = row.mbit as f64;
    let ours = flow(0);
    match row.check {
        Check::Siblings(_) => {
            values.insert("jain", jain(&of(false).map(rate).collect::<Vec<_>>()));
        }
        Check::Late => {
            values.extend(reaches(record, ours, window, bounds::RISES_TO * link).map(|at| ("rises_s", at)));
            // A share that was reached may be lost again.
            values.insert("end_mbps", record.rate(ours, until - (until - from) / 4, until));
        }
        Check::Step => {
            values.extend(reaches(record, ours, window, bounds::BACK_TO * link).map(|at| ("back_s", at)));
        }
        Check::Web => {
            let mut times: Vec<f64> = fetched
                .iter()
                .filter(|fetched| (from..until).contains(&fetched.at))
                .map(|fetched| fetched.ms)
                .collect();
            times.sort_by(f64::total_cmp);
            values.insert("fetched", times.len() as f64);
            if !times.is_empty() {
                values.extend([("fetch_p50_ms", percentile(&times, 0.5)), ("fetch_p95_ms", percentile(&times, 0.95))]);
            }
        }
        Check::Pauses => {
            values.insert("outside_mbps", rate(ours) * (until - from).as_secs_f64() / outside(window));
        }
        Check::Cubic | Check::Shallow | Check::Bbr | Check::Reordered | Check::Wifi | Check::Rates | Check::Fair => {}
    }
    values
}

/// Returns each flow's rate in each second since the first flow started, in Mbit/s.
pub fn series(side: &Side, window: Window, record: &Record) -> Vec<Vec<f64>> {
    let seconds = window.until.as_secs() as u32;
    let second = |id, n| (record.rate(id, SECOND * n, SECOND * (n + 1)) * 100.0).round() / 100.0;
    (0..side.flows.len()).map(|index| (0..seconds).map(|n| second(flow(index), n)).collect()).collect()
}

/// Returns Jain's index: 1 for equal shares, and 1/n if one flow has the whole link.
fn jain(rates: &[f64]) -> f64 {
    let (sum, squares) = rates.iter().fold((0.0, 0.0), |(sum, squares), rate| (sum + rate, squares + rate * rate));
    if squares > 0.0 { sum * sum / (squares * rates.len() as f64) } else { 0.0 }
}

/// Returns the longest of the shortest waits of all periods of 10 s.
fn least(queue: &[f64]) -> f64 {
    let looks = (EMPTY_WITHIN.as_micros() / LOOK.as_micros()) as usize;
    let shortest = |part: &[f64]| part.iter().copied().fold(f64::INFINITY, f64::min);
    // In a shorter part the queue may not have had the time to run empty.
    let parts = queue.chunks(looks).filter(|part| part.len() == looks || queue.len() < looks);
    parts.map(shortest).filter(|waits| waits.is_finite()).fold(0.0, f64::max)
}

/// Returns the time in the window, in seconds, from which on every second has at least this rate, for as long as
/// [`SUSTAINED`].
fn reaches(record: &Record, flow: u8, window: Window, mbps: f64) -> Option<f64> {
    let steps = |lasting: Duration| (lasting.as_micros() / BUCKET.as_micros()) as u32;
    let all = steps(window.until.saturating_sub(window.from));
    let enough = |n: u32| {
        let at = window.from + BUCKET * n;
        record.rate(flow, at, at + SECOND) >= mbps
    };
    let held: Vec<bool> = (0..=all.checked_sub(steps(SECOND))?).map(enough).collect();
    let sustained = steps(SUSTAINED - SECOND) as usize;
    let at = held.windows(sustained + 1).position(|held| held.iter().all(|held| *held))?;
    Some(at as f64 * BUCKET.as_secs_f64())
}

/// Returns the number of seconds of a window in which the link does not pause.
fn outside(window: Window) -> f64 {
    let (mut left, mut at) = (window.until.saturating_sub(window.from), PAUSES.every);
    while at < window.until {
        let (begins, ends) = (at.max(window.from), (at + PAUSES.lasting).min(window.until));
        left = left.saturating_sub(ends.saturating_sub(begins));
        at += PAUSES.every;
    }
    left.as_secs_f64().max(BUCKET.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::share::table::{self, Buffer};

    const MS: Duration = Duration::from_millis(1);

    fn row(check: Check) -> Row {
        Row { check, mbit: 10, rtt_ms: 50, buffer: Buffer::Tenths(10), reordered: 0 }
    }

    /// Returns the record of flows with these rates, in Mbit/s, in each second.
    fn record(flows: &[&[f64]]) -> Record {
        let mut record = Record::new(Duration::ZERO);
        for (index, rates) in flows.iter().enumerate() {
            for (second, mbps) in rates.iter().enumerate() {
                for tenth in 0..10u32 {
                    let at = SECOND * second as u32 + 100 * MS * tenth;
                    record.came(at, flow(index));
                    record.sent(at, flow(index), (mbps * 1e6 / 80.0) as usize);
                }
            }
        }
        record.look(SECOND * flows[0].len() as u32, |at| if at < 10 * SECOND { at / 100 } else { 30 * MS });
        record
    }

    fn seen(check: Check, lasting: u64, flows: &[&[f64]], fetched: &[Fetched]) -> Values {
        let row = row(check);
        let window = Window { from: Duration::ZERO, until: Duration::from_secs(lasting) };
        values(&row, &row.sides()[0], window, &record(flows), fetched)
    }

    #[test]
    fn both_sides_have_their_rates_and_the_queue_is_the_links() {
        let values = seen(Check::Cubic, 20, &[&[2.0; 20], &[8.0; 20]], &[]);
        assert!((values["mbps"] - 2.0).abs() < 0.01 && (values["theirs_mbps"] - 8.0).abs() < 0.01, "{values:?}");
        // The queue grows to 100 ms within 10 s, and is 30 ms after that.
        assert_eq!((values["loss"], values["queue_p95_ms"], values["least_queue_ms"]), (0.0, 89.95, 30.0));
    }

    #[test]
    fn equal_shares_are_1_and_one_who_has_all_is_not() {
        assert!((jain(&[5.0, 5.0, 5.0]) - 1.0).abs() < 1e-9);
        assert!((jain(&[9.0, 0.0, 0.0]) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(jain(&[0.0, 0.0]), 0.0);
        let values = seen(Check::Siblings(2), 5, &[&[5.0; 5], &[5.0; 5]], &[]);
        assert!((values["jain"] - 1.0).abs() < 1e-9 && (values["mbps"] - 10.0).abs() < 0.01);
    }

    #[test]
    fn a_share_is_reached_when_it_is_kept() {
        let seen = |rates: &[f64]| seen(Check::Late, rates.len() as u64, &[rates], &[]);
        let reached = |rates: &[f64]| seen(rates).get("rises_s").copied();
        assert_eq!(reached(&[9.0; 6]), Some(0.0));
        // The flow has a share in the first second, and keeps one from the fourth second on.
        let at = reached(&[9.0, 0.0, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0]).unwrap();
        assert!((3.0..=4.0).contains(&at), "{at}");
        assert_eq!(reached(&[9.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0]), None);
        assert_eq!(reached(&[9.0, 9.0]), None, "too short to tell");
        assert!((seen(&[9.0, 9.0, 9.0, 1.0])["end_mbps"] - 1.0).abs() < 0.01);
    }

    #[test]
    fn downloads_count_that_began_within_the_window() {
        let fetched: Vec<_> = (0..30).map(|n| Fetched { at: SECOND * n, ms: f64::from(n) }).collect();
        let values = seen(Check::Web, 10, &[&[5.0; 10]], &fetched);
        assert_eq!((values["fetched"], values["fetch_p50_ms"], values["fetch_p95_ms"]), (10.0, 4.0, 9.0));
        assert!(!seen(Check::Web, 10, &[&[5.0; 10]], &[]).contains_key("fetch_p50_ms"));
    }

    #[test]
    fn pauses_are_taken_off_the_time() {
        let window = |from, until| Window { from: Duration::from_secs(from), until: Duration::from_secs(until) };
        assert!((outside(window(10, 70)) - 59.6).abs() < 1e-9);
        assert!((outside(window(1, 14)) - 13.0).abs() < 1e-9);
    }

    #[test]
    fn every_flow_has_a_rate_for_every_second() {
        let row = row(Check::Cubic);
        let window = Window { from: SECOND, until: SECOND * 3 };
        let series = series(&row.sides()[0], window, &record(&[&[2.0, 4.0, 6.0], &[8.0; 3]]));
        assert_eq!(series, [[2.0, 4.0, 6.0], [8.0, 8.0, 8.0]]);
        assert_eq!(table::OURS, row.sides()[0].name);
    }
}
