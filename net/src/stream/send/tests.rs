//! The writing half over a QUIC connection, against what its writer has to be told: whatever the peer stops, says and closes, whatever
//! this side does, and whether or not the lane has room. QUIC itself always has.

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
/// With these a lane may have some 730 bytes unread: most writes fill that, and the next one waits.
const LIMITS: PeerLimits = PeerLimits { data_lanes: 16, metadata: 1_024, unread_bytes: 8_000, unread_chunks: None };
/// What is held against a lane: those 730 bytes, rounded up.
const LANE: u64 = 800;
const MOST: usize = 3_000;
const CODES: [u64; 4] = [lane::DONE, lane::CANCELLED, lane::FAILED, lane::ABORTED];

/// What the peer does, this side does, and the writer does.
#[derive(Debug, Clone, Copy)]
enum Event {
    Stop(u64),
    Fatal,
    Abort,
    Garbage,
    /// The peer says that it has read everything.
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

/// What a call answers, but for how much it wrote.
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

/// What the writer has to be told, from the order in which things came. It knows nothing of the library's states.
#[derive(Debug, Default)]
struct Expected {
    finished: bool,
    /// It was finished while nothing stood in the way of its delivery.
    deliverable: bool,
    delivered: bool,
    stopped: Option<u64>,
    closed: bool,
    /// What the first thing that ended the stream is to its writer.
    end: Option<Answer>,
    written: u64,
    consumed: u64,
}

impl Expected {
    fn ends(&mut self, end: Answer) {
        self.end = self.end.or(Some(end));
    }

    /// What a call may answer.
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
            // The record that explains it is waited for, longer than the test takes.
            Some(lane::FAILED | lane::ABORTED) => may.push(Answer::Pending),
            Some(code) => may.push(Answer::Stopped(code)),
            None if self.closed => {}
            None if call == Call::Delivered => may.push(Answer::Pending),
            None => {
                may.push(Answer::Done);
                // It waits for the peer, unless that has read everything.
                if self.written > self.consumed {
                    may.push(Answer::Pending);
                }
            }
        }
        // Which of the two is seen depends on when the writer looked.
        if self.closed {
            may.push(Answer::Lost);
        }
        // When the last acknowledgement comes nobody knows.
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
    /// The call that found nothing when it was made last.
    waiting: Option<Call>,
}

impl<'a> Scene<'a> {
    /// Plays a stream from its opening on. False if its connection is gone then.
    async fn play(pair: &'a mut Pair, events: &[Event]) -> bool {
        pair.carrier.set_peer_limits(&LIMITS);
        let Opened { there: (_opener, peer), send, recv: _recv, lanes } = pair.open().await;
        let expected = Expected::default();
        let mut scene = Scene { pair, peer, send, lanes, expected, woken: Woken::default(), waiting: None };
        for event in events {
            scene.on(*event).await;
            // Whoever waits finds what there is, and was woken for it.
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
        // What waits for the delivery hears of a stop and of an acknowledgement through its future, which was dropped.
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
                // It cannot be stopped any more once it was reset, and the reset is here.
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
                // As `SendStream::fail` and `abort`: the future tells when the record is out, which nobody waits for here.
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
                // Whoever calls it has given up the call that waited.
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
