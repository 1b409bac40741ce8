//! The counters and hooks of one endpoint, compared with the calls that were made on it.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::task::{JoinError, JoinHandle};
use twolane::{ConnectionLost, Metrics, PublicKey};

use super::hook_book::HookBook;
use crate::stream_tester::lock;

/// The counters and hooks of one endpoint. They are kept after the endpoint is dropped.
#[derive(Debug)]
pub struct Books {
    /// The number of the place, and the number of endpoints that it had before.
    pub name: (usize, u64),
    metrics: Arc<Metrics>,
    hooks: HookBook,
    /// The task that watches the hooks. It ends with the endpoint.
    watch: Mutex<Option<JoinHandle<()>>>,
    bounds: Mutex<Bounds>,
}

/// The values that the counters may have. The caller of a call that failed or was dropped does not know whether the
/// call was counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Bounds {
    pub opened: Range,
    pub sent: Range,
    pub received: Range,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    min: u64,
    max: u64,
}

impl Range {
    pub fn add(&mut self, exactly: u64) {
        self.add_between(exactly, exactly);
    }

    pub fn add_between(&mut self, min: u64, max: u64) {
        (self.min, self.max) = (self.min + min, self.max + max.max(min));
    }

    fn check(self, what: &str, counted: u64) -> Option<String> {
        let legal = (self.min..=self.max).contains(&counted);
        (!legal).then(|| format!("{what} counts {counted}, and what was done makes {} to {}", self.min, self.max))
    }
}

/// The counters that must agree when nothing is connected or in progress.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Connections that were dialled, accepted and closed, as in [`Metrics`].
    pub connections: [u64; 3],
    /// Peers that connected and disconnected.
    pub peers: [u64; 2],
    /// Streams that were opened, accepted and ended.
    pub streams: [u64; 3],
    /// Data bytes that were sent and received.
    pub bytes: [u64; 2],
}

impl Books {
    /// Makes the books of an endpoint. `watch` is the task that watches the hooks.
    pub fn new(name: (usize, u64), metrics: Arc<Metrics>, hooks: HookBook, watch: JoinHandle<()>) -> Self {
        Self { name, metrics, hooks, watch: Mutex::new(Some(watch)), bounds: Mutex::default() }
    }

    /// Waits until all events of an endpoint that is gone have been handled. Returns an error if the watch has
    /// panicked.
    pub async fn seen(&self) -> Result<(), JoinError> {
        let watch = lock(&self.watch).take();
        match watch {
            Some(watch) => watch.await,
            None => Ok(()),
        }
    }

    pub fn bounds(&self) -> MutexGuard<'_, Bounds> {
        lock(&self.bounds)
    }

    pub fn open_streams(&self) -> i128 {
        let [opened, accepted, ended] = self.counted().streams.map(i128::from);
        opened + accepted - ended
    }

    pub fn check(&self) -> Vec<String> {
        let counted = self.counted();
        let mut wrong = reconcile(&counted, &self.bounds());
        wrong.extend(self.hooks.check(counted.peers[0]));
        wrong
    }

    pub fn losses(&self) -> Vec<(PublicKey, ConnectionLost)> {
        self.hooks.losses()
    }

    /// Returns the number of calls of `on_connect`, and the number of peers that connected.
    pub fn told(&self) -> [u64; 2] {
        [self.hooks.connects(), self.counted().peers[0]]
    }

    fn counted(&self) -> Counted {
        let metrics = &self.metrics;
        // The counters of ends are read first. Otherwise something that ends between two reads would look as if it
        // had never begun.
        let closed = metrics.connections_closed.get();
        let (disconnected, ended) = (metrics.peers_disconnected.get(), metrics.streams_ended.get());
        Counted {
            connections: [metrics.connections_dialled.get(), metrics.connections_accepted.get(), closed],
            peers: [metrics.peers_connected.get(), disconnected],
            streams: [metrics.streams_opened.get(), metrics.streams_accepted.get(), ended],
            bytes: [metrics.data_bytes_sent.get(), metrics.data_bytes_received.get()],
        }
    }
}

pub fn reconcile(counted: &Counted, bounds: &Bounds) -> Vec<String> {
    let Counted { connections: [dialled, accepted, closed], peers: [connected, disconnected], streams, bytes } =
        counted;
    let mut wrong = Vec::new();
    if dialled + accepted != *closed {
        wrong.push(format!("{dialled} connections were dialled, {accepted} accepted, and {closed} closed"));
    }
    if connected != disconnected {
        wrong.push(format!("{connected} peers connected, and {disconnected} disconnected"));
    }
    let [opened, taken, ended] = streams;
    if opened + taken != *ended {
        wrong.push(format!("{opened} streams were opened, {taken} accepted, and {ended} ended"));
    }
    wrong.extend(bounds.opened.check("streams_opened", *opened));
    wrong.extend(bounds.sent.check("data_bytes_sent", bytes[0]));
    wrong.extend(bounds.received.check("data_bytes_received", bytes[1]));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreeing() -> (Counted, Bounds) {
        let mut bounds = Bounds::default();
        bounds.opened.add(2);
        bounds.sent.add(100);
        bounds.received.add_between(10, 50);
        (Counted { connections: [1, 2, 3], peers: [2, 2], streams: [2, 3, 5], bytes: [100, 30] }, bounds)
    }

    #[test]
    fn counters_that_agree_are_fine_and_each_that_does_not_is_named() {
        let (counted, bounds) = agreeing();
        assert!(reconcile(&counted, &bounds).is_empty());
        for (wrong, word) in [
            (Counted { connections: [1, 2, 2], ..counted.clone() }, "connections"),
            (Counted { peers: [2, 1], ..counted.clone() }, "peers"),
            (Counted { streams: [2, 3, 4], ..counted.clone() }, "ended"),
            (Counted { streams: [3, 2, 5], ..counted.clone() }, "streams_opened"),
            (Counted { bytes: [99, 30], ..counted.clone() }, "data_bytes_sent"),
            (Counted { bytes: [100, 51], ..counted.clone() }, "data_bytes_received"),
        ] {
            let found = reconcile(&wrong, &bounds);
            assert!(found.len() == 1 && found[0].contains(word), "{found:?}");
        }
    }
}
