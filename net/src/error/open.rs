//! The errors of dialling a peer, of opening a stream and of accepting one.

use std::{sync::Arc, time::Duration};

use twolane_id::PublicKey;

use super::{ConnectionLost, Fault, StreamError, WriteError, lane_code};
use crate::{
    path_policy::PathPolicy,
    protocol::{InvalidProtocol, Protocol},
    wire::{
        Malformed,
        status::{Reason, Rejection},
    },
    words::Shown,
};

/// The reason why a peer could not be dialled. All callers that wait for the same dial get the same cause.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The key is that of this endpoint itself.
    #[error("the key is this endpoint's own: dial another key")]
    OwnKey,
    /// No address of the peer is known.
    #[error("no address is known for the peer: use its ticket, or turn on a lookup that can find it")]
    NoAddress(#[source] Arc<iroh::endpoint::ConnectError>),
    /// The peer did not answer in time.
    #[error("the peer did not answer within {after:?}: is it running, and is its network up?")]
    TimedOut {
        /// The timeout: [`Limits::connect_timeout`](crate::Limits::connect_timeout), or the timeout that the caller
        /// set.
        after: Duration,
    },
    /// The peer is connected through a relay alone, and the path policy for the peer requires a direct path.
    #[error(
        "no direct path to the peer was found within {after:?}, only a relay, and its path policy is {policy}: set PathPolicy::RelayAllowed for the peer, or see Endpoint::status for the obstacles"
    )]
    OnlyRelay {
        /// The path policy for the peer.
        policy: PathPolicy,
        /// The time that the dial waited for a direct path, once the peer was connected.
        after: Duration,
    },
    /// The connection ended before it could be used.
    #[error("the connection was lost before it could be used")]
    Lost(#[from] ConnectionLost),
    /// This endpoint is shutting down.
    #[error("this endpoint is shutting down")]
    ShuttingDown,
    /// A hook of this endpoint ([`Hooks::before_dial`](crate::Hooks::before_dial)) has refused the dial.
    #[error("a hook of this endpoint does not allow the dial: {}", Shown(reason))]
    NotAllowed {
        /// The reason that the hook gave.
        reason: String,
    },
    /// iroh gave up for another reason.
    #[error("the peer could not be reached")]
    Failed(#[source] Arc<iroh::endpoint::ConnectError>),
}

impl DialError {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::OwnKey | Self::ShuttingDown | Self::NotAllowed { .. } => Fault::Caller,
            Self::Lost(lost) => lost.fault(),
            Self::NoAddress(_) | Self::TimedOut { .. } | Self::OnlyRelay { .. } | Self::Failed(_) => Fault::Network,
        }
    }

    /// Returns whether the same dial may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::OwnKey | Self::ShuttingDown | Self::NotAllowed { .. } => false,
            Self::Lost(lost) => lost.is_retryable(),
            Self::NoAddress(_) | Self::TimedOut { .. } | Self::OnlyRelay { .. } | Self::Failed(_) => true,
        }
    }
}

/// The reason why [`get_stream`](crate::Endpoint::get_stream) has not returned a stream.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GetStreamError {
    /// The protocol's name is not valid.
    #[error(transparent)]
    Protocol(#[from] InvalidProtocol),
    /// The metadata is over the limit.
    #[error("the metadata has {len} bytes, and the peer's limit is {max}: send it as data")]
    MetadataTooLarge {
        /// Its length, in bytes.
        len: usize,
        /// Maximum length that the peer takes, in bytes.
        max: u64,
    },
    /// The early data is larger than the maximum that travels with a stream's header.
    #[error("the early data has {len} bytes, and the limit is {max}: write the rest to the stream")]
    EarlyDataTooLarge {
        /// Its length, in bytes.
        len: usize,
        /// Maximum length, in bytes.
        max: usize,
    },
    /// The peer could not be dialled.
    #[error("no connection to {}", peer)]
    Dial {
        /// The peer.
        peer: PublicKey,
        /// The reason.
        #[source]
        source: DialError,
    },
    /// The peer has rejected this stream. Other streams are not affected.
    #[error("{protocol} was rejected by the peer")]
    Rejected {
        /// The protocol that the stream asked for.
        protocol: Protocol,
        /// The peer's answer.
        #[source]
        rejection: Rejection,
    },
    /// The peer is connected, and did not answer in time.
    #[error("the peer did not answer the stream header within {after:?}")]
    TimedOut {
        /// The timeout: [`Limits::open_timeout`](crate::Limits::open_timeout), or the timeout that the caller set.
        after: Duration,
    },
    /// As many streams to the peer are open as the peer allows, and none ended in time.
    #[error("the peer's limit of {max} open streams is reached, and no stream ended within {after:?}")]
    TooManyStreams {
        /// The limit.
        max: u64,
        /// The timeout of the wait.
        after: Duration,
    },
    /// The peer failed or aborted the stream before it was answered.
    #[error("the peer failed the stream: {0}")]
    Failed(Arc<StreamError>),
    /// The peer dropped the stream without an answer, or right after an answer that did not arrive.
    #[error("the peer dropped the stream without an answer ({})", lane_code(*code))]
    Reset {
        /// The code of RESET_STREAM. WIRE.md lists the codes.
        code: u64,
    },
    /// The connection was lost while the stream was being opened.
    #[error("the connection was lost while the stream was being opened: the peer may have handled it")]
    Lost(#[from] ConnectionLost),
    /// The peer's answer does not follow the wire format.
    #[error("the peer's answer to the stream header is malformed")]
    Malformed(#[from] Malformed),
}

impl GetStreamError {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Protocol(_)
            | Self::MetadataTooLarge { .. }
            | Self::EarlyDataTooLarge { .. }
            | Self::TooManyStreams { .. } => Fault::Caller,
            Self::Dial { source, .. } => source.fault(),
            Self::Rejected { .. }
            | Self::TimedOut { .. }
            | Self::Failed(_)
            | Self::Reset { .. }
            | Self::Malformed(_) => Fault::Peer,
            Self::Lost(lost) => lost.fault(),
        }
    }

    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Protocol(_)
            | Self::MetadataTooLarge { .. }
            | Self::EarlyDataTooLarge { .. }
            | Self::Failed(_)
            | Self::Malformed(_) => false,
            Self::Dial { source, .. } => source.is_retryable(),
            Self::Rejected { rejection, .. } => rejection.reason.is_retryable(),
            Self::TimedOut { .. } | Self::TooManyStreams { .. } | Self::Reset { .. } => true,
            Self::Lost(lost) => lost.is_retryable(),
        }
    }

    /// Returns whether the peer's program may have seen the stream. If not, it is safe to open it again, whatever its
    /// handler does.
    pub fn may_have_been_handled(&self) -> bool {
        match self {
            Self::Protocol(_)
            | Self::MetadataTooLarge { .. }
            | Self::EarlyDataTooLarge { .. }
            | Self::Dial { .. }
            | Self::Rejected { .. }
            | Self::TooManyStreams { .. } => false,
            Self::TimedOut { .. } | Self::Failed(_) | Self::Reset { .. } | Self::Lost(_) | Self::Malformed(_) => true,
        }
    }

    /// Returns the kind of the rejection, if the peer has rejected the stream.
    pub fn rejection(&self) -> Option<Reason> {
        match self {
            Self::Rejected { rejection, .. } => Some(rejection.reason),
            _ => None,
        }
    }
}

/// The reason why a stream could not be answered with metadata.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The metadata is longer than the opener takes.
    #[error("the metadata has {len} bytes, and the opener's limit is {max}: send it as data")]
    MetadataTooLarge {
        /// Its length, in bytes.
        len: usize,
        /// Maximum length that the opener takes, in bytes.
        max: u64,
    },
    /// The answer could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl AnswerError {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::MetadataTooLarge { .. } => Fault::Caller,
            Self::Write(error) => error.fault(),
        }
    }

    /// Returns whether the opener may get an answer on a new stream, with nothing changed here.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::MetadataTooLarge { .. } => false,
            Self::Write(error) => error.is_retryable(),
        }
    }
}

/// The reason why no further stream can be accepted.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// A protocol's name is not valid.
    #[error(transparent)]
    Protocol(#[from] InvalidProtocol),
    /// This endpoint is shutting down.
    #[error("this endpoint is shutting down")]
    ShuttingDown,
    /// The peer is not connected any more.
    #[error("the peer is no longer connected")]
    Disconnected,
}

impl AcceptError {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Protocol(_) | Self::ShuttingDown => Fault::Caller,
            Self::Disconnected => Fault::Peer,
        }
    }

    /// Returns whether the same call may succeed later, once the peer is connected again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Disconnected)
    }
}
