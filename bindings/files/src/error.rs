//! Why a transfer fails.

use std::{io, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use twolane::{ConnectionLost, GetStreamError, NextError, ReadError, StreamError, WriteError};

use crate::{names::NameError, reason::Reason, receiving::Violation, store::StoreError, wire::Malformed};

/// The reason why a transfer was not sent, or is not known to have arrived.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No stream could be opened.
    #[error(transparent)]
    Open(#[from] GetStreamError),
    /// The receiver refused the transfer, with a reason. The text is quoted, because it comes from the peer and may
    /// contain characters that a terminal would obey.
    #[error("the receiver did not take it: {:?} (code {})", .0.text(), .0.code())]
    Refused(Arc<StreamError>),
    /// The receiver ended the stream without a reason.
    #[error("the receiver gave up without a reason (code {code})")]
    Dropped {
        /// The code of the STOP_SENDING or RESET_STREAM frame.
        code: u64,
    },
    /// The connection was lost.
    #[error("the connection was lost")]
    Lost(#[from] ConnectionLost),
    /// A file cannot be read.
    #[error("the file cannot be read")]
    Source(#[source] io::Error),
    /// The length of the file has changed since the start.
    #[error("the file changed while it was sent: it had {offered} bytes, and now has {}", if *.more { "more" } else { "less" })]
    Changed {
        /// The length at the start, in bytes.
        offered: u64,
        /// Whether the file is longer now.
        more: bool,
    },
    /// The receiver stored other bytes than those that were sent.
    #[error("the receiver confirmed {confirmed}, and {sent} was sent")]
    Mismatch {
        /// The hash and the length in the receipt.
        confirmed: String,
        /// The hash and the length of the sent bytes.
        sent: String,
    },
    /// The answer of the receiver cannot be read.
    #[error("the receiver's answer cannot be read")]
    Answer(#[source] NextError),
    /// The receiver does not keep to the protocol.
    #[error("the receiver does not keep to the protocol: {0}")]
    Protocol(&'static str),
    /// The receiver is connected, but does nothing.
    #[error("the receiver did nothing for {0:?}")]
    Silent(Duration),
    /// The sender was asked to stop.
    #[error("the sender was stopped")]
    Stopped,
}

/// The reason why a transfer was not received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The offer cannot be read.
    #[error("the offer cannot be read")]
    Offer,
    /// The sender does not keep to the protocol.
    #[error("the sender does not keep to the protocol: {0}")]
    Protocol(ProtocolError),
    /// Nothing can have the name.
    #[error("the file cannot have this name: {0}")]
    Name(#[from] NameError),
    /// Something cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More or fewer bytes than offered arrived.
    #[error("{offered} bytes were offered, and {} arrived", if *.more { "more" } else { "less" })]
    Size {
        /// The offered length in bytes.
        offered: u64,
        /// Whether more bytes arrived.
        more: bool,
    },
    /// It is larger than this receiver takes.
    #[error("it has more than {max} bytes")]
    TooLarge {
        /// Maximum number of bytes.
        max: u64,
    },
    /// The receiver was told to refuse the transfer half-way.
    #[error("refused after {after} bytes, as the receiver was told to")]
    Rehearsed {
        /// The number of bytes that were taken.
        after: u64,
        /// The error code.
        code: u64,
    },
    /// The sender failed the transfer. The text is quoted, because it comes from the peer.
    #[error("the sender gave up: {:?}", .0.text())]
    Failed(Arc<StreamError>),
    /// The sender ended the stream without a reason.
    #[error("the sender dropped the transfer before it was complete")]
    Dropped,
    /// The connection was lost.
    #[error("the connection was lost before the transfer was complete")]
    Lost(#[from] ConnectionLost),
    /// The sender is connected, but sends nothing.
    #[error("the sender sent nothing for {0:?}")]
    Silent(Duration),
    /// The receiver was asked to stop.
    #[error("the receiver was stopped")]
    Stopped,
    /// The stream cannot be used for another reason.
    #[error("the stream cannot be read")]
    Read(#[source] ReadError),
}

/// What a sender did against the protocol.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ProtocolError(String);

/// The reason why a sender may not know that its transfer is stored.
#[derive(Debug, thiserror::Error)]
pub enum Unconfirmed {
    /// The stream or the connection has ended.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The transfer ended before the sender had said that it knows.
    #[error("the transfer ended before the sender had said that it knows")]
    Ended(#[source] Box<ReceiveError>),
    /// The sender is connected, but does not take the confirmation.
    #[error("the sender did not take the confirmation within {0:?}")]
    Silent(Duration),
}

/// The details of the receiver's errors, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalDetails {
    /// The number of bytes that the receiver had taken.
    pub received: u64,
}

impl SendError {
    /// Returns the error for the receiver. Returns `None` if the receiver has ended the transfer itself, or is gone.
    pub(crate) fn to_stream_error(&self) -> Option<StreamError> {
        let (reason, text) = match self {
            Self::Source(error) => (Reason::Source, format!("the file cannot be read: {}", error.kind())),
            Self::Changed { .. } => (Reason::Changed, self.to_string()),
            Self::Answer(_) | Self::Protocol(_) => (Reason::Protocol, self.to_string()),
            Self::Silent(_) => (Reason::Silent, self.to_string()),
            Self::Open(_) => (Reason::Interrupted, "a stream cannot be opened".into()),
            Self::Stopped => (Reason::Interrupted, "the sender was interrupted".into()),
            Self::Refused(_) | Self::Dropped { .. } | Self::Lost(_) | Self::Mismatch { .. } => return None,
        };
        Some(StreamError::new(reason.code(), text))
    }
}

impl ReceiveError {
    /// Returns the error for the sender, with the number of bytes that this side had taken. Returns `None` if the sender
    /// has ended the transfer itself, or is gone.
    pub fn to_stream_error(&self, received: u64) -> Option<StreamError> {
        let code = match self {
            Self::Rehearsed { code, .. } => *code,
            _ => self.reason()?.code(),
        };
        let words = match self {
            Self::Store(error) => error.words(),
            _ => self.to_string(),
        };
        Some(refusal(code, &words, received))
    }

    /// Returns the kind of error, if the sender is to be told.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Offer | Self::Protocol(_) => Some(Reason::Protocol),
            Self::Name(_) => Some(Reason::Name),
            Self::Store(error) => Some(error.reason()),
            Self::Size { .. } => Some(Reason::Changed),
            Self::TooLarge { .. } => Some(Reason::TooLarge),
            Self::Silent(_) => Some(Reason::Silent),
            Self::Stopped => Some(Reason::Interrupted),
            Self::Rehearsed { .. } | Self::Failed(_) | Self::Dropped | Self::Lost(_) | Self::Read(_) => None,
        }
    }

    pub(crate) fn protocol(what: impl ToString) -> Self {
        Self::Protocol(ProtocolError(what.to_string()))
    }
}

/// Makes an error for a sender, with the number of bytes that this side had taken.
pub fn refusal(code: u64, text: &str, received: u64) -> StreamError {
    let error = StreamError::new(code, text);
    let details = serde_json::to_vec(&RefusalDetails { received }).unwrap_or_default();
    match error.clone().with_details(details) {
        Ok(detailed) => detailed,
        Err(_) => error,
    }
}

impl From<WriteError> for SendError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Failed(error) => Self::Refused(error),
            WriteError::Stopped { code } => Self::Dropped { code },
            WriteError::Lost(lost) => Self::Lost(lost),
            WriteError::TimedOut { after } => Self::Silent(after),
            WriteError::Malformed(malformed) => Self::Answer(NextError::Read(ReadError::Malformed(malformed))),
            // Only this crate ends the sending side.
            _ => Self::Protocol("the stream ended on this side"),
        }
    }
}

impl From<NextError> for SendError {
    fn from(error: NextError) -> Self {
        match error {
            NextError::Read(error) => error.into(),
            other => Self::Answer(other),
        }
    }
}

impl From<ReadError> for SendError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Failed(error) | ReadError::FailedIncomplete { error, .. } | ReadError::Aborted(error) => {
                Self::Refused(error)
            }
            ReadError::Reset { code } => Self::Dropped { code },
            ReadError::Lost(lost) => Self::Lost(lost),
            other => Self::Answer(NextError::Read(other)),
        }
    }
}

impl From<ReadError> for ReceiveError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Failed(error) | ReadError::FailedIncomplete { error, .. } | ReadError::Aborted(error) => {
                Self::Failed(error)
            }
            ReadError::Reset { .. } => Self::Dropped,
            ReadError::Lost(lost) => Self::Lost(lost),
            other => Self::Read(other),
        }
    }
}

impl From<WriteError> for ReceiveError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Failed(error) => Self::Failed(error),
            WriteError::Lost(lost) => Self::Lost(lost),
            WriteError::TimedOut { after } => Self::Silent(after),
            WriteError::Malformed(malformed) => Self::Read(ReadError::Malformed(malformed)),
            _ => Self::Dropped,
        }
    }
}

impl From<Violation> for ReceiveError {
    fn from(violation: Violation) -> Self {
        Self::protocol(violation)
    }
}

impl From<Malformed> for ReceiveError {
    fn from(malformed: Malformed) -> Self {
        Self::protocol(malformed)
    }
}

/// The error of a task of the runtime that broke.
pub(crate) fn broken(error: tokio::task::JoinError) -> StoreError {
    StoreError::Io(io::Error::other(error))
}
