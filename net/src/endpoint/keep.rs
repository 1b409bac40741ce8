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

/// A connection that lasted this long did work: the next dial after it does not wait.
const LASTED: Duration = Duration::from_secs(10);

/// How a peer that is being kept stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum KeepState {
    /// It is being dialled.
    Dialling {
        /// Dials in a row that led to nothing, or to a connection that ended at once.
        failures: u32,
    },
    /// It is connected.
    Connected,
    /// It will be dialled again.
    Waiting {
        /// Dials in a row that led to nothing, or to a connection that ended at once.
        failures: u32,
        /// How long from the moment at which this was said: at most 10 s, drawn at random so that peers which lost each
        /// other at the same moment do not dial at the same moment.
        wait: Duration,
        /// What went wrong last.
        cause: Arc<DialError>,
    },
    /// It is not dialled any more, since that could only do harm: it is this endpoint itself, or another endpoint with
    /// the same key has connected to it, and each would push the other out over and over.
    GivenUp {
        /// Which of the two.
        cause: Arc<DialError>,
    },
    /// The endpoint has shut down.
    Ended,
}

/// Keeps a peer connected; got from [`Endpoint::keep`]. Dropped, it lets the peer be: a connection that is there stays
/// until somebody closes it.
#[derive(Debug)]
#[must_use = "dropped, it does not keep the peer"]
pub struct Keep {
    peer: PublicKey,
    state: watch::Receiver<KeepState>,
    _stop: DropGuard,
}

impl Endpoint {
    /// Keeps a peer connected until the answer is dropped: dials it now, and again whenever the connection is lost, with
    /// exponential backoff and full jitter. Rules that do not allow the connection may change, so that is tried again
    /// as well, ever more rarely.
    ///
    /// The task that does it ends with the endpoint, and does not keep it alive.
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
    /// The peer.
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// How it stands now.
    pub fn state(&self) -> KeepState {
        self.state.borrow().clone()
    }

    /// Waits until it stands differently, and tells how. Once nothing can change any more, it tells that over and over.
    ///
    /// Cancel-safe. States that come and go between two calls are not seen.
    pub async fn changed(&mut self) -> KeepState {
        // An error means that the task has ended: what it said last holds.
        let _ = self.state.changed().await;
        self.state.borrow_and_update().clone()
    }

    /// Waits until the peer is connected. False once it is not dialled any more.
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
            Ok(_) => {
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
        // The table of peers waits between dials that fail, but not after a connection that was made and lost.
        failures = failures.saturating_add(1);
        let pause = backoff::delay(failures, backoff::random());
        state.send_replace(KeepState::Waiting { failures, wait: pause, cause: Arc::new(cause) });
        sleep(pause).await;
    }
}

/// Waits until the peer is not connected any more, and tells why.
async fn disconnected(peers: &Peers, peer: PublicKey) -> ConnectionLost {
    match peers.watch(&peer) {
        // An error means that the peer has been forgotten, which comes after its last connection.
        Some(mut view) => match view.wait_for(|view| !view.connected).await {
            Ok(view) => view.lost.clone().unwrap_or(ConnectionLost::Closed),
            Err(_) => ConnectionLost::Closed,
        },
        None => ConnectionLost::Closed,
    }
}
