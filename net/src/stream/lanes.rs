//! What the two halves of a stream share: the QUIC streams, the cause when the stream ends, the credit, and the error lane.

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
    /// The half of the data lane that this side writes. `None` once its writer has let go of it.
    send: Mutex<Option<QuicSend>>,
    /// The same of the half that this side reads.
    recv: Mutex<Option<QuicRecv>>,
    /// Something has ended the stream, or the connection is lost: `shared` says what. The halves look at this flag alone while
    /// it is not set.
    ended: AtomicBool,
    /// FIN was sent, on purpose. Set under the lock of `shared`.
    finished: AtomicBool,
    shared: Mutex<Shared>,
    pub(super) credit: LaneCredit,
    pub(super) consumption: Consumption,
    /// Made when this side or the peer has something to say, which most streams never have.
    errors: OnceLock<Box<ErrorLane>>,
    inbox: OnceLock<Arc<Inbox>>,
    /// This side is about to say yes: from now on somebody here holds the stream.
    accepted: AtomicBool,
    /// Both sides agreed on the stream: it is counted when it ends.
    agreed: AtomicBool,
    /// The peer's half has said yes or no, or has ended: nothing is left to be taken back.
    answered: AtomicBool,
    /// What the rules were asked about when the peer opened the stream.
    pub(crate) admitted: OnceLock<(Protocol, Bytes)>,
    opened_by: OpenedBy,
}

/// Which side opened the data lane.
#[derive(Debug)]
enum OpenedBy {
    /// This one. Its right to hold the lane is given back with it.
    Us { _permit: Option<OwnedSemaphorePermit> },
    /// The peer. Whether its credit has been charged with the lane, which is known once its kind is.
    Peer { counted: OnceLock<bool> },
}

#[derive(Debug, Default)]
struct Shared {
    cause: Option<Cause>,
    lost: bool,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
    /// Tasks that read error lanes: one that this side opened, and one that the peer did.
    readers: Vec<AbortHandle>,
    peer_opened_error_lane: bool,
}

impl Lanes {
    /// A bidirectional stream that the peer has opened: a data lane, unless its kind says something else.
    pub(crate) fn accepted(carrier: &Arc<Carrier>, id: u64) -> Arc<Self> {
        let opened_by = OpenedBy::Peer { counted: OnceLock::new() };
        let lanes = Arc::new(Self::new(Arc::clone(carrier), id, opened_by));
        carrier.register(&lanes);
        lanes
    }

    /// A data lane that this side has opened.
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
            admitted: OnceLock::new(),
            opened_by,
            carrier,
        }
    }

    /// The QUIC stream id of the data lane.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// This side is about to answer yes.
    pub(crate) fn accept(&self) {
        self.accepted.store(true, Release);
    }

    /// Both sides have agreed on the stream.
    pub(crate) fn agree(&self) {
        self.agreed.store(true, Release);
    }

    /// The peer has answered, whatever it said, or there is no answer to come.
    pub(crate) fn set_answered(&self) {
        self.answered.store(true, Release);
    }

    /// This side opened the lane and waits for the answer.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.opened_by, OpenedBy::Us { .. }) && !self.answered.load(Acquire)
    }

    /// The stream that the peer opened is a data lane. False if the peer has opened more of them than it may.
    pub(crate) fn is_data_lane(&self) -> bool {
        match &self.opened_by {
            OpenedBy::Us { .. } => true,
            OpenedBy::Peer { counted } => counted.set(true).is_err() || self.carrier.on_lane(),
        }
    }

    /// The stream that the peer opened is no data lane.
    pub(crate) fn is_no_data_lane(&self) {
        if let OpenedBy::Peer { counted } = &self.opened_by {
            let _ = counted.set(false);
        }
    }

    // --- The QUIC streams ---------------------------------------------------------------------------------------------

    pub(super) fn quic_send(&self) -> MutexGuard<'_, Option<QuicSend>> {
        self.send.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn quic_recv(&self) -> MutexGuard<'_, Option<QuicRecv>> {
        self.recv.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// RESET_STREAM: the peer holds nothing of the half any more. False if the half is gone, was finished and is acknowledged, or
    /// was reset before.
    pub(super) fn reset(&self, code: u64) -> bool {
        let reset = self.quic_send().as_mut().is_some_and(|quic| quic.reset(code_to_varint(code)).is_ok());
        if reset {
            self.credit.release();
        }
        reset
    }

    /// STOP_SENDING, unless the half is gone.
    pub(super) fn stop(&self, code: u64) {
        if let Some(quic) = self.quic_recv().as_mut() {
            // Read to its end, or stopped already.
            let _ = quic.stop(code_to_varint(code));
        }
    }

    /// Drops the QUIC stream that this side writes, which finishes it unless it was reset.
    pub(super) fn let_go_of_send(&self) {
        // Outside the lock: noq takes that of the connection.
        let quic = self.quic_send().take();
        drop(quic);
    }

    /// The same of the one that this side reads.
    pub(super) fn let_go_of_recv(&self) {
        let quic = self.quic_recv().take();
        drop(quic);
    }

    /// Resolves when the peer stops the half that this side writes, or has every byte of finished data. `None` if it is gone.
    pub(super) fn stopped(&self) -> Option<impl Future<Output = Result<Option<VarInt>, StoppedError>> + Send + use<>> {
        self.quic_send().as_ref().map(QuicSend::stopped)
    }

    // --- The end of the stream ----------------------------------------------------------------------------------------

    /// Whether the halves have to look at what has happened.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    /// Why the stream has ended, for the models of the halves.
    pub(super) fn ending(&self) -> Option<Ending> {
        if self.has_ended() { self.lock().cause.as_ref().map(Cause::ending) } else { None }
    }

    /// Either side has aborted the stream: nothing of it is delivered, and nothing answered.
    pub(crate) fn is_aborted(&self) -> bool {
        matches!(self.ending(), Some(Ending::PeerAborted | Ending::Aborted))
    }

    /// Why the stream has ended.
    pub(super) fn cause(&self) -> Option<Cause> {
        if self.has_ended() { self.lock().cause.clone() } else { None }
    }

    /// The same for a writer.
    pub(super) fn write_error(&self) -> Option<WriteError> {
        self.cause().as_ref().map(Cause::to_write_error)
    }

    /// The cause, for a writer whose peer has let go of a lane: if that is because the stream has failed there, the record
    /// says why, and gets a moment to arrive.
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

    /// Whether FIN was sent.
    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Acquire)
    }

    /// The data is complete, unless the stream has ended: then the answer says why.
    pub(super) fn finish(&self) -> Result<(), WriteError> {
        let shared = self.lock();
        if let Some(cause) = &shared.cause {
            return Err(cause.to_write_error());
        }
        if self.finished.swap(true, AcqRel) { Err(WriteError::EndedHere) } else { Ok(()) }
    }

    /// Ends the stream from this side, unless it has ended already. The record says so to the peer.
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

    /// Fails or aborts the stream from this side. The record is on its way when this returns; the future is [`errors::end`]'s.
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

    /// Ends the stream because the rules do not allow it any more: both sides' reading and writing fail at once, and nothing
    /// more of it goes out, whoever holds it and whatever became of it.
    pub(crate) fn revoke(self: &Arc<Self>, reason: &str) {
        // A peer that takes no record finds out by the reset.
        let _ = self.end(StreamError::new(codes::record::REVOKED, reason), Severity::Abort).map(drop);
        self.reset(lane::ABORTED);
        self.stop(lane::FAILED);
        self.errors().undeliverable.notify_one();
    }

    /// A record came on an error lane. The answer is whether more may follow.
    pub(super) fn on_record(&self, record: Record) -> bool {
        self.carrier.metrics.records_received.inc();
        let severity = record.severity;
        let fatal = severity != Severity::Warning;
        let mut error = StreamError::from(record);
        // A peer whose stream nobody has accepted has nobody to warn. What ends such a stream is kept without its details.
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
        // Whoever hears of the end finds the stream ended, and whoever finds it ended finds the report.
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

    /// The peer's error lane cannot be read: nothing that it will say can be trusted to arrive, so the stream ends.
    pub(super) fn on_malformed(&self, malformed: Malformed) {
        let shared = self.lock();
        if shared.cause.is_none() {
            self.set_cause(shared, Cause::Malformed(malformed));
            self.discard(lane::MALFORMED);
        }
    }

    /// Lets go of what was not delivered, which is void. Nobody may be reading, for as long as the rules think or a handler is busy:
    /// it takes up no room meanwhile.
    fn discard(&self, code: u64) {
        // After the cause is set: noq tells a reader of a stopped half that it ends, as by FIN, and `ReadHalf::on_fin` looks at the cause.
        debug_assert!(self.has_ended(), "a reader would take the stop for the end of the data");
        self.stop(code);
        self.say_consumed(self.consumption.close());
    }

    /// The connection is gone.
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
        // Whoever waits for this has made it before, and looks at the cause after.
        if let Some(errors) = self.errors.get() {
            errors.explained.notify_waiters();
        }
    }

    /// Lets both halves look at what changed.
    fn wake(&self, mut shared: MutexGuard<'_, Shared>) {
        self.ended.store(true, Release);
        let wakers = [shared.read_waker.take(), shared.write_waker.take()];
        drop(shared);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// Has the reader woken when the stream ends. Returns why it has ended, if that was before.
    pub(super) fn wake_reader(&self, waker: &Waker) -> Option<Ending> {
        let mut shared = self.lock();
        shared.read_waker = Some(waker.clone());
        shared.cause.as_ref().map(Cause::ending)
    }

    /// Has the writer woken when the stream ends, and when there may be room. Returns why it has ended, if that was before.
    pub(super) fn wake_writer(&self, waker: &Waker) -> Option<Ending> {
        let mut shared = self.lock();
        shared.write_waker = Some(waker.clone());
        shared.cause.as_ref().map(Cause::ending)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This side's half of the error lane.
    pub(super) fn errors(&self) -> &ErrorLane {
        self.errors.get_or_init(Box::default)
    }

    // --- Reports ------------------------------------------------------------------------------------------------------

    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        let new = || Arc::new(Inbox::new(self.carrier.limits.warnings, Arc::clone(&self.carrier.inbox_budget)));
        let inbox = Arc::clone(self.inbox.get_or_init(new));
        // Nothing more can come: whoever asks only now must not wait for it.
        if self.lock().lost {
            inbox.close();
        }
        inbox
    }

    /// The peer has consumed the data before `offset`.
    pub(super) fn on_consumed(&self, offset: u64) {
        self.credit.on_consumed(&self.carrier.credit, offset);
        let waker = self.lock().write_waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The peer wants to hear when `offset` has been consumed.
    pub(super) fn on_watermark(&self, offset: u64) {
        self.say_consumed(self.consumption.on_watermark(offset));
    }

    /// Tells the peer what was consumed, if that is due.
    pub(super) fn say_consumed(&self, offset: Option<u64>) {
        if let Some(offset) = offset {
            self.carrier.outbox.send(Frame::Consumed { lane: self.id, offset });
        }
    }

    /// Ties a task that reads an error lane to this stream's life.
    pub(super) fn own_reader(&self, reader: AbortHandle) {
        self.lock().readers.push(reader);
    }

    /// The first error lane that the peer opens is taken, further ones are not.
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
        // A lane that the peer has not agreed to was taken back, or refused: nothing of it is kept, and no question allowed.
        let agreed = *self.agreed.get_mut();
        let finished = agreed && *self.finished.get_mut() && shared.cause.is_none() && !shared.lost;
        if let Some(inbox) = self.inbox.get() {
            inbox.close();
        }
        // Data that is not read any more counts as read: its writer may be waiting to hear of it.
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
            // A stream that ended before its kind was known was a lane of its opener's.
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
