//! Both directions of a data lane (`stream/read_half.rs`, `stream/write_half.rs`), called in the same way as by the
//! library, with a peer whose bytes, ends and explanations arrive in any order.

use super::MAX_EVENTS;
use crate::{
    stream::{
        ending::Ending,
        read_half::{Failure, Incoming, Next, ReadHalf},
        write_half::{self, LaneState, OnDrop, Outcome, WriteHalf},
    },
    wire::codes::lane,
};

/// The causes that can end the stream early.
const ENDINGS: [Ending; 6] = [
    Ending::PeerFailed { offset: 10 },
    Ending::PeerFailed { offset: 4 },
    Ending::PeerAborted,
    Ending::Failed,
    Ending::Aborted,
    Ending::Malformed,
];

/// Each event is one byte, whose top bit selects the direction.
pub(super) fn run(events: &[u8]) {
    let (mut writing, mut reading) = (Writing::new(), Reading::new());
    for byte in events.iter().take(MAX_EVENTS) {
        let (event, size) = (byte & 7, (byte >> 3) & 15);
        if byte & 0x80 == 0 {
            writing.on(event, size);
        } else {
            reading.on(event, size);
        }
    }
}

/// A writer and its lane.
struct Writing {
    half: WriteHalf,
    finished: bool,
    unanswered: bool,
    ending: Option<Ending>,
    gone: bool,
}

impl Writing {
    fn new() -> Self {
        Self { half: WriteHalf::new(), finished: false, unanswered: true, ending: None, gone: false }
    }

    fn on(&mut self, event: u8, size: u8) {
        if self.gone {
            return;
        }
        match event {
            0 if self.ending.is_none() => self.finished = true,
            1 => self.ending = self.ending.or_else(|| Some(ENDINGS[usize::from(size) % ENDINGS.len()])),
            2 => self.half.on_stopped(size.into()),
            3 if self.finished => self.half.on_delivered(),
            4 => self.half.on_lost(),
            5 => self.half.on_waited(),
            6 => self.unanswered = false,
            7 => self.let_go(),
            _ => {}
        }
        let (write, delivery) =
            (self.half.write(self.finished, self.ending), self.half.delivery(self.finished, self.ending));
        if write == Outcome::Go {
            assert!(!self.finished && self.ending.is_none(), "what has ended is not written");
        }
        assert_ne!(write, Outcome::Delivered);
        if delivery == Outcome::Delivered {
            assert!(self.finished, "only finished data is delivered");
        }
        if self.finished && self.ending.is_none() {
            let finished = Outcome::Fail(write_half::Failure::Finished);
            assert!(
                delivery != finished || write == finished,
                "a stop is told as what it is, not as the writer's own end"
            );
        }
    }

    fn let_go(&mut self) {
        self.gone = true;
        let lane = LaneState { finished: self.finished, unanswered: self.unanswered, panicking: false };
        match self.half.let_go(lane, self.ending) {
            OnDrop::Leave => assert!(self.finished, "what was not finished never looks complete"),
            OnDrop::Linger => assert!(self.ending == Some(Ending::Failed) && !self.finished),
            OnDrop::Reset(lane::ABORTED) => assert_eq!(self.ending, Some(Ending::Aborted)),
            OnDrop::TakeBack => assert!(self.ending.is_none() && self.finished && self.unanswered),
            OnDrop::Reset(lane::CANCELLED) => assert!(self.ending.is_none() && !self.finished),
            OnDrop::Reset(_) => assert!(self.ending.is_some() || !self.finished),
        }
    }
}

/// A reader, which may read ahead, and the data that its peer has sent.
struct Reading {
    half: ReadHalf,
    /// Number of bytes that have arrived, and that were not taken from noq.
    arrived: u64,
    pulled: u64,
    buffered: u64,
    given: u64,
    /// FIN, RESET_STREAM or the loss of the connection, after the bytes that have arrived.
    behind: Option<Incoming>,
    ending: Option<Ending>,
    /// FIN was read before anything else had ended the stream.
    complete: bool,
    ended_well: bool,
    stops: u32,
    gone: bool,
}

impl Reading {
    fn new() -> Self {
        Self {
            half: ReadHalf::new(),
            arrived: 0,
            pulled: 0,
            buffered: 0,
            given: 0,
            behind: None,
            ending: None,
            complete: false,
            ended_well: false,
            stops: 0,
            gone: false,
        }
    }

    fn on(&mut self, event: u8, size: u8) {
        if self.gone {
            return;
        }
        match event {
            0 if self.behind.is_none() => self.arrived += u64::from(size),
            1 => self.behind = self.behind.or(Some(Incoming::Complete)),
            2 => self.behind = self.behind.or_else(|| Some(Incoming::Reset(size.into()))),
            3 => self.behind = self.behind.or(Some(Incoming::Lost)),
            4 => self.ending = self.ending.or_else(|| Some(ENDINGS[usize::from(size) % ENDINGS.len()])),
            5 => self.fill(),
            6 => self.read(u64::from(size) + 1),
            7 => {
                self.stops += u32::from(self.half.stop(None, self.ending).is_some());
                self.gone = true;
            }
            _ => {}
        }
        assert!(self.stops <= 1, "STOP_SENDING is said once");
    }

    fn read(&mut self, want: u64) {
        match self.half.available(self.buffered, self.ending) {
            Ok(0) => self.next(true),
            Ok(available) => {
                let len = available.min(want);
                self.buffered -= len;
                self.given += len;
                if let Some(Ending::PeerFailed { offset }) = self.ending
                    && !self.complete
                {
                    assert!(self.given <= offset.max(self.given - len), "a byte behind the error was given");
                }
            }
            Err(failure) => self.fail(failure, true),
        }
    }

    fn fill(&mut self) {
        self.next(false);
    }

    /// Takes the next step. `reads`: the reader has no bytes left in its buffer.
    fn next(&mut self, reads: bool) {
        match self.half.next(self.ending) {
            Next::Pull(most) => self.pull(most),
            Next::End => {
                assert!(self.behind == Some(Incoming::Complete) && self.arrived == 0, "truncated data ended well");
                assert!(!reads || self.buffered == 0, "{} bytes were lost in front of the end", self.buffered);
                self.ended_well |= reads;
            }
            Next::AwaitRecord => {
                assert!(self.ending.is_none());
                self.half.on_waited();
            }
            Next::Fail(failure) => self.fail(failure, reads),
        }
    }

    fn pull(&mut self, most: u64) {
        let taken = self.arrived.min(most);
        self.arrived -= taken;
        self.pulled += taken;
        self.buffered += taken;
        assert_eq!(self.half.pulled(taken), self.pulled);
        match self.behind {
            Some(Incoming::Complete) if self.arrived == 0 && taken == 0 => {
                self.complete = self.ending.is_none();
                self.half.on_fin(self.ending);
            }
            // A reset and the loss of the connection overtake the bytes that have not been read.
            Some(Incoming::Reset(code)) => {
                self.arrived = 0;
                self.half.on_reset(code);
            }
            Some(Incoming::Lost) => {
                self.arrived = 0;
                self.half.on_lost();
            }
            _ => {}
        }
    }

    fn fail(&mut self, failure: Failure, reads: bool) {
        self.stops += u32::from(self.half.stop(Some(failure), self.ending).is_some());
        if !reads {
            return;
        }
        assert!(!self.ended_well, "an end of data was taken back");
        if let (Failure::Ended { missing }, Some(Ending::PeerFailed { offset })) = (failure, self.ending) {
            assert_eq!(missing, offset.saturating_sub(self.pulled));
            assert!(self.given + missing >= offset.min(self.given + missing));
            if missing == 0 {
                assert!(
                    self.given >= offset.min(self.pulled),
                    "{} of {offset} bytes came before the error",
                    self.given
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn whatever_happens_truncated_data_never_ends_well_and_an_error_comes_after_exactly_its_bytes(
            events in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            super::run(&events);
        }
    }
}
