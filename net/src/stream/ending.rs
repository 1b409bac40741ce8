//! The cause that ended a stream early. The first cause counts, and both halves of the stream read it.

use std::sync::Arc;

use super::StreamError;
use crate::{
    error::{ReadError, WriteError},
    wire::{Malformed, codes::lane},
};

/// The cause that ended a stream early.
#[derive(Debug, Clone)]
pub(crate) enum Cause {
    /// The peer sent a FATAL record.
    PeerFailed(Arc<StreamError>),
    /// The peer sent an ABORT record.
    PeerAborted(Arc<StreamError>),
    /// This side failed the stream. The bytes that it has written so far are still to be delivered.
    Failed(Arc<StreamError>),
    /// This side aborted the stream, or its access rules do not allow the stream any more.
    Aborted(Arc<StreamError>),
    /// The peer's error lane is malformed.
    Malformed(Malformed),
}

/// The [`Cause`] in the form that the state machines of the two halves need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    /// The reader gets the data before `offset` first.
    PeerFailed { offset: u64 },
    /// The reader gets no more data.
    PeerAborted,
    /// See [`Cause::Failed`].
    Failed,
    /// See [`Cause::Aborted`].
    Aborted,
    /// See [`Cause::Malformed`].
    Malformed,
}

impl Ending {
    /// Returns the code of STOP_SENDING for the half that this side reads.
    pub(crate) fn stop_code(self) -> u64 {
        match self {
            Self::PeerFailed { .. } | Self::PeerAborted => lane::DONE,
            Self::Failed | Self::Aborted => lane::FAILED,
            Self::Malformed => lane::MALFORMED,
        }
    }

    /// Returns the code of RESET_STREAM for the half that this side writes, if no data is left to be delivered.
    pub(crate) fn reset_code(self) -> u64 {
        match self {
            Self::PeerFailed { .. } | Self::PeerAborted | Self::Failed => lane::DONE,
            Self::Aborted => lane::ABORTED,
            Self::Malformed => lane::MALFORMED,
        }
    }

    /// Returns whether this side has ended the stream.
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

    /// Returns the error for a reader to which `missing` bytes before the offset of a FATAL record were not
    /// delivered.
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
