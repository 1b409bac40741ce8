//! Why a stream ended before its time. Set once, by whichever comes first, and read by both halves.

use std::sync::Arc;

use super::StreamError;
use crate::{
    error::{ReadError, WriteError},
    wire::{Malformed, codes::lane},
};

/// Why a stream ended before its time.
#[derive(Debug, Clone)]
pub(crate) enum Cause {
    /// A FATAL record of the peer.
    PeerFailed(Arc<StreamError>),
    /// An ABORT record of the peer.
    PeerAborted(Arc<StreamError>),
    /// This side failed it: its bytes so far are still to be delivered.
    Failed(Arc<StreamError>),
    /// This side aborted it, or its access rules do not allow it any more.
    Aborted(Arc<StreamError>),
    /// The peer's error lane is garbage.
    Malformed(Malformed),
}

/// The same as the models of the two halves need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    /// The data before `offset` is delivered first.
    PeerFailed { offset: u64 },
    /// Nothing more is delivered.
    PeerAborted,
    /// See [`Cause::Failed`].
    Failed,
    /// See [`Cause::Aborted`].
    Aborted,
    /// See [`Cause::Malformed`].
    Malformed,
}

impl Ending {
    /// The code of STOP_SENDING for the half that this side reads.
    pub(crate) fn stop_code(self) -> u64 {
        match self {
            Self::PeerFailed { .. } | Self::PeerAborted => lane::DONE,
            Self::Failed | Self::Aborted => lane::FAILED,
            Self::Malformed => lane::MALFORMED,
        }
    }

    /// The code of RESET_STREAM for the half that this side writes, where nothing is left to be delivered.
    pub(crate) fn reset_code(self) -> u64 {
        match self {
            Self::PeerFailed { .. } | Self::PeerAborted | Self::Failed => lane::DONE,
            Self::Aborted => lane::ABORTED,
            Self::Malformed => lane::MALFORMED,
        }
    }

    /// This side has ended the stream.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Failed | Self::Aborted)
    }
}

impl Cause {
    pub(crate) fn ending(&self) -> Ending {
        match self {
            Self::PeerFailed(error) => Ending::PeerFailed { offset: error.offset() },
            Self::PeerAborted(_) => Ending::PeerAborted,
            Self::Failed(_) => Ending::Failed,
            Self::Aborted(_) => Ending::Aborted,
            Self::Malformed(_) => Ending::Malformed,
        }
    }

    /// For a reader that is missing so many bytes of those before the offset of a FATAL record.
    pub(super) fn to_read_error(&self, missing: u64) -> ReadError {
        match self {
            Self::PeerFailed(error) if missing > 0 => ReadError::FailedIncomplete { error: Arc::clone(error), missing },
            Self::PeerFailed(error) => ReadError::Failed(Arc::clone(error)),
            Self::PeerAborted(error) => ReadError::Aborted(Arc::clone(error)),
            Self::Failed(error) | Self::Aborted(error) => ReadError::EndedHere(Arc::clone(error)),
            Self::Malformed(malformed) => ReadError::Malformed(malformed.clone()),
        }
    }

    pub(super) fn to_write_error(&self) -> WriteError {
        match self {
            Self::PeerFailed(error) | Self::PeerAborted(error) => WriteError::Failed(Arc::clone(error)),
            Self::Failed(_) | Self::Aborted(_) => WriteError::EndedHere,
            Self::Malformed(malformed) => WriteError::Malformed(malformed.clone()),
        }
    }
}
