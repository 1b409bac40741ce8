//! The hooks of one endpoint, and a check that they are called correctly.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokio::task::yield_now;
use twolane::{ConnectionLost, Event, Events, Hooks, Identity, PublicKey};

use crate::stream_tester::lock;

/// The time by which a hook has been called, unless the machine stood still. The longest wait of a task was 0.5 s,
/// on a machine that ran three chaos runs at once.
const LATEST: Duration = Duration::from_secs(2);
/// The number of connected peers from which it is a fault that an endpoint never called its hooks. Up to 4 peers were
/// measured without a fault: they connected and left together with the endpoint.
const UNTOLD: u64 = 4;

#[derive(Debug, Clone, Default)]
pub struct HookBook(Arc<Mutex<HookState>>);

#[derive(Debug, Default)]
struct HookState {
    peers: HashMap<PublicKey, Standing>,
    connects: u64,
    /// The losses, without repetitions.
    losses: Vec<(PublicKey, ConnectionLost)>,
    /// The peers that are connected according to the events. Each has the time when it connected, and the number of
    /// standstills of the machine at that time.
    present: HashMap<PublicKey, (Instant, u64)>,
    /// The total time for which peers were connected without a call of `on_connect`.
    untold: Duration,
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
    /// The time of the last call of `on_disconnect`.
    gone: Option<Instant>,
}

impl HookBook {
    /// Records the begin of a call: of `on_connect` if `connects` is set, otherwise of `on_disconnect`.
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
        if !connects {
            standing.gone = Some(Instant::now());
        }
        state.connects += u64::from(connects);
    }

    fn leave(&self, peer: PublicKey) {
        if let Some(standing) = self.lock().peers.get_mut(&peer) {
            standing.inside = false;
        }
    }

    /// Compares the calls with the events of the endpoint, until the endpoint is gone. `standstills` returns how
    /// often the machine has stood still.
    pub async fn watch(self, mut events: Events, standstills: impl Fn() -> u64) {
        while let Some(event) = events.next().await {
            self.see(&event, Instant::now(), standstills());
        }
        let left: Vec<_> = self.lock().present.keys().copied().collect();
        for peer in left {
            self.judge(peer, Instant::now(), standstills());
        }
    }

    fn see(&self, event: &Event, now: Instant, standstills: u64) {
        match event {
            Event::Connected { peer, .. } => drop(self.lock().present.insert(*peer, (now, standstills))),
            Event::Disconnected { peer, .. } => self.judge(*peer, now, standstills),
            Event::Missed(_) => self.lock().present.clear(),
            _ => {}
        }
    }

    /// Checks a peer that is gone. The hooks need not be called for a peer that comes and goes before a call has
    /// its turn, or while another call runs. They must be called for a peer that stays.
    fn judge(&self, peer: PublicKey, now: Instant, standstills: u64) {
        let state = &mut *self.lock();
        let Some((since, before)) = state.present.remove(&peer) else { return };
        let told = state.peers.get(&peer).is_some_and(|standing| {
            standing.connected || standing.inside || standing.gone.is_some_and(|gone| gone >= since)
        });
        let stay = now.duration_since(since);
        if told || standstills != before {
            return;
        }
        state.untold += stay;
        if stay >= LATEST {
            state.wrong.push(format!("{peer} was connected for {stay:?}, and on_connect was not called"));
        }
    }

    pub fn losses(&self) -> Vec<(PublicKey, ConnectionLost)> {
        self.lock().losses.clone()
    }

    /// Returns the number of calls of `on_connect`.
    pub fn connects(&self) -> u64 {
        self.lock().connects
    }

    /// Returns the faults of an endpoint to which `connected` peers have connected.
    pub fn check(&self, connected: u64) -> Vec<String> {
        let state = self.lock();
        let mut wrong = state.wrong.clone();
        for (peer, standing) in &state.peers {
            if standing.connected || standing.inside {
                wrong.push(format!("the last hook called for {peer} was on_connect, or one still runs"));
            }
        }
        if state.connects == 0 && connected >= UNTOLD && state.untold >= LATEST {
            let untold = state.untold;
            wrong.push(format!("on_connect was never called, and {connected} peers connected, for {untold:?} in all"));
        }
        if state.connects > connected {
            wrong.push(format!("on_connect was called {} times for {connected} peers", state.connects));
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
        // A second call at the same time would be detected here.
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

    #[test]
    fn hooks_that_do_not_come_in_pairs_are_found_out() {
        let peer = SecretKey::from_bytes(&[1; 32]).public_key();
        let call = |book: &HookBook, connects| {
            book.enter(peer, connects);
            book.leave(peer);
        };
        let good = HookBook::default();
        for connects in [true, false, true, false] {
            call(&good, connects);
        }
        assert!(good.check(2).is_empty());
        for calls in [&[true][..], &[true, true, false], &[false], &[true, false, true, false, true, false]] {
            let book = HookBook::default();
            calls.iter().for_each(|connects| call(&book, *connects));
            assert!(!book.check(2).is_empty(), "{calls:?}");
        }
        let book = HookBook::default();
        book.enter(peer, true);
        book.enter(peer, false);
        book.leave(peer);
        assert!(book.check(2).iter().any(|wrong| wrong.contains("same time")));
    }

    #[test]
    fn a_peer_that_stays_and_is_not_told_of_is_found_out_and_one_that_comes_and_goes_is_not() {
        let peer = SecretKey::from_bytes(&[1; 32]).public_key();
        let start = Instant::now();
        let gone = Event::Disconnected { peer, cause: Arc::new(ConnectionLost::Closed) };
        let stays = |book: &HookBook, lasting, stood_still| {
            book.see(&Event::Connected { peer, key_exchange: None }, start, 0);
            book.see(&gone, start + lasting, stood_still);
            book.check(2)
        };
        assert!(stays(&HookBook::default(), LATEST / 2, 0).is_empty());
        assert!(stays(&HookBook::default(), LATEST, 1).is_empty());
        assert!(stays(&HookBook::default(), LATEST, 0)[0].contains("on_connect was not called"));
        let many = HookBook::default();
        for _ in 0..3 {
            stays(&many, LATEST / 2, 0);
        }
        assert!(many.check(UNTOLD - 1).is_empty());
        assert!(many.check(UNTOLD)[0].contains("never called"));
        let told = HookBook::default();
        for connects in [true, false] {
            told.enter(peer, connects);
            told.leave(peer);
        }
        assert!(stays(&told, LATEST, 0).is_empty());
    }
}
