//! A reader has seen the end of the data, and holds data that the program has not taken, when the stream ends for
//! another reason.

use std::io;

use rand::RngExt;
use tokio::io::AsyncReadExt;
use twolane::{AccessList, Endpoint, Limits, NextError, ReadError, StreamError, XStream, delegation::Pattern};

use super::{
    Verdict,
    stage::{Stage, bind, close, ensure, none_of, not, soon},
};
use crate::stream_tester::chaos::link::V4;

const PROTOCOL: &str = "half-read/1";
const ROUNDS: u64 = 48;
/// The maximum length of the data. It is more than the library reads ahead by itself.
const MOST: u64 = 3_000;

#[derive(Debug, Clone, Copy)]
enum Ahead {
    /// Calls `peek` for more than there is.
    Peek,
    /// Calls `next_line` for a line without an end.
    Line,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    /// The writer aborts the stream that it has finished.
    Abort,
    Fail,
    /// The reader's rules do not allow the stream any more.
    Revoke,
    /// The reader fails the stream itself.
    FailHere,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Read,
    Chunk,
    AsyncRead,
    ToEnd,
}

/// The draft of a round.
#[derive(Debug)]
struct Draft {
    len: u64,
    ahead: Ahead,
    then: Then,
    how: How,
}

impl Draft {
    fn draw(stage: &mut Stage) -> Self {
        let rng = &mut stage.rng;
        Self {
            len: rng.random_range(1..=MOST),
            ahead: [Ahead::Peek, Ahead::Line][rng.random_range(0..2)],
            then: [Then::Abort, Then::Fail, Then::Revoke, Then::FailHere][rng.random_range(0..4)],
            how: [How::Read, How::Chunk, How::AsyncRead, How::ToEnd][rng.random_range(0..4)],
        }
    }
}

pub async fn play(mut stage: Stage) -> Verdict {
    let rules = AccessList::everybody();
    let writer = bind(stage.builder(V4)).await?;
    let reader = bind(stage.builder(V4).limits(Limits::default()).access(rules.clone())).await?;
    let mut faults = Vec::new();
    for _ in 0..ROUNDS {
        let draft = Draft::draw(&mut stage);
        if let Err(fault) = round(&writer, &reader, &rules, &draft).await {
            faults.push(format!("{fault} ({draft:?})"));
        }
    }
    faults.extend(close([writer, reader]).await.err());
    none_of(&faults, ROUNDS)
}

async fn round(writer: &Endpoint, reader: &Endpoint, rules: &AccessList, draft: &Draft) -> Verdict {
    let pattern: Pattern = PROTOCOL.parse().map_err(not("a pattern"))?;
    rules.restrict(&pattern);
    rules.allow_for(&pattern, writer.id());
    let both = async {
        let ticket = reader.ticket();
        tokio::join!(reader.accept_bi(&[PROTOCOL]), writer.get_stream(ticket, PROTOCOL))
    };
    let (accepted, opened) = soon("a stream", both).await?;
    let (mut accepted, mut opened) = (accepted.map_err(not("not accepted"))?.1, opened.map_err(not("not opened"))?);
    let data: Vec<u8> = (0..draft.len).map(|n| b'a' + (n % 26) as u8).collect();
    opened.write_all(&data).await.map_err(not("a write"))?;
    opened.finish().map_err(not("the end"))?;
    soon("reading ahead", ahead(&mut accepted, draft, data.len())).await??;
    soon("the other end of the stream", then(&mut accepted, &mut opened, rules, draft)).await??;
    let (found, end) = soon("the rest of the data", rest(accepted, draft.how)).await?;
    ensure(data.starts_with(&found), || "other bytes were read than were written".to_owned())?;
    match end {
        Ok(()) => {
            ensure(found == data, || format!("an end of data was read after {} bytes of {}", found.len(), draft.len))
        }
        // An error after the end of the data takes nothing back.
        Err(error) if matches!(draft.then, Then::Abort | Then::Fail) => {
            Err(format!("finished data was not read to its end: {error} after {} bytes", found.len()))
        }
        Err(_) => Ok(()),
    }
}

/// Reads up to the end of the data, without taking any.
async fn ahead(stream: &mut XStream, draft: &Draft, len: usize) -> Verdict {
    let (_, recv) = stream.halves();
    match draft.ahead {
        Ahead::Peek => {
            let seen = recv.peek(len + 1).await.map_err(not("peek"))?.len();
            ensure(seen == len, || format!("peek has seen {seen} bytes of {len}"))
        }
        Ahead::Line => match recv.next_line(len + 1).await {
            Err(NextError::Ended { read }) if read == len => Ok(()),
            other => Err(format!("a line without an end: {other:?}")),
        },
    }
}

/// Ends the stream, and waits until the reader's side knows.
async fn then(accepted: &mut XStream, opened: &mut XStream, rules: &AccessList, draft: &Draft) -> Verdict {
    let error = || StreamError::new(7, "as planned");
    let errors = accepted.errors();
    match draft.then {
        Then::Abort => opened.abort(error()).await.map_err(not("an abort after the end of the data"))?,
        Then::Fail => opened.fail(error()).await.map_err(not("a failure after the end of the data"))?,
        Then::FailHere => return accepted.fail(error()).await.map_err(not("a failure by the reader")),
        Then::Revoke => {
            let pattern: Pattern = PROTOCOL.parse().map_err(not("a pattern"))?;
            rules.revoke_for(&pattern, &accepted.peer());
            // The writer learns of it after the reader's side has ended the stream.
            let told = opened.read_chunk(1).await;
            return ensure(matches!(told, Err(ReadError::Aborted(_))), || {
                format!("after a revocation {told:?} was read")
            });
        }
    }
    ensure(errors.next().await.is_some(), || "the error did not come".to_owned())
}

/// Reads the rest of the data, and returns it together with how it ended.
async fn rest(mut stream: XStream, how: How) -> (Vec<u8>, Result<(), String>) {
    let mut found = Vec::new();
    let end = match how {
        How::Read => {
            let mut buf = [0; 100];
            loop {
                match stream.read(&mut buf).await {
                    Ok(0) => break Ok(()),
                    Ok(len) => found.extend_from_slice(&buf[..len]),
                    Err(error) => break Err(error.to_string()),
                }
            }
        }
        How::Chunk => loop {
            match stream.read_chunk(100).await {
                Ok(None) => break Ok(()),
                Ok(Some(chunk)) => found.extend_from_slice(&chunk),
                Err(error) => break Err(error.to_string()),
            }
        },
        How::AsyncRead => {
            let read: io::Result<usize> = AsyncReadExt::read_to_end(&mut stream, &mut found).await;
            read.map(drop).map_err(|error| error.to_string())
        }
        How::ToEnd => match stream.read_to_end(1 << 20).await {
            Ok(data) => {
                found.extend_from_slice(&data);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        },
    };
    (found, end)
}
