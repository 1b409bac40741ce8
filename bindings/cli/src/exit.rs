//! Conversion of errors to exit codes and to their names.

use std::process::ExitCode;

use twolane::{BindError, ConnectionLost, DialError, Fault, GetStreamError};

use crate::transfer::{Fate, Reason, ReceiveError, Received, SendError};

/// The outcome of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Everything succeeded.
    Done,
    /// Something failed on this side.
    Failure,
    /// The command line, or something that it names, cannot be used.
    Usage,
    /// The peer was not found, did not answer, or was lost.
    Unreachable,
    /// The peer refused the transfer, or this receiver refused it.
    Refused,
    /// The file is not stored completely: it was damaged or cut, or there is no room for it.
    Incomplete,
    /// The peer has no place at the moment, or is shutting down.
    Busy,
    /// The program received SIGINT.
    Interrupted,
    /// The program received SIGTERM.
    Terminated,
}

/// The description of the exit codes, for the help of each program.
pub const HELP: &str = "\
Exit codes:
    0  done: every byte is stored, or was there already, and the hash is confirmed
    1  something failed on this side
    2  the command line: a wrong ticket, a file that cannot be read, a key that cannot be used
    3  the peer was not found, did not answer in time, or was lost
    4  the peer refused: the sender, the name, another file of that name, the size, the protocol,
       or because it was told to
    5  not stored whole: damaged, changed meanwhile, no room, or the disk failed
    6  the peer is busy or shutting down: try again later
  130  interrupted (SIGINT); 143 terminated (SIGTERM, SIGHUP, SIGQUIT)";

impl Exit {
    /// Returns the exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
            Self::Incomplete => 5,
            Self::Busy => 6,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// Returns the name of the outcome, for programs.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Incomplete => "incomplete",
            Self::Busy => "busy",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl From<Reason> for Exit {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Protocol | Reason::Name | Reason::Exists | Reason::NotAllowed | Reason::TooLarge => Self::Refused,
            Reason::StorageFull | Reason::Storage | Reason::Hash | Reason::Changed | Reason::Source => {
                Self::Incomplete
            }
            Reason::Interrupted | Reason::Silent => Self::Unreachable,
            Reason::Busy => Self::Busy,
        }
    }
}

/// Returns the exit status for a code from the peer. A code outside the protocol is the receiver's own code. It counts as
/// a refusal, whatever it means.
fn from_code(code: u64) -> Exit {
    Reason::from_code(code).map_or(Exit::Refused, Exit::from)
}

impl From<&SendError> for Exit {
    fn from(error: &SendError) -> Self {
        match error {
            SendError::Open(error) => error.into(),
            SendError::Refused(error) => from_code(error.code()),
            SendError::Dropped { .. } | SendError::Silent(_) => Self::Unreachable,
            SendError::Lost(lost) => lost.into(),
            SendError::Changed { .. } | SendError::Mismatch { .. } => Self::Incomplete,
            SendError::Source(_) | SendError::Answer(_) | SendError::Protocol(_) => Self::Failure,
            SendError::Stopped => Self::Interrupted,
        }
    }
}

impl From<&Fate> for Exit {
    fn from(fate: &Fate) -> Self {
        match fate {
            Fate::Stored { .. } => Self::Done,
            Fate::Refused { code, .. } => from_code(*code),
            Fate::Failed { .. } => Self::Incomplete,
            Fate::Unknown | Fate::Unsent => Self::Unreachable,
        }
    }
}

impl From<&Received> for Exit {
    fn from(received: &Received) -> Self {
        match received {
            Received::Stored { .. } => Self::Done,
            Received::Refused { reason, .. } => (*reason).into(),
            Received::GivenUp { .. } => Self::Incomplete,
        }
    }
}

impl From<&ReceiveError> for Exit {
    fn from(error: &ReceiveError) -> Self {
        match error {
            ReceiveError::Offer
            | ReceiveError::Protocol(_)
            | ReceiveError::Name(_)
            | ReceiveError::TooLarge { .. }
            | ReceiveError::Rehearsed { .. } => Self::Refused,
            ReceiveError::Store(error) => error.reason().into(),
            ReceiveError::Size { .. } | ReceiveError::Failed(_) | ReceiveError::Dropped => Self::Incomplete,
            ReceiveError::Lost(lost) => lost.into(),
            ReceiveError::Silent(_) => Self::Unreachable,
            ReceiveError::Stopped => Self::Interrupted,
            ReceiveError::Read(_) => Self::Failure,
        }
    }
}

impl From<&GetStreamError> for Exit {
    fn from(error: &GetStreamError) -> Self {
        match error {
            GetStreamError::Protocol(_) | GetStreamError::MetadataTooLarge { .. } => Self::Usage,
            GetStreamError::Dial { source, .. } => match source {
                DialError::OwnKey => Self::Usage,
                DialError::Lost(lost) => lost.into(),
                DialError::ShuttingDown => Self::Failure,
                _ => Self::Unreachable,
            },
            GetStreamError::Rejected { rejection, .. } if rejection.reason.is_retryable() => Self::Busy,
            GetStreamError::Rejected { .. } => Self::Refused,
            GetStreamError::TimedOut { .. } => Self::Unreachable,
            GetStreamError::Lost(lost) => lost.into(),
            _ => Self::Failure,
        }
    }
}

impl From<&ConnectionLost> for Exit {
    fn from(lost: &ConnectionLost) -> Self {
        match lost.fault() {
            Fault::Caller | Fault::Local => Self::Failure,
            _ => Self::Unreachable,
        }
    }
}

impl From<&BindError> for Exit {
    fn from(error: &BindError) -> Self {
        match error {
            BindError::Address(_) | BindError::RelayUrl(_) | BindError::DirectoryUrl(_) | BindError::Root { .. } => {
                Self::Usage
            }
            _ => Self::Failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc, time::Duration};

    use twolane::{Rejection, SecretKey, StreamError};

    use super::*;
    use crate::transfer::StoreError;

    fn refused(code: u64) -> Exit {
        (&SendError::Refused(Arc::new(StreamError::new(code, "no")))).into()
    }

    #[test]
    fn a_refusal_is_4_and_a_file_that_is_not_whole_is_5() {
        for reason in [Reason::Name, Reason::Exists, Reason::Protocol, Reason::NotAllowed, Reason::TooLarge] {
            assert_eq!(refused(reason.code()), Exit::Refused);
        }
        for reason in [Reason::StorageFull, Reason::Storage, Reason::Hash, Reason::Changed] {
            assert_eq!(refused(reason.code()), Exit::Incomplete);
        }
        assert_eq!(refused(4242), Exit::Refused);
        assert_eq!(refused(Reason::Interrupted.code()), Exit::Unreachable);
    }

    #[test]
    fn a_peer_that_is_not_there_or_lost_is_3() {
        let peer = SecretKey::from_bytes(&[1; 32]).public_key();
        let after = Duration::from_secs(1);
        for error in [
            GetStreamError::Dial { peer, source: DialError::TimedOut { after } },
            GetStreamError::TimedOut { after },
            GetStreamError::Lost(ConnectionLost::TimedOut),
        ] {
            assert_eq!(Exit::from(&SendError::Open(error)), Exit::Unreachable);
        }
        for lost in [ConnectionLost::TimedOut, ConnectionLost::PeerDone, ConnectionLost::PeerBusy] {
            assert_eq!(Exit::from(&SendError::Lost(lost.clone())), Exit::Unreachable);
            assert_eq!(Exit::from(&ReceiveError::Lost(lost)), Exit::Unreachable);
        }
    }

    #[test]
    fn a_peer_that_says_no_to_the_stream_is_4() {
        let error = GetStreamError::Rejected {
            protocol: "file/1".try_into().unwrap(),
            rejection: Rejection::new(twolane::Reason::UnknownProtocol, ""),
        };
        assert_eq!(Exit::from(&SendError::Open(error)), Exit::Refused);
    }

    #[test]
    fn a_peer_that_has_no_place_now_is_6_and_no_refusal() {
        assert_eq!(refused(Reason::Busy.code()), Exit::Busy);
        for reason in [twolane::Reason::Busy, twolane::Reason::ShuttingDown] {
            let error = GetStreamError::Rejected {
                protocol: "files/1".try_into().unwrap(),
                rejection: Rejection::new(reason, ""),
            };
            assert_eq!(Exit::from(&SendError::Open(error)), Exit::Busy);
        }
    }

    #[test]
    fn the_receiver_ends_as_its_sender_does() {
        let full = StoreError::Full(io::ErrorKind::StorageFull.into());
        assert_eq!(Exit::from(&ReceiveError::Store(full)), Exit::Incomplete);
        assert_eq!(Exit::from(&ReceiveError::Rehearsed { after: 1, code: 7 }), Exit::Refused);
        assert_eq!(Exit::from(&ReceiveError::Dropped), Exit::Incomplete);
    }

    #[test]
    fn the_help_names_every_code() {
        for exit in [
            Exit::Done,
            Exit::Failure,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Refused,
            Exit::Incomplete,
            Exit::Busy,
            Exit::Interrupted,
            Exit::Terminated,
        ] {
            assert!(HELP.contains(&exit.code().to_string()), "{exit:?}");
        }
    }
}
