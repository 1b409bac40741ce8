//! The counters and hooks of one endpoint, compared with the calls that were made on it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::{Duration, Instant},
};

use tokio::task::yield_now;
use twolane::{ConnectionLost, Hooks, Identity, Metrics, PublicKey};

use crate::stream_tester::lock;

/// Peers that connected to an endpoint whose hooks were never called. Measured is 1, at an endpoint that was dropped
/// at that moment.
const UNTOLD: u64 = 4;

/// The counters and hooks of one endpoint, kept after it is dropped.
#[derive(Debug)]
pub struct Books {
    /// The place, and how many endpoints it had before.
    pub name: (usize, u64),
    metrics: Arc<Metrics>,
    hooks: HookBook,
    bounds: Mutex<Bounds>,
    born: Instant,
    lasted: OnceLock<Duration>,
}

/// What the counters may say. A caller of a call that failed or was dropped does not know whether it counted.
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

/// The counters that must agree when nothing is connected or under way.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counted {
    /// As [`Metrics`] has them: dialled, accepted, closed.
    pub connections: [u64; 3],
    /// Connected, disconnected.
    pub peers: [u64; 2],
    /// Opened, accepted, ended.
    pub streams: [u64; 3],
    /// Data bytes sent, received.
    pub bytes: [u64; 2],
}

impl Books {
    pub fn new(name: (usize, u64), metrics: Arc<Metrics>, hooks: HookBook) -> Self {
        Self { name, metrics, hooks, bounds: Mutex::default(), born: Instant::now(), lasted: OnceLock::new() }
    }

    /// The endpoint is about to be shut down or dropped.
    pub fn end(&self) {
        let _ = self.lasted.set(self.born.elapsed());
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
        wrong.extend(self.hooks.check(&counted, self.lasted.get().copied().unwrap_or_default()));
        wrong
    }

    pub fn losses(&self) -> Vec<(PublicKey, ConnectionLost)> {
        self.hooks.lock().losses.clone()
    }

    /// Calls of `on_connect`, and peers that connected.
    pub fn told(&self) -> [u64; 2] {
        [self.hooks.lock().connects, self.counted().peers[0]]
    }

    fn counted(&self) -> Counted {
        let metrics = &self.metrics;
        // What ends is read first: what ends while this is read must not look as if it had never begun.
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

#[derive(Debug, Clone, Default)]
pub struct HookBook(Arc<Mutex<HookState>>);

#[derive(Debug, Default)]
struct HookState {
    peers: HashMap<PublicKey, Standing>,
    connects: u64,
    /// Without repetitions.
    losses: Vec<(PublicKey, ConnectionLost)>,
    wrong: Vec<String>,
}

impl HookState {
    fn keep(&mut self, loss: (PublicKey, ConnectionLost)) {
        if !self.losses.contains(&loss) {
            self.losses.push(loss);
        }
    }
}

#[derive(Debug, Default)]
struct Standing {
    connected: bool,
    inside: bool,
}

impl HookBook {
    /// `connects`: the call is `on_connect`, otherwise `on_disconnect`.
    fn enter(&self, peer: PublicKey, connects: bool) {
        let state = &mut *self.lock();
        let standing = state.peers.entry(peer).or_default();
        if standing.inside {
            state.wrong.push(format!("two hooks ran for {peer} at the same time"));
        }
        if standing.connected == connects {
            let what = if connects { "on_connect" } else { "on_disconnect" };
            state.wrong.push(format!("{what} was called for {peer} twice in a row, or out of order"));
        }
        (standing.connected, standing.inside) = (connects, true);
        state.connects += u64::from(connects);
    }

    fn leave(&self, peer: PublicKey) {
        if let Some(standing) = self.lock().peers.get_mut(&peer) {
            standing.inside = false;
        }
    }

    /// `lasted`: for so long the endpoint was there.
    fn check(&self, counted: &Counted, lasted: Duration) -> Vec<String> {
        let state = self.lock();
        let mut wrong = state.wrong.clone();
        for (peer, standing) in &state.peers {
            if standing.connected || standing.inside {
                wrong.push(format!("the last hook called for {peer} was on_connect, or one still runs"));
            }
        }
        // A peer that comes and goes while a call is under way, or before it begins, is not told of. So many do not.
        if state.connects == 0 && counted.peers[0] >= UNTOLD {
            wrong.push(format!("on_connect was never called in {lasted:?}, and {} peers connected", counted.peers[0]));
        }
        if state.connects > counted.peers[0] {
            wrong.push(format!("on_connect was called {} times for {} peers", state.connects, counted.peers[0]));
        }
        wrong
    }

    fn lock(&self) -> MutexGuard<'_, HookState> {
        lock(&self.0)
    }
}

impl Hooks for HookBook {
    async fn on_connect(&self, identity: &Identity) {
        self.enter(identity.peer, true);
        // A second call at the same time would be seen here.
        yield_now().await;
        self.leave(identity.peer);
    }

    async fn on_disconnect(&self, peer: PublicKey, lost: &ConnectionLost) {
        self.enter(peer, false);
        self.lock().keep((peer, lost.clone()));
        yield_now().await;
        self.leave(peer);
    }
}

#[cfg(test)]
mod tests {
    use twolane::SecretKey;

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

    #[test]
    fn hooks_that_do_not_come_in_pairs_are_found_out() {
        let peer = SecretKey::from_bytes(&[1; 32]).public_key();
        let call = |book: &HookBook, connects| {
            book.enter(peer, connects);
            book.leave(peer);
        };
        let (counted, _) = agreeing();
        let good = HookBook::default();
        for connects in [true, false, true, false] {
            call(&good, connects);
        }
        assert!(good.check(&counted, Duration::ZERO).is_empty());
        for calls in [&[true][..], &[true, true, false], &[false], &[true, false, true, false, true, false]] {
            let book = HookBook::default();
            calls.iter().for_each(|connects| call(&book, *connects));
            assert!(!book.check(&counted, Duration::ZERO).is_empty(), "{calls:?}");
        }
        let counted = Counted { peers: [UNTOLD; 2], ..counted };
        assert!(HookBook::default().check(&counted, Duration::ZERO)[0].contains("never called"));
        let book = HookBook::default();
        book.enter(peer, true);
        book.enter(peer, false);
        book.leave(peer);
        assert!(book.check(&counted, Duration::ZERO).iter().any(|wrong| wrong.contains("same time")));
    }
}
