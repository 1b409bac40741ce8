//! The loads of a link: streams that are opened, requests, bulk data, and requests beside bulk data.

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

/// The number of samples of each latency.
const COUNT: usize = 100;
/// The number of requests before the measurement. They run during the first control streams, acknowledgements and
/// path MTU discovery.
const SETTLING: usize = 20;
/// The time between two requests on a link without other data. A request does not wait for the previous one. If it
/// did, the requests would take half a minute over 300 ms.
const ALONE_EVERY: Duration = Duration::from_millis(5);
/// The time between two requests beside bulk data. The requests are too few to be a load themselves.
const BESIDE_EVERY: Duration = Duration::from_millis(10);
/// The length of a request and of its response, in bytes.
const REQUEST: usize = 64;

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Loads {
    /// The time from opening a stream until the client knows that the server has taken it.
    pub open: Latency,
    /// The time from a request to its response.
    pub request: Latency,
    /// The rate of bulk data on one stream, in 10^6 bytes per second.
    pub bulk: f64,
    /// Requests beside bulk data at its full speed.
    pub beside: Latency,
}

/// Percentiles of a latency, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

pub async fn all<S: Side>(side: &S, lasting: Duration) -> Result<Loads, Broken> {
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

/// Does something at a fixed pace. Returns the time that each took, in milliseconds.
///
/// If each waited for the previous one instead, a slow one would hide the delays of those that would have come
/// meanwhile.
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
