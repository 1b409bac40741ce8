//! The errors of sharing an iroh endpoint with other protocols.

use super::Fault;

/// The reason why an endpoint cannot accept connections through iroh's `Router`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// This endpoint was bound by this library. It accepts connections by itself, and a `Router` beside it would take
    /// some of them away.
    #[error(
        "this endpoint accepts connections by itself: give the handlers of other protocols to Endpoint::also_accept, or attach it to an iroh endpoint of the program (Builder::attach)"
    )]
    NotAttached,
}

impl RouteError {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// Returns whether the same call may succeed later: never.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// The reason why an endpoint does not accept another protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlsoAcceptError {
    /// An ALPN has 1 to 255 bytes (RFC 7301, section 3.1).
    #[error("an ALPN has 1 to 255 bytes, and this one has {len}")]
    Length {
        /// The length of the ALPN, in bytes.
        len: usize,
    },
    /// The ALPN is one of this library's own, or has a handler already.
    #[error("the ALPN {alpn:?} is taken")]
    Taken {
        /// The ALPN, as text.
        alpn: String,
    },
    /// The iroh endpoint is the program's: its `Router` accepts the other protocols.
    #[error("this endpoint is attached to an iroh endpoint of the program: give the handler to its Router")]
    Attached,
    /// This endpoint is shutting down.
    #[error("this endpoint is shutting down")]
    ShuttingDown,
}

impl AlsoAcceptError {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// Returns whether the same call may succeed later: never.
    pub fn is_retryable(&self) -> bool {
        false
    }
}
