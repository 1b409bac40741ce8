//! The errors of sharing an iroh endpoint with other protocols.

use super::Fault;

/// What makes the transport configuration of an iroh endpoint fit.
const REMEDY: &str = "bind the iroh endpoint with the configuration that Builder::transport_config returns";

/// The reason why an endpoint cannot accept connections through iroh's `Router`. A `Router` accepts every connection
/// with the transport configuration of its iroh endpoint. What cannot be set on a connection afterwards is checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// This endpoint was bound by this library. It accepts connections by itself, and a `Router` beside it would take
    /// some of them away.
    #[error(
        "this endpoint accepts connections by itself: give the handlers of other protocols to Endpoint::also_accept, or attach it to an iroh endpoint of the program (Builder::attach)"
    )]
    NotAttached,
    /// A value of the transport configuration is too large.
    #[error("{setting} of the iroh endpoint is {}, and at most {max} is allowed: {REMEDY}", shown(.value))]
    TooLarge {
        /// The method of iroh's `QuicTransportConfigBuilder` that sets the value.
        setting: &'static str,
        /// The value, in bytes or milliseconds. `None` if there is no limit.
        value: Option<u64>,
        /// The maximum.
        max: u64,
    },
    /// A value of the transport configuration is too small.
    #[error("{setting} of the iroh endpoint is {value}, and at least {min} is needed: {REMEDY}")]
    TooSmall {
        /// The method of iroh's `QuicTransportConfigBuilder` that sets the value.
        setting: &'static str,
        /// The value, in bytes.
        value: u64,
        /// The minimum.
        min: u64,
    },
    /// The transport configuration could not be read. iroh has no function for it; this library reads what iroh
    /// prints.
    #[error(
        "{setting} of the iroh endpoint could not be read, because this version of iroh prints it in another form: use Endpoint::take_incoming in place of a Router"
    )]
    Unreadable {
        /// The method of iroh's `QuicTransportConfigBuilder` that sets the value.
        setting: &'static str,
    },
}

fn shown(value: &Option<u64>) -> String {
    value.map_or_else(|| "without a limit".to_owned(), |value| value.to_string())
}

impl RouteError {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotAttached | Self::TooLarge { .. } | Self::TooSmall { .. } => Fault::Caller,
            Self::Unreadable { .. } => Fault::Local,
        }
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
