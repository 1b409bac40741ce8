//! The state of the receiving direction.
//!
//! Every poll either takes its data, or takes nothing. In the meantime, the received part of a line or of a fixed
//! number of bytes stays in the crate's stream.

use std::{
    pin::pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use twolane::{ConnectionLost, ReadError, RecvStream};

/// Maximum number of bytes that one call takes. On loopback, 64 KiB cost a tenth of the throughput, and 1 MiB
/// gained nothing.
pub(super) const PIECE: usize = 256 * 1024;

/// The length of the big-endian number before a message that gives the length of the message.
pub(super) const HEADER: usize = 4;

/// Maximum number of bytes behind which the end of the peer's data is looked for while nobody reads. Reading ahead
/// takes them out of the peer's window, so without a bound a peer could have any number of them held here.
const LOOK_BEHIND: usize = 16 * 1024;

/// The stream, and its end.
pub(super) struct RecvSide {
    stream: Option<RecvStream>,
    over: bool,
    /// The number of bytes of the read-ahead data that were searched for `sought` in vain.
    searched: usize,
    sought: Vec<u8>,
}

/// The data that a caller asks for.
#[derive(Clone, Copy)]
pub(super) enum Want<'a> {
    Some(usize),
    Exactly(usize),
    /// Up to and with the separator, which has at most so many bytes before it.
    Until(&'a [u8], usize),
    Message(usize),
    All(usize),
}

/// The data that the caller gets.
pub(super) enum Got {
    /// This number of bytes in the scratch buffer.
    Scratch(usize),
    Data(Bytes),
    /// The data ended too early: there should have been this number of bytes.
    Incomplete(Bytes, usize),
    /// A message, without the header that gives its length.
    Message(Bytes),
    /// There is more data than the limit of the caller.
    TooLong,
}

/// What is known of the end of the peer's data while nobody reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prospect {
    /// The data goes on, or its end is behind unread data.
    Open,
    /// The peer has finished its data, and all of it was read; or this side has let go of it.
    Complete,
    /// The data was cut off.
    Cut,
}

impl RecvSide {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream: Some(stream), over: false, searched: 0, sought: Vec::new() }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over || self.stream.is_none()
    }

    /// Returns whether this side has let go of the direction.
    pub(super) fn is_closed(&self) -> bool {
        self.stream.is_none()
    }

    pub(super) fn end(&mut self) -> Option<RecvStream> {
        self.over = true;
        self.stream.take()
    }

    /// Makes the stream detect the cause of its end, without taking data.
    pub(super) fn notice(&mut self, waker: &Waker) {
        if let Some(stream) = &mut self.stream {
            let _ = pin!(stream.peek(1)).poll(&mut Context::from_waker(waker));
        }
    }

    /// Looks for the end of the peer's data, without taking data. `waker` is woken when the answer may be another one.
    pub(super) fn prospect(&mut self, waker: &Waker) -> Prospect {
        // What this side wants no more of is not cut off.
        let Some(stream) = &mut self.stream else { return Prospect::Complete };
        let mut cx = Context::from_waker(waker);
        let mut want = 1;
        loop {
            match pin!(stream.peek(want)).poll(&mut cx) {
                Poll::Ready(Ok(there)) if there.len() < want => {
                    // All of the data is here. Its end counts when the program has read the data.
                    return if there.is_empty() { Prospect::Complete } else { Prospect::Open };
                }
                Poll::Ready(Ok(there)) if there.len() < LOOK_BEHIND => want = there.len() + 1,
                Poll::Ready(Ok(_)) | Poll::Pending => return Prospect::Open,
                Poll::Ready(Err(ReadError::Failed(_) | ReadError::FailedIncomplete { .. })) => break,
                Poll::Ready(Err(_)) => return Prospect::Cut,
            }
        }
        // A peer that fails the stream leaves the bytes before to be read.
        match pin!(stream.peek(0)).poll(&mut cx) {
            Poll::Ready(Ok(unread)) if !unread.is_empty() => Prospect::Open,
            _ => Prospect::Cut,
        }
    }

    /// Polls the crate's stream for data in another form.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut RecvStream, &mut Context<'_>) -> Poll<Result<T, ReadError>>,
    ) -> Poll<Result<T, ReadError>> {
        // The poll may take some of the searched data.
        self.searched = 0;
        match &mut self.stream {
            Some(stream) => poll(stream, cx),
            None => Poll::Ready(Err(closed())),
        }
    }

    /// Records that the end of the data, or an error, was read.
    pub(super) fn note_end(&mut self) {
        self.over = true;
    }

    pub(super) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        want: Want<'_>,
        scratch: &mut Vec<u8>,
    ) -> Poll<Result<Got, ReadError>> {
        let got = ready!(self.poll_want(cx, want, scratch));
        self.over |= match &got {
            Ok(Got::Scratch(len)) => *len == 0 && !matches!(want, Want::Some(0)),
            Ok(Got::Incomplete(..)) | Err(_) => true,
            Ok(Got::Data(_)) => matches!(want, Want::All(_)),
            Ok(Got::Message(_) | Got::TooLong) => false,
        };
        Poll::Ready(got)
    }

    fn poll_want(
        &mut self,
        cx: &mut Context<'_>,
        want: Want<'_>,
        scratch: &mut Vec<u8>,
    ) -> Poll<Result<Got, ReadError>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(closed()));
        };
        if let Want::Until(separator, _) = want
            && self.sought != separator
        {
            self.searched = 0;
            self.sought = separator.to_vec();
        }
        match want {
            Want::Some(len) => {
                let len = len.min(PIECE);
                if scratch.len() < len {
                    scratch.resize(if len > PIECE / 4 { PIECE } else { PIECE / 4 }, 0);
                }
                let len = ready!(pin!(stream.read(&mut scratch[..len])).poll(cx))?;
                self.searched = 0;
                Poll::Ready(Ok(Got::Scratch(len)))
            }
            Want::Exactly(len) => {
                let there = ready!(pin!(stream.peek(len)).poll(cx))?.len();
                self.searched = 0;
                let data = stream.consume(len);
                Poll::Ready(Ok(if there >= len { Got::Data(data) } else { Got::Incomplete(data, len) }))
            }
            Want::Message(limit) => {
                let there = ready!(pin!(stream.peek(HEADER)).poll(cx))?;
                let Some(header) = there.first_chunk::<HEADER>() else {
                    let len = there.len();
                    self.searched = 0;
                    return Poll::Ready(Ok(Got::Incomplete(stream.consume(len), HEADER)));
                };
                let len = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
                if len > limit {
                    return Poll::Ready(Ok(Got::TooLong));
                }
                let there = ready!(pin!(stream.peek(HEADER + len)).poll(cx))?.len();
                self.searched = 0;
                if there < HEADER + len {
                    return Poll::Ready(Ok(Got::Incomplete(stream.consume(there), HEADER + len)));
                }
                drop(stream.consume(HEADER));
                Poll::Ready(Ok(Got::Message(stream.consume(len))))
            }
            Want::All(limit) => {
                let there = ready!(pin!(stream.peek(limit.saturating_add(1))).poll(cx))?.len();
                if there > limit {
                    return Poll::Ready(Ok(Got::TooLong));
                }
                self.searched = 0;
                Poll::Ready(Ok(Got::Data(stream.consume(there))))
            }
            Want::Until(separator, limit) => loop {
                let there = ready!(pin!(stream.peek(self.searched + 1)).poll(cx))?;
                let len = there.len();
                if len <= self.searched {
                    self.searched = 0;
                    return Poll::Ready(Ok(Got::Incomplete(stream.consume(len), len + 1)));
                }
                // A separator may have begun in the part that was searched already.
                let from = (self.searched + 1).saturating_sub(separator.len());
                if let Some(at) = position(&there[from..], separator) {
                    let before = from + at;
                    if before > limit {
                        return Poll::Ready(Ok(Got::TooLong));
                    }
                    self.searched = 0;
                    return Poll::Ready(Ok(Got::Data(stream.consume(before + separator.len()))));
                }
                // The last bytes may be the beginning of the separator.
                if len > limit.saturating_add(separator.len() - 1) {
                    return Poll::Ready(Ok(Got::TooLong));
                }
                self.searched = len;
            },
        }
    }
}

/// Returns where `separator`, which is not empty, begins for the first time.
fn position(data: &[u8], separator: &[u8]) -> Option<usize> {
    match separator {
        [byte] => data.iter().position(|other| other == byte),
        _ => data.windows(separator.len()).position(|window| window == separator),
    }
}

/// The error for reading after this side has let go of the direction.
fn closed() -> ReadError {
    ReadError::Lost(ConnectionLost::Closed)
}
