//! The end: in order within a bound, or at once when the last handle is dropped.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use super::{Endpoint, Inner, Owner};
use crate::{
    error::ConnectionLost,
    wire::{codes::connection as codes, control::GoawayReason},
};

/// iroh waits for its last packets to arrive; measured at most 3 s on bad links, and instant when peers closed first.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How an endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Connections that ended with nothing under way.
    pub drained: usize,
    /// Connections that were closed by the deadline, or lost before it, with streams open.
    pub cut: usize,
    /// Streams that were open on those.
    pub streams_cut: usize,
    /// Tasks that went on when this returned: handlers that do not end with their stream.
    pub tasks_left: usize,
}

impl Endpoint {
    /// Takes no new streams, asks every peer to finish, waits until all streams have ended and every byte was read
    /// at the other side, at most `deadline`, and closes, which takes milliseconds, and at most 10 s where packets are
    /// lost or handlers go on. Then no task, socket or memory of the endpoint is left, but for such handlers and for
    /// clones of this handle.
    ///
    /// Not cancel-safe in that a dropped call leaves the endpoint half closed; it can be called again, and dropping
    /// the last handle closes the rest. Called twice at the same time, both calls wait.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let inner = self.inner();
        // A deadline past the end of time is none.
        let end = Instant::now().checked_add(deadline);
        inner.closing.cancel();
        inner.router.close();
        let links = inner.peers.links(None);
        for link in &links {
            link.start_drain(GoawayReason::ShuttingDown);
        }
        let mut report = ShutdownReport::default();
        for link in links {
            let in_time = tokio::select! {
                biased;
                _ = link.carrier.connection.closed() => true,
                () = until(end) => false,
            };
            // What was lost with streams open did not end in order, whoever closed it.
            let streams = link.carrier.live();
            if in_time && streams == 0 {
                report.drained += 1;
            } else {
                report.cut += 1;
                report.streams_cut += streams;
                link.cut(ConnectionLost::Closed, codes::DONE, "the endpoint has shut down");
            }
        }
        report.tasks_left = inner.close().await;
        report
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

impl Inner {
    /// Closes the sockets and waits for the tasks, and tells how many of them go on. Handlers that do not end by
    /// themselves end with their streams or not at all: they belong to the user.
    async fn close(&self) -> usize {
        self.closing.cancel();
        self.router.close();
        #[cfg(feature = "metrics")]
        drop(self.metrics_server.lock().await.take());
        if timeout(CLOSE_TIMEOUT, self.iroh.close()).await.is_err() {
            tracing::debug!("the sockets did not close within {CLOSE_TIMEOUT:?}");
        }
        // No connection is left.
        self.peers.closed.cancel();
        if timeout(CLOSE_TIMEOUT, self.tasks.ended()).await.is_err() {
            tracing::debug!("a handler goes on after the shutdown");
        }
        self.tasks.len()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.closing.cancel();
        self.router.close();
        if self.iroh.is_closed() {
            return;
        }
        let inner = Arc::clone(&self.0);
        self.tasks.spawn_last(async move {
            for link in inner.peers.links(None) {
                link.cut(ConnectionLost::Closed, codes::DONE, "the endpoint was dropped");
            }
            inner.close().await;
        });
    }
}
