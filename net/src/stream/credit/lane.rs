//! The account of one lane: how much its writer may write now, and what it must ask the peer.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::{
    bytes::Loan,
    chunks::Ledger,
    peer::{PeerCredit, Tail},
};
use crate::limits::Limits;

/// The part of the account that the peer's reports change. The writer and the connection's control stream share it.
#[derive(Debug, Default)]
pub(in crate::stream) struct LaneCredit {
    /// Number of data bytes written.
    written: AtomicU64,
    /// Number of data bytes that the peer has reported as consumed.
    consumed: AtomicU64,
    /// The lane is counted among those that share the peer's unread bytes.
    counted: AtomicBool,
    /// The lane has a loan.
    borrows: AtomicBool,
    /// The peer has been asked about the end of the data.
    end_asked: AtomicBool,
    debt: Mutex<Debt>,
}

#[derive(Debug, Default)]
struct Debt {
    /// The bytes that the lane may have unread beyond its share.
    loan: Option<Loan>,
    /// The end offset of the data that was written, or is being written.
    reach: u64,
}

impl LaneCredit {
    /// Returns the number of data bytes written on this side.
    pub(in crate::stream) fn written(&self) -> u64 {
        self.written.load(Acquire)
    }

    /// Returns whether the peer may hold so much of the lane that it is counted among the lanes that share.
    pub(in crate::stream) fn holds_much(&self, peer: &PeerCredit) -> bool {
        peer.is_much(self.written().saturating_sub(self.consumed.load(Acquire)))
    }

    /// Records that the peer has consumed the data before `offset`. A report about bytes that were not written counts
    /// only up to the bytes that were.
    pub(in crate::stream) fn on_consumed(&self, peer: &PeerCredit, offset: u64) {
        self.consumed.fetch_max(offset.min(self.written()), Release);
        if self.borrows.load(Relaxed) {
            self.give_back(peer, &mut self.lock());
        }
    }

    /// Records that the peer discards the data: it holds none of it.
    pub(in crate::stream) fn release(&self) {
        if self.borrows.load(Relaxed) {
            self.lock().loan = None;
            self.borrows.store(false, Relaxed);
        }
    }

    /// Ends the account of a lane that is gone here. Returns whether the lane was counted, and its tail: finished
    /// data that is unread, if it is much.
    pub(in crate::stream) fn end(&mut self, peer: &PeerCredit, finished: bool) -> (bool, Option<Tail>) {
        let (written, consumed) = (*self.written.get_mut(), *self.consumed.get_mut());
        let loan = self.debt.get_mut().unwrap_or_else(PoisonError::into_inner).loan.take();
        let kept = finished && peer.is_much(written.saturating_sub(consumed));
        (*self.counted.get_mut(), kept.then_some(Tail { end: written, asked: *self.end_asked.get_mut(), _loan: loan }))
    }

    /// Returns how many bytes the lane may have unread, if `written` bytes were written, `unread` of them are unread,
    /// and `len` more are to be written. The bytes beyond its share are lent to it until
    /// [`LaneCredit::return_excess`].
    fn allow(&self, peer: &PeerCredit, written: u64, unread: u64, len: u64) -> u64 {
        // No more than the flow control window of a stream can be in flight.
        let wanted = unread.saturating_add(len).min(Limits::STREAM_WINDOW.into());
        let share = self.share(peer, wanted);
        if wanted <= share {
            return share;
        }
        let mut debt = self.lock();
        debt.reach = written.saturating_add(len);
        peer.pool().borrow(&mut debt.loan, wanted - share);
        self.borrows.store(debt.loan.is_some(), Relaxed);
        share + debt.loan.as_ref().map_or(0, Loan::bytes)
    }

    fn share(&self, peer: &PeerCredit, wanted: u64) -> u64 {
        peer.share(wanted, self.counted.load(Relaxed), || !self.counted.swap(true, Relaxed))
    }

    /// Records that `written` bytes were written, and that no write follows now. Bytes that were lent for more are
    /// given back.
    fn return_excess(&self, peer: &PeerCredit, written: u64) {
        if self.borrows.load(Relaxed) {
            let mut debt = self.lock();
            debt.reach = written;
            self.give_back(peer, &mut debt);
        }
    }

    fn give_back(&self, peer: &PeerCredit, debt: &mut Debt) {
        let unread = debt.reach.saturating_sub(self.consumed.load(Acquire));
        Loan::keep(&mut debt.loan, unread.saturating_sub(peer.counted_share()));
        self.borrows.store(debt.loan.is_some(), Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Debt> {
        self.debt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The traffic of the connection, as the account of chunks needs it. `frames` locks the connection, and is called
/// only if `writes` is not precise enough.
pub(in crate::stream) trait Traffic {
    fn writes(&self) -> u64;
    fn frames(&self) -> u64;
}

/// The writer's part of the account.
#[derive(Debug)]
pub(in crate::stream) struct WriteCredit {
    chunks: Ledger,
    /// The peer has answered, so it knows the lane, and may be asked what it has consumed.
    answered: bool,
    /// The offset of a question that waits for the answer.
    deferred: Option<u64>,
}

impl WriteCredit {
    /// Creates the account of a lane that begins when the connection has seen `writes` writes. `answered`: the peer
    /// knows the lane, which is always so for a lane that the peer has opened.
    pub(in crate::stream) fn new(writes: u64, peer: &PeerCredit, answered: bool) -> Self {
        Self { chunks: Ledger::new(writes, peer.chunks()), answered, deferred: None }
    }

    /// Returns how many of `len` bytes may be written now.
    pub(in crate::stream) fn room(
        &mut self,
        lane: &LaneCredit,
        peer: &PeerCredit,
        traffic: &impl Traffic,
        len: u64,
    ) -> u64 {
        loop {
            self.chunks.consumed(lane.consumed.load(Acquire));
            let (written, unread) = (self.chunks.written(), self.chunks.unconsumed());
            let bytes = lane.allow(peer, written, unread, len).saturating_sub(unread);
            let room = if bytes == 0 { 0 } else { self.chunks.room(traffic.writes(), || traffic.frames()).min(bytes) };
            if room > 0 || !self.chunks.settle(traffic.writes(), || traffic.frames()) {
                return room;
            }
        }
    }

    /// Records that `len` bytes were written, in one write. Returns the offset of the WATERMARK to send, if one is
    /// due.
    pub(in crate::stream) fn wrote(
        &mut self,
        lane: &LaneCredit,
        peer: &PeerCredit,
        traffic: &impl Traffic,
        len: u64,
    ) -> Option<u64> {
        // The lane is counted as soon as it has more than a little unread.
        lane.share(peer, self.chunks.unconsumed().saturating_add(len));
        // If other lanes borrow these bytes first, the writer waits for a round trip.
        let share = peer.counted_share() + peer.pool().next();
        let mark = self.chunks.wrote(len, share, traffic.writes(), || traffic.frames());
        lane.written.store(self.chunks.written(), Release);
        lane.return_excess(peer, self.chunks.written());
        self.ask(mark)
    }

    /// Records that the writer waits for room. The bytes that it could borrow now are left to the other lanes.
    /// Returns the offset to ask the peer about, if the peer was not asked yet.
    pub(in crate::stream) fn waits(
        &mut self,
        lane: &LaneCredit,
        peer: &PeerCredit,
        traffic: &impl Traffic,
    ) -> Option<u64> {
        lane.return_excess(peer, self.chunks.written());
        let mark = self.chunks.waits(traffic.writes(), traffic.frames());
        self.ask(mark)
    }

    /// Records that the data is complete, and that its writer is gone. Returns the end offset to ask the peer about,
    /// if much of the data is unread. The peer's report frees the lane's loan, even while this side still reads from
    /// the lane.
    pub(in crate::stream) fn leave(&mut self, lane: &LaneCredit, peer: &PeerCredit) -> Option<u64> {
        let end = self.chunks.written();
        let unread = end.saturating_sub(lane.consumed.load(Acquire));
        let asks = self.answered && peer.is_much(unread);
        if asks {
            lane.end_asked.store(true, Relaxed);
        }
        asks.then_some(end)
    }

    /// Records that the writer writes nothing more for now.
    pub(in crate::stream) fn rests(&self, lane: &LaneCredit, peer: &PeerCredit) {
        lane.return_excess(peer, self.chunks.written());
    }

    /// Records that the peer has answered. Returns the offset of the question that waited for the answer.
    pub(in crate::stream) fn on_answer(&mut self) -> Option<u64> {
        self.answered = true;
        self.deferred.take()
    }

    pub(in crate::stream) fn written(&self) -> u64 {
        self.chunks.written()
    }

    fn ask(&mut self, mark: Option<u64>) -> Option<u64> {
        if self.answered {
            return mark;
        }
        self.deferred = mark.or(self.deferred);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::control::PeerLimits;

    struct Quiet;

    impl Traffic for Quiet {
        fn writes(&self) -> u64 {
            0
        }
        fn frames(&self) -> u64 {
            0
        }
    }

    fn peer(unread_bytes: u64) -> PeerCredit {
        let peer = PeerCredit::new();
        peer.set_limits(&PeerLimits { data_lanes: 256, metadata: 0, unread_bytes, unread_chunks: Some(2_048) });
        peer
    }

    /// Writes until there is no room, or far more is written than any limit allows. Returns the number of bytes
    /// written.
    fn fill(lane: &LaneCredit, writer: &mut WriteCredit, peer: &PeerCredit) -> u64 {
        loop {
            match writer.room(lane, peer, &Quiet, 64 << 10) {
                0 => return writer.written(),
                _ if writer.written() > 4 << 30 => return writer.written(),
                room => drop(writer.wrote(lane, peer, &Quiet, room.min(64 << 10))),
            }
        }
    }

    #[test]
    fn any_number_of_lanes_that_nobody_reads_leaves_room_for_records_in_what_this_side_keeps() {
        for unread_bytes in [8 << 20, 64 << 20, 1 << 30] {
            let peer = peer(unread_bytes);
            let lanes: Vec<_> = (0..256).map(|_| (LaneCredit::default(), WriteCredit::new(0, &peer, true))).collect();
            let held: u64 = lanes
                .into_iter()
                .map(|(lane, mut writer)| {
                    let written = fill(&lane, &mut writer, &peer);
                    std::mem::forget(lane);
                    written
                })
                .sum();
            let record = crate::wire::record::MAX_RECORD;
            assert!(held + 16 * record <= Limits::SEND_WINDOW.min(unread_bytes), "{held} of {unread_bytes}");
        }
    }

    #[test]
    fn data_that_travels_with_a_header_counts_at_once_and_its_question_waits_for_the_answer() {
        let (peer, lane) = (peer(64 << 20), LaneCredit::default());
        let mut writer = WriteCredit::new(0, &peer, false);
        assert_eq!(writer.wrote(&lane, &peer, &Quiet, 400 << 10), None);
        assert_eq!(lane.written(), 400 << 10);
        assert!(lane.counted.load(Relaxed), "more than a little is unread");
        assert_eq!(writer.on_answer(), Some(400 << 10));
        assert_eq!(writer.on_answer(), None);
    }

    #[test]
    fn a_report_of_more_than_was_written_counts_as_what_was_written_then() {
        let (peer, lane) = (peer(64 << 20), LaneCredit::default());
        let mut writer = WriteCredit::new(0, &peer, true);
        writer.wrote(&lane, &peer, &Quiet, 1_000);
        lane.on_consumed(&peer, (1 << 62) - 1);
        let before = fill(&lane, &mut writer, &peer);
        assert!(before < 2_300_000, "{before} bytes were written to a peer that read a thousand");
    }
}
