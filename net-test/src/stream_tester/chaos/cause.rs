//! The causes that may explain an unplanned outcome, and the outcomes that each cause explains. Pure.
//!
//! Some outcomes are never explained: a peer that broke the wire format, speaks another version or has a
//! certificate that does not hold, and the codes of lanes that ended for these reasons; a handler that panicked; a
//! limit that was reached.

use serde::{Deserialize, Serialize};
use twolane::{ConnectionLost, DialError, GetStreamError, ReadError, Reason};

use super::{known, orders::Fate};

/// The codes of RESET_STREAM and STOP_SENDING in WIRE.md.
pub mod lane {
    pub const DONE: u64 = 0;
    pub const CANCELLED: u64 = 1;
    pub const FAILED: u64 = 2;
    pub const ABORTED: u64 = 3;
    pub const NO_SUCH_LANE: u64 = 6;
    pub const TIMED_OUT: u64 = 8;
}

/// The code of CONNECTION_CLOSE with which a program closes a connection, and the reason text of [`Fate::Close`].
const CLOSED: u64 = 0x107;
pub const CLOSE_WORDS: &str = "a part of the chaos";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    Fate(Fate),
    /// The process had no processor for a while.
    Standstill,
    GivingUp,
    /// One of the two places had moved before the disturbance. This alone explains nothing: see
    /// [`known::refuses_a_redial`].
    MovedBefore,
}

use Cause::{GivingUp, Standstill};
use Fate::{Ban, Close, DropEndpoint, ShutDownInTime, ShutDownNow};

impl Cause {
    /// Returns whether the place gets another endpoint, at another address.
    pub fn moves(self) -> bool {
        matches!(self, Self::Fate(ShutDownInTime | ShutDownNow | DropEndpoint))
    }

    fn loses(self, lost: &ConnectionLost) -> bool {
        use ConnectionLost as Lost;
        match lost {
            Lost::PeerDone | Lost::PeerRestarted | Lost::Refused | Lost::OtherKey => self.moves(),
            // A connection is closed by one packet, and a socket whose endpoint gets no processor time drops
            // packets.
            Lost::Reset => self.moves() || matches!(self, Standstill | Self::Fate(Ban | Close)),
            Lost::Closed => self.moves() || self == Self::Fate(Close),
            Lost::PeerClosed { code, reason } => {
                self == Self::Fate(Close) && (*code, reason.as_str()) == (CLOSED, CLOSE_WORDS)
            }
            // The endpoint that was dropped and its successor exist at the same time for a moment.
            Lost::KeyUsedTwice => self == Self::Fate(DropEndpoint),
            Lost::Forbidden { .. } | Lost::NotAllowed { .. } => self == Self::Fate(Ban),
            Lost::TimedOut | Lost::Transport(_) => self.moves() || self == Standstill,
            Lost::HelloTimedOut(_) => self == Standstill,
            _ => false,
        }
    }

    fn resets(self, code: u64) -> bool {
        match code {
            // Calls are dropped when an endpoint is about to be dropped, and when actors give up.
            lane::CANCELLED => matches!(self, GivingUp | Standstill | Self::Fate(DropEndpoint)),
            // The record with the reason was in flight when the connection was lost.
            lane::FAILED | lane::ABORTED => self.moves() || matches!(self, Standstill | Self::Fate(Ban | Close)),
            lane::TIMED_OUT => self == Standstill,
            _ => false,
        }
    }

    fn fails_dial(self, error: &DialError) -> bool {
        match error {
            DialError::Lost(lost) => self.loses(lost),
            DialError::TimedOut { .. } => self.moves() || self == Standstill,
            DialError::ShuttingDown | DialError::Failed(_) => self.moves(),
            _ => false,
        }
    }

    fn fails_opening(self, error: &GetStreamError) -> bool {
        match error {
            GetStreamError::Dial { source, .. } => self.fails_dial(source),
            GetStreamError::Rejected { rejection, .. } => match rejection.reason {
                Reason::ShuttingDown => self.moves(),
                Reason::Refused => self == Self::Fate(Ban),
                _ => false,
            },
            GetStreamError::Lost(lost) => self.loses(lost),
            GetStreamError::TimedOut { .. } => self.moves() || self == Standstill,
            GetStreamError::Reset { code } => self.resets(*code),
            _ => false,
        }
    }
}

/// Returns whether one of the causes explains this loss of a connection.
pub fn lost(causes: &[Cause], lost: &ConnectionLost) -> bool {
    causes.iter().any(|cause| cause.loses(lost))
}

/// Returns whether one of the causes explains that a lane ended with this code.
pub fn reset(causes: &[Cause], code: u64) -> bool {
    causes.iter().any(|cause| cause.resets(code))
}

pub fn dial(causes: &[Cause], error: &DialError) -> bool {
    causes.iter().any(|cause| cause.fails_dial(error)) || known::refuses_a_redial(causes, error)
}

pub fn opening(causes: &[Cause], error: &GetStreamError) -> bool {
    let redial = matches!(error, GetStreamError::Dial { source, .. } if known::refuses_a_redial(causes, source));
    redial || causes.iter().any(|cause| cause.fails_opening(error))
}

pub fn response(causes: &[Cause], error: &ReadError) -> bool {
    match error {
        ReadError::Lost(cause) => lost(causes, cause),
        ReadError::Reset { code } => reset(causes, *code),
        _ => false,
    }
}

/// Returns whether the error shows that the peer's access list denies the caller.
pub fn forbids(error: &GetStreamError) -> bool {
    match error {
        GetStreamError::Dial { source: DialError::Lost(lost), .. } | GetStreamError::Lost(lost) => {
            matches!(lost, ConnectionLost::Forbidden { .. })
        }
        GetStreamError::Rejected { rejection, .. } => rejection.reason == Reason::Refused,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use twolane::Malformed;

    use super::*;

    const ALL: [Cause; 8] = [
        Cause::Fate(ShutDownInTime),
        Cause::Fate(ShutDownNow),
        Cause::Fate(DropEndpoint),
        Cause::Fate(Ban),
        Cause::Fate(Close),
        Standstill,
        GivingUp,
        Cause::MovedBefore,
    ];

    #[test]
    fn nothing_explains_a_broken_protocol_or_a_broken_handler() {
        for wrong in [
            ConnectionLost::Malformed(Malformed::Text { what: "a protocol's name" }),
            ConnectionLost::PeerBusy,
            ConnectionLost::DelegationRefused { reason: String::new() },
            ConnectionLost::PeerClosed { code: 0x103, reason: String::new() },
            ConnectionLost::PeerClosed { code: CLOSED, reason: "other words".into() },
        ] {
            assert!(!lost(&ALL, &wrong), "{wrong:?}");
        }
        for code in [lane::DONE, 4, 5, lane::NO_SUCH_LANE, 7, 9, 10] {
            assert!(!reset(&ALL, code), "{code}");
        }
        assert!(!opening(&ALL, &GetStreamError::TooManyStreams { max: 1, after: Duration::ZERO }));
    }

    #[test]
    fn each_cause_explains_its_own_outcomes_only() {
        let closed = ConnectionLost::PeerClosed { code: CLOSED, reason: CLOSE_WORDS.into() };
        assert!(lost(&[Cause::Fate(Close)], &closed) && !lost(&[Cause::Fate(Ban), Standstill], &closed));
        for forgotten in [Ban, Close, DropEndpoint] {
            assert!(lost(&[Cause::Fate(forgotten)], &ConnectionLost::Reset));
        }
        assert!(!lost(&[GivingUp, Cause::MovedBefore], &ConnectionLost::Reset));
        let forbidden = ConnectionLost::Forbidden { reason: String::new() };
        assert!(lost(&[Cause::Fate(Ban)], &forbidden) && !lost(&[Cause::Fate(Close), Standstill], &forbidden));
        let refused = DialError::Lost(ConnectionLost::Refused);
        assert!(dial(&[Cause::Fate(DropEndpoint)], &refused) && !dial(&[Cause::Fate(Close), Standstill], &refused));
        for redialled in [Cause::Fate(Ban), Cause::Fate(Close)] {
            assert!(dial(&[redialled, Cause::MovedBefore], &refused) && !dial(&[redialled], &refused));
            assert!(!lost(&[redialled, Cause::MovedBefore], &ConnectionLost::Refused));
        }
        assert!(!dial(&[Cause::MovedBefore, GivingUp, Standstill], &refused));
        let other = ConnectionLost::OtherKey;
        assert!(lost(&[Cause::Fate(DropEndpoint)], &other) && !lost(&[Cause::Fate(Ban), Cause::MovedBefore], &other));
        let late = GetStreamError::TimedOut { after: Duration::from_secs(25) };
        assert!(opening(&[Standstill], &late) && !opening(&[Cause::Fate(Ban), Cause::Fate(Close), GivingUp], &late));
        assert!(!lost(&[], &ConnectionLost::TimedOut) && !lost(&[GivingUp], &ConnectionLost::TimedOut));
    }
}
