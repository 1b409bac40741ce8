//! What happens to an endpoint's peers, for whoever wants to watch.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};
use twolane_id::PublicKey;

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The peer was not connected, and is.
    Connected {
        /// The peer.
        peer: PublicKey,
    },
    /// The peer's data takes another way: it starts on a relay, say, and continues directly.
    PathChanged {
        /// The peer.
        peer: PublicKey,
        /// The way it takes now.
        path: PathKind,
    },
    /// The peer was connected, and is not.
    Disconnected {
        /// The peer.
        peer: PublicKey,
        /// Why its last connection ended.
        cause: Arc<crate::ConnectionLost>,
    },
    /// The peer acted for an owner, and does not any more: the certificate has expired or was revoked. It stays
    /// connected if the rules allow it.
    StandingEnded {
        /// The peer.
        peer: PublicKey,
        /// The key it acted for.
        owner: PublicKey,
        /// Why it does not any more.
        cause: twolane_id::delegation::DelegationError,
    },
    /// A dial failed.
    DialFailed {
        /// The peer.
        peer: PublicKey,
        /// Why.
        cause: Arc<crate::DialError>,
    },
    /// The subscriber was too slow: so many events were dropped here ([`Limits::events`](crate::Limits::events)).
    Missed(u64),
}

/// The way that a peer's data takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathKind {
    /// From machine to machine.
    Direct,
    /// Through a relay, which sees encrypted packets only.
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

/// A subscription, got from [`Endpoint::events`](crate::Endpoint::events). It sees what happens after it was made.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next event; `None` once the endpoint is gone.
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

/// Memory for this many is set aside when the endpoint is bound: 64 bytes each.
const MAX_CAPACITY: usize = 1 << 20;

/// Where events come from.
#[derive(Debug)]
pub(crate) struct EventSource(broadcast::Sender<Event>);

impl EventSource {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(broadcast::Sender::new(capacity.clamp(1, MAX_CAPACITY)))
    }

    pub(crate) fn emit(&self, event: Event) {
        tracing::debug!(?event);
        // Nobody may be watching.
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
            source.emit(Event::Connected { peer });
        }
        assert!(matches!(events.next().await, Some(Event::Missed(6))));
        assert!(matches!(events.next().await, Some(Event::Connected { peer: seen }) if seen == peer));
        drop(source);
        for _ in 0..3 {
            assert!(events.next().await.is_some());
        }
        assert!(events.next().await.is_none());
    }
}
