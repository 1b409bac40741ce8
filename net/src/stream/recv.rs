//! The reading half of a stream.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Sleep, sleep},
};

use super::{
    buffered::Buffered,
    ending::Cause,
    lanes::Lanes,
    read_half::{Failure, Next, ReadHalf},
};
use crate::{
    error::ReadError,
    wire::{Malformed, codes::lane},
};

#[cfg(test)]
mod tests;

/// Maximum number of bytes that one call reads from noq ahead of the program: eight packets. The limit is in bytes
/// because noq joins small frames into chunks of up to a whole flow control window. With a limit in chunks, a peer
/// could have 2 MB of each lane held here, which no per-peer limit counts.
const AHEAD: usize = 10 * 1024;

/// The reading half of an [`XStream`](crate::XStream), returned by [`XStream::split`](crate::XStream::split).
///
/// Implements [`AsyncRead`]. The end of the data means success: it is read only if the peer finished on purpose. If
/// the peer failed the stream, every byte that it wrote before is read first, then the error.
///
/// If it is dropped before the end, it tells the peer to stop sending.
#[derive(Debug)]
pub struct RecvStream {
    lanes: Arc<Lanes>,
    half: ReadHalf,
    /// Bytes that were read from noq and not yet by the program: those that came with the header, or after a line.
    buffer: Buffered,
    /// Timeout of the wait for the record that explains a RESET_STREAM.
    explanation: Option<Pin<Box<Sleep>>>,
    /// The error with which reading ended.
    ended: Option<ReadError>,
}

impl RecvStream {
    pub(crate) fn new(quic: iroh::endpoint::RecvStream, lanes: Arc<Lanes>) -> Self {
        *lanes.quic_recv() = Some(quic);
        Self { lanes, half: ReadHalf::new(), buffer: Buffered::default(), explanation: None, ended: None }
    }

    /// Reads some bytes into `buf`, and returns their number. 0 is the end of the data, which the peer has finished
    /// on purpose.
    ///
    /// Cancel-safe: a dropped call has removed nothing from the stream.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the data is not complete, with the reason.
    pub async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReadError> {
        let mut buf = ReadBuf::new(buf);
        poll_fn(|cx| self.poll_read_data(cx, &mut buf)).await?;
        Ok(buf.filled().len())
    }

    /// Reads the next bytes, at most `max`, without copying them where possible. `None` is the end of the data.
    ///
    /// Cancel-safe: a dropped call has removed nothing from the stream.
    ///
    /// # Errors
    ///
    /// The same as for [`RecvStream::read`].
    pub async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        poll_fn(|cx| self.poll_read_chunk(cx, max)).await
    }

    /// Reads everything up to the end of the data, which must have at most `max` bytes.
    ///
    /// Cancel-safe: the next call returns the bytes that a dropped call has read.
    ///
    /// # Errors
    ///
    /// `NextError::Read` and `NextError::TooLong`, as for [`next_line`](RecvStream::next_line). The end of the data
    /// is no error.
    pub async fn read_to_end(&mut self, max: usize) -> Result<Bytes, super::NextError> {
        loop {
            let available = self.available()?;
            if available > max {
                return Err(super::NextError::TooLong { max });
            }
            if !self.fill().await? {
                return Ok(self.buffer.take(available));
            }
        }
    }

    /// Reads ahead until `min` bytes are there or the data ends, and returns the bytes that are there. They stay
    /// unread until they are [consumed](RecvStream::consume). This is for messages whose first bytes tell where they
    /// end.
    ///
    /// Bytes that were read ahead count as read for the peer's writer, so the caller must limit `min`.
    ///
    /// Cancel-safe: the next call has the bytes that a dropped call has read ahead.
    ///
    /// # Errors
    ///
    /// The same as for [`RecvStream::read`].
    pub async fn peek(&mut self, min: usize) -> Result<&[u8], ReadError> {
        while self.available()? < min && self.fill().await? {}
        let available = self.available()?;
        Ok(&self.buffer.as_slice()[..available])
    }

    /// Removes and returns the first `len` bytes that [`peek`](RecvStream::peek) has returned, or all bytes if there
    /// are fewer. Returns none after an abort, or after this side has ended the stream: the bytes are void then.
    pub fn consume(&mut self, len: usize) -> Bytes {
        let available = self.available().unwrap_or(0);
        self.buffer.take(len.min(available))
    }

    /// Returns the error with which reading ended, if it ended with an error.
    pub fn error(&self) -> Option<&ReadError> {
        self.ended.as_ref()
    }

    pub(crate) fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// Reads more bytes into the buffer. Returns false at the end of the data.
    pub(crate) async fn fill(&mut self) -> Result<bool, ReadError> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Returns the bytes that were read ahead, unless they are void.
    pub(crate) fn buffer(&mut self) -> Result<&[u8], ReadError> {
        let available = self.available()?;
        Ok(&self.buffer.as_slice()[..available])
    }

    /// Removes bytes from the buffer, which counts as reading them.
    pub(crate) fn take_buffer(&mut self, len: usize) -> Bytes {
        self.buffer.take(len)
    }

    /// Reads bytes that are not data (a header, an answer) until `decode` returns a value. The bytes after them stay
    /// in the buffer as data.
    pub(crate) async fn read_raw<T>(
        &mut self,
        truncated: Malformed,
        decode: impl Fn(&[u8]) -> crate::wire::Decoded<T>,
    ) -> Result<T, RawError> {
        self.half.begin_preamble();
        loop {
            if let Some((value, used)) = decode(self.buffer.as_slice())? {
                self.buffer.skip(used);
                self.buffer.settle();
                let data = self.half.end_preamble(self.buffer.len() as u64);
                self.report(data);
                return Ok(value);
            }
            self.buffer.settle();
            if !self.fill().await? {
                return Err(truncated.into());
            }
        }
    }

    /// Takes the QUIC stream out together with the bytes that were read already, if the stream turns out not to be a
    /// data lane.
    pub(crate) fn into_quic(mut self) -> Option<(iroh::endpoint::RecvStream, Bytes)> {
        let read = self.buffer.take(self.buffer.len());
        let quic = self.lanes.quic_recv().take();
        quic.map(|quic| (quic, read))
    }

    /// Stops the lane with a code that [`ReadHalf`] does not use: for a rejection, or for malformed bytes.
    pub(crate) fn stop_with(&mut self, code: u64) {
        if let Some(code) = self.half.stop_with(code) {
            self.lanes.stop(code);
        }
    }

    /// Stops the peer's half after this side has failed the stream: the peer need not send more. If the peer failed
    /// the stream first, its data is still to be read, and this does nothing.
    pub(super) fn stop_failed(&mut self) {
        if matches!(self.lanes.cause(), Some(Cause::Failed(_) | Cause::Aborted(_))) {
            self.stop_reading(None);
        }
    }

    fn poll_read_data(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<(), ReadError>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let available = self.available()?;
        if available > 0 {
            let len = available.min(buf.remaining());
            buf.put_slice(&self.buffer.as_slice()[..len]);
            self.buffer.skip(len);
            return Poll::Ready(Ok(()));
        }
        loop {
            let Some(most) = ready!(self.poll_next(cx))? else { return Poll::Ready(Ok(())) };
            let room = buf.remaining().min(most);
            let room = buf.initialize_unfilled_to(room);
            let polled = self.lanes.quic_recv().as_mut().map(|quic| quic.poll_read(cx, room));
            let Some(polled) = polled else { return Poll::Ready(Err(self.gone())) };
            match polled {
                Poll::Ready(Ok(0)) => self.half.on_fin(self.lanes.ending()),
                Poll::Ready(Ok(len)) => {
                    buf.advance(len);
                    self.pulled(len);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => self.on_error(error)?,
                Poll::Pending => ready!(self.poll_blocked(cx)),
            }
        }
    }

    fn poll_read_chunk(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, ReadError>> {
        let available = self.available()?;
        if available > 0 {
            return Poll::Ready(Ok(Some(self.buffer.take(available.min(max)))));
        }
        loop {
            let Some(most) = ready!(self.poll_next(cx))? else { return Poll::Ready(Ok(None)) };
            let most = max.min(most);
            let polled = self.lanes.quic_recv().as_mut().map(|quic| pin!(quic.read_chunk(most)).poll(cx));
            let Some(polled) = polled else { return Poll::Ready(Err(self.gone())) };
            match polled {
                Poll::Ready(Ok(Some(chunk))) => {
                    self.pulled(chunk.len());
                    return Poll::Ready(Ok(Some(chunk)));
                }
                Poll::Ready(Ok(None)) => self.half.on_fin(self.lanes.ending()),
                Poll::Ready(Err(error)) => self.on_error(error)?,
                Poll::Pending => ready!(self.poll_blocked(cx)),
            }
        }
    }

    /// Reads more bytes from noq into the buffer, in one call, because each call locks the connection. Returns false
    /// at the end of the data.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ReadError>> {
        loop {
            let Some(most) = ready!(self.poll_next(cx))? else { return Poll::Ready(Ok(false)) };
            // `most` is already limited to the bytes before the offset of a fatal error.
            let most = most.min(AHEAD);
            let len = if self.half.in_preamble() {
                let polled = self.lanes.quic_recv().as_mut().map(|quic| pin!(quic.read_chunk(most)).poll(cx));
                polled.map(|polled| {
                    polled.map_ok(|chunk| {
                        let Some(chunk) = chunk else { return 0 };
                        let len = chunk.len();
                        self.buffer.push_shared(chunk);
                        len
                    })
                })
            } else {
                let mut room = [0; AHEAD];
                let polled = self.lanes.quic_recv().as_mut().map(|quic| quic.poll_read(cx, &mut room[..most]));
                polled.map(|polled| {
                    polled.map_ok(|len| {
                        // At the end of the data the buffered bytes stay where they are.
                        if len > 0 {
                            self.buffer.push(&room[..len]);
                        }
                        len
                    })
                })
            };
            let Some(len) = len else { return Poll::Ready(Err(self.gone())) };
            match len {
                Poll::Ready(Ok(0)) => self.half.on_fin(self.lanes.ending()),
                Poll::Ready(Ok(len)) => {
                    self.pulled(len);
                    return Poll::Ready(Ok(true));
                }
                Poll::Ready(Err(error)) => self.on_error(error)?,
                Poll::Pending => ready!(self.poll_blocked(cx)),
            }
        }
    }

    /// Returns how many of the bytes in the buffer may be given to the program.
    fn available(&mut self) -> Result<usize, ReadError> {
        if self.buffer.is_empty() {
            return Ok(0);
        }
        match self.half.available(self.buffer.len() as u64, self.lanes.ending()) {
            Ok(available) => Ok(usize::try_from(available).unwrap_or(usize::MAX)),
            Err(failure) => Err(self.failure(failure)),
        }
    }

    /// Returns how many bytes may be read from noq now. `None` is the end of the data.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<usize>, ReadError>> {
        loop {
            match self.half.next(self.lanes.ending()) {
                Next::Pull(most) => return Poll::Ready(Ok(Some(usize::try_from(most).unwrap_or(usize::MAX)))),
                Next::End => return Poll::Ready(Ok(None)),
                Next::Fail(failure) => return Poll::Ready(Err(self.failure(failure))),
                Next::AwaitRecord => {
                    if self.lanes.wake_reader(cx.waker()).is_some() {
                        continue;
                    }
                    let bound = self.lanes.carrier.limits.error_timeout;
                    let waiting = self.explanation.get_or_insert_with(|| Box::pin(sleep(bound)));
                    ready!(waiting.as_mut().poll(cx));
                    self.half.on_waited();
                }
            }
        }
    }

    /// Called when noq has no data. The end of the stream must wake the reader as well. Ready if the stream has ended
    /// in the meantime, and there is nothing to wait for.
    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ending = self.lanes.wake_reader(cx.waker());
        if ending.is_some() && self.half.is_over(ending) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn on_error(&mut self, error: iroh::endpoint::ReadError) -> Result<(), ReadError> {
        match error {
            iroh::endpoint::ReadError::Reset(code) => self.half.on_reset(code.into_inner()),
            iroh::endpoint::ReadError::ConnectionLost(error) => {
                self.half.on_lost();
                // A record that came before has the more precise reason.
                if self.lanes.ending().is_none() {
                    let lost = self.lanes.carrier.lost(error).into();
                    return Err(self.ended.insert(lost).clone());
                }
            }
            iroh::endpoint::ReadError::ZeroRttRejected => {
                self.lanes.carrier.set_void();
                self.half.on_lost();
                return Err(self.gone());
            }
            // This side has stopped the half.
            _ => return Err(self.gone()),
        }
        Ok(())
    }

    /// Returns the error for a half that is stopped, and whose QUIC stream is gone.
    fn gone(&mut self) -> ReadError {
        let error = match self.lanes.cause() {
            Some(cause) => cause.to_read_error(0),
            None => ReadError::Reset { code: lane::CANCELLED },
        };
        self.ended.insert(error).clone()
    }

    /// Ends reading with `failure`, and tells the peer what it needs to know about it.
    fn failure(&mut self, failure: Failure) -> ReadError {
        self.stop_reading(Some(failure));
        let error = match failure {
            Failure::Ended { missing } => match self.lanes.cause() {
                Some(cause) => cause.to_read_error(missing),
                None => ReadError::Reset { code: lane::CANCELLED },
            },
            Failure::Reset(code) => ReadError::Reset { code },
            Failure::Lost => match self.lanes.carrier.connection.close_reason() {
                Some(error) => self.lanes.carrier.lost(error).into(),
                None => ReadError::Reset { code: lane::CANCELLED },
            },
        };
        self.ended.insert(error).clone()
    }

    /// Sends STOP_SENDING if it is due, and tells the peer's writer that the data which is not read any more counts
    /// as read.
    fn stop_reading(&mut self, failure: Option<Failure>) {
        if let Some(code) = self.half.stop(failure, self.lanes.ending()) {
            self.lanes.stop(code);
        }
        self.lanes.say_consumed(self.lanes.consumption.close());
    }

    fn pulled(&mut self, len: usize) {
        let pulled = self.half.pulled(len as u64);
        if !self.half.in_preamble() {
            self.report(pulled);
        }
    }

    /// Tells the peer's writer, if it has asked, up to which offset its data was taken from noq. The bytes in
    /// `buffer` count as read: their number is limited by what the program asked for, and the peer does not count
    /// them as unread chunks.
    fn report(&self, offset: u64) {
        self.lanes.say_consumed(self.lanes.consumption.report(offset));
    }
}

/// The reason why bytes that are not data could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RawError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl AsyncRead for RecvStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        self.poll_read_data(cx, buf).map_err(Into::into)
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.stop_reading(None);
        self.lanes.let_go_of_recv();
    }
}
