//! What goes over a link: streams that are opened, requests, bulk, and requests beside bulk.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    speed::{Broken, side::Side, timed::Running},
    stats::percentile,
};

/// Of everything whose time is taken. With fewer, the slowest of a hundred is the slowest of all.
const COUNT: usize = 100;
/// What comes first is not measured: control streams, acknowledgements, the search for larger packets.
const SETTLING: usize = 20;
/// One after the other on a link without other data. None waits for the one before: over 300 ms they would take half a minute.
const ALONE_EVERY: Duration = Duration::from_millis(5);
/// Beside bulk: too few to be a load themselves.
const BESIDE_EVERY: Duration = Duration::from_millis(10);
/// What a request and its response have.
const REQUEST: usize = 64;

/// What a library makes of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::lab) struct Loads {
    /// A stream, until the server is known to have taken it.
    pub(in crate::lab) open: Latency,
    /// A request until its response.
    pub(in crate::lab) request: Latency,
    /// Bulk on one stream, in 10^6 bytes a second.
    pub(in crate::lab) bulk: f64,
    /// Requests beside bulk that is at its full speed.
    pub(in crate::lab) beside: Latency,
}

/// Of [`COUNT`], in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::lab) struct Latency {
    pub(in crate::lab) p50: f64,
    pub(in crate::lab) p99: f64,
}

/// All of it, one after the other.
pub(super) async fn all<S: Side>(side: &S, lasting: Duration) -> Result<Loads, Broken> {
    let message = Bytes::from_static(&[3; REQUEST]);
    let request = move |side: S| {
        let message = message.clone();
        async move {
            let answer = side.request(message.clone()).await?;
            if answer == message { Ok(()) } else { Err(Broken::msg("an answer is not what was sent")) }
        }
    };
    paced(side, SETTLING, ALONE_EVERY, &request).await?;
    let open = latency(paced(side, COUNT, ALONE_EVERY, &|side: S| async move { side.touch().await }).await?);
    let alone = latency(paced(side, COUNT, ALONE_EVERY, &request).await?);
    let mut running = Running::start(side, lasting).await?;
    let bulk = running.rate().await?;
    let beside = latency(paced(side, COUNT, BESIDE_EVERY, &request).await?);
    running.stop()?;
    Ok(Loads { open, request: alone, bulk, beside })
}

/// Does something so often, at a pace, and says how long each took, in milliseconds. One that takes long would otherwise hide
/// those that would have come meanwhile.
async fn paced<S: Side, F: Future<Output = Result<(), Broken>> + Send + 'static>(
    side: &S,
    count: usize,
    every: Duration,
    one: &impl Fn(S) -> F,
) -> Result<Vec<f64>, Broken> {
    let (mut ticks, mut running, mut took) = (interval(every), JoinSet::new(), Vec::new());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..count {
        ticks.tick().await;
        let one = one(side.clone());
        running.spawn(async move {
            let begun = Instant::now();
            one.await.map(|()| begun.elapsed().as_secs_f64() * 1e3)
        });
    }
    while let Some(done) = running.join_next().await {
        took.push(done??);
    }
    Ok(took)
}

fn latency(mut took: Vec<f64>) -> Latency {
    took.sort_by(f64::total_cmp);
    Latency { p50: percentile(&took, 0.5), p99: percentile(&took, 0.99) }
}
