//! Why a request has no response.

use std::time::Duration;

use super::{Fault, GetStreamError, ReadError, StreamError};
use crate::protocol::Protocol;

/// Where a request was when it failed, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Finding the peer and connecting to it.
    Dial,
    /// Waiting for a free stream: the peer has seen nothing of it.
    Send,
    /// The request was sent, and not answered.
    Answer,
    /// Reading the response.
    Response,
}

/// Why a request has no response.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the request to {protocol} failed ({phase:?})")]
pub struct RequestError {
    /// The protocol.
    pub protocol: Protocol,
    /// How far it came.
    pub phase: Phase,
    /// Why.
    #[source]
    pub cause: RequestFailure,
}

/// The cause inside a [`RequestError`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFailure {
    /// There was no stream.
    #[error(transparent)]
    GetStream(#[from] GetStreamError),
    /// The response could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The deadline passed.
    #[error("there was no response within {0:?}")]
    Deadline(Duration),
    /// The response is over the limit.
    #[error("the response is longer than {max} bytes (Limits::request_bytes)")]
    TooLarge {
        /// The bound, in bytes.
        max: usize,
    },
}

impl RequestError {
    /// Whether the peer's program can have seen the request. If not, sending it again is safe whatever it does.
    pub fn may_have_been_handled(&self) -> bool {
        let rejected = matches!(self.cause, RequestFailure::GetStream(GetStreamError::Rejected { .. }));
        self.phase >= Phase::Answer && !rejected
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match &self.cause {
            RequestFailure::GetStream(error) => error.fault(),
            RequestFailure::Read(error) => error.fault(),
            RequestFailure::Deadline(_) | RequestFailure::TooLarge { .. } => Fault::Peer,
        }
    }

    /// Whether the same request may work later. That it is safe to send it again,
    /// [`may_have_been_handled`](RequestError::may_have_been_handled) tells.
    pub fn is_retryable(&self) -> bool {
        match &self.cause {
            RequestFailure::GetStream(error) => error.is_retryable(),
            RequestFailure::Read(error) => error.is_retryable(),
            RequestFailure::Deadline(_) => true,
            RequestFailure::TooLarge { .. } => false,
        }
    }

    /// The peer's error, if its handler failed the request.
    pub fn stream_error(&self) -> Option<&StreamError> {
        match &self.cause {
            RequestFailure::Read(error) => error.stream_error(),
            RequestFailure::GetStream(GetStreamError::Failed(error)) => Some(error),
            _ => None,
        }
    }
}
