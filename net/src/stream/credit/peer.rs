//! What one peer may hold unread of all lanes together, and which lanes share it.

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

/// Until a peer's HELLO is here lanes borrow as if it held so much: enough for a first request with all the data that may travel
/// with its header (`peer/open.rs`), and no more, since some hold less than the default and what is lent stays lent.
const BEFORE_HELLO: u64 = 3 << 20;

/// The account of one connection.
#[derive(Debug)]
pub(crate) struct PeerCredit {
    /// What the peer may hold unread, in bytes, all lanes together; at most what this side keeps for it.
    limit: AtomicU64,
    /// What a lane may have unread without being counted among those that share.
    little: AtomicU64,
    /// Lanes that share, to be read without the lock.
    sharing: AtomicUsize,
    /// What lanes may have unread beyond their shares.
    pool: Arc<Pool>,
    /// What the peer can hold of one lane, in chunks.
    chunks: OnceLock<Bound>,
    counted: Mutex<Counted>,
}

/// The lanes that share.
#[derive(Debug, Default)]
struct Counted {
    /// Lanes that are open and have had more than a little unread.
    open: usize,
    /// Lanes that have ended here, and whose data the peer has yet to read.
    tails: FxHashMap<u64, Tail>,
    lost: bool,
}

/// A lane that has ended here, and whose data the peer has yet to read. It keeps its share, and what it was lent.
#[derive(Debug)]
pub(in crate::stream) struct Tail {
    /// How many bytes there are.
    pub(super) end: u64,
    /// The peer has been asked about them.
    pub(super) asked: bool,
    pub(super) _loan: Option<Loan>,
}

impl PeerCredit {
    pub(crate) fn new() -> Self {
        Self {
            limit: AtomicU64::new(DEFAULT_UNREAD_BYTES),
            // Until the peer has said how many lanes there are, all of them count.
            little: AtomicU64::new(0),
            sharing: AtomicUsize::new(0),
            pool: Arc::new(Pool::new(BEFORE_HELLO)),
            chunks: OnceLock::new(),
            counted: Mutex::default(),
        }
    }

    /// The peer's HELLO says what it may hold.
    pub(crate) fn set_limits(&self, limits: &PeerLimits) {
        // All lanes together never fill what this side keeps unacknowledged: records and control frames have to fit in beside
        // the data, also when a path has been dead for seconds.
        let limit = limits.unread_bytes.min(Limits::SEND_WINDOW);
        self.limit.store(limit, Relaxed);
        self.little.store(bytes::little(limit, limits.data_lanes), Relaxed);
        self.pool.set_limit(limit);
        let _ = self.chunks.set(Bound::of(limits.unread_chunks));
    }

    /// What the peer can hold of one lane. Before its HELLO it is taken to be as noq is.
    pub(super) fn chunks(&self) -> Bound {
        self.chunks.get().copied().unwrap_or_default()
    }

    /// A lane's own share now, if it is to have `wanted` unread. From more than a little on it is counted; `counted` says
    /// whether it is, and is told.
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

    /// The same of a lane that is counted, or will be.
    pub(super) fn counted_share(&self) -> u64 {
        let little = self.little.load(Relaxed);
        bytes::of(self.limit.load(Relaxed), self.sharing.load(Relaxed)).max(little)
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Whether a lane that ends with so much unread is kept in mind.
    pub(in crate::stream) fn is_much(&self, unread: u64) -> bool {
        unread > self.little.load(Relaxed)
    }

    /// A lane is gone here, and with it a question about `unsaid` that had yet to go out. The answer is what to ask the peer
    /// about, if its data is unread. At most `max` are kept in mind.
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
        // A peer that never says what it has read could have us keep more and more of its own lanes in mind.
        let kept = tail.filter(|_| !lanes.lost && lanes.tails.len() < max);
        let ask = kept.as_ref().filter(|tail| !tail.asked || unsaid >= Some(tail.end)).map(|tail| tail.end);
        if let Some(tail) = kept {
            lanes.tails.insert(id, tail);
        }
        self.sharing.store(lanes.sharing(), Relaxed);
        ask
    }

    /// The peer has read a lane that has ended here up to `offset`. Whether that was its end.
    pub(in crate::stream) fn on_consumed(&self, id: u64, offset: u64) -> bool {
        let mut lanes = self.lock();
        let read = lanes.tails.get(&id).is_some_and(|tail| tail.end <= offset);
        let tail = if read { lanes.tails.remove(&id) } else { None };
        self.sharing.store(lanes.sharing(), Relaxed);
        drop(lanes);
        tail.is_some()
    }

    /// The connection is gone: nothing is unread any more.
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
