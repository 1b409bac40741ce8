//! Errors, one type for each operation. Every error says whose fault it is ([`Fault`]), whether trying again can
//! help, and which bound was hit. A peer's words in an error are shown with [`Shown`], and are in its fields as they came.

use std::{io, sync::Arc, time::Duration};

use twolane_id::{PublicKey, delegation::DelegationError};

use crate::{
    endpoint::ServeError,
    peer::PathPolicy,
    protocol::{InvalidProtocol, Protocol},
    stream::{SendJsonError, StreamError},
    wire::{
        Malformed,
        codes::{connection, lane},
        status::{Reason, Rejection},
    },
    words::Shown,
};

/// Whose fault an error is, and so who can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The program that called.
    Caller,
    /// The peer, or the program behind it.
    Peer,
    /// The network between the two.
    Network,
    /// This library, its configuration, or the machine it runs on.
    Us,
}

/// Why a connection to a peer is no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionLost {
    /// Nothing came from the peer for [`Limits::idle_timeout`](crate::Limits::idle_timeout): it was killed, lost
    /// its network, or went to sleep.
    #[error("nothing was heard from the peer any more: it was killed, or its network is gone")]
    TimedOut,
    /// The peer's endpoint shut down in order.
    #[error("the peer closed the connection in order")]
    PeerDone,
    /// The peer's program closed the connection.
    #[error("the peer closed the connection (code {code:#x}{}{})", if reason.is_empty() { "" } else { ": " }, Shown(reason))]
    PeerClosed {
        /// The peer's code.
        code: u64,
        /// The peer's words.
        reason: String,
    },
    /// A new instance of the peer has taken over.
    #[error("the peer was restarted")]
    PeerRestarted,
    /// Another endpoint with our own key has taken over at the peer.
    #[error("another endpoint with the same key has connected to the peer: use a key in one place at a time")]
    KeyUsedTwice,
    /// The peer takes no connections now: it is shutting down, or busy with others' handshakes.
    #[error("the peer takes no connections now: it is shutting down, or busy with others")]
    Refused,
    /// The peer turned the connection away because it has too many.
    #[error("the peer is connected to as many peers as it allows")]
    PeerBusy,
    /// The peer's rules do not allow this endpoint, or do not any more.
    #[error("the peer does not allow this endpoint: {}", Shown(reason))]
    Forbidden {
        /// The peer's words.
        reason: String,
    },
    /// The rules of this endpoint do not allow the peer, or do not any more.
    #[error("the rules of this endpoint do not allow the peer: {}", Shown(reason))]
    NotAllowed {
        /// The words of the rule.
        reason: String,
    },
    /// The direct path to the peer is gone, and this endpoint's path policy does not let data take a relay for longer.
    #[error(
        "the direct path to the peer is gone, and its path policy ({policy}) does not let data take a relay: open the stream again to wait for a direct path, or set PathPolicy::RelayAllowed for this peer"
    )]
    OnlyRelay {
        /// The policy.
        policy: PathPolicy,
    },
    /// The peer does not take the certificate that this endpoint presented.
    #[error("the peer does not take our certificate: {}", Shown(reason))]
    DelegationRefused {
        /// The peer's words.
        reason: String,
    },
    /// The certificate that the peer presented does not hold.
    #[error("the peer's certificate does not hold: {}", Shown(.0))]
    BadDelegation(Arc<DelegationError>),
    /// The peer broke the rules of the wire format.
    #[error("the peer does not follow the wire format: {0}")]
    Malformed(Malformed),
    /// The peer did not say HELLO in time.
    #[error("the peer said nothing for {0:?} after the handshake")]
    HelloTimedOut(Duration),
    /// This side closed it.
    #[error("the connection was closed here")]
    Closed,
    /// QUIC gave up for another reason.
    #[error("the connection failed: {}", Shown(.0))]
    Transport(String),
}

impl ConnectionLost {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::TimedOut | Self::Transport(_) | Self::OnlyRelay { .. } => Fault::Network,
            Self::Closed | Self::NotAllowed { .. } | Self::DelegationRefused { .. } => Fault::Caller,
            Self::KeyUsedTwice => Fault::Us,
            _ => Fault::Peer,
        }
    }

    /// Whether a new connection may work, with nothing changed on either side.
    pub fn is_retryable(&self) -> bool {
        !matches!(
            self,
            Self::Closed
                | Self::Malformed(_)
                | Self::KeyUsedTwice
                | Self::Forbidden { .. }
                | Self::NotAllowed { .. }
                | Self::DelegationRefused { .. }
                | Self::BadDelegation(_)
        )
    }
}

impl From<iroh::endpoint::ConnectionError> for ConnectionLost {
    fn from(error: iroh::endpoint::ConnectionError) -> Self {
        use iroh::endpoint::{ConnectionError as E, TransportErrorCode};
        match error {
            E::TimedOut => Self::TimedOut,
            E::LocallyClosed => Self::Closed,
            E::ApplicationClosed(close) => match close.error_code.into_inner() {
                // Code 0 is what an endpoint below sends that is closed or dropped without a word.
                0 | connection::DONE => Self::PeerDone,
                connection::REPLACED => Self::KeyUsedTwice,
                connection::BUSY => Self::PeerBusy,
                code => {
                    let reason = String::from_utf8_lossy(&close.reason).into_owned();
                    match code {
                        connection::FORBIDDEN => Self::Forbidden { reason },
                        connection::BAD_DELEGATION => Self::DelegationRefused { reason },
                        code => Self::PeerClosed { code, reason },
                    }
                }
            },
            E::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => Self::Refused,
            other => Self::Transport(other.to_string()),
        }
    }
}

/// Why a peer could not be dialled. Everybody who waits for the same dial gets the same cause.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The key is our own.
    #[error("the peer is this endpoint itself: dial another key")]
    OwnKey,
    /// Nothing is known about where the peer is.
    #[error("no address is known for the peer: use its ticket, or turn on a lookup that can find it")]
    NoAddress(#[source] Arc<iroh::endpoint::ConnectError>),
    /// The peer did not answer in time.
    #[error("the peer did not answer within {after:?}: is it running, and is its network up?")]
    TimedOut {
        /// The bound: [`Limits::connect_timeout`](crate::Limits::connect_timeout), or what the caller set.
        after: Duration,
    },
    /// The peer is connected through a relay alone, and its path policy wants a direct path.
    #[error(
        "a relay is the only way to the peer that was found within {after:?}, and its path policy is {policy}: set PathPolicy::RelayAllowed for it, or see Endpoint::status for what is in the way of a direct path"
    )]
    OnlyRelay {
        /// The policy.
        policy: PathPolicy,
        /// How long a direct path was waited for, once the peer was connected.
        after: Duration,
    },
    /// The connection ended before it could be used.
    #[error("the connection ended at once")]
    Lost(#[from] ConnectionLost),
    /// This endpoint is shutting down.
    #[error("this endpoint is shutting down")]
    ShuttingDown,
    /// A hook of this endpoint ([`Hooks::before_dial`](crate::Hooks::before_dial)) said no.
    #[error("a hook of this endpoint does not allow the dial: {}", Shown(reason))]
    NotAllowed {
        /// The hook's words.
        reason: String,
    },
    /// iroh gave up for another reason.
    #[error("the peer could not be reached")]
    Failed(#[source] Arc<iroh::endpoint::ConnectError>),
}

impl DialError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::OwnKey | Self::ShuttingDown | Self::NotAllowed { .. } => Fault::Caller,
            Self::Lost(lost) => lost.fault(),
            Self::NoAddress(_) | Self::TimedOut { .. } | Self::OnlyRelay { .. } | Self::Failed(_) => Fault::Network,
        }
    }

    /// Whether the same dial may work later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::OwnKey | Self::ShuttingDown | Self::NotAllowed { .. } => false,
            Self::Lost(lost) => lost.is_retryable(),
            Self::NoAddress(_) | Self::TimedOut { .. } | Self::OnlyRelay { .. } | Self::Failed(_) => true,
        }
    }
}

/// Why [`get_stream`](crate::Endpoint::get_stream) has no stream to give.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GetStreamError {
    /// The protocol's name is not valid.
    #[error(transparent)]
    Protocol(#[from] InvalidProtocol),
    /// The metadata is over the limit.
    #[error("the metadata has {len} bytes, and the peer takes {max}: send them as data")]
    MetadataTooLarge {
        /// Its length, in bytes.
        len: usize,
        /// What the peer takes, in bytes.
        max: u64,
    },
    /// The early data is over what travels with a stream's header.
    #[error("the early data has {len} bytes, and {max} travel with a header at most: write them to the stream")]
    EarlyDataTooLarge {
        /// Its length, in bytes.
        len: usize,
        /// The bound, in bytes.
        max: usize,
    },
    /// The peer could not be dialled.
    #[error("no connection to {}", peer)]
    Dial {
        /// The peer.
        peer: PublicKey,
        /// Why.
        #[source]
        source: DialError,
    },
    /// The peer said no, to this stream only.
    #[error("{protocol} was rejected by the peer")]
    Rejected {
        /// The protocol asked for.
        protocol: Protocol,
        /// The peer's answer.
        #[source]
        rejection: Rejection,
    },
    /// The peer is connected, and did not answer in time.
    #[error("the peer did not answer the stream within {after:?}")]
    TimedOut {
        /// The bound: [`Limits::open_timeout`](crate::Limits::open_timeout), or what the caller set.
        after: Duration,
    },
    /// As many streams to the peer are open as it allows, and none ended in time.
    #[error("{max} streams to the peer are open, and that is its limit; none ended within {after:?}")]
    TooManyStreams {
        /// The limit.
        max: u64,
        /// The bound on the wait.
        after: Duration,
    },
    /// The peer failed or aborted the stream before it was answered.
    #[error("the peer failed the stream: {0}")]
    Failed(Arc<StreamError>),
    /// The peer dropped the stream without an answer, or right after one that did not arrive any more.
    #[error("the peer dropped the stream without an answer ({})", lane_code(*code))]
    Reset {
        /// The code of RESET_STREAM; WIRE.md lists them.
        code: u64,
    },
    /// The connection was lost while the stream was being opened.
    #[error("the connection was lost while the stream was being opened: the peer may have handled it")]
    Lost(#[from] ConnectionLost),
    /// The peer's answer is not what the wire format allows.
    #[error("the peer's answer to the stream cannot be read")]
    Malformed(#[from] Malformed),
}

impl GetStreamError {
    /// Whose fault it is.
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

    /// Whether the same call may work later.
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

    /// Whether the peer's program can have seen the stream. If not, opening it again is safe whatever its handler does.
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

    /// The peer's answer, if it said no.
    pub fn rejection(&self) -> Option<Reason> {
        match self {
            Self::Rejected { rejection, .. } => Some(rejection.reason),
            _ => None,
        }
    }
}

/// Why there is nothing more to accept.
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
    #[error("the peer is not connected any more")]
    Disconnected,
}

/// Why data cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The peer failed the stream, and every byte that it wrote before has been read: [`StreamError::offset`] is how many.
    #[error("the peer failed the stream: {0}")]
    Failed(Arc<StreamError>),
    /// The peer failed the stream, and its data ended before the error's offset: some of the bytes that it wrote before
    /// the error never arrived. [`ReadError::data_read`] is how many did.
    #[error("the peer failed the stream: {error}; {missing} bytes that it wrote before did not arrive")]
    FailedIncomplete {
        /// What the peer said. Its offset counts bytes that were not read.
        error: Arc<StreamError>,
        /// Bytes between the end of the data that was read and the error's offset. Never 0.
        missing: u64,
    },
    /// The peer aborted the stream: what was not read yet is discarded.
    #[error("the peer aborted the stream: {0}")]
    Aborted(Arc<StreamError>),
    /// The peer's side was dropped or cancelled: the data is not complete, and no reason was given.
    #[error("the peer dropped the stream before its data was complete ({})", lane_code(*code))]
    Reset {
        /// The code of RESET_STREAM; WIRE.md lists them.
        code: u64,
    },
    /// This side has failed or aborted the stream.
    #[error("this side has ended the stream: {0}")]
    EndedHere(Arc<StreamError>),
    /// The connection is lost: the data is not complete.
    #[error("the connection was lost before the data was complete")]
    Lost(#[from] ConnectionLost),
    /// The peer's error lane cannot be read.
    #[error("the peer's error lane cannot be read")]
    Malformed(#[from] Malformed),
}

/// Why data cannot be written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The peer failed or aborted the stream.
    #[error("the peer failed the stream: {0}")]
    Failed(Arc<StreamError>),
    /// The peer wants no more data, and gave no reason: its side was dropped.
    #[error("the peer stopped reading ({})", lane_code(*code))]
    Stopped {
        /// The code of STOP_SENDING; WIRE.md lists them.
        code: u64,
    },
    /// The peer allowed nothing more to be sent for the time that this side waits at most: its program does not read, or
    /// the path to it is cut.
    #[error("nothing more could be sent to the peer for {after:?}")]
    TimedOut {
        /// The bound.
        after: Duration,
    },
    /// The data was finished, or the stream failed or aborted, on this side before.
    #[error("this side has ended the stream: nothing more can be written")]
    EndedHere,
    /// The connection is lost.
    #[error("the connection was lost")]
    Lost(#[from] ConnectionLost),
    /// The peer's error lane cannot be read.
    #[error("the peer's error lane cannot be read")]
    Malformed(#[from] Malformed),
}

impl ReadError {
    /// Whose fault it is.
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

    /// Whether the same exchange, on a new stream, may work. What a peer's own error code means, its program knows.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Lost(lost) if lost.is_retryable()) || matches!(self, Self::Reset { .. })
    }

    /// The peer's error, if it sent one.
    pub fn stream_error(&self) -> Option<&StreamError> {
        match self {
            Self::Failed(error) | Self::FailedIncomplete { error, .. } | Self::Aborted(error) => Some(error),
            _ => None,
        }
    }

    /// How many bytes of data the peer's program wrote, and this side read, before it failed the stream: where an exchange
    /// can be resumed. `None` if the peer did not fail the stream: what was read then is no sign of what the peer did.
    pub fn data_read(&self) -> Option<u64> {
        match self {
            Self::Failed(error) => Some(error.offset()),
            Self::FailedIncomplete { error, missing } => Some(error.offset().saturating_sub(*missing)),
            _ => None,
        }
    }
}

impl WriteError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Failed(_) | Self::Stopped { .. } | Self::Malformed(_) => Fault::Peer,
            Self::EndedHere => Fault::Caller,
            Self::TimedOut { .. } => Fault::Network,
            Self::Lost(lost) => lost.fault(),
        }
    }

    /// Whether the same exchange, on a new stream, may work. What a peer's own error code means, its program knows.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Lost(lost) => lost.is_retryable(),
            Self::Stopped { .. } | Self::TimedOut { .. } => true,
            Self::Failed(_) | Self::EndedHere | Self::Malformed(_) => false,
        }
    }

    /// The peer's error, if it sent one.
    pub fn stream_error(&self) -> Option<&StreamError> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a message was not received whole.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NextError {
    /// The stream could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The data ended, in order, inside a message or where one was expected.
    #[error("the data ended where a message was expected, after {read} bytes of it")]
    Ended {
        /// Bytes of the message that had come.
        read: usize,
    },
    /// The message is over the limit.
    #[error("the message is longer than {max} bytes")]
    TooLong {
        /// The bound, in bytes.
        max: usize,
    },
    /// The message is not UTF-8.
    #[error("the message is not UTF-8")]
    Text,
    /// The message is not the JSON that was expected. The cause can quote the message, and is no
    /// [`source`](std::error::Error::source): its own words are not fit to be printed.
    #[error("the message is not the JSON that was expected: {}", Shown(.0))]
    Json(Arc<serde_json::Error>),
}

impl NextError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read(error) => error.fault(),
            Self::Ended { .. } | Self::TooLong { .. } | Self::Text | Self::Json(_) => Fault::Peer,
        }
    }

    /// Whether the same exchange, on a new stream, may work.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_retryable())
    }
}

impl AcceptError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Protocol(_) | Self::ShuttingDown => Fault::Caller,
            Self::Disconnected => Fault::Peer,
        }
    }

    /// Whether the same call may work later: once the peer is connected again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Disconnected)
    }
}

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

/// Why an endpoint could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A socket could not be bound.
    #[error("the endpoint could not be bound: is the address in use, or not one of this machine?")]
    Bind(#[source] Box<iroh::endpoint::BindError>),
    /// An address to bind to is not valid.
    #[error("the address {0} cannot be bound to")]
    Address(std::net::SocketAddr),
    /// A relay's address is not a URL.
    #[error("{0:?} is not the URL of a relay, such as https://relay.example.org")]
    RelayUrl(String),
    /// What is to be trusted as a root is no certificate in DER form.
    #[error(
        "root {at} is no certificate in DER form: what begins with -----BEGIN CERTIFICATE----- has to be decoded first"
    )]
    Root {
        /// Which one, from 0.
        at: usize,
    },
    /// A directory's address is not a URL.
    #[error("{0:?} is not the URL of a directory, such as https://dns.example.org/pkarr")]
    DirectoryUrl(String),
    /// A certificate is for another key than the endpoint's.
    #[error("the certificate is for the node {node}, and this endpoint is {us}: have one issued for this key")]
    Delegation {
        /// The node that it is for.
        node: PublicKey,
        /// This endpoint.
        us: PublicKey,
    },
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
}

impl BindError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Bind(_) | Self::Random => Fault::Us,
            Self::Address(_)
            | Self::RelayUrl(_)
            | Self::Root { .. }
            | Self::DirectoryUrl(_)
            | Self::Delegation { .. } => Fault::Caller,
        }
    }

    /// Whether the same call may work later: a socket's address may be free then.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Bind(_))
    }
}

impl ServeError {
    /// Whose fault it is: always the caller's.
    pub fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// Whether the same call may work later, with nothing changed: never.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl SendJsonError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Json(_) => Fault::Caller,
            Self::Write(error) => error.fault(),
        }
    }

    /// Whether the same exchange, on a new stream, may work.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Write(error) if error.is_retryable())
    }
}

fn lane_code(code: u64) -> String {
    match code {
        lane::DONE => "done".into(),
        lane::CANCELLED => "cancelled".into(),
        lane::FAILED | lane::ABORTED => "failed, and the reason did not arrive".into(),
        lane::MALFORMED => "it could not read what was sent".into(),
        lane::REJECTED => "rejected".into(),
        lane::TIMED_OUT => "timed out".into(),
        lane::INTERNAL => "its handler broke".into(),
        lane::UNSUPPORTED => "it does not know what was asked for".into(),
        code => format!("code {code:#x}"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words;

    #[test]
    fn a_program_that_resumes_at_what_was_read_repeats_and_skips_no_byte() {
        let error = Arc::new(StreamError::new(28, "the disk is full").at(1000));
        let whole = ReadError::Failed(Arc::clone(&error));
        let cut = ReadError::FailedIncomplete { error: Arc::clone(&error), missing: 400 };
        assert_eq!((whole.data_read(), cut.data_read()), (Some(1000), Some(600)));
        assert_eq!((whole.stream_error(), cut.stream_error()), (Some(&*error), Some(&*error)));
        assert_eq!(ReadError::Aborted(error).data_read(), None);
        assert!(cut.to_string().contains("400 bytes"), "{cut}");
    }

    #[test]
    fn an_error_around_another_has_its_fault_and_its_chance() {
        let lost = || ReadError::Lost(ConnectionLost::TimedOut);
        let next = NextError::Read(lost());
        assert_eq!((next.fault(), next.is_retryable()), (Fault::Network, true));
        assert_eq!((NextError::Text.fault(), NextError::Text.is_retryable()), (Fault::Peer, false));
        let send = SendJsonError::Write(WriteError::Lost(ConnectionLost::TimedOut));
        assert_eq!((send.fault(), send.is_retryable()), (Fault::Network, true));
        assert_eq!((BindError::Random.fault(), BindError::Random.is_retryable()), (Fault::Us, false));
        let request = |cause| RequestError { protocol: Protocol::from_static("rpc/1"), phase: Phase::Response, cause };
        let cut = request(RequestFailure::Read(lost()));
        assert_eq!((cut.fault(), cut.is_retryable()), (Fault::Network, true));
        let large = request(RequestFailure::TooLarge { max: 1 });
        assert_eq!((large.fault(), large.is_retryable()), (Fault::Peer, false));
    }

    /// Every error that can have a peer's words in it, with each place for words filled by `words`.
    fn with_words(words: &str) -> Vec<Box<dyn std::error::Error>> {
        let reason = || words.to_owned();
        let stream = || Arc::new(StreamError::new(1, words));
        let lost = [
            ConnectionLost::PeerClosed { code: 1, reason: reason() },
            ConnectionLost::Forbidden { reason: reason() },
            ConnectionLost::NotAllowed { reason: reason() },
            ConnectionLost::DelegationRefused { reason: reason() },
            ConnectionLost::Transport(reason()),
        ];
        let rejected = |reason| GetStreamError::Rejected {
            protocol: Protocol::from_static("rpc/1"),
            rejection: Rejection::new(reason, words),
        };
        let json = serde_json::from_value::<Choice>(serde_json::Value::String(reason())).unwrap_err();
        let request = |cause| RequestError { protocol: Protocol::from_static("rpc/1"), phase: Phase::Response, cause };
        let peer = twolane_id::SecretKey::from_bytes(&[1; 32]).public_key();
        let mut errors: Vec<Box<dyn std::error::Error>> = vec![
            Box::new(DialError::NotAllowed { reason: reason() }),
            Box::new(rejected(Reason::Refused)),
            Box::new(request(RequestFailure::GetStream(rejected(Reason::Other(99))))),
            Box::new(request(RequestFailure::Read(ReadError::Failed(stream())))),
            Box::new(GetStreamError::Failed(stream())),
            Box::new(ReadError::Failed(stream())),
            Box::new(ReadError::FailedIncomplete { error: stream(), missing: 1 }),
            Box::new(ReadError::Aborted(stream())),
            Box::new(ReadError::EndedHere(stream())),
            Box::new(WriteError::Failed(stream())),
            Box::new(NextError::Read(ReadError::Failed(stream()))),
            Box::new(NextError::Json(Arc::new(json))),
            Box::new(StreamError::new(1, words)),
            Box::new(io::Error::from(ReadError::Failed(stream()))),
            Box::new(InvalidProtocol::Character { name: reason(), at: 0 }),
        ];
        for lost in lost {
            errors.push(Box::new(GetStreamError::Dial { peer, source: DialError::Lost(lost.clone()) }));
            errors.push(Box::new(ReadError::Lost(lost.clone())));
            errors.push(Box::new(lost));
        }
        errors
    }

    #[derive(Debug, serde::Deserialize)]
    enum Choice {}

    /// An error's words and its causes', one in each line of a program's report.
    fn chain(error: &dyn std::error::Error) -> Vec<String> {
        std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
    }

    #[test]
    fn no_error_shows_a_character_of_the_peers_that_acts_on_the_terminal_or_hides() {
        for error in with_words(words::HOSTILE) {
            for shown in chain(&*error) {
                assert!(words::is_harmless(&shown), "{shown:?}");
            }
            assert!(chain(&*error).iter().any(|shown| shown.contains("\\u{1b}[2J")), "{error:?} shows the words");
        }
    }

    #[test]
    fn every_error_shows_plain_words_as_they_are_and_keeps_the_others_for_programs() {
        for error in with_words("Größe: 長さ") {
            assert!(chain(&*error).iter().any(|shown| shown.contains("Größe: 長さ")), "{error:?}");
        }
        assert_eq!(StreamError::new(1, words::HOSTILE).text(), words::HOSTILE);
        assert_eq!(Rejection::new(Reason::Refused, words::HOSTILE).text, words::HOSTILE);
    }
}
