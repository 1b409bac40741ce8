//! The path policy of a peer.

use std::{fmt, time::Duration};

/// Which ways data to and from a peer may take. A relay sees who talks to whom, how much and when, and nothing of what
/// is said.
///
/// Two peers behind NATs always meet through a relay, and find the direct path from there: the handshake and this
/// library's own control messages take the relay under any policy. Streams wait.
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
    /// The relay, whenever there is no direct path. The default: whatever gets through is used.
    #[default]
    RelayAllowed,
    /// A direct path within this time. A new stream waits so long for one, and then fails. When a direct path is lost,
    /// open streams go on over the relay for so long, and then the connection ends.
    DirectWithin(Duration),
    /// Direct paths alone. A new stream waits for one for [`Limits::connect_timeout`](crate::Limits::connect_timeout),
    /// and then fails. When a direct path is lost, the connection ends as soon as that is noticed
    /// ([`Limits::path_timeout`](crate::Limits::path_timeout)). What was not confirmed by then may be repeated to the relay,
    /// encrypted, before the connection is closed.
    DirectOnly,
}

impl PathPolicy {
    /// How long a new stream waits for a direct path. `None` if it needs none.
    pub(crate) fn wait(self, connect_timeout: Duration) -> Option<Duration> {
        match self {
            Self::RelayAllowed => None,
            Self::DirectWithin(within) => Some(within),
            Self::DirectOnly => Some(connect_timeout),
        }
    }

    /// How long open streams may go on over a relay. `None` if for ever.
    pub(crate) fn grace(self) -> Option<Duration> {
        match self {
            Self::RelayAllowed => None,
            Self::DirectWithin(within) => Some(within),
            Self::DirectOnly => Some(Duration::ZERO),
        }
    }

    /// Whether it is worth some packets to become direct.
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
