//! The direction of a data lane that this side writes: what its writer is told, and what happens to the lane when the
//! writer is dropped. Pure.

use super::{ending::Ending, read_half::is_explained};
use crate::wire::codes::lane;

/// The state of the half that noq has reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outgoing {
    /// noq has reported nothing.
    Open,
    /// The peer sent STOP_SENDING with this code.
    Stopped(u64),
    /// The peer's endpoint has every byte of the finished data.
    Delivered,
    /// The connection is gone.
    Lost,
}

/// The writer's state.
#[derive(Debug, Clone)]
pub(crate) struct WriteHalf {
    outgoing: Outgoing,
    /// The wait for the record that explains a STOP_SENDING has timed out.
    waited: bool,
}

/// The next step of a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// The writer may write, or wait for the delivery of the finished data.
    Go,
    /// All data was delivered.
    Delivered,
    /// Wait for the record that explains the STOP_SENDING, until a timeout.
    AwaitRecord,
    /// Writing has failed.
    Fail(Failure),
}

/// The reason why writing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// The stream has ended; its cause has the reason.
    Ended,
    /// The data was finished before, for a write, or is not finished yet, for a wait for its delivery.
    Finished,
    /// STOP_SENDING that no record explains.
    Stopped(u64),
    /// The connection is gone.
    Lost,
}

/// What happens to the lane when its writer is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum OnDrop {
    /// The lane stays as it is: finished data is delivered.
    Leave,
    /// The lane is kept until the peer has read the bytes before this side's error.
    Linger,
    /// Send RESET_STREAM with this code.
    Reset(u64),
    /// Send RESET_STREAM with CANCELLED, though the data was finished; or an ABORT record, if all data is
    /// acknowledged.
    TakeBack,
}

/// The state of a lane whose writer is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LaneState {
    /// FIN was sent on purpose.
    pub(crate) finished: bool,
    /// This side opened the lane, and the peer has not answered.
    pub(crate) unanswered: bool,
    /// The thread is unwinding.
    pub(crate) panicking: bool,
}

impl WriteHalf {
    pub(crate) fn new() -> Self {
        Self { outgoing: Outgoing::Open, waited: false }
    }

    /// Returns what a write is to do.
    pub(crate) fn write(&self, finished: bool, ending: Option<Ending>) -> Outcome {
        match (ending, self.outgoing) {
            (Some(_), _) => Outcome::Fail(Failure::Ended),
            (None, _) if finished => Outcome::Fail(Failure::Finished),
            (None, Outgoing::Open) => Outcome::Go,
            (None, outgoing) => self.over(outgoing),
        }
    }

    /// Returns what a call that waits for the delivery is to do.
    pub(crate) fn delivery(&self, finished: bool, ending: Option<Ending>) -> Outcome {
        match (ending, self.outgoing) {
            _ if !finished => Outcome::Fail(if ending.is_some() { Failure::Ended } else { Failure::Finished }),
            // Data that was delivered is not taken back.
            (_, Outgoing::Delivered) => Outcome::Delivered,
            (Some(_), _) => Outcome::Fail(Failure::Ended),
            (None, Outgoing::Open) => Outcome::Go,
            (None, outgoing) => self.over(outgoing),
        }
    }

    fn over(&self, outgoing: Outgoing) -> Outcome {
        match outgoing {
            Outgoing::Stopped(code) if is_explained(code) && !self.waited => Outcome::AwaitRecord,
            Outgoing::Stopped(code) => Outcome::Fail(Failure::Stopped(code)),
            Outgoing::Lost => Outcome::Fail(Failure::Lost),
            // noq has released the half: nothing more can be written, and no data is missing.
            Outgoing::Delivered | Outgoing::Open => Outcome::Fail(Failure::Finished),
        }
    }

    /// Returns what happens to the lane when its writer is dropped.
    pub(crate) fn let_go(&self, lane: LaneState, ending: Option<Ending>) -> OnDrop {
        use OnDrop::{Leave, Linger, Reset, TakeBack};
        match ending {
            // Finished data stays finished: an error after it takes nothing back.
            Some(Ending::Failed) if lane.finished => Leave,
            Some(Ending::Failed) if self.outgoing == Outgoing::Open => Linger,
            Some(Ending::Failed) => Reset(lane::DONE),
            Some(ending) => Reset(ending.reset_code()),
            // An opener that gives up takes back the data that it has sent: no acceptor is known to want it.
            None if lane.finished && lane.unanswered => TakeBack,
            None if lane.finished => Leave,
            None if self.outgoing != Outgoing::Open => Reset(lane::DONE),
            None if lane.panicking => Reset(lane::INTERNAL),
            None => Reset(lane::CANCELLED),
        }
    }

    /// Records a STOP_SENDING of the peer.
    pub(crate) fn on_stopped(&mut self, code: u64) {
        self.set(Outgoing::Stopped(code));
    }

    /// Records that every byte of the finished data was acknowledged.
    pub(crate) fn on_delivered(&mut self) {
        self.set(Outgoing::Delivered);
    }

    /// Records that the connection is gone.
    pub(crate) fn on_lost(&mut self) {
        self.set(Outgoing::Lost);
    }

    /// Records that the record that explains a STOP_SENDING did not arrive in time.
    pub(crate) fn on_waited(&mut self) {
        self.waited = true;
    }

    fn set(&mut self, outgoing: Outgoing) {
        if self.outgoing == Outgoing::Open {
            self.outgoing = outgoing;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const ENDINGS: [Option<Ending>; 6] = [
        None,
        Some(Ending::PeerFailed { offset: 10 }),
        Some(Ending::PeerAborted),
        Some(Ending::Failed),
        Some(Ending::Aborted),
        Some(Ending::Malformed),
    ];
    const OUTGOING: [Outgoing; 5] =
        [Outgoing::Open, Outgoing::Stopped(1), Outgoing::Stopped(2), Outgoing::Delivered, Outgoing::Lost];

    fn half(outgoing: Outgoing) -> WriteHalf {
        WriteHalf { outgoing, ..WriteHalf::new() }
    }

    #[test]
    fn what_a_writer_is_told_and_what_becomes_of_its_lane_is_what_the_table_says() {
        let mut table = String::new();
        for finished in [false, true] {
            for outgoing in OUTGOING {
                // Only finished data is ever delivered.
                if outgoing == Outgoing::Delivered && !finished {
                    continue;
                }
                for ending in ENDINGS {
                    let half = half(outgoing);
                    let lane = LaneState { finished, unanswered: false, panicking: false };
                    let name = ending.map_or_else(|| "-".into(), |ending| format!("{ending:?}"));
                    writeln!(
                        table,
                        "{}, {outgoing:?}, {name}: write {:?}, delivery {:?}, dropped {:?}",
                        if finished { "finished" } else { "open" },
                        half.write(finished, ending),
                        half.delivery(finished, ending),
                        half.let_go(lane, ending),
                    )
                    .expect("a string takes it");
                }
            }
        }
        assert_eq!(table, include_str!("write_half.table"), "the code now says:\n{table}");
    }

    #[test]
    fn a_stop_of_finished_data_is_told_as_what_it_is() {
        for code in [lane::CANCELLED, lane::DONE] {
            assert_eq!(half(Outgoing::Stopped(code)).delivery(true, None), Outcome::Fail(Failure::Stopped(code)));
        }
        let mut failed = half(Outgoing::Stopped(lane::FAILED));
        assert_eq!(failed.delivery(true, None), Outcome::AwaitRecord);
        assert_eq!(failed.delivery(true, Some(Ending::PeerAborted)), Outcome::Fail(Failure::Ended));
        failed.on_waited();
        assert_eq!(failed.delivery(true, None), Outcome::Fail(Failure::Stopped(lane::FAILED)));
    }

    #[test]
    fn only_an_unanswered_opener_takes_back_what_it_has_finished() {
        let lane = LaneState { finished: true, unanswered: true, panicking: false };
        assert_eq!(half(Outgoing::Open).let_go(lane, None), OnDrop::TakeBack);
        let answered = LaneState { unanswered: false, ..lane };
        assert_eq!(half(Outgoing::Open).let_go(answered, None), OnDrop::Leave);
    }

    #[test]
    fn a_handler_that_panics_resets_its_lane_with_a_code_of_its_own() {
        let lane = LaneState { finished: false, unanswered: false, panicking: true };
        assert_eq!(half(Outgoing::Open).let_go(lane, None), OnDrop::Reset(lane::INTERNAL));
    }

    #[test]
    fn data_that_was_not_finished_is_never_left_to_look_complete() {
        for outgoing in OUTGOING {
            for ending in ENDINGS {
                let lane = LaneState { finished: false, unanswered: false, panicking: false };
                assert_ne!(half(outgoing).let_go(lane, ending), OnDrop::Leave, "{outgoing:?} {ending:?}");
            }
        }
    }
}
