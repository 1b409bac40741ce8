//! What goes over a link: bulk, requests, and both at once.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::library::Client;
use crate::lab::fault::Fault;

/// Requests beside bulk come so often: enough of them for a slowest one of a hundred, and too few to be a load themselves.
const BESIDE_EVERY: Duration = Duration::from_millis(20);
/// Streams that are opened, for how long that takes.
const OPENED: usize = 10;

/// What one library makes of a link. Times are in milliseconds, rates in bytes a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::lab) struct Loads {
    /// Bulk on one stream, with nothing beside it.
    pub(in crate::lab) bulk: f64,
    /// 64-byte requests, one at a time, with nothing beside them.
    pub(in crate::lab) request_ms: Latency,
    /// A stream until the peer has taken it; the quickest of ten. `None` for raw iroh.
    pub(in crate::lab) open_ms: Option<f64>,
    /// Bulk beside requests.
    pub(in crate::lab) bulk_beside: f64,
    /// Requests beside bulk.
    pub(in crate::lab) beside_ms: Latency,
}

/// How long requests took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::lab) struct Latency {
    pub(in crate::lab) count: usize,
    pub(in crate::lab) least: f64,
    pub(in crate::lab) p50: f64,
    pub(in crate::lab) p99: f64,
}

/// All of it, one after the other.
pub(super) async fn all(client: &Client, lasting: Duration) -> Result<Loads, Fault> {
    // The control streams and the first acknowledgements are over by then.
    client.request().await?;
    let (request_ms, open_ms) = (one_by_one(client, lasting / 3).await?, opened(client).await?);
    let bulk = rate(client.bulk(lasting).await?, lasting);
    // What was on its way when bulk ended is over when a few requests have got through.
    for _ in 0..3 {
        client.request().await?;
    }
    let (beside, bulk_beside) = tokio::join!(beside(client, lasting), client.bulk(lasting));
    Ok(Loads { bulk, request_ms, open_ms, bulk_beside: rate(bulk_beside?, lasting), beside_ms: beside? })
}

async fn one_by_one(client: &Client, lasting: Duration) -> Result<Latency, Fault> {
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < lasting || took.len() < OPENED {
        took.push(client.request().await?);
    }
    Ok(latency(took))
}

async fn opened(client: &Client) -> Result<Option<f64>, Fault> {
    let mut least: Option<Duration> = None;
    for _ in 0..OPENED {
        let Some(took) = client.open().await? else { return Ok(None) };
        least = Some(least.map_or(took, |least| least.min(took)));
    }
    Ok(least.map(milliseconds))
}

/// Requests that do not wait for each other: one that takes long would hide those that would have come meanwhile.
async fn beside(client: &Client, lasting: Duration) -> Result<Latency, Fault> {
    let (begun, mut running, mut took) = (Instant::now(), tokio::task::JoinSet::new(), Vec::new());
    // Bulk is at full speed after some round trips; what comes before shows nothing.
    sleep(lasting / 4).await;
    while begun.elapsed() < lasting {
        let client = client.clone();
        running.spawn(async move { client.request().await });
        sleep(BESIDE_EVERY).await;
    }
    while let Some(done) = running.join_next().await {
        took.push(done.map_err(|error| Fault::lab("a request", error))??);
    }
    Ok(latency(took))
}

fn latency(mut took: Vec<Duration>) -> Latency {
    took.sort_unstable();
    let at = |share: f64| {
        let index = (took.len() as f64 * share) as usize;
        took.get(index.min(took.len().saturating_sub(1))).copied().map(milliseconds).unwrap_or_default()
    };
    Latency { count: took.len(), least: at(0.0), p50: at(0.5), p99: at(0.99) }
}

fn rate(bytes: u64, lasting: Duration) -> f64 {
    bytes as f64 / lasting.as_secs_f64()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_a_hundred_is_the_slowest_of_few_too() {
        let took = |count: u64| (1..=count).map(Duration::from_millis).collect();
        assert_eq!(latency(took(200)), Latency { count: 200, least: 1.0, p50: 101.0, p99: 199.0 });
        assert_eq!(latency(took(10)).p99, 10.0);
        assert_eq!(latency(Vec::new()), Latency::default());
    }
}
