//! The direction of a data lane that this side reads: what its reader is to be told. Pure.
//!
//! [`ReadHalf::available`] and [`ReadHalf::next`] are the only places that decide it, from four facts that never go back:
//! what noq has said about the half, what was taken from noq, what the reader's buffer holds, and why the stream ended.

use super::ending::Ending;
use crate::wire::codes::lane;

/// What noq has said about the half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Incoming {
    /// Data may come.
    Open,
    /// FIN, while nothing had ended the stream: the data is complete, and nothing that comes later takes that back.
    Complete,
    /// FIN, after something else had ended the stream.
    Cut,
    /// RESET_STREAM with this code.
    Reset(u64),
    /// The connection is gone, and with it what it had not delivered.
    Lost,
}

/// The reader's state.
#[derive(Debug, Clone)]
pub(crate) struct ReadHalf {
    incoming: Incoming,
    /// Data bytes taken from noq, those in the buffer included.
    pulled: u64,
    /// The header or the answer is being read. Its bytes are no data: offsets do not count them.
    preamble: bool,
    /// The record that explains a reset was waited for, for as long as it is.
    waited: bool,
    /// STOP_SENDING was sent.
    stopped: bool,
}

/// What a reader does whose buffer has nothing for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Next {
    /// Take so many bytes from noq, at most.
    Pull(u64),
    /// The data is complete, and all of it was read.
    End,
    /// Wait for the record that explains the reset, for a bounded time.
    AwaitRecord,
    /// Reading has failed.
    Fail(Failure),
}

/// Why reading failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// The cause of the stream's end says why. Of the bytes before the offset of a FATAL record so many are missing.
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

    /// How many of the `buffered` bytes may be given to the reader. An error makes all of them void.
    pub(crate) fn available(&self, buffered: u64, ending: Option<Ending>) -> Result<u64, Failure> {
        self.validate(buffered);
        let void = Err(Failure::Ended { missing: 0 });
        match ending {
            None => Ok(buffered),
            // This side's own end is an end at once. Complete data that was read is not taken back.
            Some(Ending::Failed | Ending::Aborted) if buffered > 0 || self.incoming != Incoming::Complete => void,
            Some(Ending::PeerAborted | Ending::Malformed) if self.incoming != Incoming::Complete => void,
            // A peer's record can name an offset before what was read already: no byte more is given.
            Some(Ending::PeerFailed { offset }) if self.incoming != Incoming::Complete && !self.preamble => {
                Ok(buffered.min(offset.saturating_sub(self.pulled - buffered)))
            }
            Some(_) => Ok(buffered),
        }
    }

    /// What comes after the bytes that are in the buffer.
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
            // Whoever has stopped the half without ending the stream reads nothing more of it.
            (Incoming::Open, None) if self.stopped => Next::Fail(Failure::Reset(lane::CANCELLED)),
            (Incoming::Open, None) => Next::Pull(u64::MAX),
            (Incoming::Reset(code), None) if is_explained(code) && !self.waited => Next::AwaitRecord,
            (Incoming::Reset(code), None) => Next::Fail(Failure::Reset(code)),
            (Incoming::Cut, None) => Next::Fail(Failure::Reset(lane::CANCELLED)),
            (Incoming::Lost, None) => Next::Fail(Failure::Lost),
        }
    }

    /// Whether a reader that found nothing has to be woken by this ending: there is nothing to wait for any more.
    pub(crate) fn is_over(&self, ending: Option<Ending>) -> bool {
        !matches!(self.next(ending), Next::Pull(_) | Next::AwaitRecord)
    }

    /// So much data was taken from noq.
    pub(crate) fn pulled(&mut self, len: u64) -> u64 {
        self.pulled += len;
        self.pulled
    }

    /// A header or an answer is read from here on.
    pub(crate) fn begin_preamble(&mut self) {
        self.preamble = true;
    }

    /// It was read, and so many bytes that follow it are in the buffer: the first data.
    pub(crate) fn end_preamble(&mut self, buffered: u64) -> u64 {
        self.preamble = false;
        self.pulled = buffered;
        buffered
    }

    pub(crate) fn in_preamble(&self) -> bool {
        self.preamble
    }

    /// FIN was read.
    pub(crate) fn on_fin(&mut self, ending: Option<Ending>) {
        self.set(if ending.is_none() { Incoming::Complete } else { Incoming::Cut });
    }

    /// RESET_STREAM was read.
    pub(crate) fn on_reset(&mut self, code: u64) {
        self.set(Incoming::Reset(code));
    }

    /// The connection is gone, and so is what it had not delivered.
    pub(crate) fn on_lost(&mut self) {
        self.set(Incoming::Lost);
    }

    /// The record that explains a reset did not come in time.
    pub(crate) fn on_waited(&mut self) {
        self.waited = true;
    }

    fn set(&mut self, incoming: Incoming) {
        if self.incoming == Incoming::Open {
            self.incoming = incoming;
        }
    }

    /// The reader was told `failure`, or lets go of the half (`None`): the code of STOP_SENDING, if it is due.
    pub(crate) fn stop(&mut self, failure: Option<Failure>, ending: Option<Ending>) -> Option<u64> {
        let due = match failure {
            // A peer that failed the stream may let go of its lane once everything before the error was read.
            Some(Failure::Ended { .. }) => ending.map(Ending::stop_code),
            Some(Failure::Reset(_) | Failure::Lost) => None,
            None => Some(ending.map_or(lane::CANCELLED, Ending::stop_code)),
        };
        self.stop_with(due?)
    }

    /// The half is stopped with this code, unless there is nothing left to stop.
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

/// Whether a record is to explain a reset, or a stop, with this code.
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
