//! The writing half of a stream.

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
    errors::{self, linger},
    lanes::Lanes,
    urgency::Urgency,
    write_half::{Failure, LaneState, OnDrop, Outcome, WriteHalf},
};
use crate::{
    error::WriteError,
    wire::{
        codes::{lane, record},
        control::Frame,
        record::Severity,
    },
};

mod raw;
#[cfg(test)]
mod tests;

/// The writing half of an [`XStream`](crate::XStream), returned by [`XStream::split`](crate::XStream::split).
///
/// Implements [`AsyncWrite`]: `shutdown` is [`SendStream::finish`], and `flush` does nothing, because nothing is
/// buffered here.
///
/// If it is dropped without [`finish`](SendStream::finish), it resets the lane: the peer reads an error, never an end
/// of the data.
#[derive(Debug)]
pub struct SendStream {
    lanes: Arc<Lanes>,
    half: WriteHalf,
    credit: WriteCredit,
    /// Resolves when the peer stops reading. Present while a write waits for room.
    stopped: Option<Stopped>,
    /// Timeout of the wait for the record that explains a STOP_SENDING.
    explanation: Option<Pin<Box<Sleep>>>,
    urgency: Urgency,
    /// The lane was finished and released, or is not a data lane: drop has nothing to do.
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

    /// Writes some of `data`, and returns the number of bytes written: at least one, unless `data` is empty.
    ///
    /// Waits while the peer does not read. The wait does not slow down any other stream.
    ///
    /// Cancel-safe: a dropped call has written nothing.
    ///
    /// # Errors
    ///
    /// [`WriteError::Failed`] with the peer's reason, if the peer gave one.
    pub async fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        poll_fn(|cx| self.poll_write_data(cx, data)).await
    }

    /// Writes all of `data`.
    ///
    /// Not cancel-safe: a dropped call may have written a part of `data`, and does not report how much. It is safe to
    /// drop the stream afterwards: the peer sees a reset.
    ///
    /// # Errors
    ///
    /// The same as for [`SendStream::write`].
    pub async fn write_all(&mut self, mut data: &[u8]) -> Result<(), WriteError> {
        while !data.is_empty() {
            let written = self.write(data).await?;
            data = &data[written..];
        }
        Ok(())
    }

    /// Writes all of `data` without copying it.
    ///
    /// Not cancel-safe, like [`SendStream::write_all`].
    ///
    /// # Errors
    ///
    /// The same as for [`SendStream::write`].
    pub async fn write_chunk(&mut self, mut data: Bytes) -> Result<(), WriteError> {
        while !data.is_empty() {
            poll_fn(|cx| self.poll_write_chunk(cx, &mut data)).await?;
        }
        Ok(())
    }

    /// Writes some of `data` without copying it, and removes the written bytes from its front: at least one byte,
    /// unless `data` is empty. Returns the number of bytes written.
    ///
    /// Cancel-safe: a dropped call has written nothing and has left `data` unchanged.
    ///
    /// # Errors
    ///
    /// The same as for [`SendStream::write`].
    pub async fn write_from(&mut self, data: &mut Bytes) -> Result<usize, WriteError> {
        if data.is_empty() {
            return Ok(0);
        }
        poll_fn(|cx| self.poll_write_chunk(cx, data)).await
    }

    /// Writes `text` and a line feed, for [`next_string`](super::RecvStream::next_string) on the peer's side.
    ///
    /// Not cancel-safe, like [`SendStream::write_all`].
    ///
    /// # Errors
    ///
    /// The same as for [`SendStream::write`].
    pub async fn send_string(&mut self, text: &str) -> Result<(), WriteError> {
        let mut line = Vec::with_capacity(text.len() + 1);
        line.extend_from_slice(text.as_bytes());
        line.push(b'\n');
        self.write_chunk(line.into()).await
    }

    /// Finishes the data: the peer reads the end of the data after the last byte. Later writes fail.
    ///
    /// # Errors
    ///
    /// If the stream has ended already, the reason for that.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        self.lanes.finish()?;
        self.credit.rests(&self.lanes.credit, &self.lanes.carrier.credit);
        // The peer acknowledges the FIN as it acknowledges data.
        self.lanes.carrier.count_end();
        if let Some(quic) = self.lanes.quic_send().as_mut() {
            // This fails if the peer has stopped the lane in the meantime. Then the peer needs no FIN either.
            let _ = quic.finish();
        }
        Ok(())
    }

    /// Finishes the data as [`finish`](SendStream::finish) does, for callers that need nothing more of the lane. noq
    /// finishes a stream when it is dropped, which locks the connection once. Finishing the stream and then dropping
    /// it locks the connection twice.
    pub(crate) fn finish_and_let_go(&mut self) -> Result<(), WriteError> {
        self.lanes.finish()?;
        self.credit.rests(&self.lanes.credit, &self.lanes.carrier.credit);
        self.lanes.carrier.count_end();
        self.let_go = true;
        self.leave();
        Ok(())
    }

    /// Waits until the peer's endpoint has received every byte, after a [`finish`](SendStream::finish). The peer's
    /// program may not have read the bytes.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`WriteError::EndedHere`] if the data was not finished; [`WriteError::Failed`] or [`WriteError::Stopped`] if
    /// the peer did not want all of the data.
    pub async fn delivered(&mut self) -> Result<(), WriteError> {
        let mut stopped = self.lanes.stopped().map(Box::pin);
        poll_fn(|cx| {
            loop {
                // Registered before the cause is read, so that no change of the cause is missed.
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
                            // The peer has dropped what was sent before the handshake was done.
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

    /// Returns a future that resolves when the peer needs nothing more of this lane: the peer's endpoint has every
    /// byte of finished data, or the peer has stopped the lane, or the connection is lost.
    /// [`delivered`](SendStream::delivered) then returns which of these it was, at once or when the reason has
    /// arrived. The future does not borrow this handle, which can be used meanwhile.
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

    /// Fails the whole stream, in both directions, with an error that the peer receives on the error lane.
    ///
    /// The peer reads every byte that was written here before this call, then the error. Writing and reading end at
    /// once on this side. Data that the peer still sends is discarded.
    ///
    /// Returns when noq has taken the error, or after [`Limits::error_timeout`](crate::Limits::error_timeout). If noq
    /// has no room for the error by then, it is sent as soon as there is room, within
    /// [`Limits::linger`](crate::Limits::linger).
    ///
    /// Cancel-safe: after the first poll, the error is sent even if the call is dropped.
    ///
    /// # Errors
    ///
    /// If the stream has failed already, the reason for that; [`WriteError::Lost`] if the error cannot be sent any
    /// more.
    pub async fn fail(&mut self, error: StreamError) -> Result<(), WriteError> {
        self.lanes.end(error, Severity::Fatal)?.await
    }

    /// Aborts the stream: like [`fail`](SendStream::fail), but data that has not been read yet is discarded in both
    /// directions.
    ///
    /// Cancel-safe, like `fail`.
    ///
    /// # Errors
    ///
    /// The same as for `fail`.
    pub async fn abort(&mut self, error: StreamError) -> Result<(), WriteError> {
        self.lanes.end(error, Severity::Abort)?.await
    }

    /// Sends a warning to the peer on the error lane. The stream continues. A warning can also be sent after
    /// [`finish`](SendStream::finish). The future does not borrow this handle, which can be written meanwhile.
    ///
    /// Warnings are sent one after the other. At most 128 KiB of warnings are queued on one stream, and a call waits
    /// for room in the queue.
    ///
    /// Cancel-safe: once there was room in the queue, the warning is sent even if the call is dropped.
    ///
    /// # Errors
    ///
    /// If the stream has failed, the reason for that; [`WriteError::TimedOut`] if the warning was not sent within
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

    /// Sets the priority of this stream's data among the streams of the same connection. A larger value goes first;
    /// the default is 0. Among streams with the same priority, those with less than 64 KiB written go first, so that
    /// requests do not queue behind bulk data. The other streams take turns.
    ///
    /// # Errors
    ///
    /// [`WriteError::EndedHere`] if the stream has ended.
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

    /// Returns the number of STREAM frames that the connection has sent.
    pub(crate) fn frames(&self) -> u64 {
        self.lanes.carrier.frames()
    }

    /// Waits until the peer has stopped the stream, has every byte of finished data, or the connection is lost.
    pub(crate) async fn given_up(&mut self) {
        let stopped = self.lanes.stopped();
        match stopped {
            Some(stopped) => drop(stopped.await),
            None => std::future::pending().await,
        }
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
                // A chunk that was written whole is gone from `left`. A chunk that was written in part has been cut.
                let written = before - left.first().map_or(0, Bytes::len);
                let _ = data.split_to(written);
                Poll::Ready(Ok(self.count(written)))
            }
            Poll::Ready(Err(error)) => self.failed(cx, error),
            Poll::Pending => self.poll_blocked(cx),
        }
    }

    /// Waits until the lane is open, and the peer does not hold too much unread data. Returns how many of `len` bytes
    /// may be written now.
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
            // The waker is registered before the peer is asked, and then all of this is checked once more. The peer's
            // report may arrive at once, and later reports may say nothing new.
            if !std::mem::replace(&mut registered, true) {
                self.lanes.wake_writer(cx.waker());
                continue;
            }
            let mark = self.credit.waits(lane, &carrier.credit, &**carrier);
            self.ask(mark);
            // A peer that stops reading sends no report, so its STOP_SENDING must wake the writer too.
            if self.stopped.is_none() {
                let stopped = self.lanes.stopped();
                self.stopped = stopped.map(|stopped| Stopped(Box::pin(async move { drop(stopped.await) })));
            }
            if let Some(Stopped(stopped)) = &mut self.stopped
                && stopped.as_mut().poll(cx).is_ready()
            {
                // The write that follows fails with the reason.
                self.stopped = None;
                return Poll::Ready(Ok(1));
            }
            return Poll::Pending;
        }
    }

    /// Waits until the lane can be written, or returns why it cannot.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        loop {
            match self.half.write(self.lanes.is_finished(), self.lanes.ending()) {
                Outcome::Go | Outcome::Delivered => return Poll::Ready(Ok(())),
                Outcome::AwaitRecord => ready!(self.await_record(cx)),
                Outcome::Fail(failure) => return Poll::Ready(Err(self.failure(failure))),
            }
        }
    }

    /// Called when noq has no room. The end of the stream must wake the writer as well.
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
            // Fails if the lane has ended. Then the priority has no effect.
            let _ = quic.set_priority(priority);
        }
        self.ask(mark);
    }

    /// Takes back finished data when the opener gives up: no acceptor is known to want the data.
    fn take_back(&self) {
        let much = self.lanes.credit.holds_much(&self.lanes.carrier.credit);
        // Acknowledged data cannot be reset (RFC 9000, section 3.1), and from here on this side does not count it any
        // more. A peer that delays its answer would keep the data, and the data would fill the flow control window of
        // the connection.
        if !self.lanes.reset(lane::CANCELLED) && much {
            let given_up = StreamError::new(record::GIVEN_UP, "the opener has given up");
            let _ = self.lanes.end(given_up, Severity::Abort).map(drop);
        }
    }

    /// Releases a lane whose data is complete.
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
                    // Not reached: `WriteHalf` does not allow a write on a half that was stopped.
                    Ok(()) => Poll::Ready(Err(WriteError::Stopped { code: code.into_inner() })),
                }
            }
            iroh::endpoint::WriteError::ConnectionLost(error) => {
                self.half.on_lost();
                Poll::Ready(Err(self.lanes.carrier.lost(error).into()))
            }
            iroh::endpoint::WriteError::ZeroRttRejected => {
                self.lanes.carrier.set_void();
                self.half.on_lost();
                Poll::Ready(Err(WriteError::EndedHere))
            }
            // The other error is that of a closed stream, which this side has ended.
            _ => Poll::Ready(Err(self.lanes.write_error().unwrap_or(WriteError::EndedHere))),
        }
    }

    /// Waits for the record that explains a STOP_SENDING, at most for
    /// [`Limits::error_timeout`](crate::Limits::error_timeout). Also ready if the stream has ended.
    fn await_record(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Registered at every poll: a CONSUMED frame of the peer takes the waker when it wakes the writer.
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
        let lane = LaneState {
            finished: self.lanes.is_finished(),
            unanswered: self.lanes.is_unanswered(),
            panicking: std::thread::panicking(),
        };
        match self.half.let_go(lane, self.lanes.ending()) {
            OnDrop::Leave => return self.leave(),
            // Without the reset, noq would send FIN when the stream is dropped.
            OnDrop::Reset(code) => {
                self.lanes.reset(code);
            }
            OnDrop::TakeBack => self.take_back(),
            OnDrop::Linger => {
                self.lanes.carrier.tasks.spawn(linger(Arc::clone(&self.lanes)));
                return;
            }
        }
        self.lanes.let_go_of_send();
    }
}
