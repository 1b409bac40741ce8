//! The error of a request.

use std::time::Duration;

use super::{Fault, GetStreamError, ReadError, StreamError};
use crate::protocol::Protocol;

/// The phase of a request in which it failed. The phases follow each other in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Finding the peer and connecting to it.
    Dial,
    /// Waiting for a free stream: the peer has seen nothing of the request.
    Send,
    /// The request was sent, and is not answered.
    Answer,
    /// Reading the response.
    Response,
}

/// The reason why a request has no response.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the request to {protocol} failed ({phase:?})")]
pub struct RequestError {
    /// The protocol.
    pub protocol: Protocol,
    /// The phase in which the request failed.
    pub phase: Phase,
    /// The cause.
    #[source]
    pub cause: RequestFailure,
}

/// The cause inside a [`RequestError`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFailure {
    /// No stream could be opened.
    #[error(transparent)]
    GetStream(#[from] GetStreamError),
    /// The response could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There was no response before the deadline.
    #[error("there was no response within {after:?}")]
    TimedOut {
        /// The time that the caller gave for all of it.
        after: Duration,
    },
    /// The response is over the limit.
    #[error("the response is longer than {max} bytes (Limits::request_bytes)")]
    TooLarge {
        /// Maximum length, in bytes.
        max: usize,
    },
}

impl RequestError {
    /// Returns whether the peer's program may have seen the request. If not, it is safe to send the request again,
    /// whatever the program does.
    pub fn may_have_been_handled(&self) -> bool {
        let rejected = matches!(self.cause, RequestFailure::GetStream(GetStreamError::Rejected { .. }));
        self.phase >= Phase::Answer && !rejected
    }

    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match &self.cause {
            RequestFailure::GetStream(error) => error.fault(),
            RequestFailure::Read(error) => error.fault(),
            RequestFailure::TimedOut { .. } | RequestFailure::TooLarge { .. } => Fault::Peer,
        }
    }

    /// Returns whether the same request may succeed later.
    /// [`may_have_been_handled`](RequestError::may_have_been_handled) tells whether it is safe to send it again.
    pub fn is_retryable(&self) -> bool {
        match &self.cause {
            RequestFailure::GetStream(error) => error.is_retryable(),
            RequestFailure::Read(error) => error.is_retryable(),
            RequestFailure::TimedOut { .. } => true,
            RequestFailure::TooLarge { .. } => false,
        }
    }

    /// Returns the peer's error, if its handler failed the request.
    pub fn stream_error(&self) -> Option<&StreamError> {
        match &self.cause {
            RequestFailure::Read(error) => error.stream_error(),
            RequestFailure::GetStream(GetStreamError::Failed(error)) => Some(error),
            _ => None,
        }
    }
}
