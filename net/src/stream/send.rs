//! The half of a stream that writes.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::Ordering::{Acquire, Release},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{
    io::AsyncWrite,
    time::{Sleep, sleep},
};

use super::{
    StreamError,
    carrier::{Carrier, code_to_varint},
    error_lane,
    lanes::{Cause, Lanes},
    ledger::Ledger,
    linger::linger,
    state::{self, SendAction, SendEvent},
    urgency::Urgency,
};
use crate::{
    error::WriteError,
    wire::{
        codes::lane,
        control::Frame,
        record::{Record, Severity},
    },
};

/// The writing half of an [`XStream`](crate::XStream), got from [`XStream::split`](crate::XStream::split).
///
/// Implements [`AsyncWrite`]; `shutdown` is [`SendStream::finish`]. Nothing is buffered here: `flush` does nothing.
///
/// Dropped without [`finish`](SendStream::finish), it resets the lane: the peer reads an error, never an end of data.
#[derive(Debug)]
pub struct SendStream {
    /// `None` once the lane was handed to the task that lingers on it, or let go of.
    quic: Option<iroh::endpoint::SendStream>,
    lanes: Arc<Lanes>,
    ledger: Ledger,
    /// Bytes that went out with the header, and are counted by the ledger once the answer is here.
    uncounted: u64,
    /// Resolves when the peer stops reading, while a write waits for something else.
    stopped: Option<Stopped>,
    /// Runs while a stop waits for the record that explains it.
    explanation: Option<Pin<Box<Sleep>>>,
    urgency: Urgency,
    /// The data is complete: there is nothing to do when this is dropped, unless the stream fails.
    finished: bool,
}

struct Stopped(Pin<Box<dyn Future<Output = ()> + Send>>);

impl std::fmt::Debug for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stopped")
    }
}

impl SendStream {
    pub(crate) fn new(quic: iroh::endpoint::SendStream, lanes: Arc<Lanes>) -> Self {
        let ledger = Ledger::new(lanes.carrier.writes());
        Self {
            quic: Some(quic),
            lanes,
            ledger,
            uncounted: 0,
            stopped: None,
            explanation: None,
            urgency: Urgency::default(),
            finished: false,
        }
    }

    /// Writes some of `data`, and returns how many bytes: at least one, unless `data` is empty.
    ///
    /// Waits while the peer does not read, and slows nothing else down.
    ///
    /// Cancel-safe: a dropped call has written nothing.
    ///
    /// # Errors
    ///
    /// [`WriteError::Failed`] with the peer's reason, if it gave one.
    pub async fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        poll_fn(|cx| self.poll_write_data(cx, data)).await
    }

    /// Writes all of `data`.
    ///
    /// Not cancel-safe: a dropped call may have written a part, and does not tell which. Dropping the stream after
    /// that is safe: the peer sees a reset.
    ///
    /// # Errors
    ///
    /// As [`SendStream::write`].
    pub async fn write_all(&mut self, mut data: &[u8]) -> Result<(), WriteError> {
        while !data.is_empty() {
            let written = self.write(data).await?;
            data = &data[written..];
        }
        Ok(())
    }

    /// Writes all of `data` without copying it.
    ///
    /// Not cancel-safe, as [`SendStream::write_all`].
    ///
    /// # Errors
    ///
    /// As [`SendStream::write`].
    pub async fn write_chunk(&mut self, mut data: Bytes) -> Result<(), WriteError> {
        while !data.is_empty() {
            poll_fn(|cx| self.poll_write_chunk(cx, &mut data)).await?;
        }
        Ok(())
    }

    /// Writes some of `data` without copying it, and takes what was written off its front: at least one byte, unless it
    /// is empty. Returns how many.
    ///
    /// Cancel-safe: a dropped call has written nothing, and `data` is whole.
    ///
    /// # Errors
    ///
    /// As [`SendStream::write`].
    pub async fn write_from(&mut self, data: &mut Bytes) -> Result<usize, WriteError> {
        if data.is_empty() {
            return Ok(0);
        }
        poll_fn(|cx| self.poll_write_chunk(cx, data)).await
    }

    /// Writes `text` and a line feed, for [`next_string`](super::RecvStream::next_string) at the other side.
    ///
    /// Not cancel-safe, as [`SendStream::write_all`].
    ///
    /// # Errors
    ///
    /// As [`SendStream::write`].
    pub async fn send_string(&mut self, text: &str) -> Result<(), WriteError> {
        let mut line = Vec::with_capacity(text.len() + 1);
        line.extend_from_slice(text.as_bytes());
        line.push(b'\n');
        self.write_chunk(line.into()).await
    }

    /// Says that the data is complete: the peer reads an end of data after the last byte. Later calls to write fail.
    ///
    /// # Errors
    ///
    /// If the stream has ended already, the reason.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        self.lanes.finish()?;
        self.finished = true;
        self.settle();
        if let Some(quic) = &mut self.quic {
            // The peer may have stopped the lane in the meantime: then it wants no end either.
            let _ = quic.finish();
        }
        Ok(())
    }

    /// As [`finish`](SendStream::finish), for who needs nothing more of the lane. The stream below finishes when it is dropped: with
    /// one turn at the connection's lock, where finishing it and dropping it take two.
    pub(crate) fn finish_and_let_go(&mut self) -> Result<(), WriteError> {
        self.lanes.finish()?;
        self.finished = true;
        self.settle();
        self.quic = None;
        Ok(())
    }

    /// Waits until the peer's endpoint has every byte (its program may not have read them), after a
    /// [`finish`](SendStream::finish).
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`WriteError::EndedHere`] if the data was not finished; [`WriteError::Failed`] or [`WriteError::Stopped`] if the peer did not want all of them.
    pub async fn delivered(&mut self) -> Result<(), WriteError> {
        let finished = self.lanes.lock().send == state::Send::Finished;
        let Some(quic) = self.quic.as_ref().filter(|_| finished) else {
            return Err(self.cause().unwrap_or(WriteError::EndedHere));
        };
        match quic.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => poll_fn(|cx| self.explain(cx, code.into_inner())).await.map(|_| ()),
            Err(iroh::endpoint::StoppedError::ConnectionLost(error)) => Err(self.lanes.carrier.lost(error).into()),
            Err(_) => Err(WriteError::EndedHere),
        }
    }

    /// Resolves when the peer needs nothing more of this lane: its endpoint has every byte of finished data, or it has
    /// stopped the lane, or the connection is lost. [`delivered`](SendStream::delivered) then tells which, at once or
    /// when the reason has come. The future holds nothing of this handle, which can be used meanwhile.
    ///
    /// Cancel-safe.
    pub fn settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let stopped = self.quic.as_ref().map(|quic| quic.stopped());
        async move {
            if let Some(stopped) = stopped {
                drop(stopped.await);
            }
        }
    }

    /// Fails the whole stream, both directions, with a reason that the peer gets on the error lane.
    ///
    /// The peer reads every byte written here before this call, then the error. Writing and reading end on this
    /// side at once. What the peer still sends is discarded.
    ///
    /// Cancel-safe: once this has been polled, the error is on its way even if the call is dropped.
    ///
    /// # Errors
    ///
    /// If the stream has failed already, the reason; [`WriteError::Lost`] if the error cannot be sent any more.
    pub async fn fail(&mut self, error: StreamError) -> Result<(), WriteError> {
        self.end_with(error, Severity::Fatal).await
    }

    /// As [`fail`](SendStream::fail), but at once: what the peer has not read yet, in either direction, is discarded.
    ///
    /// Cancel-safe, as `fail`.
    ///
    /// # Errors
    ///
    /// As `fail`.
    pub async fn abort(&mut self, error: StreamError) -> Result<(), WriteError> {
        self.end_with(error, Severity::Abort).await
    }

    /// Tells the peer something on the error lane; the stream goes on. Works after [`finish`](SendStream::finish) too.
    /// The future holds nothing of this handle, which can be written meanwhile.
    ///
    /// Cancel-safe: once this has been polled, the warning is on its way even if the call is dropped.
    ///
    /// # Errors
    ///
    /// If the stream has failed, the reason; [`WriteError::Lost`] if nothing can be sent any more.
    pub fn warn(&self, warning: StreamError) -> impl Future<Output = Result<(), WriteError>> + Send + use<> {
        let lanes = Arc::clone(&self.lanes);
        async move {
            if let Some(cause) = cause(&lanes) {
                return Err(cause);
            }
            let record = warning.at(lanes.written.load(Acquire)).to_record(Severity::Warning);
            send_in_background(&lanes, record).await
        }
    }

    /// How urgent this stream's data is against other streams of the same connection. Larger goes first; 0 is the
    /// default. Of streams with the same priority, those go first on which less than 64 KiB have been written, so that
    /// requests do not queue behind bulk data; the others take turns.
    ///
    /// # Errors
    ///
    /// If the stream has ended.
    pub fn set_priority(&self, priority: i16) -> Result<(), WriteError> {
        let quic = self.quic.as_ref().ok_or(WriteError::EndedHere)?;
        quic.set_priority(self.urgency.set(priority)).map_err(|_| WriteError::EndedHere)
    }

    async fn end_with(&mut self, error: StreamError, severity: Severity) -> Result<(), WriteError> {
        let (record, action) = self.lanes.end_here(error, severity).map_err(|cause| cause.to_write_error())?;
        self.apply(action);
        send_in_background(&self.lanes, record).await
    }

    pub(crate) fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    pub(crate) fn carrier(&self) -> &Arc<Carrier> {
        &self.lanes.carrier
    }

    /// Resolves when the peer has let go of the stream.
    pub(crate) async fn given_up(&mut self) {
        match &self.quic {
            Some(quic) => drop(quic.stopped().await),
            None => std::future::pending().await,
        }
    }

    /// Writes bytes that are not data, or not only: the header, the answer. `finish` is sent with them.
    /// This is some of them: they are taken off the front of `bytes`, which must not all be empty.
    ///
    /// Cancel-safe: a dropped call has written nothing.
    pub(crate) async fn write_raw_from(&mut self, bytes: &mut [Bytes]) -> Result<(), WriteError> {
        poll_fn(|cx| {
            let Some(quic) = self.quic.as_mut() else {
                return Poll::Ready(Err(WriteError::EndedHere));
            };
            let count = bytes.len();
            let mut left = &mut *bytes;
            let polled = pin!(quic.write_many_chunks(&mut left)).poll(cx);
            let whole = count - left.len();
            match polled {
                Poll::Ready(Ok(_)) => {
                    bytes[..whole].fill(Bytes::new());
                    self.lanes.carrier.count_write();
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(error)) => self.failed(cx, error).map_ok(|_| ()),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// So much data is about to travel with the header; [`count_early`](SendStream::count_early) is to come.
    pub(crate) fn expect_early(&mut self, len: usize) {
        self.uncounted = len as u64;
    }

    /// Counts data that travelled with the header.
    pub(crate) fn count_early(&mut self, len: usize) {
        self.uncounted = 0;
        let writes = self.lanes.carrier.writes();
        self.wrote(len, writes);
    }

    /// Takes the QUIC stream out: what was opened is not a data lane.
    pub(crate) fn into_quic(mut self) -> Option<iroh::endpoint::SendStream> {
        self.quic.take()
    }

    /// Ends the lane with a code that the state machine does not know: a rejection, or garbage.
    pub(crate) fn reset_with(&mut self, code: u64) {
        self.apply(SendAction::Reset(code));
    }

    fn poll_write_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, WriteError>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(cx, data.len()))?;
        let data = &data[..data.len().min(room)];
        let Some(quic) = self.quic.as_mut() else {
            return Poll::Ready(Err(WriteError::EndedHere));
        };
        match Pin::new(quic).poll_write(cx, data) {
            Poll::Ready(Ok(written)) => Poll::Ready(Ok(self.count(written))),
            Poll::Ready(Err(error)) => self.failed(cx, error),
            Poll::Pending => self.poll_blocked(cx),
        }
    }

    fn poll_write_chunk(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<Result<usize, WriteError>> {
        let room = ready!(self.poll_room(cx, data.len()))?;
        let mut piece = [data.slice(..data.len().min(room))];
        let before = piece[0].len();
        let Some(quic) = self.quic.as_mut() else {
            return Poll::Ready(Err(WriteError::EndedHere));
        };
        let mut left = &mut piece[..];
        let polled = pin!(quic.write_many_chunks(&mut left)).poll(cx);
        match polled {
            Poll::Ready(Ok(_)) => {
                // A chunk that went out whole is gone from `left`; one that went out in part has been cut.
                let written = before - left.first().map_or(0, Bytes::len);
                let _ = data.split_to(written);
                Poll::Ready(Ok(self.count(written)))
            }
            Poll::Ready(Err(error)) => self.failed(cx, error),
            Poll::Pending => self.poll_blocked(cx),
        }
    }

    /// How many bytes may be written now, of so many: the lane is open, and the peer does not hold too many unread chunks.
    fn poll_room(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<Result<usize, WriteError>> {
        let mut registered = false;
        loop {
            if (registered || self.lanes.needs_attention())
                && let Some(ended) = self.ended()
            {
                return Poll::Ready(Err(ended));
            }
            self.ledger.consumed(self.lanes.consumed.load(Acquire));
            let carrier = &self.lanes.carrier;
            let unread = self.ledger.unconsumed();
            let written = self.ledger.written();
            let share = self.lanes.may_have_unread(written, unread, len as u64).saturating_sub(unread);
            let room = if share == 0 { 0 } else { self.ledger.room(carrier.writes(), || carrier.frames()).min(share) };
            if room > 0 {
                self.stopped = None;
                return Poll::Ready(Ok(usize::try_from(room).unwrap_or(usize::MAX)));
            }
            if self.ledger.settle(carrier.writes(), || carrier.frames()) {
                continue;
            }
            // Before the peer is asked, and all of this is looked at once more: the answer may be here at once, and say nothing
            // that is new.
            if !std::mem::replace(&mut registered, true) {
                self.lanes.lock().write_waker = Some(cx.waker().clone());
                continue;
            }
            // Who waits may give up, and holds nothing that others could have.
            self.settle();
            if let Some(mark) = self.ledger.waits(carrier.writes(), carrier.frames()) {
                carrier.send(Frame::Watermark { lane: self.lanes.id(), offset: mark });
            }
            // A peer that stops reading sends no report: its STOP_SENDING has to wake the writer too.
            if self.stopped.is_none()
                && let Some(quic) = &self.quic
            {
                let stopped = quic.stopped();
                self.stopped = Some(Stopped(Box::pin(async move { drop(stopped.await) })));
            }
            if let Some(Stopped(stopped)) = &mut self.stopped
                && stopped.as_mut().poll(cx).is_ready()
            {
                // The write below gets the reason.
                self.stopped = None;
                return Poll::Ready(Ok(1));
            }
            return Poll::Pending;
        }
    }

    /// The transport has no room: a record that ends the stream has to wake the writer as well.
    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, WriteError>> {
        self.settle();
        self.lanes.lock().write_waker = Some(cx.waker().clone());
        match self.ended() {
            Some(ended) => Poll::Ready(Err(ended)),
            None => Poll::Pending,
        }
    }

    /// Gives back what the lane was lent for more than it has unread.
    fn settle(&self) {
        self.lanes.settle(self.ledger.written() + self.uncounted);
    }

    fn count(&mut self, written: usize) -> usize {
        let writes = self.lanes.carrier.count_write();
        self.wrote(written, writes);
        written
    }

    fn wrote(&mut self, written: usize, writes: u64) {
        let carrier = &self.lanes.carrier;
        // It is counted as soon as it has more than a little unread.
        carrier.share(&self.lanes, self.ledger.unconsumed().saturating_add(written as u64));
        // If others borrow it first, the writer waits for a round trip.
        let share = carrier.counted_share() + carrier.pool.next();
        let mark = self.ledger.wrote(written as u64, share, writes, || carrier.frames());
        self.lanes.written.store(self.ledger.written(), Release);
        self.settle();
        if let Some(priority) = self.urgency.wrote(self.ledger.written())
            && let Some(quic) = &self.quic
        {
            // A lane that has ended has no order.
            let _ = quic.set_priority(priority);
        }
        if let Some(offset) = mark {
            carrier.send(Frame::Watermark { lane: self.lanes.id(), offset });
        }
    }

    fn failed(&mut self, cx: &mut Context<'_>, error: iroh::endpoint::WriteError) -> Poll<Result<usize, WriteError>> {
        match error {
            iroh::endpoint::WriteError::Stopped(code) => self.explain(cx, code.into_inner()),
            iroh::endpoint::WriteError::ConnectionLost(error) => {
                self.lanes.on_send(SendEvent::Lost);
                Poll::Ready(Err(self.lanes.carrier.lost(error).into()))
            }
            // 0-RTT is never used, and a closed stream is one that this side has ended.
            _ => Poll::Ready(Err(self.ended().unwrap_or(WriteError::EndedHere))),
        }
    }

    /// The peer stopped the lane. If that is because it failed, the record says why: it gets a moment to arrive.
    fn explain(&mut self, cx: &mut Context<'_>, code: u64) -> Poll<Result<usize, WriteError>> {
        self.lanes.lock().write_waker = Some(cx.waker().clone());
        if let Some(ended) = self.ended() {
            return Poll::Ready(Err(ended));
        }
        if matches!(code, lane::FAILED | lane::ABORTED) {
            let bound = self.lanes.carrier.limits.error_timeout;
            let waiting = self.explanation.get_or_insert_with(|| Box::pin(sleep(bound)));
            ready!(waiting.as_mut().poll(cx));
        }
        self.lanes.on_send(SendEvent::PeerStopped);
        self.lanes.release();
        Poll::Ready(Err(WriteError::Stopped { code }))
    }

    /// Why the stream has failed, if so.
    fn cause(&self) -> Option<WriteError> {
        cause(&self.lanes)
    }

    /// Why nothing more can be written, if so.
    fn ended(&self) -> Option<WriteError> {
        let shared = self.lanes.lock();
        if let Some(cause) = &shared.cause {
            return Some(cause.to_write_error());
        }
        match shared.send {
            state::Send::Open | state::Send::Ended => None,
            _ => Some(WriteError::EndedHere),
        }
    }

    fn apply(&mut self, action: SendAction) {
        match action {
            SendAction::Reset(code) => {
                self.lanes.release();
                if let Some(quic) = &mut self.quic {
                    let _ = quic.reset(code_to_varint(code));
                }
            }
            SendAction::Linger => {
                if let Some(quic) = self.quic.take() {
                    let lanes = Arc::clone(&self.lanes);
                    self.lanes.carrier.tasks.spawn(linger(quic, lanes));
                }
            }
            SendAction::Nothing | SendAction::Finish | SendAction::Refuse => {}
        }
    }
}

fn cause(lanes: &Lanes) -> Option<WriteError> {
    lanes.lock().cause.as_ref().map(Cause::to_write_error)
}

/// Fails a stream from its reading half. The writing half finds out when it is used next.
pub(super) async fn end_from_reader(lanes: &Arc<Lanes>, error: StreamError) -> Result<(), WriteError> {
    let (record, _) = lanes.end_here(error, Severity::Fatal).map_err(|cause| cause.to_write_error())?;
    send_in_background(lanes, record).await
}

/// In a task of its own, so that the record goes out even if the caller is cancelled.
async fn send_in_background(lanes: &Arc<Lanes>, record: Record) -> Result<(), WriteError> {
    let sender = Arc::clone(lanes);
    let sending = lanes.carrier.tasks.spawn(async move { error_lane::send(&sender, record).await });
    // The task cannot panic, and nobody aborts it.
    sending.await.unwrap_or(Err(WriteError::EndedHere))
}

impl Cause {
    pub(super) fn to_write_error(&self) -> WriteError {
        match self {
            Self::PeerFailed(error) | Self::PeerAborted(error) => WriteError::Failed(Arc::clone(error)),
            Self::Here(_) => WriteError::EndedHere,
            Self::Malformed(malformed) => WriteError::Malformed(malformed.clone()),
        }
    }
}

impl AsyncWrite for SendStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
        self.poll_write_data(cx, data).map_err(Into::into)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(self.finish().map_err(Into::into))
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if self.quic.is_none() || (self.finished && !self.lanes.needs_attention()) {
            return;
        }
        if self.lanes.needs_attention() {
            let failed_by_peer = {
                let shared = self.lanes.lock();
                matches!(shared.cause, Some(Cause::PeerFailed(_) | Cause::PeerAborted(_) | Cause::Malformed(_)))
            };
            if failed_by_peer {
                let action = self.lanes.on_send(SendEvent::PeerFailed);
                self.apply(action);
            }
        }
        let action = match self.lanes.on_send(SendEvent::Drop) {
            SendAction::Reset(lane::CANCELLED) if std::thread::panicking() => SendAction::Reset(lane::INTERNAL),
            action => action,
        };
        self.apply(action);
    }
}
