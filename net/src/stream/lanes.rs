//! What the two halves of a stream share: the state of both directions, the cause when one ends, and the error lane.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release, SeqCst},
        },
    },
    task::Waker,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    task::AbortHandle,
};

use super::{
    Report, StreamError,
    carrier::{Carrier, Opening, Unread},
    credit::{bytes::Loan, chunks::MAX_MARKS},
    errors::{self, ErrorOut, Inbox},
    state::{Recv, RecvAction, RecvEvent, Send, SendAction, SendEvent},
};
use crate::{
    error::WriteError,
    limits::Limits,
    protocol::Protocol,
    wire::{
        Malformed,
        control::Frame,
        record::{Record, Severity},
    },
};

/// Code of the error that ends a stream which the rules do not allow any more. (Those of this library start at 2^61.)
pub(crate) const REVOKED: u64 = (1 << 61) + 1;

/// Why a stream ended before its time.
#[derive(Debug, Clone)]
pub(crate) enum Cause {
    /// A fatal record of the peer.
    PeerFailed(Arc<StreamError>),
    /// An abort of the peer.
    PeerAborted(Arc<StreamError>),
    /// This side failed or aborted it.
    Here(Arc<StreamError>),
    /// The peer's error lane is garbage.
    Malformed(Malformed),
}

/// One logical stream, seen from one side.
#[derive(Debug)]
pub(crate) struct Lanes {
    id: u64,
    pub(crate) carrier: Arc<Carrier>,
    /// Set when a half must look at `shared` before it goes on: reading and writing look at this flag alone.
    attention: AtomicBool,
    shared: Mutex<Shared>,
    /// Data bytes written on this side.
    pub(crate) written: AtomicU64,
    /// What the peer says it has consumed of them.
    pub(crate) consumed: AtomicU64,
    /// Data bytes that the reader of this side has consumed.
    read: AtomicU64,
    /// The first offset whose consumption the peer wants to hear of; `u64::MAX` for none.
    next_mark: AtomicU64,
    pub(super) error_out: tokio::sync::Mutex<ErrorOut>,
    /// Told when a fatal record could not be sent: there is nothing to linger for.
    pub(super) undeliverable: Notify,
    inbox: OnceLock<Arc<Inbox>>,
    /// Both sides agreed on the stream: it is counted when it ends.
    agreed: AtomicBool,
    /// What the rules were asked about when the peer opened the stream.
    pub(crate) admitted: OnceLock<(Protocol, Bytes)>,
    /// The right to have this data lane open, if this side opened it.
    permit: Option<OwnedSemaphorePermit>,
    /// Counted among those that share what the peer may hold unread (`Carrier::share`).
    shares: AtomicBool,
    /// There is a loan in `shared`.
    borrows: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) send: Send,
    pub(super) recv: Recv,
    pub(super) cause: Option<Cause>,
    /// Where reading ends, when a fatal record said so.
    pub(super) end: u64,
    lost: bool,
    pub(super) read_waker: Option<Waker>,
    pub(super) write_waker: Option<Waker>,
    marks: VecDeque<u64>,
    /// What the lane may have unread beyond its share.
    loan: Option<Loan>,
    /// Where data ends that was written, or is being written.
    reach: u64,
    /// Tasks that read error lanes: one that this side opened, and one that the peer did.
    readers: Vec<AbortHandle>,
    peer_opened_error_lane: bool,
}

impl Lanes {
    /// A data lane that the peer has opened.
    pub(crate) fn accepted(carrier: &Arc<Carrier>, id: u64) -> Arc<Self> {
        let lanes = Arc::new(Self::new(Arc::clone(carrier), id, None));
        carrier.register(&lanes);
        lanes
    }

    /// A data lane that this side has opened.
    pub(crate) fn opened(
        carrier: &Arc<Carrier>,
        id: u64,
        permit: OwnedSemaphorePermit,
        opening: Opening<'_>,
    ) -> Arc<Self> {
        let lanes = Arc::new(Self::new(Arc::clone(carrier), id, Some(permit)));
        opening.register(&lanes);
        lanes
    }

    fn new(carrier: Arc<Carrier>, id: u64, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            id,
            attention: AtomicBool::new(false),
            shared: Mutex::new(Shared {
                send: Send::Open,
                recv: Recv::Open,
                cause: None,
                end: u64::MAX,
                lost: false,
                read_waker: None,
                write_waker: None,
                marks: VecDeque::new(),
                loan: None,
                reach: 0,
                readers: Vec::new(),
                peer_opened_error_lane: false,
            }),
            written: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
            read: AtomicU64::new(0),
            next_mark: AtomicU64::new(u64::MAX),
            error_out: tokio::sync::Mutex::new(ErrorOut::Closed),
            undeliverable: Notify::new(),
            inbox: OnceLock::new(),
            agreed: AtomicBool::new(false),
            admitted: OnceLock::new(),
            permit,
            shares: AtomicBool::new(false),
            borrows: AtomicBool::new(false),
            carrier,
        }
    }

    /// The QUIC stream id of the data lane.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether the lane is counted among those that share what the peer may hold unread.
    pub(super) fn shares(&self) -> bool {
        self.shares.load(Relaxed)
    }

    /// True once: the lane is to be counted from now on.
    pub(super) fn start_to_share(&self) -> bool {
        !self.shares.swap(true, Relaxed)
    }

    /// How many bytes the lane may have unread at the peer, where `written` were written, so many of them are unread, and `len`
    /// more are to be written. What is more than its share is lent to it, until [`Lanes::settle`].
    pub(crate) fn may_have_unread(&self, written: u64, unread: u64, len: u64) -> u64 {
        // More than a stream's window cannot be on the way.
        let wanted = unread.saturating_add(len).min(Limits::STREAM_WINDOW.into());
        let share = self.carrier.share(self, wanted);
        if wanted <= share {
            return share;
        }
        let mut shared = self.lock();
        shared.reach = written.saturating_add(len);
        self.carrier.pool.borrow(&mut shared.loan, wanted - share);
        self.borrows.store(shared.loan.is_some(), Relaxed);
        share + shared.loan.as_ref().map_or(0, Loan::bytes)
    }

    /// So much was written, and nothing more for now: what was lent for more is given back.
    pub(super) fn settle(&self, written: u64) {
        if self.borrows.load(Relaxed) {
            let mut shared = self.lock();
            shared.reach = written;
            self.give_back(&mut shared);
        }
    }

    /// The peer discards what was written: it holds nothing.
    pub(super) fn release(&self) {
        if self.borrows.load(Relaxed) {
            let mut shared = self.lock();
            shared.loan = None;
            self.borrows.store(false, Relaxed);
        }
    }

    fn give_back(&self, shared: &mut Shared) {
        let unread = shared.reach.saturating_sub(self.consumed.load(Acquire));
        Loan::keep(&mut shared.loan, unread.saturating_sub(self.carrier.counted_share()));
        self.borrows.store(shared.loan.is_some(), Relaxed);
    }

    /// Both sides have agreed on the stream.
    pub(crate) fn agree(&self) {
        self.agreed.store(true, Release);
    }

    pub(crate) fn needs_attention(&self) -> bool {
        self.attention.load(Acquire)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        let inbox = Arc::clone(self.inbox.get_or_init(|| Arc::new(Inbox::new(self.carrier.limits.warnings))));
        // Nothing more can come: whoever asks only now must not wait for it.
        if self.lock().lost {
            inbox.close();
        }
        inbox
    }

    /// Ends the stream from this side, unless it has ended already. The record says so to the peer; the action is for
    /// whoever holds the sending half.
    pub(super) fn end_here(&self, error: StreamError, severity: Severity) -> Result<(Record, SendAction), Cause> {
        let mut shared = self.lock();
        if let Some(cause) = &shared.cause {
            return Err(cause.clone());
        }
        let error = error.at(self.written.load(Acquire));
        let record = error.to_record(severity);
        shared.cause = Some(Cause::Here(Arc::new(error)));
        let event = if severity == Severity::Abort { SendEvent::Abort } else { SendEvent::Fail };
        let (next, action) = shared.send.on(event);
        shared.send = next;
        self.wake(shared);
        Ok((record, action))
    }

    /// Ends the stream because the rules do not allow it any more: both sides' reading and writing fail at once. The
    /// data lane itself is reset when its handle is dropped.
    pub(crate) fn revoke(self: &Arc<Self>, reason: &str) {
        if let Ok((record, _)) = self.end_here(StreamError::new(REVOKED, reason), Severity::Abort) {
            let lanes = Arc::clone(self);
            // A peer that takes no record finds out by the reset.
            self.carrier.tasks.spawn(async move { drop(errors::send(&lanes, record).await) });
        }
    }

    /// Finishes the sending direction, unless it has ended: then the answer says why.
    pub(super) fn finish(&self) -> Result<(), WriteError> {
        let mut shared = self.lock();
        if let Some(cause) = &shared.cause {
            return Err(cause.to_write_error());
        }
        let (next, action) = shared.send.on(SendEvent::Finish);
        shared.send = next;
        if action == SendAction::Finish { Ok(()) } else { Err(WriteError::EndedHere) }
    }

    /// FIN was read. It is an end of data only if nothing has ended the stream before, which is told otherwise, if it is known:
    /// in place of FIN before the offset of a fatal record, say, what the record says is still what happened.
    pub(super) fn on_fin(&self) -> Result<(), Option<Cause>> {
        let mut shared = self.lock();
        (shared.recv, _) = shared.recv.on(RecvEvent::Fin);
        if shared.recv == Recv::Finished { Ok(()) } else { Err(shared.cause.clone()) }
    }

    /// Runs an event through the sending direction; the half that holds the QUIC stream carries out the action.
    pub(super) fn on_send(&self, event: SendEvent) -> SendAction {
        let mut shared = self.lock();
        let (next, action) = shared.send.on(event);
        shared.send = next;
        action
    }

    /// The same for the receiving direction.
    pub(super) fn on_recv(&self, event: RecvEvent) -> RecvAction {
        let mut shared = self.lock();
        let (next, action) = shared.recv.on(event);
        shared.recv = next;
        action
    }

    /// A record came on an error lane. The answer is whether more may follow.
    pub(crate) fn on_record(&self, record: Record) -> bool {
        self.carrier.metrics.records_received.inc();
        let severity = record.severity;
        let error = Arc::new(StreamError::from(record));
        let report = Report { severity, error: Arc::clone(&error), missed: 0 };
        let inbox = self.inbox();
        let fatal = Carrier::is_fatal(severity);
        let mut shared = self.lock();
        let ends = fatal && shared.cause.is_none();
        if ends {
            if severity == Severity::Fatal {
                shared.end = error.offset();
                shared.cause = Some(Cause::PeerFailed(error));
            } else {
                shared.cause = Some(Cause::PeerAborted(error));
            }
            self.attention.store(true, Release);
        }
        // Whoever hears of the end finds the stream ended, and whoever finds it ended finds the report.
        inbox.push(report);
        if ends {
            self.wake(shared);
        }
        !fatal
    }

    /// The peer's error lane cannot be read: nothing that it will say can be trusted to arrive, so the stream ends.
    pub(crate) fn on_malformed(&self, malformed: Malformed) {
        let mut shared = self.lock();
        if shared.cause.is_none() {
            shared.cause = Some(Cause::Malformed(malformed));
            self.wake(shared);
        }
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

    /// Lets both halves look at what changed.
    fn wake(&self, mut shared: MutexGuard<'_, Shared>) {
        self.attention.store(true, Release);
        let wakers = [shared.read_waker.take(), shared.write_waker.take()];
        drop(shared);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// The peer has consumed the data before `offset`.
    pub(crate) fn on_consumed(&self, offset: u64) {
        self.consumed.fetch_max(offset, Release);
        let mut shared = self.lock();
        self.give_back(&mut shared);
        let waker = shared.write_waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The peer wants to hear when `offset` has been consumed. Of more marks than a writer may have under way, the
    /// last is kept: it is the one that frees the writer.
    pub(crate) fn on_watermark(&self, offset: u64) {
        let read = self.read.load(SeqCst);
        let mut shared = self.lock();
        if offset <= read {
            drop(shared);
            self.carrier.send(Frame::Consumed { lane: self.id, offset: read });
            return;
        }
        if shared.marks.len() > MAX_MARKS {
            shared.marks.pop_back();
        }
        let at = shared.marks.partition_point(|mark| *mark <= offset);
        shared.marks.insert(at, offset);
        let first = shared.marks.front().copied().unwrap_or(u64::MAX);
        self.next_mark.store(first, SeqCst);
        drop(shared);
        // The reader may have passed the mark while it was being set.
        self.answer_marks(self.read.load(SeqCst));
    }

    /// The reader has consumed the data before `offset`.
    pub(super) fn report_consumption(&self, offset: u64) {
        // Sequentially consistent with `on_watermark`, which stores the mark and then loads this: one of the two sees
        // the other.
        self.read.store(offset, SeqCst);
        if offset >= self.next_mark.load(SeqCst) {
            self.answer_marks(offset);
        }
    }

    fn answer_marks(&self, offset: u64) {
        let mut shared = self.lock();
        if shared.marks.front().is_none_or(|mark| *mark > offset) {
            return;
        }
        while shared.marks.front().is_some_and(|mark| *mark <= offset) {
            shared.marks.pop_front();
        }
        self.next_mark.store(shared.marks.front().copied().unwrap_or(u64::MAX), SeqCst);
        drop(shared);
        self.carrier.send(Frame::Consumed { lane: self.id, offset });
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
        // Data that is not read any more counts as read: its writer may be waiting to hear of it.
        let consumed = shared.marks.back().copied();
        let finished = shared.send == Send::Finished && shared.cause.is_none() && !shared.lost;
        if let Some(inbox) = self.inbox.get() {
            inbox.close();
        }
        let written = *self.written.get_mut();
        if *self.agreed.get_mut() {
            let metrics = &self.carrier.metrics;
            metrics.streams_ended.inc();
            metrics.data_bytes_sent.inc_by(written);
            metrics.data_bytes_received.inc_by(*self.read.get_mut());
        }
        let unread = written.saturating_sub(*self.consumed.get_mut());
        let kept = finished && self.carrier.is_much(unread);
        let loan = shared.loan.take();
        let unread = kept.then(|| Unread { end: written, permit: self.permit.take(), _loan: loan });
        self.carrier.forget(self.id, *self.shares.get_mut(), consumed, unread);
    }
}
