//! The half of a stream that writes.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{
    io::AsyncWrite,
    time::{Sleep, sleep},
};

use super::{
    StreamError,
    carrier::Carrier,
    credit::{Traffic, WriteCredit},
    ending::Ending,
    errors::{self, linger},
    lanes::Lanes,
    urgency::Urgency,
    write_half::{Circumstances, Failure, Farewell, Outcome, WriteHalf},
};
use crate::{
    error::WriteError,
    wire::{
        codes::{lane, record},
        control::Frame,
        record::Severity,
    },
};

#[cfg(test)]
mod tests;

/// The writing half of an [`XStream`](crate::XStream), got from [`XStream::split`](crate::XStream::split).
///
/// Implements [`AsyncWrite`]; `shutdown` is [`SendStream::finish`]. Nothing is buffered here: `flush` does nothing.
///
/// Dropped without [`finish`](SendStream::finish), it resets the lane: the peer reads an error, never an end of data.
#[derive(Debug)]
pub struct SendStream {
    lanes: Arc<Lanes>,
    half: WriteHalf,
    credit: WriteCredit,
    /// Resolves when the peer stops reading, while a write waits for something else.
    stopped: Option<Stopped>,
    /// Runs while a stop waits for the record that explains it.
    explanation: Option<Pin<Box<Sleep>>>,
    urgency: Urgency,
    /// The lane was finished and let go of, or is no data lane: there is nothing to do when this is dropped.
    let_go: bool,
}

struct Stopped(Pin<Box<dyn Future<Output = ()> + Send>>);

impl std::fmt::Debug for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stopped")
    }
}

impl SendStream {
    pub(crate) fn new(quic: iroh::endpoint::SendStream, lanes: Arc<Lanes>) -> Self {
        let credit = WriteCredit::new(lanes.carrier.writes(), &lanes.carrier.credit, !lanes.is_unanswered());
        *lanes.quic_send() = Some(quic);
        Self {
            lanes,
            half: WriteHalf::new(),
            credit,
            stopped: None,
            explanation: None,
            urgency: Urgency::default(),
            let_go: false,
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
        self.credit.rests(&self.lanes.credit, &self.lanes.carrier.credit);
        // The end has to be acknowledged, as data has.
        self.lanes.carrier.count_end();
        if let Some(quic) = self.lanes.quic_send().as_mut() {
            // The peer may have stopped the lane in the meantime: then it wants no end either.
            let _ = quic.finish();
        }
        Ok(())
    }

    /// As [`finish`](SendStream::finish), for callers that need nothing more of the lane. noq finishes a stream when it is dropped:
    /// with one turn at the connection's lock, where finishing it and dropping it take two.
    pub(crate) fn finish_and_let_go(&mut self) -> Result<(), WriteError> {
        self.lanes.finish()?;
        self.credit.rests(&self.lanes.credit, &self.lanes.carrier.credit);
        self.lanes.carrier.count_end();
        self.let_go = true;
        self.leave();
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
        let mut stopped = self.lanes.stopped().map(Box::pin);
        poll_fn(|cx| {
            loop {
                // Before the look at the cause, so that none is missed.
                self.lanes.wake_writer(cx.waker());
                match self.half.delivery(self.lanes.is_finished(), self.lanes.ending()) {
                    Outcome::Delivered => return Poll::Ready(Ok(())),
                    Outcome::Go => match &mut stopped {
                        Some(stopped) => match ready!(stopped.as_mut().poll(cx)) {
                            Ok(None) => self.half.on_delivered(),
                            Ok(Some(code)) => self.half.on_stopped(code.into_inner()),
                            Err(iroh::endpoint::StoppedError::ConnectionLost(error)) => {
                                self.half.on_lost();
                                return Poll::Ready(Err(self.lanes.carrier.lost(error).into()));
                            }
                            // 0-RTT is never used.
                            Err(_) => return Poll::Ready(Err(WriteError::EndedHere)),
                        },
                        None => return Poll::Ready(Err(WriteError::EndedHere)),
                    },
                    Outcome::AwaitRecord => ready!(self.await_record(cx)),
                    Outcome::Fail(failure) => return Poll::Ready(Err(self.failure(failure))),
                }
            }
        })
        .await
    }

    /// Resolves when the peer needs nothing more of this lane: its endpoint has every byte of finished data, or it has
    /// stopped the lane, or the connection is lost. [`delivered`](SendStream::delivered) then tells which, at once or
    /// when the reason has come. The future holds nothing of this handle, which can be used meanwhile.
    ///
    /// Cancel-safe.
    pub fn settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let stopped = self.lanes.stopped();
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
    /// Returns when QUIC has taken the error, or after [`Limits::error_timeout`](crate::Limits::error_timeout): where there is no
    /// room for it, it is sent as soon as there is, within [`Limits::linger`](crate::Limits::linger).
    ///
    /// Cancel-safe: once this has been polled, the error is on its way even if the call is dropped.
    ///
    /// # Errors
    ///
    /// If the stream has failed already, the reason; [`WriteError::Lost`] if the error cannot be sent any more.
    pub async fn fail(&mut self, error: StreamError) -> Result<(), WriteError> {
        self.lanes.end(error, Severity::Fatal)?.await
    }

    /// As [`fail`](SendStream::fail), but at once: what the peer has not read yet, in either direction, is discarded.
    ///
    /// Cancel-safe, as `fail`.
    ///
    /// # Errors
    ///
    /// As `fail`.
    pub async fn abort(&mut self, error: StreamError) -> Result<(), WriteError> {
        self.lanes.end(error, Severity::Abort)?.await
    }

    /// Tells the peer something on the error lane; the stream goes on. Works after [`finish`](SendStream::finish) too.
    /// The future holds nothing of this handle, which can be written meanwhile.
    ///
    /// Warnings wait for each other: at most 128 KiB of them are queued on one stream, and a call waits for room.
    ///
    /// Cancel-safe: once there is room, the warning is on its way even if the call is dropped.
    ///
    /// # Errors
    ///
    /// If the stream has failed, the reason; [`WriteError::TimedOut`] if it did not go out within
    /// [`Limits::error_timeout`](crate::Limits::error_timeout); [`WriteError::Lost`] if nothing can be sent any more.
    pub fn warn(&self, warning: StreamError) -> impl Future<Output = Result<(), WriteError>> + Send + use<> {
        let lanes = Arc::clone(&self.lanes);
        async move {
            if let Some(error) = lanes.write_error() {
                return Err(error);
            }
            let record = warning.at(lanes.credit.written()).to_record(Severity::Warning);
            errors::warn(lanes, record).await
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
        let level = self.urgency.set(priority);
        let quic = self.lanes.quic_send();
        let quic = quic.as_ref().ok_or(WriteError::EndedHere)?;
        quic.set_priority(level).map_err(|_| WriteError::EndedHere)
    }

    pub(crate) fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    pub(crate) fn carrier(&self) -> &Arc<Carrier> {
        &self.lanes.carrier
    }

    /// STREAM frames that the connection has sent.
    pub(crate) fn frames(&self) -> u64 {
        self.lanes.carrier.frames()
    }

    /// Resolves when the peer has let go of the stream.
    pub(crate) async fn given_up(&mut self) {
        let stopped = self.lanes.stopped();
        match stopped {
            Some(stopped) => drop(stopped.await),
            None => std::future::pending().await,
        }
    }

    /// Writes some bytes that are not data, or not only: the header, the answer. They are taken off the front of `bytes`, which
    /// must not all be empty.
    ///
    /// Cancel-safe: a dropped call has written nothing.
    pub(crate) async fn write_raw_from(&mut self, bytes: &mut [Bytes]) -> Result<(), WriteError> {
        poll_fn(|cx| {
            // What the rules have ended in the meantime, or an abort of the peer's, is not answered.
            if self.lanes.is_aborted() || self.lanes.ending().is_some_and(Ending::is_ours) {
                return Poll::Ready(Err(self.lanes.write_error().unwrap_or(WriteError::EndedHere)));
            }
            let count = bytes.len();
            let mut left = &mut *bytes;
            let polled = self.lanes.quic_send().as_mut().map(|quic| pin!(quic.write_many_chunks(&mut left)).poll(cx));
            let whole = count - left.len();
            match polled.unwrap_or(Poll::Ready(Err(iroh::endpoint::WriteError::ClosedStream))) {
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

    /// How much data may travel with the header, of so much.
    pub(crate) fn early_room(&mut self, len: usize) -> usize {
        let carrier = &self.lanes.carrier;
        let room = self.credit.room(&self.lanes.credit, &carrier.credit, &**carrier, len as u64);
        usize::try_from(room).unwrap_or(usize::MAX).min(len)
    }

    /// Counts data that travels with the header, or with the answer to it.
    pub(crate) fn count_early(&mut self, len: usize) {
        if len > 0 {
            self.wrote(len);
        }
    }

    /// The peer has said yes.
    pub(crate) fn on_answer(&mut self) {
        self.lanes.agree();
        let mark = self.credit.on_answer();
        self.ask(mark);
    }

    /// Takes the QUIC stream out: what was opened is not a data lane.
    pub(crate) fn into_quic(mut self) -> Option<iroh::endpoint::SendStream> {
        self.let_go = true;
        self.lanes.quic_send().take()
    }

    /// Ends the lane with a code that the model does not know: a rejection, or garbage.
    pub(crate) fn reset_with(&mut self, code: u64) {
        self.lanes.reset(code);
    }

    fn poll_write_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, WriteError>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(cx, data.len()))?;
        let data = &data[..data.len().min(room)];
        let polled = match self.lanes.quic_send().as_mut() {
            Some(quic) => Pin::new(quic).poll_write(cx, data),
            None => return Poll::Ready(Err(WriteError::EndedHere)),
        };
        match polled {
            Poll::Ready(Ok(written)) => Poll::Ready(Ok(self.count(written))),
            Poll::Ready(Err(error)) => self.failed(cx, error),
            Poll::Pending => self.poll_blocked(cx),
        }
    }

    fn poll_write_chunk(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<Result<usize, WriteError>> {
        let room = ready!(self.poll_room(cx, data.len()))?;
        let mut piece = [data.slice(..data.len().min(room))];
        let before = piece[0].len();
        let mut left = &mut piece[..];
        let polled = match self.lanes.quic_send().as_mut() {
            Some(quic) => pin!(quic.write_many_chunks(&mut left)).poll(cx),
            None => return Poll::Ready(Err(WriteError::EndedHere)),
        };
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

    /// How many bytes may be written now, of so many: the lane is open, and the peer does not hold too much unread.
    fn poll_room(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<Result<usize, WriteError>> {
        let mut registered = false;
        loop {
            ready!(self.poll_open(cx))?;
            let (lane, carrier) = (&self.lanes.credit, &self.lanes.carrier);
            let room = self.credit.room(lane, &carrier.credit, &**carrier, len as u64);
            if room > 0 {
                self.stopped = None;
                return Poll::Ready(Ok(usize::try_from(room).unwrap_or(usize::MAX)));
            }
            // Before the peer is asked, and all of this is looked at once more: the answer may be here at once, and say nothing
            // that is new.
            if !std::mem::replace(&mut registered, true) {
                self.lanes.wake_writer(cx.waker());
                continue;
            }
            let mark = self.credit.waits(lane, &carrier.credit, &**carrier);
            self.ask(mark);
            // A peer that stops reading sends no report: its STOP_SENDING has to wake the writer too.
            if self.stopped.is_none() {
                let stopped = self.lanes.stopped();
                self.stopped = stopped.map(|stopped| Stopped(Box::pin(async move { drop(stopped.await) })));
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

    /// Whether the lane can be written.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        loop {
            match self.half.write(self.lanes.is_finished(), self.lanes.ending()) {
                Outcome::Go | Outcome::Delivered => return Poll::Ready(Ok(())),
                Outcome::AwaitRecord => ready!(self.await_record(cx)),
                Outcome::Fail(failure) => return Poll::Ready(Err(self.failure(failure))),
            }
        }
    }

    /// The transport has no room: the end of the stream has to wake the writer as well.
    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, WriteError>> {
        self.credit.rests(&self.lanes.credit, &self.lanes.carrier.credit);
        match self.lanes.wake_writer(cx.waker()) {
            Some(_) => self.poll_open(cx).map_ok(|()| 0),
            None => Poll::Pending,
        }
    }

    fn count(&mut self, written: usize) -> usize {
        self.lanes.carrier.count_write();
        self.wrote(written);
        written
    }

    fn wrote(&mut self, written: usize) {
        let carrier = &self.lanes.carrier;
        let mark = self.credit.wrote(&self.lanes.credit, &carrier.credit, &**carrier, written as u64);
        if let Some(priority) = self.urgency.wrote(self.credit.written())
            && let Some(quic) = self.lanes.quic_send().as_ref()
        {
            // A lane that has ended has no order.
            let _ = quic.set_priority(priority);
        }
        self.ask(mark);
    }

    /// The opener gives up, and nobody is known to want the data.
    fn take_back(&self) {
        let much = self.lanes.credit.holds_much(&self.lanes.carrier.credit);
        // Acknowledged data cannot be reset (RFC 9000, section 3.1), and is counted nowhere on this side from here on: kept by a
        // peer that thinks about its answer, it would fill the connection's window.
        if !self.lanes.reset(lane::CANCELLED) && much {
            let given_up = StreamError::new(record::GIVEN_UP, "the opener has given up");
            let _ = self.lanes.end(given_up, Severity::Abort).map(drop);
        }
    }

    /// Lets go of a lane whose data is complete.
    fn leave(&mut self) {
        let mark = self.credit.leave(&self.lanes.credit, &self.lanes.carrier.credit);
        self.ask(mark);
        self.lanes.let_go_of_send();
    }

    fn ask(&self, mark: Option<u64>) {
        if let Some(offset) = mark {
            self.lanes.carrier.outbox.send(Frame::Watermark { lane: self.lanes.id(), offset });
        }
    }

    fn failed(&mut self, cx: &mut Context<'_>, error: iroh::endpoint::WriteError) -> Poll<Result<usize, WriteError>> {
        match error {
            iroh::endpoint::WriteError::Stopped(code) => {
                self.half.on_stopped(code.into_inner());
                self.lanes.credit.release();
                match ready!(self.poll_open(cx)) {
                    Err(error) => Poll::Ready(Err(error)),
                    // The model says that a stopped half cannot be written.
                    Ok(()) => Poll::Ready(Err(WriteError::Stopped { code: code.into_inner() })),
                }
            }
            iroh::endpoint::WriteError::ConnectionLost(error) => {
                self.half.on_lost();
                Poll::Ready(Err(self.lanes.carrier.lost(error).into()))
            }
            // 0-RTT is never used, and a closed stream is one that this side has ended.
            _ => Poll::Ready(Err(self.lanes.write_error().unwrap_or(WriteError::EndedHere))),
        }
    }

    /// Waits for the record that explains a stop, for a bounded time. Ready also if the stream has ended.
    fn await_record(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // At every poll: a consumption report of the peer takes the waker when it wakes the writer.
        if self.lanes.wake_writer(cx.waker()).is_some() {
            return Poll::Ready(());
        }
        let bound = self.lanes.carrier.limits.error_timeout;
        let waiting = self.explanation.get_or_insert_with(|| Box::pin(sleep(bound)));
        ready!(waiting.as_mut().poll(cx));
        self.half.on_waited();
        Poll::Ready(())
    }

    fn failure(&self, failure: Failure) -> WriteError {
        match failure {
            Failure::Ended => self.lanes.write_error().unwrap_or(WriteError::EndedHere),
            Failure::Finished => WriteError::EndedHere,
            Failure::Stopped(code) => WriteError::Stopped { code },
            Failure::Lost => match self.lanes.carrier.connection.close_reason() {
                Some(error) => self.lanes.carrier.lost(error).into(),
                None => WriteError::EndedHere,
            },
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
        if self.let_go {
            return;
        }
        let lane = Circumstances {
            finished: self.lanes.is_finished(),
            unanswered: self.lanes.is_unanswered(),
            panicking: std::thread::panicking(),
        };
        match self.half.let_go(lane, self.lanes.ending()) {
            Farewell::Leave => return self.leave(),
            // noq would send FIN when the stream is dropped.
            Farewell::Reset(code) => {
                self.lanes.reset(code);
            }
            Farewell::TakeBack => self.take_back(),
            Farewell::Linger => {
                self.lanes.carrier.tasks.spawn(linger(Arc::clone(&self.lanes)));
                return;
            }
        }
        self.lanes.let_go_of_send();
    }
}
