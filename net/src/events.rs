//! Events: what happens to the peers of an endpoint.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};
use twolane_id::PublicKey;

use crate::tls::KeyExchange;

/// Something that happened to a peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The peer has connected. It was not connected before.
    Connected {
        /// The peer.
        peer: PublicKey,
        /// The key exchange of the connection.
        key_exchange: Option<KeyExchange>,
    },
    /// The data of the peer takes another path: for example, it starts on a relay and continues on a direct path.
    PathChanged {
        /// The peer.
        peer: PublicKey,
        /// The kind of the path that the data takes now.
        path: PathKind,
    },
    /// The peer has disconnected. It was connected before.
    Disconnected {
        /// The peer.
        peer: PublicKey,
        /// The reason why its last connection ended.
        cause: Arc<crate::ConnectionLost>,
    },
    /// The peer no longer acts for an owner, because its certificate has expired or was revoked. The peer stays
    /// connected if the rules allow it.
    DelegationEnded {
        /// The peer.
        peer: PublicKey,
        /// The key that the peer acted for.
        owner: PublicKey,
        /// The reason why the peer no longer acts for it.
        cause: twolane_id::delegation::DelegationError,
    },
    /// A dial failed.
    DialFailed {
        /// The peer.
        peer: PublicKey,
        /// The reason why the dial failed.
        cause: Arc<crate::DialError>,
    },
    /// The subscriber was too slow: at this point, this number of events was dropped
    /// ([`Limits::events`](crate::Limits::events)).
    Missed(u64),
}

/// The kind of the path that a peer's data takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathKind {
    /// Directly from machine to machine.
    Direct,
    /// Through a relay, which sees only encrypted packets.
    Relay,
}

impl std::fmt::Display for PathKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
        })
    }
}

/// A subscription to events; returned by [`Endpoint::events`](crate::Endpoint::events). It receives the events
/// that happen after it was created.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// Waits for the next event. Returns `None` once the endpoint is gone.
    ///
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Maximum capacity of the event queue. The memory for the whole capacity is allocated when the endpoint is bound:
/// 64 bytes for each event.
const MAX_CAPACITY: usize = 1 << 20;

/// The sender of an endpoint's events.
#[derive(Debug)]
pub(crate) struct EventSource(broadcast::Sender<Event>);

impl EventSource {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(broadcast::Sender::new(capacity.clamp(1, MAX_CAPACITY)))
    }

    pub(crate) fn emit(&self, event: Event) {
        tracing::debug!(?event);
        // An error means that there is no subscriber.
        let _ = self.0.send(event);
    }

    pub(crate) fn subscribe(&self) -> Events {
        Events(self.0.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use twolane_id::SecretKey;

    use super::*;

    #[tokio::test]
    async fn a_slow_subscriber_is_told_how_many_events_it_missed() {
        let source = EventSource::new(4);
        let mut events = source.subscribe();
        let peer = SecretKey::from_bytes(&[1; 32]).public_key();
        for _ in 0..10 {
            source.emit(Event::Connected { peer, key_exchange: None });
        }
        assert!(matches!(events.next().await, Some(Event::Missed(6))));
        assert!(matches!(events.next().await, Some(Event::Connected { peer: seen, .. }) if seen == peer));
        drop(source);
        for _ in 0..3 {
            assert!(events.next().await.is_some());
        }
        assert!(events.next().await.is_none());
    }
}
