//! The errors of reading and writing data, and their conversion to [`std::io::Error`].

use std::{io, sync::Arc, time::Duration};

use super::{ConnectionLost, Fault, StreamError, lane_code};
use crate::{wire::Malformed, words::Shown};

/// The reason why data cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The peer failed the stream, and every byte that it wrote before has been read. [`StreamError::offset`] is
    /// their number.
    #[error("the peer failed the stream: {0}")]
    Failed(Arc<StreamError>),
    /// The peer failed the stream, and its data ended before the error's offset: some of the bytes that it wrote
    /// before the error never arrived. [`ReadError::data_read`] returns how many arrived.
    #[error("the peer failed the stream: {error}; {missing} bytes that it wrote before the error did not arrive")]
    FailedIncomplete {
        /// The peer's error. Its offset counts bytes that were not read.
        error: Arc<StreamError>,
        /// Number of bytes between the end of the data that was read and the error's offset. Never 0.
        missing: u64,
    },
    /// The peer aborted the stream: data that was not read yet is discarded.
    #[error("the peer aborted the stream: {0}")]
    Aborted(Arc<StreamError>),
    /// The peer's side was dropped or cancelled: the data is not complete, and no reason was given.
    #[error("the peer dropped the stream before its data was complete ({})", lane_code(*code))]
    Reset {
        /// The code of RESET_STREAM. WIRE.md lists the codes.
        code: u64,
    },
    /// This side has failed or aborted the stream.
    #[error("this side has ended the stream: {0}")]
    EndedHere(Arc<StreamError>),
    /// The connection is lost: the data is not complete.
    #[error("the connection was lost before the data was complete")]
    Lost(#[from] ConnectionLost),
    /// The peer's error lane is malformed.
    #[error("the peer's error lane is malformed")]
    Malformed(#[from] Malformed),
}

impl ReadError {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Failed(_)
            | Self::FailedIncomplete { .. }
            | Self::Aborted(_)
            | Self::Reset { .. }
            | Self::Malformed(_) => Fault::Peer,
            Self::EndedHere(_) => Fault::Caller,
            Self::Lost(lost) => lost.fault(),
        }
    }

    /// Returns whether the same exchange may succeed on a new stream. Only the program knows the meaning of a peer's
    /// own error code: false for such an error.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Lost(lost) if lost.is_retryable()) || matches!(self, Self::Reset { .. })
    }

    /// Returns the peer's error, if the peer sent one.
    pub fn stream_error(&self) -> Option<&StreamError> {
        match self {
            Self::Failed(error) | Self::FailedIncomplete { error, .. } | Self::Aborted(error) => Some(error),
            _ => None,
        }
    }

    /// Returns how many bytes of data the peer's program wrote, and this side read, before the peer failed the
    /// stream. An exchange can be resumed there. `None` if the peer did not fail the stream: the number of bytes read
    /// then says nothing about what the peer did.
    pub fn data_read(&self) -> Option<u64> {
        match self {
            Self::Failed(error) => Some(error.offset()),
            Self::FailedIncomplete { error, missing } => Some(error.offset().saturating_sub(*missing)),
            _ => None,
        }
    }
}

/// The reason why data cannot be written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The peer failed or aborted the stream.
    #[error("the peer failed the stream: {0}")]
    Failed(Arc<StreamError>),
    /// The peer wants no more data, and gave no reason: it dropped its reading half.
    #[error("the peer stopped reading ({})", lane_code(*code))]
    Stopped {
        /// The code of STOP_SENDING. WIRE.md lists the codes.
        code: u64,
    },
    /// The peer allowed nothing more to be sent for the maximum time that this side waits: its program does not read,
    /// or the path to it is cut.
    #[error("the peer accepted no more data for {after:?}")]
    TimedOut {
        /// The timeout.
        after: Duration,
    },
    /// The data was finished before, or the stream was failed or aborted, on this side.
    #[error("this side has ended the stream: nothing more can be written")]
    EndedHere,
    /// The connection is lost.
    #[error("the connection was lost")]
    Lost(#[from] ConnectionLost),
    /// The peer's error lane is malformed.
    #[error("the peer's error lane is malformed")]
    Malformed(#[from] Malformed),
}

impl WriteError {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Failed(_) | Self::Stopped { .. } | Self::Malformed(_) => Fault::Peer,
            Self::EndedHere => Fault::Caller,
            Self::TimedOut { .. } => Fault::Network,
            Self::Lost(lost) => lost.fault(),
        }
    }

    /// Returns whether the same exchange may succeed on a new stream. Only the program knows the meaning of a peer's
    /// own error code: false for such an error.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Lost(lost) => lost.is_retryable(),
            Self::Stopped { .. } | Self::TimedOut { .. } => true,
            Self::Failed(_) | Self::EndedHere | Self::Malformed(_) => false,
        }
    }

    /// Returns the peer's error, if the peer sent one.
    pub fn stream_error(&self) -> Option<&StreamError> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

/// The reason why a message was not received as a whole.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NextError {
    /// The stream could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The peer finished its data inside a message, or where a message was expected.
    #[error("the data ended after {read} bytes of a message")]
    Ended {
        /// Number of bytes of the message that had arrived.
        read: usize,
    },
    /// The message is over the limit.
    #[error("the message is longer than {max} bytes")]
    TooLong {
        /// Maximum length, in bytes.
        max: usize,
    },
    /// The message is not UTF-8.
    #[error("the message is not UTF-8")]
    Text,
    /// The message is not the expected JSON. The parser's error can quote the message, and its text is not safe to
    /// print: it is not a [`source`](std::error::Error::source).
    #[error("the message is not the JSON that was expected: {}", Shown(.0))]
    Json(Arc<serde_json::Error>),
}

impl NextError {
    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read(error) => error.fault(),
            Self::Ended { .. } | Self::TooLong { .. } | Self::Text | Self::Json(_) => Fault::Peer,
        }
    }

    /// Returns whether the same exchange may succeed on a new stream.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_retryable())
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::Failed(_) | ReadError::FailedIncomplete { .. } | ReadError::Aborted(_) => io::ErrorKind::Other,
            ReadError::Reset { .. } => io::ErrorKind::ConnectionReset,
            ReadError::EndedHere(_) => io::ErrorKind::NotConnected,
            ReadError::Lost(ConnectionLost::TimedOut) => io::ErrorKind::TimedOut,
            ReadError::Lost(_) => io::ErrorKind::ConnectionAborted,
            ReadError::Malformed(_) => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        let kind = match &error {
            WriteError::Failed(_) => io::ErrorKind::Other,
            WriteError::Stopped { .. } => io::ErrorKind::BrokenPipe,
            WriteError::EndedHere => io::ErrorKind::NotConnected,
            WriteError::TimedOut { .. } | WriteError::Lost(ConnectionLost::TimedOut) => io::ErrorKind::TimedOut,
            WriteError::Lost(_) => io::ErrorKind::ConnectionAborted,
            WriteError::Malformed(_) => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
