//! The path policy of a peer.

use std::{fmt, time::Duration};

/// The paths that data to and from a peer may take. A relay sees which peers talk to each other, how much and
/// when, and nothing of the content.
///
/// Two peers behind NATs always meet through a relay, and find the direct path from there. Therefore the handshake
/// and this library's own control messages take the relay under any policy. Streams wait for a path that the
/// policy allows.
///
/// ```
/// use std::time::Duration;
/// use twolane::PathPolicy;
///
/// assert_eq!(PathPolicy::default(), PathPolicy::RelayAllowed);
/// assert_eq!(PathPolicy::DirectWithin(Duration::from_secs(5)).to_string(), "direct within 5s");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PathPolicy {
    /// Data takes the relay whenever there is no direct path. This is the default: every path that works is used.
    #[default]
    RelayAllowed,
    /// Data takes a direct path within this time. A new stream waits this long for a direct path, and then fails.
    /// When a direct path is lost, open streams continue over the relay for this long, and then the connection
    /// ends.
    DirectWithin(Duration),
    /// Data takes direct paths only. A new stream waits for a direct path for
    /// [`Limits::connect_timeout`](crate::Limits::connect_timeout), and then fails. When a direct path is lost,
    /// the connection ends as soon as the loss is noticed ([`Limits::path_timeout`](crate::Limits::path_timeout)).
    /// Data that was not acknowledged by then may be sent again over the relay, encrypted, before the connection
    /// is closed.
    DirectOnly,
}

impl PathPolicy {
    /// Returns how long a new stream waits for a direct path. `None` if it needs none.
    pub(crate) fn wait(self, connect_timeout: Duration) -> Option<Duration> {
        match self {
            Self::RelayAllowed => None,
            Self::DirectWithin(within) => Some(within),
            Self::DirectOnly => Some(connect_timeout),
        }
    }

    /// Returns how long open streams may continue over a relay. `None` means without a limit.
    pub(crate) fn grace(self) -> Option<Duration> {
        match self {
            Self::RelayAllowed => None,
            Self::DirectWithin(within) => Some(within),
            Self::DirectOnly => Some(Duration::ZERO),
        }
    }

    /// Returns whether a direct path is worth some packets to look for it.
    pub(crate) fn wants_direct(self) -> bool {
        self != Self::RelayAllowed
    }
}

impl fmt::Display for PathPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RelayAllowed => f.write_str("relay allowed"),
            Self::DirectWithin(within) => write!(f, "direct within {within:?}"),
            Self::DirectOnly => f.write_str("direct only"),
        }
    }
}
