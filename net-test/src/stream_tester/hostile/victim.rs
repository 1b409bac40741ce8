//! The endpoint under attack, and its services.

use std::{future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use twolane::{Endpoint, GetStreamError, Limits, Metrics, ServeError, Ticket, XStream};

use super::tally::{Counts, Tally};
use crate::{cli::Problem, exit::Exit};

/// The protocol of the honest peers' requests. Each request is returned unchanged.
pub const REQUESTS: &str = "requests/1";
/// The protocol that answers each request with [`LARGE`] bytes.
pub const LARGE_RESPONSES: &str = "large/1";
/// The protocol that echoes the data of a stream.
pub const ECHO: &str = "echo/1";
/// The protocol that accepts streams and does not read them.
pub const UNREAD: &str = "unread/1";
/// The protocol that accepts streams and then does nothing, like a handler that works for a long time and does not
/// see that its peer has gone.
pub const SITTING: &str = "sitting/1";
/// A protocol that is known to `accept_bi`, which is not called again.
pub const WAITING: &str = "waiting/1";
/// The protocol of the streams that the endpoint opens to hostile peers.
pub const BAIT: &str = "bait/1";

pub const LARGE: usize = 256 * 1024;
const BAIT_EVERY: Duration = Duration::from_millis(10);
/// Maximum time for the answer.
const BAIT_FOR: Duration = Duration::from_millis(500);

/// The endpoint under attack. Dropping it closes it.
pub struct Victim {
    pub endpoint: Endpoint,
    before: Counts,
    tally: Tally,
    baiting: JoinSet<()>,
}

impl Victim {
    pub async fn start(limits: Limits) -> Result<Self, Problem> {
        let endpoint = Endpoint::builder().offline().limits(limits).bind().await;
        let endpoint = endpoint.map_err(|error| Problem::because(Exit::Failure, "no endpoint to attack", &error))?;
        serve(&endpoint).map_err(|error| Problem::because(Exit::Failure, "nothing can be served", &error))?;
        // The protocol is known from this call on.
        let _ = timeout(Duration::ZERO, endpoint.accept_bi(&[WAITING])).await;
        let before = counted(endpoint.metrics());
        Ok(Self { endpoint, before, tally: Tally::default(), baiting: JoinSet::new() })
    }

    /// Opens streams to every peer except the honest ones.
    pub fn bait(&mut self, honest: [[u8; 32]; 2]) {
        let (endpoint, tally) = (self.endpoint.clone(), self.tally.clone());
        self.baiting.spawn(async move {
            let mut tick = interval(BAIT_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                for peer in endpoint.peers().into_iter().filter(|peer| !honest.contains(peer.id.as_bytes())) {
                    let opened = timeout(BAIT_FOR, endpoint.get_stream(Ticket::new(peer.id), BAIT)).await;
                    tally.one(match opened {
                        Ok(Ok(_)) => "bait_accepted",
                        Ok(Err(GetStreamError::Malformed(_))) => "bait_malformed",
                        Ok(Err(GetStreamError::Rejected { .. })) => "bait_rejected",
                        // The peer has left, or does not answer.
                        Ok(Err(_)) | Err(_) => "bait_lost",
                    });
                }
            }
        });
    }

    pub fn counts(&self) -> Counts {
        let mut counts = counted(self.endpoint.metrics());
        for (name, count) in &mut counts {
            *count -= self.before.get(name).copied().unwrap_or_default();
        }
        counts.extend(self.tally.counts());
        counts
    }
}

fn serve(endpoint: &Endpoint) -> Result<(), ServeError> {
    endpoint.serve_requests(REQUESTS, |request| async move { Ok(request.body) })?;
    // The bytes are allocated for each response, because shared bytes would not show in the memory.
    endpoint.serve_requests(LARGE_RESPONSES, |_| async { Ok(Bytes::from(vec![0x61; LARGE])) })?;
    endpoint.serve(ECHO, echo)?;
    endpoint.serve(SITTING, |stream| async move {
        let _stream = stream;
        pending().await
    })?;
    endpoint.serve(UNREAD, |stream| async move {
        let errors = stream.errors();
        // Waits until the stream or the connection has ended.
        while errors.next().await.is_some() {}
    })
}

async fn echo(mut stream: XStream) {
    while let Ok(chunk) = stream.read_chunk(usize::MAX).await {
        let Some(chunk) = chunk else {
            return drop(stream.finish());
        };
        if stream.write_chunk(chunk).await.is_err() {
            return;
        }
    }
}

/// Returns the counters that honest peers do not change.
fn counted(metrics: &Arc<Metrics>) -> Counts {
    let counters = [
        ("connections_refused", metrics.connections_refused.get()),
        ("delegations_refused", metrics.delegations_refused.get()),
        ("handshakes_failed", metrics.handshakes_failed.get()),
        ("handshakes_refused", metrics.handshakes_refused.get()),
        ("handshakes_retried", metrics.handshakes_retried.get()),
        ("peers_busy", metrics.peers_busy.get()),
        ("records_received", metrics.records_received.get()),
        ("streams_rejected", metrics.streams_rejected.get()),
    ];
    counters.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}
