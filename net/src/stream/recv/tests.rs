//! The reading half over a QUIC connection, compared with a model of what its reader must be told: whatever the peer
//! sends, reports and closes, whatever this side does, and however the data is read.

use std::sync::Arc;

use bytes::Bytes;
use iroh::endpoint::{SendStream as QuicSend, VarInt};
use proptest::prelude::*;

use super::{AHEAD, RecvStream};
use crate::{
    error::{NextError, ReadError, StreamError},
    stream::{
        Lanes,
        pair::{Opened, Pair, Woken, pattern, play, record},
    },
    wire::{Malformed, codes::lane, record::Severity},
};

const TRUNCATED: Malformed = Malformed::Truncated { what: "the header of the test" };
/// Maximum number of bytes of a call. It is more than a packet, so that data comes in several chunks.
const MOST: usize = 3_000;
const CODES: [u64; 4] = [lane::DONE, lane::CANCELLED, lane::FAILED, lane::ABORTED];

/// An action of the peer, of this side or of the reader.
#[derive(Debug, Clone, Copy)]
enum Event {
    Send(usize),
    Finish,
    Reset(u64),
    /// The peer sends a record that ends the stream.
    Fatal {
        offset: u64,
    },
    Abort,
    Garbage,
    /// The peer closes the connection.
    Close,
    FailHere,
    AbortHere,
    Call(Call),
    Consume(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Read(usize),
    Chunk(usize),
    Peek(usize),
    ToEnd,
}

fn event() -> impl Strategy<Value = Event> {
    let call = prop_oneof![
        (1..MOST).prop_map(Call::Read),
        (1..MOST).prop_map(Call::Chunk),
        (1..2 * MOST).prop_map(Call::Peek),
        Just(Call::ToEnd),
    ];
    prop_oneof![
        6 => (1..MOST).prop_map(Event::Send),
        1 => Just(Event::Finish),
        1 => prop::sample::select(&CODES[..]).prop_map(Event::Reset),
        2 => (0..3 * MOST as u64).prop_map(|offset| Event::Fatal { offset }),
        1 => Just(Event::Abort),
        1 => Just(Event::Garbage),
        1 => Just(Event::Close),
        1 => Just(Event::FailHere),
        1 => Just(Event::AbortHere),
        9 => call.prop_map(Event::Call),
        2 => (1..MOST).prop_map(Event::Consume),
    ]
}

/// The cause of the stream's end, as the reader must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Failed { offset: u64 },
    Aborted,
    Here,
    Garbage,
}

/// The result of a call, without the number of bytes read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Data,
    EndOfData,
    Pending,
    Failed,
    Incomplete(u64),
    Aborted,
    Here,
    Garbage,
    Reset(u64),
    Lost,
}

/// The model of what the reader must be told, from the order of the events. It knows how many bytes were read ahead,
/// and nothing else of the library's state.
#[derive(Debug, Default)]
struct Expected {
    sent: u64,
    finished: bool,
    reset: Option<u64>,
    closed: bool,
    /// The first cause that ended the stream.
    end: Option<End>,
    /// The reader saw the end of the data before anything else had ended the stream: no later event takes that back.
    complete: bool,
}

impl Expected {
    fn ends(&mut self, end: End) {
        self.end = self.end.or(Some(end));
    }

    /// Returns how many of the `ahead` bytes that were read ahead the reader may have, after the `given` bytes that
    /// it has.
    fn may_have(&self, given: u64, ahead: u64) -> Result<u64, Answer> {
        match self.end {
            Some(End::Here) if ahead > 0 || !self.complete => Err(Answer::Here),
            Some(End::Aborted) if !self.complete => Err(Answer::Aborted),
            Some(End::Garbage) if !self.complete => Err(Answer::Garbage),
            Some(End::Failed { offset }) if !self.complete => Ok(ahead.min(offset.saturating_sub(given))),
            _ => Ok(ahead),
        }
    }

    /// Returns what comes after the first `taken` bytes, for a reader that has none of them left in the buffer.
    fn behind(&self, taken: u64) -> Answer {
        // A reset overtakes the data that was not taken.
        let left = if self.reset.is_some() { 0 } else { self.sent - taken };
        if self.complete {
            return Answer::EndOfData;
        }
        match self.end {
            Some(End::Here) => Answer::Here,
            Some(End::Aborted) => Answer::Aborted,
            Some(End::Garbage) => Answer::Garbage,
            Some(End::Failed { offset }) if offset <= taken => Answer::Failed,
            Some(End::Failed { .. }) if left > 0 => Answer::Data,
            Some(End::Failed { offset }) if self.reset.is_some() || self.finished || self.closed => {
                Answer::Incomplete(offset - taken)
            }
            Some(End::Failed { .. }) => Answer::Pending,
            None if left > 0 => Answer::Data,
            None => match self.reset {
                // The reader waits for the record that explains the reset, for longer than the test takes.
                Some(lane::FAILED | lane::ABORTED) => Answer::Pending,
                Some(code) => Answer::Reset(code),
                None if self.finished => Answer::EndOfData,
                None if self.closed => Answer::Lost,
                None => Answer::Pending,
            },
        }
    }
}

/// A lane whose other side is plain QUIC.
struct Scene<'a> {
    pair: &'a mut Pair,
    peer: QuicSend,
    recv: RecvStream,
    lanes: Arc<Lanes>,
    expected: Expected,
    /// Number of data bytes that the reader was given.
    given: u64,
    woken: Woken,
    /// The call that was pending when it was made last.
    waiting: Option<Call>,
}

fn answer_to(error: &ReadError) -> Answer {
    match error {
        ReadError::Failed(_) => Answer::Failed,
        ReadError::FailedIncomplete { missing, .. } => Answer::Incomplete(*missing),
        ReadError::Aborted(_) => Answer::Aborted,
        ReadError::Reset { code } => Answer::Reset(*code),
        ReadError::EndedHere(_) => Answer::Here,
        ReadError::Lost(_) => Answer::Lost,
        ReadError::Malformed(_) => Answer::Garbage,
    }
}

impl<'a> Scene<'a> {
    /// Plays a stream from its opening on. Returns false if its connection is gone afterwards.
    async fn play(pair: &'a mut Pair, events: &[Event]) -> bool {
        let Opened { there: (peer, _answers), send: _send, mut recv, lanes } = pair.open().await;
        recv.read_raw(TRUNCATED, |read| Ok((!read.is_empty()).then_some(((), 1)))).await.unwrap();
        let expected = Expected::default();
        let mut scene = Scene { pair, peer, recv, lanes, expected, given: 0, woken: Woken::default(), waiting: None };
        for event in events {
            scene.on(*event).await;
            // A call that waits is made again: it must find what there is, and must have been woken for it.
            if let Some(call) = scene.waiting {
                scene.call(call);
            }
        }
        !scene.expected.closed
    }

    fn ahead(&self) -> u64 {
        self.recv.buffer.len() as u64
    }

    /// Checks data bytes that were read: they are the next ones, and none of them is after the offset of an error.
    fn given(&mut self, data: &[u8]) {
        let given = self.given + data.len() as u64;
        assert_eq!(data, pattern(self.given, data.len()), "other data than was sent, at {}", self.given);
        if let (Some(End::Failed { offset }), false) = (self.expected.end, self.expected.complete) {
            assert!(data.is_empty() || given <= offset, "{given} bytes were given of {offset} before the error");
        }
        self.given = given;
    }

    fn call(&mut self, call: Call) {
        let woken = self.woken.take();
        let (ahead, may_have) = (self.ahead(), self.expected.may_have(self.given, self.ahead()));
        let first = match may_have {
            Err(answer) if ahead > 0 => answer,
            Ok(1..) => Answer::Data,
            _ => self.expected.behind(self.given + ahead),
        };
        let answer = match call {
            Call::Read(len) => {
                let mut buf = vec![0; len];
                match self.woken.poll(self.recv.read(&mut buf)) {
                    Some(Ok(0)) => Answer::EndOfData,
                    Some(Ok(len)) => {
                        self.given(&buf[..len]);
                        Answer::Data
                    }
                    Some(Err(error)) => answer_to(&error),
                    None => Answer::Pending,
                }
            }
            Call::Chunk(max) => match self.woken.poll(self.recv.read_chunk(max)) {
                Some(Ok(None)) => Answer::EndOfData,
                Some(Ok(Some(chunk))) => {
                    assert!((1..=max).contains(&chunk.len()));
                    self.given(&chunk);
                    Answer::Data
                }
                Some(Err(error)) => answer_to(&error),
                None => Answer::Pending,
            },
            Call::Peek(min) => return self.peek(min, woken),
            Call::ToEnd => return self.all(woken),
        };
        assert_eq!(answer, first, "{call:?} behind {} of {:?}", self.given, self.expected);
        self.saw_end(answer);
        self.waits(call, answer, woken);
    }

    /// Calls `peek`, which returns when `min` bytes are there, the data ends, or there is an error.
    fn peek(&mut self, min: usize, woken: bool) {
        let polled = self.woken.poll(self.recv.peek(min)).map(|shown| shown.map(<[u8]>::to_vec));
        // The bytes that were read ahead by now are all that had arrived, or as many as `peek` was asked for.
        let ahead = self.ahead();
        let may_have = self.expected.may_have(self.given, ahead).map(|len| len as usize);
        let behind = self.expected.behind(self.given + ahead);
        let (answer, expected) = match polled {
            Some(Ok(shown)) => {
                let may_have = may_have.expect("what was shown is void");
                assert_eq!(shown, pattern(self.given, may_have), "other data was shown than was sent");
                let enough = may_have >= min;
                (if enough { Answer::Data } else { Answer::EndOfData }, if enough { Answer::Data } else { behind })
            }
            Some(Err(error)) => (answer_to(&error), may_have.err().filter(|_| ahead > 0).unwrap_or(behind)),
            None => (Answer::Pending, may_have.err().filter(|_| ahead > 0).unwrap_or(behind)),
        };
        assert_eq!(answer, expected, "peek of {min} behind {} of {:?}", self.given, self.expected);
        self.saw_end(answer);
        self.waits(Call::Peek(min), answer, woken);
    }

    fn all(&mut self, woken: bool) {
        let polled = self.woken.poll(self.recv.read_to_end(usize::MAX));
        let ahead = self.ahead();
        let (answer, read) = match polled {
            Some(Ok(read)) => (Answer::EndOfData, read),
            Some(Err(NextError::Read(error))) => (answer_to(&error), Bytes::new()),
            Some(Err(error)) => panic!("{error}"),
            None => (Answer::Pending, Bytes::new()),
        };
        let ahead = ahead + read.len() as u64;
        let expected = match self.expected.may_have(self.given, ahead) {
            Err(answer) if ahead > 0 => answer,
            _ => self.expected.behind(self.given + ahead),
        };
        assert_eq!(answer, expected, "read_to_end behind {} of {:?}", self.given, self.expected);
        self.given(&read);
        self.saw_end(answer);
        self.waits(Call::ToEnd, answer, woken);
    }

    fn saw_end(&mut self, answer: Answer) {
        if answer == Answer::EndOfData {
            assert_eq!(self.given + self.ahead(), self.expected.sent, "truncated data ended well");
            assert!(self.expected.finished, "data that was not finished ended well");
            self.expected.complete = true;
        }
    }

    /// Checks that a call that was pending, and is not any more, was woken in between.
    fn waits(&mut self, call: Call, answer: Answer, woken: bool) {
        assert!(
            answer == Answer::Pending || self.waiting != Some(call) || woken,
            "{call:?} would not have been woken: {:?}",
            self.expected
        );
        self.waiting = (answer == Answer::Pending).then_some(call);
    }

    /// Consumes bytes that `peek` has returned.
    fn consume(&mut self, len: usize) {
        let may_have = self.expected.may_have(self.given, self.ahead()).unwrap_or(0);
        let taken = self.recv.consume(len);
        assert_eq!(taken.len(), len.min(may_have as usize), "{:?}", self.expected);
        self.given(&taken);
        self.waiting = None;
    }

    async fn on(&mut self, event: Event) {
        let expected = &mut self.expected;
        let open = !expected.finished && expected.reset.is_none() && !expected.closed;
        match event {
            Event::Send(len) if open => {
                // Fails if the reader has stopped the half. Then the stream has ended, and no more of it is read.
                if self.peer.write_all(&pattern(expected.sent, len)).await.is_ok() {
                    expected.sent += len as u64;
                }
                self.pair.arrives().await;
            }
            // Finished data is not reset here. Once it is acknowledged, which may happen at any time, a reset has no
            // effect.
            Event::Finish if open => {
                expected.finished = self.peer.finish().is_ok();
                self.pair.arrives().await;
            }
            Event::Reset(code) if open => {
                if self.peer.reset(VarInt::from_u64(code).unwrap()).is_ok() {
                    expected.reset = Some(code);
                }
                self.pair.arrives().await;
            }
            Event::Close if !expected.closed => {
                self.pair.peer.close(VarInt::from_u32(0), b"closed");
                self.pair.carrier.connection.closed().await;
                self.lanes.on_lost();
                expected.closed = true;
            }
            Event::Fatal { offset } => {
                self.lanes.on_record(record(Severity::Fatal, offset));
                expected.ends(End::Failed { offset });
            }
            Event::Abort => {
                self.lanes.on_record(record(Severity::Abort, 0));
                expected.ends(End::Aborted);
            }
            Event::Garbage => {
                self.lanes.on_malformed(TRUNCATED);
                expected.ends(End::Garbage);
            }
            Event::FailHere | Event::AbortHere => {
                let severity = if matches!(event, Event::FailHere) { Severity::Fatal } else { Severity::Abort };
                // As in `XStream::fail` and `abort`. The future resolves when the record is sent, and is not awaited
                // here.
                let _ = self.lanes.end(StreamError::new(7, "a word"), severity).map(drop);
                self.recv.stop_failed();
                expected.ends(End::Here);
            }
            Event::Call(call) => self.call(call),
            Event::Consume(len) => self.consume(len),
            Event::Send(_) | Event::Finish | Event::Reset(_) | Event::Close => {}
        }
    }
}

#[test]
fn a_reader_is_told_the_same_of_its_data_however_it_reads_it_and_is_woken_for_it() {
    play(&prop::collection::vec(event(), 1..40), async |pair, events| Scene::play(pair, &events).await);
}

/// Each packet has small frames of several lanes. noq joins the frames of a lane when they take up much more memory
/// than they hold data.
#[tokio::test]
async fn what_is_read_ahead_of_the_user_is_bounded_in_bytes_however_noq_has_joined_it() {
    let mut pair = Pair::new().await;
    let mut lanes = Vec::new();
    for _ in 0..4 {
        lanes.push(pair.open().await);
    }
    for _ in 0..1_000 {
        for lane in &mut lanes {
            lane.there.0.write_all(&[7; 300]).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    pair.arrives().await;
    for Opened { recv, .. } in &mut lanes {
        recv.read_raw(TRUNCATED, |read| Ok((!read.is_empty()).then_some(((), 1)))).await.unwrap();
        assert!(recv.buffer.len() <= AHEAD, "{} bytes were read for a header of one", recv.buffer.len());
        recv.peek(1).await.unwrap();
        assert!(recv.buffer.len() <= 2 * AHEAD, "{} bytes were read ahead", recv.buffer.len());
    }
}
