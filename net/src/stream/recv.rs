//! The half of a stream that reads.

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
    carrier::code_to_varint,
    lanes::{Cause, Lanes},
    state::{self, RecvAction, RecvEvent},
};
use crate::{
    error::ReadError,
    wire::{Malformed, codes::lane},
};

/// Chunks that are read in one go at most: 10 kB at the size of a packet.
const CHUNKS: usize = 8;

/// The reading half of an [`XStream`](crate::XStream), got from [`XStream::split`](crate::XStream::split).
///
/// Implements [`AsyncRead`]. An end of data means success: it is read only if the peer finished on purpose. If the
/// peer failed, every byte that it wrote before is read first, then the error.
///
/// Dropped before the end, it tells the peer to stop sending.
#[derive(Debug)]
pub struct RecvStream {
    /// `None` only while it is taken apart.
    quic: Option<iroh::endpoint::RecvStream>,
    lanes: Arc<Lanes>,
    /// Read from QUIC, and not yet by the user: what came with the header, or after a line.
    buffer: Buffered,
    /// Data bytes read from QUIC, those in `buffer` included.
    pulled: u64,
    /// A header or an answer is being read, which offsets do not count: an error ends the data after it, not it.
    raw: bool,
    /// RESET_STREAM came with this code. The stream below reports it once, and an end of data from then on.
    reset: Option<u64>,
    /// Runs while a reset waits for the record that explains it.
    explanation: Option<Pin<Box<Sleep>>>,
    /// How reading ended.
    ended: Option<ReadError>,
    /// The data was read to its end: there is nothing to do when this is dropped, unless the stream fails.
    finished: bool,
}

impl RecvStream {
    pub(crate) fn new(quic: iroh::endpoint::RecvStream, lanes: Arc<Lanes>) -> Self {
        Self {
            quic: Some(quic),
            lanes,
            buffer: Buffered::default(),
            pulled: 0,
            raw: false,
            reset: None,
            explanation: None,
            ended: None,
            finished: false,
        }
    }

    /// Reads some bytes into `buf`, and returns how many; 0 is the end of the data, which the peer finished on purpose.
    ///
    /// Cancel-safe: a dropped call has taken nothing.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: the data is not complete, and why.
    pub async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReadError> {
        let mut buf = ReadBuf::new(buf);
        poll_fn(|cx| self.poll_read_data(cx, &mut buf)).await?;
        Ok(buf.filled().len())
    }

    /// The next bytes, at most `max`, without copying them where possible; `None` is the end of the data.
    ///
    /// Cancel-safe: a dropped call has taken nothing.
    ///
    /// # Errors
    ///
    /// As [`RecvStream::read`].
    pub async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        poll_fn(|cx| self.poll_read_chunk(cx, max)).await
    }

    /// Everything up to the end of the data, which must not be more than `max` bytes.
    ///
    /// Cancel-safe: what was read by a dropped call is read again by the next one.
    ///
    /// # Errors
    ///
    /// As [`next_line`](RecvStream::next_line), but for the end.
    pub async fn read_to_end(&mut self, max: usize) -> Result<Bytes, super::NextError> {
        loop {
            if self.buffer.len() > max {
                return Err(super::NextError::TooLong { max });
            }
            if !self.fill().await? {
                return Ok(self.take_buffer(self.buffer.len()));
            }
        }
    }

    /// Reads ahead until `min` bytes are there, or the data ends, and shows them: what is there stays unread until it is
    /// [consumed](RecvStream::consume). For messages whose end their first bytes tell.
    ///
    /// What was read ahead counts as read to the peer: the caller bounds `min`.
    ///
    /// Cancel-safe: what was read ahead by a dropped call is there for the next one.
    ///
    /// # Errors
    ///
    /// As [`RecvStream::read`].
    pub async fn peek(&mut self, min: usize) -> Result<&[u8], ReadError> {
        if self.discards() {
            // What was read ahead is void, and this says why.
            self.limit()?;
        }
        while self.buffer.len() < min && self.fill().await? {}
        Ok(self.buffer.as_slice())
    }

    /// Takes the first `len` bytes that [`peek`](RecvStream::peek) has shown, or as many as there are.
    pub fn consume(&mut self, len: usize) -> Bytes {
        self.take_buffer(len.min(self.buffer.len()))
    }

    /// Why reading ended, if the peer or the network ended it.
    pub fn error(&self) -> Option<&ReadError> {
        self.ended.as_ref()
    }

    pub(super) fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// Reads more into the buffer. False at the end of the data.
    pub(crate) async fn fill(&mut self) -> Result<bool, ReadError> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    pub(crate) fn buffer(&self) -> &[u8] {
        self.buffer.as_slice()
    }

    /// Takes bytes out of the buffer, which counts as reading them.
    pub(crate) fn take_buffer(&mut self, len: usize) -> Bytes {
        self.buffer.take(len)
    }

    /// Reads bytes that are not data (a header, an answer) until `decode` has its value. What follows stays as data.
    pub(crate) async fn read_raw<T>(
        &mut self,
        truncated: Malformed,
        decode: impl Fn(&[u8]) -> crate::wire::Decoded<T>,
    ) -> Result<T, RawError> {
        self.raw = true;
        loop {
            if let Some((value, used)) = decode(self.buffer.as_slice())? {
                self.buffer.skip(used);
                self.buffer.settle();
                self.pulled = self.buffer.len() as u64;
                self.raw = false;
                self.report();
                return Ok(value);
            }
            self.buffer.settle();
            if !self.fill().await? {
                return Err(truncated.into());
            }
        }
    }

    /// Takes the QUIC stream out, with what was read already: what was opened is not a data lane.
    pub(crate) fn into_quic(mut self) -> Option<(iroh::endpoint::RecvStream, Bytes)> {
        let read = self.take_buffer(self.buffer.len());
        self.quic.take().map(|quic| (quic, read))
    }

    /// Ends the lane with a code that the state machine does not know: a rejection, or garbage.
    pub(crate) fn stop_with(&mut self, code: u64) {
        self.apply(RecvAction::Stop(code));
    }

    /// This side has failed the stream: the peer need not send more. If the peer failed it first, its data is still
    /// to be read.
    pub(super) fn stop_failed(&mut self) {
        if !matches!(self.lanes.lock().cause, Some(Cause::Here(_))) {
            return;
        }
        let action = self.lanes.on_recv(RecvEvent::LocalFailed);
        self.apply(action);
    }

    fn poll_read_data(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<(), ReadError>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !self.buffer.is_empty() && !self.discards() {
            let len = self.buffer.len().min(buf.remaining());
            buf.put_slice(&self.buffer.as_slice()[..len]);
            self.buffer.skip(len);
            return Poll::Ready(Ok(()));
        }
        let Some(limit) = self.limit()? else {
            return Poll::Ready(Ok(()));
        };
        if let Some(code) = self.reset {
            return self.failed_by_reset(cx, code);
        }
        let Some(quic) = self.quic.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        let room = buf.remaining().min(usize::try_from(limit).unwrap_or(usize::MAX));
        match quic.poll_read(cx, buf.initialize_unfilled_to(room)) {
            Poll::Ready(Ok(0)) => self.poll_fin().map_ok(|_| ()),
            Poll::Ready(Ok(len)) => {
                buf.advance(len);
                self.pulled += len as u64;
                self.report();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => self.failed(cx, error).map_ok(|_| ()),
            Poll::Pending => self.poll_blocked(cx).map_ok(|_| ()),
        }
    }

    fn poll_read_chunk(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, ReadError>> {
        if !self.buffer.is_empty() && !self.discards() {
            let len = self.buffer.len().min(max);
            return Poll::Ready(Ok(Some(self.take_buffer(len))));
        }
        self.poll_pull(cx, max)
    }

    /// More bytes from QUIC into the buffer: several chunks where they are there, and the end with them, since each look takes the
    /// connection's lock. False is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ReadError>> {
        if let (u64::MAX, None, Some(quic)) = (self.limit()?.unwrap_or_default(), self.reset, self.quic.as_mut()) {
            let mut chunks = [const { Bytes::new() }; CHUNKS];
            let polled = pin!(quic.read_many_chunks(&mut chunks)).poll(cx);
            return match polled {
                Poll::Ready(Ok(Some(count))) => {
                    for chunk in chunks.into_iter().take(count) {
                        self.pulled += chunk.len() as u64;
                        if self.raw { self.buffer.push_shared(chunk) } else { self.buffer.push(&chunk) }
                    }
                    self.report();
                    Poll::Ready(Ok(true))
                }
                Poll::Ready(Ok(None)) => self.poll_fin().map_ok(|()| false),
                Poll::Ready(Err(error)) => self.failed(cx, error).map_ok(|()| false),
                Poll::Pending => self.poll_blocked(cx).map_ok(|()| false),
            };
        }
        // Not more than there is before a fatal error.
        let chunk = ready!(self.poll_pull(cx, usize::MAX))?;
        Poll::Ready(Ok(match chunk {
            Some(chunk) => {
                self.buffer.push(&chunk);
                true
            }
            None => false,
        }))
    }

    /// The next bytes from QUIC. `None` is the end.
    fn poll_pull(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, ReadError>> {
        let Some(limit) = self.limit()? else {
            return Poll::Ready(Ok(None));
        };
        if let Some(code) = self.reset {
            return self.failed_by_reset(cx, code).map_ok(|()| None);
        }
        let Some(quic) = self.quic.as_mut() else {
            return Poll::Ready(Ok(None));
        };
        let max = max.min(usize::try_from(limit).unwrap_or(usize::MAX));
        let polled = pin!(quic.read_chunk(max)).poll(cx);
        match polled {
            Poll::Ready(Ok(Some(chunk))) => {
                self.pulled += chunk.len() as u64;
                self.report();
                Poll::Ready(Ok(Some(chunk)))
            }
            Poll::Ready(Ok(None)) => self.poll_fin().map_ok(|()| None),
            Poll::Ready(Err(error)) => self.failed(cx, error).map_ok(|()| None),
            Poll::Pending => self.poll_blocked(cx).map_ok(|()| None),
        }
    }

    /// How many bytes may be read from QUIC: as many as come, or those before a fatal error. `None` is the end of the data.
    fn limit(&mut self) -> Result<Option<u64>, ReadError> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        if !self.lanes.needs_attention() {
            return Ok(Some(u64::MAX));
        }
        let (end, cause) = {
            let shared = self.lanes.lock();
            if shared.recv == state::Recv::Finished {
                return Ok(None);
            }
            (shared.end, shared.cause.clone())
        };
        // A lost connection may have left data to be read: QUIC tells when there is no more.
        let Some(cause) = cause else {
            return Ok(Some(u64::MAX));
        };
        let action = match &cause {
            Cause::PeerFailed(_) => {
                self.lanes.on_recv(RecvEvent::PeerFailed);
                if self.raw {
                    return Ok(Some(u64::MAX));
                }
                if self.pulled < end {
                    return Ok(Some(end - self.pulled));
                }
                self.lanes.on_recv(RecvEvent::OffsetReached)
            }
            Cause::PeerAborted(_) => self.lanes.on_recv(RecvEvent::PeerAborted),
            Cause::Malformed(_) => match self.lanes.on_recv(RecvEvent::PeerAborted) {
                RecvAction::Stop(_) => RecvAction::Stop(lane::MALFORMED),
                RecvAction::Nothing => RecvAction::Nothing,
            },
            Cause::Here(_) => self.lanes.on_recv(RecvEvent::LocalFailed),
        };
        self.apply(action);
        Err(self.end(cause.to_read_error()))
    }

    fn poll_fin(&mut self) -> Poll<Result<(), ReadError>> {
        let ended = self.lanes.on_fin();
        self.finished = ended.is_ok();
        Poll::Ready(ended.map_err(|cause| {
            let error = cause.as_ref().map(Cause::to_read_error);
            self.end(error.unwrap_or(ReadError::Reset { code: lane::CANCELLED }))
        }))
    }

    fn end(&mut self, error: ReadError) -> ReadError {
        self.ended.insert(error).clone()
    }

    /// Nothing there: a record that ends the stream has to wake the reader as well.
    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        let mut shared = self.lanes.lock();
        shared.read_waker = Some(cx.waker().clone());
        let over = match &shared.cause {
            None => false,
            Some(Cause::PeerFailed(_)) => !self.raw && self.pulled >= shared.end,
            Some(_) => true,
        };
        if over {
            // It came between the look at the flag and the registration: look again.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn failed(&mut self, cx: &mut Context<'_>, error: iroh::endpoint::ReadError) -> Poll<Result<(), ReadError>> {
        let ended = match error {
            iroh::endpoint::ReadError::Reset(code) => {
                self.reset = Some(code.into_inner());
                return self.failed_by_reset(cx, code.into_inner());
            }
            iroh::endpoint::ReadError::ConnectionLost(error) => {
                self.lanes.on_recv(RecvEvent::Lost);
                self.lanes.carrier.lost(error).into()
            }
            // Stopped by this side, which the state machine knows better.
            _ => match self.lanes.lock().cause.clone() {
                Some(cause) => cause.to_read_error(),
                None => ReadError::Reset { code: lane::CANCELLED },
            },
        };
        self.lanes.on_recv(RecvEvent::PeerReset);
        Poll::Ready(Err(self.end(ended)))
    }

    /// The peer cut the lane. If that is because it failed, the record says why: it gets a moment to arrive.
    fn failed_by_reset(&mut self, cx: &mut Context<'_>, code: u64) -> Poll<Result<(), ReadError>> {
        let cause = {
            let mut shared = self.lanes.lock();
            shared.read_waker = Some(cx.waker().clone());
            shared.cause.as_ref().map(Cause::to_read_error)
        };
        if cause.is_none() && matches!(code, lane::FAILED | lane::ABORTED) {
            let bound = self.lanes.carrier.limits.error_timeout;
            let waiting = self.explanation.get_or_insert_with(|| Box::pin(sleep(bound)));
            ready!(waiting.as_mut().poll(cx));
        }
        self.lanes.on_recv(RecvEvent::PeerReset);
        Poll::Ready(Err(self.end(cause.unwrap_or(ReadError::Reset { code }))))
    }

    /// Whether an abort, or this side's own failure, makes what is in the buffer void.
    fn discards(&self) -> bool {
        self.lanes.needs_attention()
            && matches!(self.lanes.lock().cause, Some(Cause::PeerAborted(_) | Cause::Here(_) | Cause::Malformed(_)))
    }

    /// Tells the writer, if it wants to know, how far its data has been taken off the transport. What waits in
    /// `buffer` counts as read: it is bounded by what the user asked for, and no unread chunk to the peer.
    fn report(&self) {
        if !self.raw {
            self.lanes.report_consumption(self.pulled);
        }
    }

    fn apply(&mut self, action: RecvAction) {
        if let (RecvAction::Stop(code), Some(quic)) = (action, &mut self.quic) {
            let _ = quic.stop(code_to_varint(code));
        }
    }
}

/// Why bytes that are not data could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RawError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Cause {
    fn to_read_error(&self) -> ReadError {
        match self {
            Self::PeerFailed(error) => ReadError::Failed(Arc::clone(error)),
            Self::PeerAborted(error) => ReadError::Aborted(Arc::clone(error)),
            Self::Here(error) => ReadError::EndedHere(Arc::clone(error)),
            Self::Malformed(malformed) => ReadError::Malformed(malformed.clone()),
        }
    }
}

impl AsyncRead for RecvStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        self.poll_read_data(cx, buf).map_err(Into::into)
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        if self.quic.is_none() || (self.finished && !self.lanes.needs_attention()) {
            return;
        }
        if self.lanes.needs_attention() {
            // What has happened to the stream is applied before the drop: it decides the code.
            let _ = self.limit();
        }
        let action = self.lanes.on_recv(RecvEvent::Drop);
        self.apply(action);
    }
}
