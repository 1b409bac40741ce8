//! The bytes that one peer may hold unread of all lanes together, and the lanes that share them.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use rustc_hash::FxHashMap;

use super::{
    bytes::{self, Loan, Pool},
    chunks::Bound,
};
use crate::{
    limits::Limits,
    wire::control::{DEFAULT_UNREAD_BYTES, PeerLimits},
};

/// Number of unread bytes of a peer that the loans are computed from until the peer's HELLO arrives. It is enough for
/// a first request with all the data that may travel with its header (`peer/open.rs`). It is no more than that,
/// because some peers hold less than the default, and bytes that are lent stay lent.
const BEFORE_HELLO: u64 = 3 << 20;

/// The account of one connection.
#[derive(Debug)]
pub(crate) struct PeerCredit {
    /// Maximum number of bytes that the peer may hold unread, of all lanes together. It is at most the number of
    /// unacknowledged bytes that this side keeps.
    limit: AtomicU64,
    /// Number of bytes that a lane may have unread without being counted among the lanes that share.
    little: AtomicU64,
    /// Number of lanes that share, readable without the lock.
    sharing: AtomicUsize,
    /// The bytes that lanes may have unread beyond their shares.
    pool: Arc<Pool>,
    /// Maximum number of chunks that the peer can hold of one lane.
    chunks: OnceLock<Bound>,
    counted: Mutex<Counted>,
}

/// The lanes that share.
#[derive(Debug, Default)]
struct Counted {
    /// Number of open lanes that have had more than a little unread.
    open: usize,
    /// Lanes that have ended here, and whose data the peer has yet to read, by stream id.
    tails: FxHashMap<u64, Tail>,
    lost: bool,
}

/// A lane that has ended here, and whose data the peer has yet to read. It keeps its share and its loan.
#[derive(Debug)]
pub(in crate::stream) struct Tail {
    /// The number of bytes written, which is the end offset.
    pub(super) end: u64,
    /// The peer has been asked about the end offset.
    pub(super) asked: bool,
    pub(super) _loan: Option<Loan>,
}

impl PeerCredit {
    pub(crate) fn new() -> Self {
        Self {
            limit: AtomicU64::new(DEFAULT_UNREAD_BYTES),
            // Until the peer has announced its number of data lanes, all lanes are counted.
            little: AtomicU64::new(0),
            sharing: AtomicUsize::new(0),
            pool: Arc::new(Pool::new(BEFORE_HELLO)),
            chunks: OnceLock::new(),
            counted: Mutex::default(),
        }
    }

    /// Sets the limits that the peer has announced in its HELLO.
    pub(crate) fn set_limits(&self, limits: &PeerLimits) {
        // All lanes together never fill the send window of this side. Records and control frames must find room
        // beside the data, even when a path has been dead for seconds.
        let limit = limits.unread_bytes.min(Limits::SEND_WINDOW);
        self.limit.store(limit, Relaxed);
        self.little.store(bytes::little(limit, limits.data_lanes), Relaxed);
        self.pool.set_limit(limit);
        let _ = self.chunks.set(Bound::of(limits.unread_chunks));
    }

    /// Returns the maximum number of chunks that the peer can hold of one lane. Before its HELLO the peer is assumed
    /// to have the limit of noq.
    pub(super) fn chunks(&self) -> Bound {
        self.chunks.get().copied().unwrap_or_default()
    }

    /// Returns a lane's share now, if the lane is to have `wanted` bytes unread. A lane with more than a little
    /// unread is counted: `is_counted` tells whether it is, and `count` marks it as counted and returns whether it
    /// was not.
    pub(super) fn share(&self, wanted: u64, is_counted: bool, count: impl FnOnce() -> bool) -> u64 {
        let little = self.little.load(Relaxed);
        if wanted <= little && !is_counted {
            return little;
        }
        if count() {
            let mut counted = self.lock();
            counted.open += 1;
            self.sharing.store(counted.sharing(), Relaxed);
        }
        self.counted_share()
    }

    /// Returns the share of a lane that is counted, or will be.
    pub(super) fn counted_share(&self) -> u64 {
        let little = self.little.load(Relaxed);
        bytes::of(self.limit.load(Relaxed), self.sharing.load(Relaxed)).max(little)
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Returns whether the state of a lane that ends with `unread` bytes unread is kept.
    pub(in crate::stream) fn is_much(&self, unread: u64) -> bool {
        unread > self.little.load(Relaxed)
    }

    /// Records that a lane is gone here. A question about the offset `unsaid` was queued, and is not sent any more.
    /// Returns the offset to ask the peer about, if the lane's data is unread. At most `max` tails are kept.
    pub(in crate::stream) fn end(
        &self,
        id: u64,
        counted: bool,
        tail: Option<Tail>,
        unsaid: Option<u64>,
        max: usize,
    ) -> Option<u64> {
        if !counted && tail.is_none() {
            return None;
        }
        let mut lanes = self.lock();
        lanes.open -= usize::from(counted);
        // A peer that never reports what it has read could make this side keep more and more tails.
        let kept = tail.filter(|_| !lanes.lost && lanes.tails.len() < max);
        let ask = kept.as_ref().filter(|tail| !tail.asked || unsaid >= Some(tail.end)).map(|tail| tail.end);
        if let Some(tail) = kept {
            lanes.tails.insert(id, tail);
        }
        self.sharing.store(lanes.sharing(), Relaxed);
        ask
    }

    /// Records that the peer has read a lane that has ended here up to `offset`. Returns whether that was the end of
    /// its data.
    pub(in crate::stream) fn on_consumed(&self, id: u64, offset: u64) -> bool {
        let mut lanes = self.lock();
        let read = lanes.tails.get(&id).is_some_and(|tail| tail.end <= offset);
        let tail = if read { lanes.tails.remove(&id) } else { None };
        self.sharing.store(lanes.sharing(), Relaxed);
        drop(lanes);
        tail.is_some()
    }

    /// Records that the connection is gone: no data is unread any more.
    pub(in crate::stream) fn on_lost(&self) {
        let mut lanes = self.lock();
        lanes.lost = true;
        let tails = std::mem::take(&mut lanes.tails);
        drop(lanes);
        drop(tails);
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn sharing(&self) -> usize {
        self.open + self.tails.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_lane_is_asked_about_once_and_again_if_the_question_had_yet_to_go_out() {
        let peer = PeerCredit::new();
        let tail = |asked| Some(Tail { end: 1_000, asked, _loan: None });
        let ends = |id, asked, unsaid| peer.end(id, false, tail(asked), unsaid, 10);
        assert_eq!(ends(4, false, None), Some(1_000));
        assert_eq!(ends(8, true, None), None, "its question is on the way");
        assert_eq!(ends(12, true, Some(1_000)), Some(1_000));
        assert_eq!(ends(16, true, Some(500)), None, "what was asked about in between does not matter any more");
        for id in [4, 8, 12, 16] {
            assert!(!peer.on_consumed(id, 999));
            peer.on_consumed(id, 1_000);
        }
        assert_eq!(peer.lock().sharing(), 0);
    }
}
