//! Conversion of every error of the crate to an exception of `twolane.exceptions`.
//!
//! The message consists of the text of the error and of its causes, for people. Programs use the attributes.

use std::{io, path::PathBuf, time::Duration};

use twolane::{
    AcceptError, BindError, ConnectionLost, DialError, Fault, GetStreamError, NextError, Phase, ReadError,
    RequestError, RequestFailure, ServeError, StreamError, WriteError, delegation::DelegationError,
    storage::file::KeyFileError,
};

pub(crate) use crate::problem::{Problem, chain};

impl Problem {
    fn with(mut self, fault: Fault, retryable: bool) -> Self {
        self.fault = Some(fault_name(fault));
        self.retryable = retryable;
        self
    }

    fn with_error(mut self, error: &StreamError) -> Self {
        self.code = Some(error.code());
        self.text = Some(error.text().to_owned());
        self.details = Some(error.details().clone());
        self.offset = Some(error.offset());
        self
    }
}

fn fault_name(fault: Fault) -> &'static str {
    match fault {
        Fault::Caller => "caller",
        Fault::Peer => "peer",
        Fault::Network => "network",
        Fault::Local => "local",
    }
}

pub(crate) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Dial => "dial",
        Phase::Send => "send",
        Phase::Answer => "answer",
        _ => "response",
    }
}

/// Returns the name by which a program distinguishes the causes of a lost connection.
pub(crate) fn lost_name(lost: &ConnectionLost) -> &'static str {
    match lost {
        ConnectionLost::TimedOut => "timed_out",
        ConnectionLost::PeerDone => "peer_done",
        ConnectionLost::Reset => "reset",
        ConnectionLost::OtherKey => "other_key",
        ConnectionLost::PeerClosed { .. } => "peer_closed",
        ConnectionLost::PeerRestarted => "peer_restarted",
        ConnectionLost::KeyUsedTwice => "key_used_twice",
        ConnectionLost::Refused => "refused",
        ConnectionLost::PeerBusy => "peer_busy",
        ConnectionLost::Forbidden { .. } => "forbidden",
        ConnectionLost::NotAllowed { .. } => "not_allowed",
        ConnectionLost::DelegationRefused { .. } => "delegation_refused",
        ConnectionLost::BadDelegation(_) => "bad_delegation",
        ConnectionLost::Malformed(_) => "malformed",
        ConnectionLost::HelloTimedOut(_) => "hello_timed_out",
        ConnectionLost::Closed => "closed",
        _ => "transport",
    }
}

impl From<&ConnectionLost> for Problem {
    fn from(lost: &ConnectionLost) -> Self {
        let class = match lost {
            ConnectionLost::TimedOut | ConnectionLost::HelloTimedOut(_) => "ConnectionTimedOut",
            ConnectionLost::Forbidden { .. }
            | ConnectionLost::NotAllowed { .. }
            | ConnectionLost::DelegationRefused { .. } => "Forbidden",
            _ => "ConnectionLost",
        };
        let code = if let ConnectionLost::PeerClosed { code, .. } = lost { Some(*code) } else { None };
        Self { code, reason: Some(lost_name(lost)), ..Self::of(class, lost) }.with(lost.fault(), lost.is_retryable())
    }
}

impl From<&DialError> for Problem {
    fn from(error: &DialError) -> Self {
        let (class, reason) = match error {
            DialError::OwnKey => ("DialError", "own_key"),
            DialError::NoAddress(_) => ("DialError", "no_address"),
            DialError::TimedOut { .. } => ("DialTimeout", "timed_out"),
            DialError::Lost(lost) => {
                let inner = Self::from(lost);
                let class = if inner.class == "ConnectionTimedOut" { "DialTimeout" } else { inner.class };
                return Self { class, message: chain(error), ..inner }.with_phase("dial");
            }
            DialError::ShuttingDown => ("NodeClosed", "shutting_down"),
            DialError::NotAllowed { .. } => ("Forbidden", "not_allowed"),
            _ => ("DialError", "failed"),
        };
        Self { reason: Some(reason), ..Self::of(class, error) }
            .with(error.fault(), error.is_retryable())
            .with_phase("dial")
    }
}

impl From<DialError> for Problem {
    fn from(error: DialError) -> Self {
        Self::from(&error)
    }
}

impl From<&GetStreamError> for Problem {
    fn from(error: &GetStreamError) -> Self {
        let problem = match error {
            GetStreamError::Protocol(_) => Self::of("InvalidProtocol", error),
            GetStreamError::MetadataTooLarge { .. } | GetStreamError::EarlyDataTooLarge { .. } => {
                Self::of("TooLarge", error)
            }
            GetStreamError::Dial { peer, source } => {
                return Self { message: chain(error), ..Self::from(source) }.with_peer(*peer);
            }
            GetStreamError::Rejected { rejection, .. } => {
                use twolane::Reason;
                let (class, reason) = match rejection.reason {
                    Reason::UnknownProtocol => ("UnknownProtocol", "unknown_protocol"),
                    Reason::Refused => ("Rejected", "refused"),
                    Reason::Busy => ("Rejected", "busy"),
                    Reason::ShuttingDown => ("Rejected", "shutting_down"),
                    Reason::TooLarge => ("Rejected", "too_large"),
                    Reason::Malformed => ("Rejected", "malformed"),
                    Reason::Unsupported => ("Rejected", "unsupported"),
                    _ => ("Rejected", "other"),
                };
                Self { reason: Some(reason), text: Some(rejection.text.clone()), ..Self::of(class, error) }
            }
            GetStreamError::TimedOut { .. } => Self::of("OpenTimeout", error),
            GetStreamError::TooManyStreams { .. } => Self::of("TooManyStreams", error),
            GetStreamError::Failed(inner) => Self::of("StreamFailed", error).with_error(inner),
            GetStreamError::Reset { code } => Self { code: Some(*code), ..Self::of("StreamReset", error) },
            GetStreamError::Lost(lost) => Self { message: chain(error), ..Self::from(lost) },
            _ => Self::of("ProtocolViolation", error),
        };
        problem.with(error.fault(), error.is_retryable()).with_phase("open")
    }
}

impl From<GetStreamError> for Problem {
    fn from(error: GetStreamError) -> Self {
        Self::from(&error)
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let problem = match &error {
            ReadError::Failed(inner) => Self::of("StreamFailed", &error).with_error(inner),
            ReadError::FailedIncomplete { error: inner, missing } => {
                Self { missing: Some(*missing), ..Self::of("StreamFailedIncomplete", &error).with_error(inner) }
            }
            ReadError::Aborted(inner) => Self::of("StreamAborted", &error).with_error(inner),
            ReadError::Reset { code } => Self { code: Some(*code), ..Self::of("StreamReset", &error) },
            ReadError::EndedHere(inner) => Self::of("StreamEnded", &error).with_error(inner),
            ReadError::Lost(lost) => Self { message: chain(&error), ..Self::from(lost) },
            _ => Self::of("ProtocolViolation", &error),
        };
        problem.with(error.fault(), error.is_retryable()).with_phase("read")
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let problem = match &error {
            WriteError::Failed(inner) => Self::of("StreamFailed", &error).with_error(inner),
            WriteError::Stopped { code } => Self { code: Some(*code), ..Self::of("StreamStopped", &error) },
            WriteError::EndedHere => Self::of("StreamEnded", &error),
            WriteError::TimedOut { .. } => Self::of("StreamTimedOut", &error),
            WriteError::Lost(lost) => Self { message: chain(&error), ..Self::from(lost) },
            _ => Self::of("ProtocolViolation", &error),
        };
        problem.with(error.fault(), error.is_retryable()).with_phase("write")
    }
}

impl From<NextError> for Problem {
    fn from(error: NextError) -> Self {
        match error {
            NextError::Read(error) => error.into(),
            NextError::TooLong { .. } => Self::of("TooLarge", &error).with_phase("read"),
            other => Self::of("StreamError", &other).with_phase("read"),
        }
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let handled = error.may_have_been_handled();
        let problem = match &error.cause {
            RequestFailure::GetStream(cause) => Self::from(cause),
            RequestFailure::Read(cause) => Self::from(cause.clone()),
            RequestFailure::TooLarge { .. } => Self::of("TooLarge", &error.cause),
            RequestFailure::TimedOut { after } => Self { retryable: !handled, ..late(error.phase, *after) },
            other => Self::of("TwolaneError", other),
        };
        let message = format!("the request to {} failed: {}", error.protocol, problem.message);
        Self { message, phase: Some(phase_name(error.phase)), handled: Some(handled), ..problem }
    }
}

/// Returns the problem of a request whose time was over in this phase.
fn late(phase: Phase, after: Duration) -> Problem {
    match phase {
        Phase::Dial => Problem::from(DialError::TimedOut { after }),
        Phase::Send => {
            let message = format!(
                "as many streams to the peer are open as it allows, and no stream ended within {after:?}: close \
                 streams that are not needed"
            );
            Problem::new("TooManyStreams", message).with(Fault::Caller, true)
        }
        _ => {
            let timed_out = RequestFailure::TimedOut { after };
            Problem::of("RequestTimeout", &timed_out).with(Fault::Peer, true)
        }
    }
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        let class = match error {
            AcceptError::Protocol(_) => "InvalidProtocol",
            _ => "NodeClosed",
        };
        Self::of(class, &error)
    }
}

impl From<ServeError> for Problem {
    fn from(error: ServeError) -> Self {
        let class = match error {
            ServeError::Protocol(_) => "InvalidProtocol",
            _ => "AlreadyServed",
        };
        Self::of(class, &error)
    }
}

impl From<BindError> for Problem {
    fn from(error: BindError) -> Self {
        let class = match error {
            BindError::RelayUrl(_) | BindError::DirectoryUrl(_) | BindError::Root { .. } => "InvalidOption",
            BindError::Delegation { .. } => "DelegationError",
            _ => return Self::of_the_system("BindError", &error, None, None),
        };
        Self::of(class, &error)
    }
}

impl From<DelegationError> for Problem {
    fn from(error: DelegationError) -> Self {
        Self::of("DelegationError", &error)
    }
}

impl From<KeyFileError> for Problem {
    fn from(error: KeyFileError) -> Self {
        let (class, errno) = match &error {
            KeyFileError::NotFound { .. } => ("KeyFileNotFound", Some(ENOENT)),
            KeyFileError::AlreadyExists { .. } => ("KeyFileExists", Some(EEXIST)),
            KeyFileError::Exposed { .. } => ("KeyFilePermission", Some(EACCES)),
            KeyFileError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ("KeyFilePermission", Some(EACCES))
            }
            _ => ("KeyFileError", None),
        };
        let path = path(&error).cloned();
        Self::of_the_system(class, &error, errno, path)
    }
}

/// The numbers of POSIX, which are the same on all systems of Python.
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EEXIST: i32 = 17;

fn path(error: &KeyFileError) -> Option<&PathBuf> {
    match error {
        KeyFileError::NotFound { path }
        | KeyFileError::AlreadyExists { path }
        | KeyFileError::Symlink { path }
        | KeyFileError::NotAFile { path }
        | KeyFileError::Exposed { path, .. }
        | KeyFileError::TooLong { path }
        | KeyFileError::Content { path, .. }
        | KeyFileError::Io { path, .. } => Some(path),
        _ => None,
    }
}
