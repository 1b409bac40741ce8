//! The state that the two halves of a stream share: the QUIC streams, the cause of the stream's end, the credit, and
//! the error lane.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    task::Waker,
};

use bytes::Bytes;
use iroh::endpoint::{RecvStream as QuicRecv, SendStream as QuicSend, StoppedError, VarInt};
use tokio::{sync::OwnedSemaphorePermit, task::AbortHandle, time::timeout};

use super::{
    Report, StreamError,
    carrier::{Carrier, Opening, code_to_varint},
    consumption::Consumption,
    credit::LaneCredit,
    ending::{Cause, Ending},
    errors::{self, ErrorLane, Inbox},
};
use crate::{
    error::WriteError,
    protocol::Protocol,
    wire::{
        Malformed,
        codes::{self, lane},
        control::Frame,
        record::{Record, Severity},
    },
};

/// One logical stream, seen from one side.
#[derive(Debug)]
pub(crate) struct Lanes {
    id: u64,
    pub(crate) carrier: Arc<Carrier>,
    /// The half of the data lane that this side writes. `None` once the writer has released it.
    send: Mutex<Option<QuicSend>>,
    /// The half that this side reads. `None` once the reader has released it.
    recv: Mutex<Option<QuicRecv>>,
    /// The stream has ended, or the connection is lost; `shared` has the details. While this flag is not set, the
    /// halves look at nothing else.
    ended: AtomicBool,
    /// FIN was sent on purpose. Set under the lock of `shared`.
    finished: AtomicBool,
    shared: Mutex<Shared>,
    pub(super) credit: LaneCredit,
    pub(super) consumption: Consumption,
    /// Created when this side or the peer sends a record, which does not happen on most streams.
    errors: OnceLock<Box<ErrorLane>>,
    inbox: OnceLock<Arc<Inbox>>,
    /// This side is about to accept the stream: from now on a program on this side holds it.
    accepted: AtomicBool,
    /// Both sides have agreed on the stream: it is counted in the metrics when it ends.
    agreed: AtomicBool,
    /// The peer has answered, or its half has ended: nothing is left to be taken back.
    answered: AtomicBool,
    /// The stream is handled before the handshake is known to be done.
    early: AtomicBool,
    /// The protocol and the metadata about which the access rules were asked when the peer opened the stream.
    pub(crate) admitted: OnceLock<(Protocol, Bytes)>,
    opened_by: OpenedBy,
}

/// The side that opened the data lane.
#[derive(Debug)]
enum OpenedBy {
    /// This side. Its permit to hold the lane is returned when the lane is dropped.
    Us { _permit: Option<OwnedSemaphorePermit> },
    /// The peer. `counted` is set once the kind of the lane is known, and tells whether the peer's credit was charged
    /// with the lane.
    Peer { counted: OnceLock<bool> },
}

#[derive(Debug, Default)]
struct Shared {
    cause: Option<Cause>,
    lost: bool,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
    /// Tasks that read error lanes: at most one that this side opened, and one that the peer opened.
    readers: Vec<AbortHandle>,
    peer_opened_error_lane: bool,
}

impl Lanes {
    /// Creates the state of a bidirectional stream that the peer has opened. It is a data lane, unless its kind says
    /// otherwise.
    pub(crate) fn accepted(carrier: &Arc<Carrier>, id: u64) -> Arc<Self> {
        let opened_by = OpenedBy::Peer { counted: OnceLock::new() };
        let lanes = Arc::new(Self::new(Arc::clone(carrier), id, opened_by));
        carrier.register(&lanes);
        lanes
    }

    /// Creates the state of a data lane that this side has opened.
    pub(crate) fn opened(
        carrier: &Arc<Carrier>,
        id: u64,
        permit: Option<OwnedSemaphorePermit>,
        opening: Opening<'_>,
    ) -> Arc<Self> {
        let lanes = Arc::new(Self::new(Arc::clone(carrier), id, OpenedBy::Us { _permit: permit }));
        opening.register(&lanes);
        lanes
    }

    fn new(carrier: Arc<Carrier>, id: u64, opened_by: OpenedBy) -> Self {
        Self {
            id,
            send: Mutex::new(None),
            recv: Mutex::new(None),
            ended: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            shared: Mutex::default(),
            credit: LaneCredit::default(),
            consumption: Consumption::new(),
            errors: OnceLock::new(),
            inbox: OnceLock::new(),
            accepted: AtomicBool::new(false),
            agreed: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            early: AtomicBool::new(false),
            admitted: OnceLock::new(),
            opened_by,
            carrier,
        }
    }

    /// Returns the QUIC stream id of the data lane.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Records that this side is about to accept the stream.
    pub(crate) fn accept(&self) {
        self.accepted.store(true, Release);
    }

    /// Records that both sides have agreed on the stream.
    pub(crate) fn agree(&self) {
        self.agreed.store(true, Release);
    }

    /// Records that the peer has answered, whether it accepted or not, or that no answer will come.
    pub(crate) fn set_answered(&self) {
        self.answered.store(true, Release);
    }

    /// Records that the stream is handled before the handshake is known to be done.
    pub(crate) fn set_early(&self) {
        self.early.store(true, Release);
    }

    pub(crate) fn is_early(&self) -> bool {
        self.early.load(Acquire)
    }

    /// Returns whether this side opened the lane and waits for the answer.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.opened_by, OpenedBy::Us { .. }) && !self.answered.load(Acquire)
    }

    /// Records that the stream which the peer opened is a data lane. Returns false if the peer has opened more data
    /// lanes than it may.
    pub(crate) fn count_data_lane(&self) -> bool {
        match &self.opened_by {
            OpenedBy::Us { .. } => true,
            OpenedBy::Peer { counted } => counted.set(true).is_err() || self.carrier.on_lane(),
        }
    }

    /// Records that the stream which the peer opened is not a data lane.
    pub(crate) fn set_not_data_lane(&self) {
        if let OpenedBy::Peer { counted } = &self.opened_by {
            let _ = counted.set(false);
        }
    }

    // --- The QUIC streams --------------------------------------------------------------------------------------------

    pub(super) fn quic_send(&self) -> MutexGuard<'_, Option<QuicSend>> {
        self.send.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn quic_recv(&self) -> MutexGuard<'_, Option<QuicRecv>> {
        self.recv.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends RESET_STREAM, after which the peer holds no data of the half. Returns false if the half is gone, was
    /// finished and is acknowledged, or was reset before.
    pub(super) fn reset(&self, code: u64) -> bool {
        let reset = self.quic_send().as_mut().is_some_and(|quic| quic.reset(code_to_varint(code)).is_ok());
        if reset {
            self.credit.release();
        }
        reset
    }

    /// Sends STOP_SENDING, unless the half is gone.
    pub(super) fn stop(&self, code: u64) {
        if let Some(quic) = self.quic_recv().as_mut() {
            // Fails if the half was read to its end, or was stopped already.
            let _ = quic.stop(code_to_varint(code));
        }
    }

    /// Drops the QUIC stream that this side writes. This finishes the QUIC stream unless it was reset.
    pub(super) fn let_go_of_send(&self) {
        // Dropped outside the lock, because noq locks the connection for it.
        let quic = self.quic_send().take();
        drop(quic);
    }

    /// Drops the QUIC stream that this side reads.
    pub(super) fn let_go_of_recv(&self) {
        let quic = self.quic_recv().take();
        drop(quic);
    }

    /// Returns a future that resolves when the peer stops the half that this side writes, or has every byte of
    /// finished data. `None` if the half is gone.
    pub(super) fn stopped(&self) -> Option<impl Future<Output = Result<Option<VarInt>, StoppedError>> + Send + use<>> {
        self.quic_send().as_ref().map(QuicSend::stopped)
    }

    // --- The end of the stream ---------------------------------------------------------------------------------------

    /// Returns whether the stream has ended, or the connection is lost, so that the halves must look at `shared`.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    /// Returns the cause of the stream's end, in the form for the state machines of the halves.
    pub(super) fn ending(&self) -> Option<Ending> {
        if self.has_ended() { self.lock().cause.as_ref().map(Cause::ending) } else { None }
    }

    /// Returns whether either side has aborted the stream. Then no data is delivered, and no answer is sent.
    pub(crate) fn is_aborted(&self) -> bool {
        matches!(self.ending(), Some(Ending::PeerAborted | Ending::Aborted))
    }

    /// Returns the cause of the stream's end.
    pub(super) fn cause(&self) -> Option<Cause> {
        if self.has_ended() { self.lock().cause.clone() } else { None }
    }

    /// Returns the cause of the stream's end as the error of a writer.
    pub(super) fn write_error(&self) -> Option<WriteError> {
        self.cause().as_ref().map(Cause::to_write_error)
    }

    /// Returns the error of a writer whose lane was stopped by the peer. If the peer did that because the stream has
    /// failed there, a record has the reason: waits for the record, at most for
    /// [`Limits::error_timeout`](crate::Limits::error_timeout).
    pub(super) async fn explained(&self) -> Option<WriteError> {
        let explained = async {
            loop {
                let changed = self.errors().explained.notified();
                if let Some(error) = self.write_error() {
                    return error;
                }
                changed.await;
            }
        };
        timeout(self.carrier.limits.error_timeout, explained).await.ok()
    }

    /// Returns whether FIN was sent.
    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Acquire)
    }

    /// Marks the data as complete. If the stream has ended already, returns the reason as an error.
    pub(super) fn finish(&self) -> Result<(), WriteError> {
        let shared = self.lock();
        if let Some(cause) = &shared.cause {
            return Err(cause.to_write_error());
        }
        if self.finished.swap(true, AcqRel) { Err(WriteError::EndedHere) } else { Ok(()) }
    }

    /// Ends the stream from this side, unless it has ended already. Returns the record that tells the peer.
    fn end_here(&self, error: StreamError, severity: Severity) -> Result<Record, WriteError> {
        let shared = self.lock();
        if let Some(cause) = &shared.cause {
            return Err(cause.to_write_error());
        }
        let error = error.at(self.credit.written());
        let record = error.to_record(severity);
        let error = Arc::new(error);
        let aborted = severity == Severity::Abort;
        self.set_cause(shared, if aborted { Cause::Aborted(error) } else { Cause::Failed(error) });
        Ok(record)
    }

    /// Fails or aborts the stream from this side. The record is queued when this returns; the future is that of
    /// [`errors::end`].
    pub(super) fn end(
        self: &Arc<Self>,
        error: StreamError,
        severity: Severity,
    ) -> Result<impl Future<Output = Result<(), WriteError>> + Send + use<>, WriteError> {
        let record = self.end_here(error, severity)?;
        if severity == Severity::Abort {
            self.reset(lane::ABORTED);
        }
        Ok(errors::end(self, &record))
    }

    /// Ends the stream because the access rules do not allow it any more. Reading and writing fail at once on both
    /// sides, and no further data is sent, whichever program holds the stream and whatever its state.
    pub(crate) fn revoke(self: &Arc<Self>, reason: &str) {
        // A peer that does not read the record learns of the end from the reset.
        let _ = self.end(StreamError::new(codes::record::REVOKED, reason), Severity::Abort).map(drop);
        self.reset(lane::ABORTED);
        self.stop(lane::FAILED);
        self.errors().undeliverable.notify_one();
    }

    /// Handles a record from an error lane. Returns whether more records may follow.
    pub(super) fn on_record(&self, record: Record) -> bool {
        self.carrier.metrics.records_received.inc();
        let severity = record.severity;
        let fatal = severity != Severity::Warning;
        let mut error = StreamError::from(record);
        // Before this side has accepted a stream of the peer, no program is there to be warned. A record that ends
        // such a stream is kept without its details.
        let nobody = matches!(self.opened_by, OpenedBy::Peer { .. }) && !self.accepted.load(Acquire);
        if nobody {
            if !fatal {
                return true;
            }
            error = StreamError::new(error.code(), error.text()).at(error.offset());
        }
        let error = Arc::new(error);
        let report = Report { severity, error: Arc::clone(&error), missed: 0 };
        let inbox = self.inbox();
        let shared = self.lock();
        let ends = fatal && shared.cause.is_none();
        if !ends {
            drop(shared);
            inbox.push(report);
            return !fatal;
        }
        // A task that reads the report then finds the stream ended, and a task that finds the stream ended finds the
        // report.
        self.ended.store(true, Release);
        inbox.push(report);
        if severity == Severity::Fatal {
            self.set_cause(shared, Cause::PeerFailed(error));
            return false;
        }
        self.set_cause(shared, Cause::PeerAborted(error));
        self.discard(lane::DONE);
        false
    }

    /// Ends the stream because the peer's error lane is malformed: none of the peer's later records can be trusted to
    /// arrive.
    pub(super) fn on_malformed(&self, malformed: Malformed) {
        let shared = self.lock();
        if shared.cause.is_none() {
            self.set_cause(shared, Cause::Malformed(malformed));
            self.discard(lane::MALFORMED);
        }
    }

    /// Discards the data that was not delivered, which is void. The program may not read for a while, because the
    /// access rules or a handler take their time; the data must not take up room meanwhile.
    fn discard(&self, code: u64) {
        // The cause must be set before: noq reports the end of the data, as for FIN, to a reader of a stopped half,
        // and `ReadHalf::on_fin` then looks at the cause.
        debug_assert!(self.has_ended(), "a reader would take the stop for the end of the data");
        self.stop(code);
        self.say_consumed(self.consumption.close());
    }

    /// Records that the connection is gone, and wakes both halves.
    pub(crate) fn on_lost(&self) {
        let mut shared = self.lock();
        shared.lost = true;
        self.wake(shared);
        if let Some(inbox) = self.inbox.get() {
            inbox.close();
        }
    }

    fn set_cause(&self, mut shared: MutexGuard<'_, Shared>, cause: Cause) {
        debug_assert!(shared.cause.is_none(), "a stream ends once: {:?}, then {cause:?}", shared.cause);
        shared.cause = Some(cause);
        self.wake(shared);
        // A task that waits for `explained` creates `errors` first, and looks at the cause afterwards.
        if let Some(errors) = self.errors.get() {
            errors.explained.notify_waiters();
        }
    }

    /// Sets `ended` and wakes both halves, so that they look at `shared`.
    fn wake(&self, mut shared: MutexGuard<'_, Shared>) {
        self.ended.store(true, Release);
        let wakers = [shared.read_waker.take(), shared.write_waker.take()];
        drop(shared);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// Registers the reader to be woken when the stream ends. Returns the cause if the stream has ended already.
    pub(super) fn wake_reader(&self, waker: &Waker) -> Option<Ending> {
        let mut shared = self.lock();
        shared.read_waker = Some(waker.clone());
        shared.cause.as_ref().map(Cause::ending)
    }

    /// Registers the writer to be woken when the stream ends, and when there may be room. Returns the cause if the
    /// stream has ended already.
    pub(super) fn wake_writer(&self, waker: &Waker) -> Option<Ending> {
        let mut shared = self.lock();
        shared.write_waker = Some(waker.clone());
        shared.cause.as_ref().map(Cause::ending)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns this side's half of the error lane.
    pub(super) fn errors(&self) -> &ErrorLane {
        self.errors.get_or_init(Box::default)
    }

    // --- Reports -----------------------------------------------------------------------------------------------------

    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        let new = || Arc::new(Inbox::new(self.carrier.limits.warnings, Arc::clone(&self.carrier.inbox_budget)));
        let inbox = Arc::clone(self.inbox.get_or_init(new));
        // Nothing more can come: a caller that asks only now must not wait for it.
        if self.lock().lost {
            inbox.close();
        }
        inbox
    }

    /// Records that the peer has consumed the data before `offset`, and wakes the writer.
    pub(super) fn on_consumed(&self, offset: u64) {
        self.credit.on_consumed(&self.carrier.credit, offset);
        let waker = self.lock().write_waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Records that the peer asks for a report when the data before `offset` has been consumed.
    pub(super) fn on_watermark(&self, offset: u64) {
        self.say_consumed(self.consumption.on_watermark(offset));
    }

    /// Sends CONSUMED to the peer, if it is due.
    pub(super) fn say_consumed(&self, offset: Option<u64>) {
        if let Some(offset) = offset {
            self.carrier.outbox.send(Frame::Consumed { lane: self.id, offset });
        }
    }

    /// Registers a task that reads an error lane, to be aborted when this stream is dropped.
    pub(super) fn own_reader(&self, reader: AbortHandle) {
        self.lock().readers.push(reader);
    }

    /// Returns whether the peer's error lane may be used: true for the first one that the peer opens, false for later
    /// ones.
    pub(super) fn take_peers_error_lane(&self) -> bool {
        !std::mem::replace(&mut self.lock().peer_opened_error_lane, true)
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        let shared = self.shared.get_mut().unwrap_or_else(PoisonError::into_inner);
        for reader in shared.readers.drain(..) {
            reader.abort();
        }
        // A lane on which the sides did not agree was taken back or refused. The peer keeps no data of it, and must
        // not be asked about it.
        let agreed = *self.agreed.get_mut();
        let finished = agreed && *self.finished.get_mut() && shared.cause.is_none() && !shared.lost;
        if let Some(inbox) = self.inbox.get() {
            inbox.close();
        }
        // Data that is not read any more counts as read: the peer's writer may be waiting for the report.
        let consumed = self.consumption.close();
        if agreed {
            let metrics = &self.carrier.metrics;
            metrics.streams_ended.inc();
            metrics.data_bytes_sent.inc_by(self.credit.written());
            metrics.data_bytes_received.inc_by(self.consumption.read());
        }
        let (counted, tail) = self.credit.end(&self.carrier.credit, finished);
        let was_data_lane = match &self.opened_by {
            OpenedBy::Us { .. } => false,
            // A stream that ended before its kind was known counts as a data lane of the peer.
            OpenedBy::Peer { counted } => counted.get().copied().unwrap_or_else(|| {
                self.carrier.on_lane();
                true
            }),
        };
        self.carrier.forget(self.id, counted, consumed, tail);
        if was_data_lane {
            self.carrier.on_lane_ended();
        }
    }
}
