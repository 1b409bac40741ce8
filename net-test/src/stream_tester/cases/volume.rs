//! Many streams.

use std::sync::Arc;

use super::{Case, Fault, Running, repeat};
use crate::stream_tester::{
    role::{Side::Opener, Step},
    tester::{Along, Tester},
};

const STREAMS: usize = 10_000;
/// The number of streams at a time. A peer allows 256.
const AT_ONCE: usize = 64;
/// The number of bytes that all streams together carry back.
pub(super) const MANY_BYTES: u64 = {
    let (mut sum, mut n) = (0, 0);
    while n < STREAMS {
        sum += len(n);
        n += 1;
    }
    sum
};

/// Cases that take a stream of their own, end quickly, and have different outcomes.
const MIXED: [&str; 14] = [
    "zero-bytes",
    "half-close-by-acceptor",
    "unknown-protocol",
    "role-refused",
    "error-at-start-by-acceptor",
    "error-known-early-by-opener",
    "error-half-closed-by-acceptor",
    "abort-by-opener",
    "abort-by-acceptor",
    "warnings-by-acceptor",
    "reset-by-opener",
    "dropped-writing-half",
    "wrong-messages",
    "request-cancelled",
];
const ROUNDS: usize = 10;
/// The number of cases at a time. A case has at most two streams open, and the streams of its reports. With three
/// dozen streams, each still has room for the 100,000 bytes that some cases write before anything is read: streams
/// share the bytes that the peer may hold unread.
const CASES_AT_ONCE: usize = 12;
/// The approximate number of bytes that they read. Half of them are read by cases that close half of a stream.
pub(super) const MIXED_BYTES: u64 = 6_000_000;

/// Returns the length of the data of the `n`-th stream. Lengths go from 0 to more than a packet.
const fn len(n: usize) -> u64 {
    (n as u64 * 37) % 2000
}

pub(super) async fn many(t: Arc<Tester>) -> Result<String, Fault> {
    repeat(STREAMS, AT_ONCE, |n| {
        let t = Arc::clone(&t);
        async move {
            let along = Along { unreported: true, ..Along::default() };
            let exchange = vec![Step::Exchange { len: len(n) }];
            let played = t.play_along(Opener, exchange, vec![Step::Echo], along).await?;
            Ok(played.active_read_back(len(n))?)
        }
    })
    .await?;
    Ok(format!("{STREAMS} streams, {MANY_BYTES} bytes"))
}

pub(super) async fn mixed(t: Arc<Tester>) -> Result<String, Fault> {
    let cases: Vec<&Case> = super::CASES.iter().filter(|case| MIXED.contains(&case.name)).collect();
    if cases.len() != MIXED.len() {
        return Err(Fault::Broke("a case of the mixture is not there".into()));
    }
    repeat(ROUNDS * cases.len(), CASES_AT_ONCE, |n| {
        // Neighbouring cases have different outcomes.
        let case = cases[n % cases.len()];
        let running: Running = (case.run)(Arc::clone(&t));
        async move { running.await.map(drop).map_err(|fault| Fault::In(case.name, Box::new(fault))) }
    })
    .await?;
    Ok(format!("{} cases, {ROUNDS} times each, {CASES_AT_ONCE} at a time", cases.len()))
}
