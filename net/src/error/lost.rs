//! The error of a connection that was lost.

use std::{sync::Arc, time::Duration};

use twolane_id::delegation::DelegationError;

use super::Fault;
use crate::{
    path_policy::PathPolicy,
    tls::KeyExchange,
    wire::{Malformed, codes::connection},
    words::Shown,
};

/// The reason why a connection to a peer is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionLost {
    /// No packet came from the peer for [`Limits::idle_timeout`](crate::Limits::idle_timeout): it was killed, lost
    /// its network, or went to sleep.
    #[error("no packet came from the peer within the idle timeout: it was killed, or its network is down")]
    TimedOut,
    /// The peer's endpoint was shut down in an orderly way.
    #[error("the peer has finished with the connection and closed it")]
    PeerDone,
    /// The peer does not know the connection any more, and has answered with a stateless reset (RFC 9000, section
    /// 10.3). Either it was killed and started again at the same address, or the packet with which it closed the
    /// connection was lost.
    #[error("the peer no longer knows this connection: it was restarted, or its last packet was lost")]
    Reset,
    /// Another endpoint, with another key, answers at the peer's address: the peer has moved.
    #[error("another endpoint answers at the peer's address: the peer has moved, so ask it for a new ticket")]
    OtherKey,
    /// The peer's program closed the connection.
    #[error("the peer closed the connection (code {code:#x}{}{})", if reason.is_empty() { "" } else { ": " }, Shown(reason))]
    PeerClosed {
        /// The peer's code.
        code: u64,
        /// The peer's text.
        reason: String,
    },
    /// The peer was restarted: a new instance of it has taken over.
    #[error("the peer was restarted")]
    PeerRestarted,
    /// Another endpoint with the key of this endpoint has taken over at the peer.
    #[error("another endpoint with the same key has connected to the peer: use a key in one place at a time")]
    KeyUsedTwice,
    /// The peer takes no connections now: it is shutting down, or busy with the handshakes of other endpoints.
    #[error("the peer refuses new connections: it is shutting down, or too many handshakes are under way")]
    Refused,
    /// The peer refused the connection because it has too many connected peers.
    #[error("the peer has reached its limit of connected peers")]
    PeerBusy,
    /// The peer's access rules do not allow this endpoint, or do not allow it any more.
    #[error("the peer does not allow this endpoint: {}", Shown(reason))]
    Forbidden {
        /// The peer's text.
        reason: String,
    },
    /// The access rules of this endpoint do not allow the peer, or do not allow it any more.
    #[error("the access rules of this endpoint do not allow the peer: {}", Shown(reason))]
    NotAllowed {
        /// The text of the rule.
        reason: String,
    },
    /// The direct path to the peer is gone, and the path policy of this endpoint does not allow data over a relay for
    /// longer.
    #[error(
        "the direct path to the peer is gone, and its path policy ({policy}) does not allow data over a relay: open the stream again to wait for a direct path, or set PathPolicy::RelayAllowed for this peer"
    )]
    OnlyRelay {
        /// The path policy for the peer.
        policy: PathPolicy,
    },
    /// The key exchange was not post-quantum, and this endpoint requires one that is
    /// ([`Builder::require_post_quantum`](crate::Builder::require_post_quantum)).
    #[error(
        "this endpoint requires a post-quantum key exchange, and the peer has agreed on {}: it needs a later version",
        agreed.map_or_else(|| "another one".to_owned(), |agreed| agreed.to_string())
    )]
    NotPostQuantum {
        /// The key exchange.
        agreed: Option<KeyExchange>,
    },
    /// The peer requires a post-quantum key exchange, and the handshake had another one.
    #[error("the peer requires a post-quantum key exchange: {}", Shown(reason))]
    PostQuantumRequired {
        /// The peer's text.
        reason: String,
    },
    /// The peer does not accept the certificate that this endpoint presented.
    #[error("the peer does not accept this endpoint's certificate: {}", Shown(reason))]
    DelegationRefused {
        /// The peer's text.
        reason: String,
    },
    /// The certificate that the peer presented is not valid.
    #[error("the peer's certificate is not valid: {}", Shown(.0))]
    BadDelegation(Arc<DelegationError>),
    /// The peer does not follow the wire format.
    #[error("the peer does not follow the wire format: {0}")]
    Malformed(Malformed),
    /// The peer did not send HELLO within this time: see [`Limits::hello_timeout`](crate::Limits::hello_timeout).
    #[error("the peer did not send HELLO within {0:?} after the handshake")]
    HelloTimedOut(Duration),
    /// This side closed the connection.
    #[error("this endpoint closed the connection")]
    Closed,
    /// noq gave up the connection for another reason.
    #[error("the connection failed: {}", Shown(.0))]
    Transport(String),
}

impl ConnectionLost {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::TimedOut | Self::Reset | Self::OtherKey | Self::Transport(_) | Self::OnlyRelay { .. } => {
                Fault::Network
            }
            Self::Closed | Self::NotAllowed { .. } | Self::DelegationRefused { .. } => Fault::Caller,
            Self::KeyUsedTwice | Self::PostQuantumRequired { .. } => Fault::Local,
            _ => Fault::Peer,
        }
    }

    /// Returns whether a new connection may succeed, with nothing changed on either side.
    pub fn is_retryable(&self) -> bool {
        !matches!(
            self,
            Self::Closed
                | Self::Malformed(_)
                | Self::KeyUsedTwice
                | Self::Forbidden { .. }
                | Self::NotAllowed { .. }
                | Self::DelegationRefused { .. }
                | Self::BadDelegation(_)
                | Self::NotPostQuantum { .. }
                | Self::PostQuantumRequired { .. }
        )
    }
}

/// The TLS alert for a certificate of another key than the dialled one: rustls raises `unknown_ca` (RFC 8446, section
/// 6.2).
const UNKNOWN_CA: u8 = 48;

impl From<iroh::endpoint::ConnectionError> for ConnectionLost {
    fn from(error: iroh::endpoint::ConnectionError) -> Self {
        use iroh::endpoint::{ConnectionError as E, TransportErrorCode};
        match error {
            E::TimedOut => Self::TimedOut,
            E::Reset => Self::Reset,
            E::TransportError(error) if error.code == TransportErrorCode::crypto(UNKNOWN_CA) => Self::OtherKey,
            E::LocallyClosed => Self::Closed,
            E::ApplicationClosed(close) => match close.error_code.into_inner() {
                // iroh sends code 0 if an endpoint is closed or dropped without a code.
                0 | connection::DONE => Self::PeerDone,
                connection::REPLACED => Self::KeyUsedTwice,
                connection::BUSY => Self::PeerBusy,
                code => {
                    let reason = String::from_utf8_lossy(&close.reason).into_owned();
                    match code {
                        connection::FORBIDDEN => Self::Forbidden { reason },
                        connection::BAD_DELEGATION => Self::DelegationRefused { reason },
                        connection::NOT_POST_QUANTUM => Self::PostQuantumRequired { reason },
                        code => Self::PeerClosed { code, reason },
                    }
                }
            },
            E::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => Self::Refused,
            other => Self::Transport(other.to_string()),
        }
    }
}
