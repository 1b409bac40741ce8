//! Conversion of errors to exit codes and to their names.

use std::process::ExitCode;

use twolane::{BindError, ConnectionLost, DialError, Fault, GetStreamError};

use crate::transfer::{Reason, ReceiveError, SendError, StoreError};

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
    /// The program received SIGINT.
    Interrupted,
    /// The program received SIGTERM.
    Terminated,
}

/// The description of the exit codes, for the help of each program.
pub const HELP: &str = "\
Exit codes:
    0  done: every byte is stored, and the hash is confirmed
    1  something failed on this side
    2  the command line: a wrong ticket, a file that cannot be read, a key that cannot be used
    3  the peer was not found, did not answer in time, or was lost
    4  the peer refused: the name, a file of that name, one too many at a time, the protocol,
       or because it was told to
    5  the file is not stored whole: damaged, changed meanwhile, no room, or the disk failed
  130  interrupted (SIGINT); 143 terminated (SIGTERM)";

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
            Reason::Protocol | Reason::Name | Reason::Exists | Reason::Busy => Self::Refused,
            Reason::StorageFull | Reason::Storage | Reason::Hash | Reason::Size | Reason::Source => Self::Incomplete,
            Reason::Interrupted | Reason::Silent => Self::Unreachable,
        }
    }
}

impl From<&SendError> for Exit {
    fn from(error: &SendError) -> Self {
        match error {
            SendError::Open(error) => error.into(),
            // A code outside the protocol is the receiver's own code. It counts as a refusal, whatever it means.
            SendError::Refused(error) => Reason::from_code(error.code()).map_or(Self::Refused, Self::from),
            SendError::Dropped { .. } | SendError::Silent(_) => Self::Unreachable,
            SendError::Lost(lost) => lost.into(),
            SendError::Changed { .. } | SendError::Mismatch { .. } => Self::Incomplete,
            SendError::Source(_) | SendError::Answer(_) | SendError::Early => Self::Failure,
        }
    }
}

impl From<&ReceiveError> for Exit {
    fn from(error: &ReceiveError) -> Self {
        match error {
            ReceiveError::Offer(_)
            | ReceiveError::Spread
            | ReceiveError::NoHash
            | ReceiveError::Name(_)
            | ReceiveError::Rehearsed { .. }
            | ReceiveError::Store(StoreError::Exists(_)) => Self::Refused,
            ReceiveError::Store(_) | ReceiveError::Size { .. } | ReceiveError::Failed(_) | ReceiveError::Dropped => {
                Self::Incomplete
            }
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
            BindError::Address(_)
            | BindError::TwoAddresses { .. }
            | BindError::NoPath { .. }
            | BindError::RelayUrl(_)
            | BindError::RelayToken { .. }
            | BindError::Proxy { .. }
            | BindError::DirectoryUrl(_)
            | BindError::Root { .. } => Self::Usage,
            _ => Self::Failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc, time::Duration};

    use twolane::{Rejection, SecretKey, StreamError};

    use super::*;

    fn refused(code: u64) -> Exit {
        (&SendError::Refused(Arc::new(StreamError::new(code, "no")))).into()
    }

    #[test]
    fn a_refusal_is_4_and_a_file_that_is_not_whole_is_5() {
        for reason in [Reason::Name, Reason::Exists, Reason::Protocol] {
            assert_eq!(refused(reason.code()), Exit::Refused);
        }
        for reason in [Reason::StorageFull, Reason::Storage, Reason::Hash, Reason::Size] {
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
            Exit::Interrupted,
            Exit::Terminated,
        ] {
            assert!(HELP.contains(&exit.code().to_string()), "{exit:?}");
        }
    }
}
