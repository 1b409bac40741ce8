//! Keeping a peer connected.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use twolane_id::PublicKey;

use super::Endpoint;
use crate::{
    error::{ConnectionLost, DialError},
    peer::{Peers, backoff},
    ticket::Ticket,
};

/// Minimum duration of a connection after which earlier failures no longer delay the next dial.
const LASTED: Duration = Duration::from_secs(10);

/// The state of a peer that is being kept.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum KeepState {
    /// The peer is being dialled.
    Dialling {
        /// Number of dials in a row that led to no connection, or to a connection that ended at once.
        failures: u32,
    },
    /// The peer is connected.
    Connected,
    /// The peer will be dialled again.
    Waiting {
        /// Number of dials in a row that led to no connection, or to a connection that ended at once.
        failures: u32,
        /// The wait before the next dial, from the moment at which this state began: at most 10 s. It is drawn at
        /// random, so that peers which lost each other at the same moment do not dial at the same moment.
        wait: Duration,
        /// The last failure.
        cause: Arc<DialError>,
    },
    /// The peer is not dialled any more, because a dial could only do harm. Either the peer is this endpoint
    /// itself, or another endpoint with the same key has connected to the peer. In the second case each endpoint
    /// would push the other out again and again.
    GivenUp {
        /// Which of the two cases it is.
        cause: Arc<DialError>,
    },
    /// The endpoint has shut down.
    Ended,
}

/// Keeps a peer connected; returned by [`Endpoint::keep`]. Dropping it ends the dials. An existing connection
/// stays until one side closes it.
#[derive(Debug)]
#[must_use = "dropped, it does not keep the peer"]
pub struct Keep {
    peer: PublicKey,
    state: watch::Receiver<KeepState>,
    _stop: DropGuard,
}

impl Endpoint {
    /// Keeps a peer connected until the returned [`Keep`] is dropped. Dials the peer now, and again whenever the
    /// connection is lost, with exponential backoff (up to 10 s) and full jitter. If rules do not allow the connection,
    /// the dial is repeated in the same way, because rules may change.
    ///
    /// While the peer is kept, the addresses in its tickets are not forgotten, unless the program calls
    /// [`forget_peer`](Endpoint::forget_peer). The peer then stays kept, and is dialled where address lookups find it.
    ///
    /// The task that keeps the peer ends with the endpoint, and does not keep the endpoint alive.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (here, there) = (twolane::Endpoint::builder().offline().bind().await?, twolane::Endpoint::builder().offline().bind().await?);
    /// let mut keep = here.keep(there.ticket());
    /// keep.connected().await;
    /// assert_eq!(here.peers()[0].id, there.id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep(&self, peer: impl Into<Ticket>) -> Keep {
        let ticket = peer.into();
        let inner = self.inner();
        inner.learn(&ticket);
        inner.peers.shared.gate.call(ticket.peer());
        let stop = CancellationToken::new();
        let (sender, state) = watch::channel(KeepState::Dialling { failures: 0 });
        let (peers, peer) = (Arc::clone(&inner.peers), ticket.peer());
        let stopped = stop.clone();
        inner.tasks.spawn(async move {
            tokio::select! {
                () = run(&peers, peer, &sender) => {}
                () = stopped.cancelled() => {}
                () = peers.closing.cancelled() => drop(sender.send(KeepState::Ended)),
            }
        });
        Keep { peer, state, _stop: stop.drop_guard() }
    }
}

impl Keep {
    /// Returns the peer.
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// Returns the current state.
    pub fn state(&self) -> KeepState {
        self.state.borrow().clone()
    }

    /// Waits until the state changes, and returns the new state. Once the state cannot change any more, returns
    /// the last state every time.
    ///
    /// Cancel-safe. States that come and go between two calls are not seen.
    pub async fn changed(&mut self) -> KeepState {
        // An error means that the task has ended: its last state holds.
        let _ = self.state.changed().await;
        self.state.borrow_and_update().clone()
    }

    /// Waits until the peer is connected. Returns false once the peer is not dialled any more.
    ///
    /// Cancel-safe.
    pub async fn connected(&mut self) -> bool {
        let over = |state: &KeepState| !matches!(state, KeepState::Dialling { .. } | KeepState::Waiting { .. });
        match self.state.wait_for(over).await {
            Ok(state) => matches!(*state, KeepState::Connected),
            Err(_) => false,
        }
    }
}

async fn run(peers: &Arc<Peers>, peer: PublicKey, state: &watch::Sender<KeepState>) {
    let _kept = peers.keep(peer);
    let mut failures = 0u32;
    loop {
        state.send_replace(KeepState::Dialling { failures });
        let cause = match peers.known_link(peer, peers.shared.limits.connect_timeout).await {
            Ok(link) => {
                link.call();
                let since = Instant::now();
                state.send_replace(KeepState::Connected);
                let lost = disconnected(peers, peer).await;
                if since.elapsed() >= LASTED {
                    failures = 0;
                }
                DialError::Lost(lost)
            }
            Err(DialError::ShuttingDown) => return drop(state.send_replace(KeepState::Ended)),
            Err(cause) => cause,
        };
        if matches!(cause, DialError::OwnKey | DialError::Lost(ConnectionLost::KeyUsedTwice)) {
            return drop(state.send_replace(KeepState::GivenUp { cause: Arc::new(cause) }));
        }
        // The table of peers waits between failed dials, but not after a connection that was made and lost.
        failures = failures.saturating_add(1);
        let pause = backoff::delay(failures, backoff::random());
        state.send_replace(KeepState::Waiting { failures, wait: pause, cause: Arc::new(cause) });
        sleep(pause).await;
    }
}

/// Waits until the peer is not connected any more, and returns the reason.
async fn disconnected(peers: &Peers, peer: PublicKey) -> ConnectionLost {
    match peers.watch(&peer) {
        // An error means that the peer has been forgotten, which happens after its last connection has ended.
        Some(mut view) => match view.wait_for(|view| !view.connected).await {
            Ok(view) => view.lost.clone().unwrap_or(ConnectionLost::Closed),
            Err(_) => ConnectionLost::Closed,
        },
        None => ConnectionLost::Closed,
    }
}
