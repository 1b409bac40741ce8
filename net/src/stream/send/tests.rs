//! The writing half over a QUIC connection, compared with a model of what its writer must be told: whatever the peer
//! stops, reports and closes, whatever this side does, and whether or not the lane has room. QUIC itself always has
//! room.

use std::sync::Arc;

use bytes::Bytes;
use iroh::endpoint::{RecvStream as QuicRecv, VarInt};
use proptest::prelude::*;

use super::SendStream;
use crate::{
    error::{StreamError, WriteError},
    stream::{
        Lanes,
        pair::{Opened, Pair, Woken, pattern, play, record},
    },
    wire::{Malformed, codes::lane, control::PeerLimits, record::Severity},
};

const GARBAGE: Malformed = Malformed::Truncated { what: "the error record" };
/// Limits with which a lane may have some 730 bytes unread. Most writes fill that, and the next one waits.
const LIMITS: PeerLimits = PeerLimits { data_lanes: 16, metadata: 1_024, unread_bytes: 8_000, unread_chunks: None };
/// Maximum number of unread bytes of a lane in the test: those 730 bytes, rounded up.
const LANE: u64 = 800;
const MOST: usize = 3_000;
const CODES: [u64; 4] = [lane::DONE, lane::CANCELLED, lane::FAILED, lane::ABORTED];

/// An action of the peer, of this side or of the writer.
#[derive(Debug, Clone, Copy)]
enum Event {
    Stop(u64),
    Fatal,
    Abort,
    Garbage,
    /// The peer reports that it has read everything.
    Consumed,
    /// The peer closes the connection.
    Close,
    FailHere,
    AbortHere,
    Finish,
    Call(Call),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Write(usize),
    /// [`SendStream::write_from`].
    From(usize),
    Delivered,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => prop::sample::select(&CODES[..]).prop_map(Event::Stop),
        1 => Just(Event::Fatal),
        1 => Just(Event::Abort),
        1 => Just(Event::Garbage),
        4 => Just(Event::Consumed),
        1 => Just(Event::Close),
        1 => Just(Event::FailHere),
        1 => Just(Event::AbortHere),
        1 => Just(Event::Finish),
        6 => (1..MOST).prop_map(|len| Event::Call(Call::Write(len))),
        3 => (1..MOST).prop_map(|len| Event::Call(Call::From(len))),
        2 => Just(Event::Call(Call::Delivered)),
    ]
}

/// The result of a call, without the number of bytes written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    Pending,
    Failed,
    Here,
    Garbage,
    Stopped(u64),
    Lost,
}

impl From<&WriteError> for Answer {
    fn from(error: &WriteError) -> Self {
        match error {
            WriteError::Failed(_) => Self::Failed,
            WriteError::Stopped { code } => Self::Stopped(*code),
            WriteError::EndedHere => Self::Here,
            WriteError::Lost(_) => Self::Lost,
            WriteError::Malformed(_) => Self::Garbage,
            WriteError::TimedOut { .. } => panic!("nothing here has a bound: {error}"),
        }
    }
}

/// The model of what the writer must be told, from the order of the events. It knows nothing of the library's state.
#[derive(Debug, Default)]
struct Expected {
    finished: bool,
    /// The data was finished while nothing prevented its delivery.
    deliverable: bool,
    delivered: bool,
    stopped: Option<u64>,
    closed: bool,
    /// The result for the writer of the first cause that ended the stream.
    end: Option<Answer>,
    written: u64,
    consumed: u64,
}

impl Expected {
    fn ends(&mut self, end: Answer) {
        self.end = self.end.or(Some(end));
    }

    /// Returns the results that a call may have.
    fn may_answer(&self, call: Call) -> Vec<Answer> {
        match (call, self.end) {
            (Call::Delivered, _) if self.delivered => vec![Answer::Done],
            (_, Some(end)) => vec![end],
            (Call::Write(_) | Call::From(_), None) if self.finished => vec![Answer::Here],
            (Call::Delivered, None) if !self.finished => vec![Answer::Here],
            (_, None) => self.may_answer_open(call),
        }
    }

    fn may_answer_open(&self, call: Call) -> Vec<Answer> {
        let mut may = Vec::new();
        match self.stopped {
            // The writer waits for the record that explains the stop, for longer than the test takes.
            Some(lane::FAILED | lane::ABORTED) => may.push(Answer::Pending),
            Some(code) => may.push(Answer::Stopped(code)),
            None if self.closed => {}
            None if call == Call::Delivered => may.push(Answer::Pending),
            None => {
                may.push(Answer::Done);
                // The writer may wait for the peer, unless the peer has read everything.
                if self.written > self.consumed {
                    may.push(Answer::Pending);
                }
            }
        }
        // Which of the two the writer sees depends on when it looked.
        if self.closed {
            may.push(Answer::Lost);
        }
        // The last acknowledgement may arrive at any time.
        if call == Call::Delivered && self.deliverable {
            may.push(Answer::Done);
        }
        may
    }
}

/// A lane whose other side is plain QUIC.
struct Scene<'a> {
    pair: &'a mut Pair,
    peer: QuicRecv,
    send: SendStream,
    lanes: Arc<Lanes>,
    expected: Expected,
    woken: Woken,
    /// The call that was pending when it was made last.
    waiting: Option<Call>,
}

impl<'a> Scene<'a> {
    /// Plays a stream from its opening on. Returns false if its connection is gone afterwards.
    async fn play(pair: &'a mut Pair, events: &[Event]) -> bool {
        pair.carrier.set_peer_limits(&LIMITS);
        let Opened { there: (_opener, peer), send, recv: _recv, lanes } = pair.open().await;
        let expected = Expected::default();
        let mut scene = Scene { pair, peer, send, lanes, expected, woken: Woken::default(), waiting: None };
        for event in events {
            scene.on(*event).await;
            // A call that waits is made again: it must find what there is, and must have been woken for it.
            if let Some(call) = scene.waiting {
                scene.call(call);
            }
        }
        !scene.expected.closed
    }

    fn call(&mut self, call: Call) {
        let woken = self.woken.take();
        let may = self.expected.may_answer(call);
        let answer = match call {
            Call::Write(len) => match self.woken.poll(self.send.write(&pattern(self.expected.written, len))) {
                Some(Ok(written)) => {
                    assert!((1..=len).contains(&written));
                    self.expected.written += written as u64;
                    Answer::Done
                }
                Some(Err(error)) => Answer::from(&error),
                None => Answer::Pending,
            },
            Call::From(len) => {
                let mut data = Bytes::from(pattern(self.expected.written, len));
                match self.woken.poll(self.send.write_from(&mut data)) {
                    Some(Ok(written)) => {
                        assert!(written > 0 && written + data.len() == len);
                        self.expected.written += written as u64;
                        Answer::Done
                    }
                    Some(Err(error)) => Answer::from(&error),
                    None => Answer::Pending,
                }
            }
            Call::Delivered => match self.woken.poll(self.send.delivered()) {
                Some(Ok(())) => Answer::Done,
                Some(Err(error)) => Answer::from(&error),
                None => Answer::Pending,
            },
        };
        assert!(may.contains(&answer), "{call:?} answers {answer:?}, and may {may:?}: {:?}", self.expected);
        // A call that waits for the delivery learns of a stop and of an acknowledgement through its future, which was
        // dropped.
        let of_lane = matches!(answer, Answer::Failed | Answer::Here | Answer::Garbage | Answer::Lost);
        let registered = self.waiting == Some(call) && (call != Call::Delivered || of_lane);
        assert!(
            answer == Answer::Pending || !registered || woken,
            "{call:?} would not have been woken for {answer:?}: {:?}",
            self.expected
        );
        assert!(self.expected.written <= self.expected.consumed + LANE, "{:?}", self.expected);
        self.expected.delivered |= call == Call::Delivered && answer == Answer::Done;
        self.waiting = (answer == Answer::Pending).then_some(call);
    }

    async fn on(&mut self, event: Event) {
        let expected = &mut self.expected;
        match event {
            Event::Stop(code) if expected.stopped.is_none() && !expected.closed => {
                // Fails if the stream was reset, and the reset has arrived. Then it cannot be stopped any more.
                if self.peer.stop(VarInt::from_u64(code).unwrap()).is_ok() {
                    expected.stopped = Some(code);
                }
                self.pair.arrives().await;
            }
            Event::Close if !expected.closed => {
                self.pair.peer.close(VarInt::from_u32(0), b"closed");
                self.pair.carrier.connection.closed().await;
                self.lanes.on_lost();
                expected.closed = true;
            }
            Event::Fatal => {
                self.lanes.on_record(record(Severity::Fatal, 0));
                expected.ends(Answer::Failed);
            }
            Event::Abort => {
                self.lanes.on_record(record(Severity::Abort, 0));
                expected.ends(Answer::Failed);
            }
            Event::Garbage => {
                self.lanes.on_malformed(GARBAGE);
                expected.ends(Answer::Garbage);
            }
            Event::Consumed => {
                self.lanes.on_consumed(expected.written);
                expected.consumed = expected.written;
            }
            Event::FailHere | Event::AbortHere => {
                let severity = if matches!(event, Event::FailHere) { Severity::Fatal } else { Severity::Abort };
                // As in `SendStream::fail` and `abort`. The future resolves when the record is sent, and is not
                // awaited here.
                let _ = self.lanes.end(StreamError::new(7, "a word"), severity).map(drop);
                expected.ends(Answer::Here);
            }
            Event::Finish => {
                let may = expected.end.or_else(|| expected.finished.then_some(Answer::Here)).unwrap_or(Answer::Done);
                let answer = self.send.finish().map_or_else(|error| Answer::from(&error), |()| Answer::Done);
                assert_eq!(answer, may, "{expected:?}");
                if answer == Answer::Done {
                    expected.finished = true;
                    expected.deliverable = expected.stopped.is_none() && !expected.closed;
                }
                // The program that calls `finish` has given up the call that waited.
                self.waiting = None;
            }
            Event::Call(call) => self.call(call),
            Event::Stop(_) | Event::Close => {}
        }
    }
}

#[test]
fn a_writer_is_told_why_it_cannot_go_on_and_is_woken_for_it() {
    play(&prop::collection::vec(event(), 1..40), async |pair, events| Scene::play(pair, &events).await);
}

#[tokio::test]
async fn an_end_of_data_is_a_use_that_a_look_at_the_connection_does_not_miss() {
    let pair = Pair::new().await;
    let mut lane = pair.open().await;
    let seen = pair.carrier.uses();
    lane.send.finish().unwrap();
    assert!(!pair.carrier.rest(seen), "nobody would look for what acknowledges the end");
    assert!(pair.carrier.rest(pair.carrier.uses()));
}
