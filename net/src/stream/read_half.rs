//! The direction of a data lane that this side reads: what its reader is told. Pure.
//!
//! Only [`ReadHalf::available`] and [`ReadHalf::next`] decide that, from four facts that never revert: the state of
//! the half that noq has reported, the number of bytes taken from noq, the number of bytes in the reader's buffer,
//! and the cause of the stream's end.

use super::ending::Ending;
use crate::wire::codes::lane;

/// The state of the half that noq has reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Incoming {
    /// More data may arrive.
    Open,
    /// noq reported FIN, and nothing had ended the stream before: the data is complete, and no later event changes
    /// that.
    Complete,
    /// noq reported FIN after something else had ended the stream.
    Cut,
    /// The peer sent RESET_STREAM with this code.
    Reset(u64),
    /// The connection is gone, and so is the data that it had not delivered.
    Lost,
}

/// The reader's state.
#[derive(Debug, Clone)]
pub(crate) struct ReadHalf {
    incoming: Incoming,
    /// Number of data bytes taken from noq, including those in the buffer.
    pulled: u64,
    /// The header or the answer is being read. Its bytes are not data: offsets do not count them.
    preamble: bool,
    /// The wait for the record that explains a RESET_STREAM has timed out.
    waited: bool,
    /// STOP_SENDING was sent.
    stopped: bool,
}

/// The next step of a reader whose buffer has no bytes for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Next {
    /// Take at most this number of bytes from noq.
    Pull(u64),
    /// The data is complete, and all of it was read.
    End,
    /// Wait for the record that explains the RESET_STREAM, until a timeout.
    AwaitRecord,
    /// Reading has failed.
    Fail(Failure),
}

/// The reason why reading failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// The stream has ended; its cause has the reason. `missing` bytes before the offset of a FATAL record did not
    /// arrive.
    Ended { missing: u64 },
    /// RESET_STREAM that no record explains.
    Reset(u64),
    /// The connection is gone.
    Lost,
}

impl ReadHalf {
    pub(crate) fn new() -> Self {
        Self { incoming: Incoming::Open, pulled: 0, preamble: false, waited: false, stopped: false }
    }

    /// Returns how many of the `buffered` bytes may be given to the reader. An error means that all of them are void.
    pub(crate) fn available(&self, buffered: u64, ending: Option<Ending>) -> Result<u64, Failure> {
        self.validate(buffered);
        let void = Err(Failure::Ended { missing: 0 });
        match ending {
            None => Ok(buffered),
            // If this side has ended the stream, reading ends at once. Complete data that was read to its end is not
            // taken back.
            Some(Ending::Failed | Ending::Aborted) if buffered > 0 || self.incoming != Incoming::Complete => void,
            Some(Ending::PeerAborted | Ending::Malformed) if self.incoming != Incoming::Complete => void,
            // The peer's record can name an offset before bytes that were read already. Then no further byte is
            // given.
            Some(Ending::PeerFailed { offset }) if self.incoming != Incoming::Complete && !self.preamble => {
                Ok(buffered.min(offset.saturating_sub(self.pulled - buffered)))
            }
            Some(_) => Ok(buffered),
        }
    }

    /// Returns what comes after the bytes in the buffer.
    pub(crate) fn next(&self, ending: Option<Ending>) -> Next {
        match (self.incoming, ending) {
            (Incoming::Complete, _) => Next::End,
            (incoming, Some(Ending::PeerFailed { offset })) if !self.preamble => {
                match offset.saturating_sub(self.pulled) {
                    missing @ 1.. if incoming == Incoming::Open && !self.stopped => Next::Pull(missing),
                    missing => Next::Fail(Failure::Ended { missing }),
                }
            }
            (Incoming::Open, Some(Ending::PeerFailed { .. })) => Next::Pull(u64::MAX),
            (_, Some(Ending::PeerFailed { .. })) => Next::Fail(Failure::Ended { missing: 0 }),
            (_, Some(_)) => Next::Fail(Failure::Ended { missing: 0 }),
            // A reader that has stopped the half without ending the stream reads nothing more of it.
            (Incoming::Open, None) if self.stopped => Next::Fail(Failure::Reset(lane::CANCELLED)),
            (Incoming::Open, None) => Next::Pull(u64::MAX),
            (Incoming::Reset(code), None) if is_explained(code) && !self.waited => Next::AwaitRecord,
            (Incoming::Reset(code), None) => Next::Fail(Failure::Reset(code)),
            (Incoming::Cut, None) => Next::Fail(Failure::Reset(lane::CANCELLED)),
            (Incoming::Lost, None) => Next::Fail(Failure::Lost),
        }
    }

    /// Returns whether a reader that found no data must be woken by this ending, because there is nothing to wait for
    /// any more.
    pub(crate) fn is_over(&self, ending: Option<Ending>) -> bool {
        !matches!(self.next(ending), Next::Pull(_) | Next::AwaitRecord)
    }

    /// Records that `len` bytes were taken from noq. Returns the total.
    pub(crate) fn pulled(&mut self, len: u64) -> u64 {
        self.pulled += len;
        self.pulled
    }

    /// Records that a header or an answer is read from here on.
    pub(crate) fn begin_preamble(&mut self) {
        self.preamble = true;
    }

    /// Records that the header or the answer was read. The buffer holds `buffered` bytes after it, which are the
    /// first data.
    pub(crate) fn end_preamble(&mut self, buffered: u64) -> u64 {
        self.preamble = false;
        self.pulled = buffered;
        buffered
    }

    pub(crate) fn in_preamble(&self) -> bool {
        self.preamble
    }

    /// Records that FIN was read.
    pub(crate) fn on_fin(&mut self, ending: Option<Ending>) {
        self.set(if ending.is_none() { Incoming::Complete } else { Incoming::Cut });
    }

    /// Records that RESET_STREAM was read.
    pub(crate) fn on_reset(&mut self, code: u64) {
        self.set(Incoming::Reset(code));
    }

    /// Records that the connection is gone, and so is the data that it had not delivered.
    pub(crate) fn on_lost(&mut self) {
        self.set(Incoming::Lost);
    }

    /// Records that the record that explains a RESET_STREAM did not arrive in time.
    pub(crate) fn on_waited(&mut self) {
        self.waited = true;
    }

    fn set(&mut self, incoming: Incoming) {
        if self.incoming == Incoming::Open {
            self.incoming = incoming;
        }
    }

    /// Returns the code of STOP_SENDING, if it is due after the reader got `failure`, or was dropped (`None`).
    pub(crate) fn stop(&mut self, failure: Option<Failure>, ending: Option<Ending>) -> Option<u64> {
        let due = match failure {
            // A peer that failed the stream may release its lane once everything before the error was read.
            Some(Failure::Ended { .. }) => ending.map(Ending::stop_code),
            Some(Failure::Reset(_) | Failure::Lost) => None,
            None => Some(ending.map_or(lane::CANCELLED, Ending::stop_code)),
        };
        self.stop_with(due?)
    }

    /// Records that the half is stopped. Returns `code`, or `None` if there is nothing left to stop.
    pub(crate) fn stop_with(&mut self, code: u64) -> Option<u64> {
        let due = self.incoming == Incoming::Open && !self.stopped;
        self.stopped |= due;
        due.then_some(code)
    }

    fn validate(&self, buffered: u64) {
        debug_assert!(
            self.preamble || buffered <= self.pulled,
            "the buffer holds more than was taken from noq: {self:?}"
        );
        debug_assert!(!self.waited || matches!(self.incoming, Incoming::Reset(_)), "no reset was waited for: {self:?}");
    }
}

/// Returns whether a record explains a RESET_STREAM or a STOP_SENDING with this code.
pub(crate) fn is_explained(code: u64) -> bool {
    matches!(code, lane::FAILED | lane::ABORTED)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const ENDINGS: [Option<Ending>; 7] = [
        None,
        Some(Ending::PeerFailed { offset: 10 }),
        Some(Ending::PeerFailed { offset: 4 }),
        Some(Ending::PeerAborted),
        Some(Ending::Failed),
        Some(Ending::Aborted),
        Some(Ending::Malformed),
    ];

    fn half(incoming: Incoming) -> ReadHalf {
        ReadHalf { incoming, pulled: 6, ..ReadHalf::new() }
    }

    #[test]
    fn what_a_reader_is_told_is_what_the_table_says() {
        let mut table = String::from("Six bytes were taken from noq, two of them are in the buffer.\n");
        let incoming =
            [Incoming::Open, Incoming::Complete, Incoming::Cut, Incoming::Reset(1), Incoming::Reset(2), Incoming::Lost];
        for incoming in incoming {
            for ending in ENDINGS {
                if incoming == Incoming::Cut && ending.is_none() {
                    continue;
                }
                let mut half = half(incoming);
                let (available, next) = (half.available(2, ending), half.next(ending));
                let failure = if let Next::Fail(failure) = next { Some(failure) } else { None };
                let (told, dropped) = (half.clone().stop(failure, ending), half.stop(None, ending));
                let told = if failure.is_some() { told } else { None };
                let ending = ending.map_or_else(|| "-".into(), |ending| format!("{ending:?}"));
                writeln!(
                    table,
                    "{incoming:?}, {ending}: available {available:?}, then {next:?}; stop {told:?}, on drop {dropped:?}"
                )
                .expect("a string takes it");
            }
        }
        assert_eq!(table, include_str!("read_half.table"), "the code now says:\n{table}");
    }

    #[test]
    fn a_reset_that_a_record_is_to_explain_is_waited_for_once() {
        for code in [lane::FAILED, lane::ABORTED] {
            let mut half = half(Incoming::Reset(code));
            assert_eq!(half.next(None), Next::AwaitRecord);
            assert_eq!(half.next(Some(Ending::PeerAborted)), Next::Fail(Failure::Ended { missing: 0 }));
            half.on_waited();
            assert_eq!(half.next(None), Next::Fail(Failure::Reset(code)));
        }
    }

    #[test]
    fn a_header_is_read_whatever_offset_an_error_names() {
        let mut half = ReadHalf::new();
        half.begin_preamble();
        let failed = Some(Ending::PeerFailed { offset: 0 });
        assert_eq!(half.next(failed), Next::Pull(u64::MAX));
        half.pulled(9);
        half.end_preamble(3);
        assert_eq!(half.available(3, failed), Ok(0));
        assert_eq!(half.next(failed), Next::Fail(Failure::Ended { missing: 0 }));
    }
}
