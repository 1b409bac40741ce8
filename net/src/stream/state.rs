//! The two directions of a data lane as state machines: events in, actions out.
//!
//! Each direction has its own machine, since a lane can be half-closed. Both are pure; the tests walk every
//! transition, and the table is kept as text beside them (`state.table`).

use crate::wire::codes::lane;

/// The direction that this side writes.
///
/// ```text
///            Finish            Drop
///   Open ---------> Finished ------> Finished
///    | Fail                    Drop
///    +------------> Failing -------> Lingering      the bytes before the error still travel
///    | Abort, Drop
///    +------------> Reset
///    | PeerStopped, PeerFailed, Lost
///    +------------> Ended
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Send {
    /// Data may be written.
    Open,
    /// FIN was sent on purpose: success.
    Finished,
    /// This side failed the stream; its bytes so far are still to be delivered, and no FIN ever follows them.
    Failing,
    /// As [`Send::Failing`], with nobody holding the handle any more.
    Lingering,
    /// This side cut the lane.
    Reset,
    /// The peer, or the loss of the connection, ended it.
    Ended,
}

/// What can happen to the direction that this side writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SendEvent {
    /// The user says that the data is complete.
    Finish,
    /// The user fails the stream.
    Fail,
    /// The user aborts the stream.
    Abort,
    /// The handle is gone.
    Drop,
    /// STOP_SENDING, or the peer has read all it wants.
    PeerStopped,
    /// A fatal record or an abort of the peer.
    PeerFailed,
    /// The connection is lost.
    Lost,
}

/// What the driver has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SendAction {
    /// Nothing.
    Nothing,
    /// Send FIN.
    Finish,
    /// Send RESET_STREAM with this code.
    Reset(u64),
    /// Keep the lane until the peer stops it or a bound is reached.
    Linger,
    /// The call comes too late: it fails, and the state says why.
    Refuse,
}

impl Send {
    pub(crate) fn on(self, event: SendEvent) -> (Self, SendAction) {
        use SendAction::{Finish, Linger, Nothing, Refuse, Reset};
        use SendEvent as E;
        match (self, event) {
            (Self::Open, E::Finish) => (Self::Finished, Finish),
            // The record on the error lane is the whole message: RESET_STREAM would discard bytes that the peer has yet to read.
            (Self::Open, E::Fail) => (Self::Failing, Nothing),
            (Self::Open, E::Abort) => (Self::Reset, Reset(lane::ABORTED)),
            (Self::Open, E::Drop) => (Self::Reset, Reset(lane::CANCELLED)),
            // What was finished stays finished, unless the user wants unread data discarded.
            (Self::Finished, E::Fail | E::Drop) => (Self::Finished, Nothing),
            (Self::Finished, E::Abort) => (Self::Reset, Reset(lane::ABORTED)),
            (Self::Failing, E::Abort) => (Self::Reset, Reset(lane::ABORTED)),
            (Self::Failing, E::Drop) => (Self::Lingering, Linger),
            (Self::Open | Self::Finished | Self::Failing, E::PeerFailed) => (Self::Ended, Reset(lane::DONE)),
            (Self::Open | Self::Failing | Self::Lingering, E::PeerStopped) => (Self::Ended, Nothing),
            (Self::Lingering, E::PeerFailed) => (Self::Ended, Reset(lane::DONE)),
            (Self::Finished, E::PeerStopped) => (Self::Finished, Nothing),
            (Self::Open | Self::Finished | Self::Failing | Self::Lingering, E::Lost) => (Self::Ended, Nothing),
            // The stream below would send FIN when it is dropped: it must not.
            (Self::Ended, E::Drop) => (Self::Ended, Reset(lane::DONE)),
            (Self::Finished | Self::Failing | Self::Lingering | Self::Reset | Self::Ended, E::Finish) => (self, Refuse),
            (Self::Failing, E::Fail) | (Self::Lingering | Self::Reset | Self::Ended, E::Fail | E::Abort) => {
                (self, Refuse)
            }
            // It may have been aborted by somebody who does not hold the stream: then it was not reset yet.
            (Self::Reset, E::Drop) => (Self::Reset, Reset(lane::ABORTED)),
            (Self::Lingering, E::Drop) => (self, Nothing),
            (Self::Reset | Self::Ended, E::PeerStopped | E::PeerFailed | E::Lost) => (self, Nothing),
        }
    }
}

/// The direction that this side reads.
///
/// ```text
///            Fin
///   Open ---------> Finished
///    | PeerFailed              OffsetReached
///    +------------> Draining ---------------> Failed
///    | PeerAborted, PeerReset, Lost
///    +------------> Failed
///    | LocalFailed, Drop
///    +------------> Stopped
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Recv {
    /// Data may come.
    Open,
    /// FIN was read: all data is here.
    Finished,
    /// A fatal record came: the bytes before its offset are still to be read.
    Draining,
    /// Reading is over, and the cause says why.
    Failed,
    /// This side wants no more.
    Stopped,
}

/// What can happen to the direction that this side reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RecvEvent {
    /// FIN was read.
    Fin,
    /// A fatal record of the peer.
    PeerFailed,
    /// An abort record of the peer.
    PeerAborted,
    /// RESET_STREAM.
    PeerReset,
    /// The last byte before the fatal record's offset was read.
    OffsetReached,
    /// The user of this side failed or aborted the stream.
    LocalFailed,
    /// The handle is gone.
    Drop,
    /// The connection is lost.
    Lost,
}

/// What the driver has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RecvAction {
    /// Nothing.
    Nothing,
    /// Send STOP_SENDING with this code.
    Stop(u64),
}

impl Recv {
    pub(crate) fn on(self, event: RecvEvent) -> (Self, RecvAction) {
        use RecvAction::{Nothing, Stop};
        use RecvEvent as E;
        match (self, event) {
            (Self::Open, E::Fin) => (Self::Finished, Nothing),
            (Self::Open, E::PeerFailed) => (Self::Draining, Nothing),
            (Self::Open | Self::Draining, E::PeerAborted) => (Self::Failed, Stop(lane::DONE)),
            (Self::Open | Self::Draining, E::PeerReset | E::Lost) => (Self::Failed, Nothing),
            // STOP_SENDING tells the failed side that its bytes have been read: it may let go of the lane.
            (Self::Draining, E::OffsetReached) => (Self::Failed, Stop(lane::DONE)),
            // FIN before the announced offset: the record still says what happened.
            (Self::Draining, E::Fin) => (Self::Failed, Nothing),
            (Self::Draining, E::PeerFailed) => (Self::Draining, Nothing),
            (Self::Open, E::LocalFailed) => (Self::Stopped, Stop(lane::FAILED)),
            (Self::Draining, E::LocalFailed) => (Self::Draining, Nothing),
            (Self::Open, E::Drop) => (Self::Stopped, Stop(lane::CANCELLED)),
            (Self::Draining, E::Drop) => (Self::Stopped, Stop(lane::DONE)),
            (Self::Open, E::OffsetReached) => (Self::Open, Nothing),
            (Self::Finished | Self::Failed | Self::Stopped, _) => (self, Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const SEND: [Send; 6] = [Send::Open, Send::Finished, Send::Failing, Send::Lingering, Send::Reset, Send::Ended];
    const SEND_EVENTS: [SendEvent; 7] = [
        SendEvent::Finish,
        SendEvent::Fail,
        SendEvent::Abort,
        SendEvent::Drop,
        SendEvent::PeerStopped,
        SendEvent::PeerFailed,
        SendEvent::Lost,
    ];
    const RECV: [Recv; 5] = [Recv::Open, Recv::Finished, Recv::Draining, Recv::Failed, Recv::Stopped];
    const RECV_EVENTS: [RecvEvent; 8] = [
        RecvEvent::Fin,
        RecvEvent::PeerFailed,
        RecvEvent::PeerAborted,
        RecvEvent::PeerReset,
        RecvEvent::OffsetReached,
        RecvEvent::LocalFailed,
        RecvEvent::Drop,
        RecvEvent::Lost,
    ];

    #[test]
    fn every_transition_is_the_one_in_the_table() {
        let mut table = String::new();
        for state in SEND {
            for event in SEND_EVENTS {
                let (next, action) = state.on(event);
                writeln!(table, "send {state:?} + {event:?} -> {next:?}, {action:?}").expect("a string takes it");
            }
        }
        for state in RECV {
            for event in RECV_EVENTS {
                let (next, action) = state.on(event);
                writeln!(table, "recv {state:?} + {event:?} -> {next:?}, {action:?}").expect("a string takes it");
            }
        }
        assert_eq!(table, include_str!("state.table"), "the code now says:\n{table}");
    }

    /// Every sequence of four events, from the start: what the invariants promise about any of them.
    #[test]
    fn only_a_call_to_finish_ever_finishes_a_lane() {
        for mut sequence in 0..SEND_EVENTS.len().pow(4) {
            let mut state = Send::Open;
            for _ in 0..4 {
                let event = SEND_EVENTS[sequence % SEND_EVENTS.len()];
                sequence /= SEND_EVENTS.len();
                let (next, action) = state.on(event);
                if action == SendAction::Finish {
                    assert_eq!((state, event), (Send::Open, SendEvent::Finish));
                }
                if next == Send::Finished && state != Send::Finished {
                    assert_eq!(event, SendEvent::Finish);
                }
                state = next;
            }
        }
    }

    #[test]
    fn a_lane_whose_handle_is_gone_is_never_left_open() {
        for state in SEND {
            let (next, action) = state.on(SendEvent::Drop);
            assert_ne!(next, Send::Open);
            assert_ne!(next, Send::Failing);
            if state == Send::Failing {
                assert_eq!(action, SendAction::Linger, "the bytes before the error still have to arrive");
            }
        }
        for state in RECV {
            let (next, _) = state.on(RecvEvent::Drop);
            assert!(!matches!(next, Recv::Open | Recv::Draining));
        }
    }

    #[test]
    fn after_a_failure_no_end_of_data_is_reported() {
        for event in RECV_EVENTS {
            assert_ne!(Recv::Draining.on(event).0, Recv::Finished, "{event:?}");
            assert_ne!(Recv::Failed.on(event).0, Recv::Finished, "{event:?}");
        }
    }
}
