//! What a stream needs of the connection that carries it.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError, Weak,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
};

use iroh::endpoint::{Connection, ConnectionError, VarInt};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, Semaphore};
use twolane_id::{PublicKey, delegation::Delegation};

use super::{
    credit::{Grants, OpenCredit, PeerCredit, Tail, Traffic},
    errors::{InboxBudget, LONG_RECORDS},
    lanes::Lanes,
    outbox::Outbox,
};
use crate::{
    access::Identity,
    error::ConnectionLost,
    limits::{LANES_BEFORE_HELLO, Limits},
    metrics::Metrics,
    tasks::Tasks,
    wire::{
        control::{Frame, PeerLimits},
        header::MAX_METADATA,
        varint,
    },
};

/// Data lanes have the priorities of an `i16`, each in two steps; what is about them goes first.
pub(crate) const PRIORITY_ERRORS: i32 = 2 * i16::MAX as i32 + 1;
/// Consumption reports free blocked writers, and GOAWAY must not queue behind data.
pub(crate) const PRIORITY_CONTROL: i32 = PRIORITY_ERRORS + 1;

/// The state that all streams of one connection share. Its driver is `peer::link`.
#[derive(Debug)]
pub(crate) struct Carrier {
    pub(crate) connection: Connection,
    pub(crate) peer: PublicKey,
    identity: Mutex<Identity>,
    pub(crate) limits: Arc<Limits>,
    /// Owns every task that outlives a call.
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Arc<Metrics>,
    /// How many data lanes this side may open.
    pub(crate) open_credit: OpenCredit,
    /// How many the peer may.
    grants: Grants,
    /// Of those so many before it knows of a number.
    assumed: u64,
    /// Bidirectional streams opened, and accepted, on this connection.
    pub(crate) opened: AtomicU64,
    pub(crate) accepted: AtomicU64,
    /// Writes to any lane.
    writes: AtomicU64,
    /// Ends of data.
    ends: AtomicU64,
    /// The next write is to be told to `on_stir`.
    rests: AtomicBool,
    on_stir: OnceLock<OnStir>,
    lanes: Mutex<LaneTable>,
    /// Bytes of requests that have been read and are not answered yet.
    pub(crate) request_bytes: AtomicU64,
    /// What the peer may hold unread.
    pub(super) credit: PeerCredit,
    /// Bytes of metadata that the peer takes.
    metadata: AtomicU64,
    /// What waits to be read of the peer's reports.
    pub(super) inbox_budget: Arc<InboxBudget>,
    /// Long records of the peer that are collected.
    pub(super) long_records: Arc<Semaphore>,
    /// Told when the last lane of a draining connection is gone.
    pub(crate) idle: Notify,
    pub(crate) outbox: Outbox,
    /// Why this side closed the connection, if it did.
    closed_because: OnceLock<ConnectionLost>,
}

impl Carrier {
    /// `dialled`: this side is the dialler.
    pub(crate) fn new(
        connection: Connection,
        peer: PublicKey,
        limits: Arc<Limits>,
        tasks: Tasks,
        metrics: Arc<Metrics>,
        dialled: bool,
    ) -> Self {
        let lanes = limits.streams_per_peer;
        let (ours, theirs) = if dialled { (LANES_BEFORE_HELLO, 0) } else { (0, LANES_BEFORE_HELLO) };
        Self {
            connection,
            peer,
            identity: Mutex::new(Identity::new(peer)),
            open_credit: OpenCredit::new(lanes, ours),
            grants: Grants::new(lanes),
            assumed: theirs,
            limits,
            tasks,
            metrics,
            opened: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            ends: AtomicU64::new(0),
            rests: AtomicBool::new(true),
            on_stir: OnceLock::new(),
            lanes: Mutex::default(),
            request_bytes: AtomicU64::new(0),
            credit: PeerCredit::new(),
            metadata: AtomicU64::new(MAX_METADATA),
            inbox_budget: Arc::default(),
            long_records: Arc::new(Semaphore::new(LONG_RECORDS)),
            idle: Notify::new(),
            outbox: Outbox::default(),
            closed_because: OnceLock::new(),
        }
    }

    /// Who the peer is, and whom it acts for now.
    pub(crate) fn identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says whom the peer acts for.
    pub(crate) fn set_delegation(&self, delegation: Arc<Delegation>) {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).delegation = Some(delegation);
    }

    /// The peer acts for nobody by this certificate any more. False if it has shown another one in the meantime, or if
    /// that was known.
    pub(crate) fn end_delegation(&self, ended: &Arc<Delegation>) -> bool {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = identity.delegation.as_ref().is_some_and(|delegation| Arc::ptr_eq(delegation, ended));
        if ends {
            identity.delegation = None;
        }
        ends
    }

    // --- The lanes ----------------------------------------------------------------------------------------------------

    /// The peer's streams that the rules were asked about, and that are open.
    pub(crate) fn admitted(&self) -> Vec<Arc<Lanes>> {
        let lanes: Vec<_> = self.lock_lanes().lanes.values().filter_map(Weak::upgrade).collect();
        lanes.into_iter().filter(|lanes| lanes.admitted.get().is_some()).collect()
    }

    /// Makes a lane known, so that its error lane and the reports about it find it.
    pub(crate) fn register(&self, lanes: &Arc<Lanes>) {
        self.lock_lanes().lanes.insert(lanes.id(), Arc::downgrade(lanes));
    }

    /// Called when the last handle of a lane is gone. `counted`: it is counted among those that share. `consumed` answers a
    /// watermark that had not been reached. `tail` is finished data that the peer has yet to read.
    pub(super) fn forget(&self, id: u64, counted: bool, consumed: Option<u64>, tail: Option<Tail>) {
        let unsaid = self.outbox.forget(id);
        // Before the lane leaves the table, so that a report which does not find it there finds what stays of it.
        if let Some(offset) = self.credit.end(id, counted, tail, unsaid.watermark, self.max_gone()) {
            self.outbox.send(Frame::Watermark { lane: id, offset });
        }
        let (late, idle) = {
            let mut table = self.lock_lanes();
            table.lanes.remove(&id);
            let late = table.late.remove(&id);
            debug_assert!(
                table.late.keys().all(|id| table.lanes.contains_key(id)),
                "late reports are of lanes that end"
            );
            (late, table.is_drained())
        };
        if let Some(offset) = late {
            self.on_tail_consumed(id, offset);
        }
        if let Some(offset) = consumed.max(unsaid.consumed) {
            self.outbox.report_gone(id, offset, self.max_gone());
        }
        if idle {
            self.idle.notify_one();
        }
    }

    /// Lanes that have ended and are kept in mind: twice what an honest peer can have under way, its lanes and as many that
    /// have just ended.
    fn max_gone(&self) -> usize {
        self.limits.transport_streams() as usize * 2
    }

    pub(crate) fn find(&self, id: u64) -> Option<Arc<Lanes>> {
        self.lock_lanes().lanes.get(&id)?.upgrade()
    }

    /// Lanes that have not ended, and those that are about to be opened.
    pub(crate) fn live(&self) -> usize {
        let table = self.lock_lanes();
        table.lanes.len() + table.opening
    }

    /// The right to open a data lane now. `None` once GOAWAY was said: the stream belongs on another connection.
    pub(crate) fn begin_opening(&self) -> Option<Opening<'_>> {
        let mut table = self.lock_lanes();
        if table.draining {
            return None;
        }
        table.opening += 1;
        drop(table);
        Some(Opening(Some(self)))
    }

    /// No data lane is opened any more, and nobody waits for a free one.
    pub(crate) fn start_draining(&self) {
        self.lock_lanes().draining = true;
        self.open_credit.close();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.lock_lanes().draining
    }

    /// The peer has opened a data lane. False if that is one more than it may have.
    pub(super) fn on_lane(&self) -> bool {
        let granted = self.grants.on_lane(self.assumed);
        self.grant_lanes();
        granted
    }

    /// One of the peer's data lanes has ended here: it may open another one.
    pub(super) fn on_lane_ended(&self) {
        self.grants.on_ended();
        self.grant_lanes();
    }

    fn grant_lanes(&self) {
        if let Some(count) = self.grants.due() {
            self.outbox.send(Frame::MaxLanes { count });
        }
    }

    /// Sends something that the peer acknowledges if it is there, and that says nothing new: what was lost in an outage is sent again
    /// ever more rarely, and the next time may be seconds away.
    pub(crate) fn poke(&self) {
        self.outbox.send(Frame::MaxLanes { count: self.grants.renew() });
    }

    fn lock_lanes(&self) -> std::sync::MutexGuard<'_, LaneTable> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- What the peer says -------------------------------------------------------------------------------------------

    /// The peer's HELLO says what it takes.
    pub(crate) fn set_peer_limits(&self, limits: &PeerLimits) {
        self.metadata.store(limits.metadata.min(MAX_METADATA), Relaxed);
        self.credit.set_limits(limits);
        self.open_credit.begin(limits.data_lanes);
    }

    /// Bytes of metadata that the peer takes, in a header and in an answer. Before its HELLO that is the bound of the format.
    pub(crate) fn max_metadata(&self) -> u64 {
        self.metadata.load(Relaxed)
    }

    /// The peer has read a lane up to `offset`.
    pub(crate) fn on_consumed(&self, id: u64, offset: u64) {
        let found = self.lock_lanes().on_consumed(id, offset);
        match found {
            Found::Live(lanes) => lanes.on_consumed(offset),
            Found::Ending => {}
            Found::Gone => self.on_tail_consumed(id, offset),
        }
    }

    /// The same of a lane that has ended here. A question about it that has yet to go out has its answer: a peer that reports and
    /// reads no control frames would have one kept for each lane it ever opened.
    fn on_tail_consumed(&self, id: u64, offset: u64) {
        if self.credit.on_consumed(id, offset) {
            self.outbox.forget(id);
        }
    }

    /// The peer wants to hear when a lane has been read up to `offset`. One that is gone holds nothing.
    pub(crate) fn on_watermark(&self, id: u64, offset: u64) {
        match self.find(id) {
            Some(lanes) => lanes.on_watermark(offset),
            None => self.outbox.report_gone(id, offset, self.max_gone()),
        }
    }

    // --- The connection -----------------------------------------------------------------------------------------------

    /// This side has closed the connection, and nothing of it is wanted any more.
    pub(crate) fn is_cut(&self) -> bool {
        self.closed_because.get().is_some()
    }

    pub(crate) fn count_write(&self) {
        // In one order with what `rest` does: a write that it has not seen sees that the connection rests.
        self.writes.fetch_add(1, SeqCst);
        self.stir();
    }

    /// An end of data, which has to be acknowledged as a write has, and takes no room.
    pub(crate) fn count_end(&self) {
        self.ends.fetch_add(1, SeqCst);
        self.stir();
    }

    fn stir(&self) {
        if self.rests.load(SeqCst)
            && self.rests.swap(false, SeqCst)
            && let Some(OnStir(told)) = self.on_stir.get()
        {
            told();
        }
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Relaxed)
    }

    /// Writes and ends of data, in all.
    pub(crate) fn uses(&self) -> u64 {
        self.writes.load(SeqCst) + self.ends.load(SeqCst)
    }

    /// Who hears of a use of a connection that rests.
    pub(crate) fn on_stir(&self, told: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_stir.set(OnStir(Box::new(told)));
    }

    /// Has the next use told. False, and nothing is, if there was one after this many.
    pub(crate) fn rest(&self, uses: u64) -> bool {
        self.rests.store(true, SeqCst);
        self.uses() == uses || !self.rests.swap(false, SeqCst)
    }

    /// Closes the connection for a reason of this side, unless it is closed. Streams see that reason.
    pub(crate) fn close(&self, because: ConnectionLost, code: u64, reason: &str) {
        // noq tells streams the cause of the last close, also behind the peer's.
        if self.connection.close_reason().is_none() && self.closed_because.set(because).is_ok() {
            self.connection.close(code_to_varint(code), reason.as_bytes());
        }
    }

    /// What an error of the transport means, in our words.
    pub(crate) fn lost(&self, error: ConnectionError) -> ConnectionLost {
        match (error, self.closed_because.get()) {
            (ConnectionError::LocallyClosed, Some(because)) => because.clone(),
            (error, _) => error.into(),
        }
    }

    /// The connection is gone: everybody who waits for something that only it can bring is told.
    pub(crate) fn on_lost(&self) {
        self.open_credit.close();
        self.credit.on_lost();
        let lanes: Vec<_> = self.lock_lanes().lanes.values().filter_map(Weak::upgrade).collect();
        for lanes in lanes {
            lanes.on_lost();
        }
    }
}

impl Traffic for Carrier {
    fn writes(&self) -> u64 {
        Self::writes(self)
    }

    /// STREAM frames that went out, of all streams.
    fn frames(&self) -> u64 {
        self.connection.stats().frame_tx.stream
    }
}

struct OnStir(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for OnStir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnStir")
    }
}

/// The lanes of a connection.
#[derive(Debug, Default)]
struct LaneTable {
    /// By stream id. A peer that chose ids with equal hashes would slow its own connection down, by as many lanes as it may have.
    lanes: FxHashMap<u64, Weak<Lanes>>,
    /// What the peer has read of lanes whose last handle is being dropped now.
    late: FxHashMap<u64, u64>,
    /// Data lanes that are being opened and are not among `lanes` yet.
    opening: usize,
    draining: bool,
}

/// Whom a report is for.
#[derive(Debug)]
enum Found {
    Live(Arc<Lanes>),
    /// The last handle is being dropped: [`Carrier::forget`] finds the report.
    Ending,
    Gone,
}

impl LaneTable {
    /// The peer has read a lane up to `offset`.
    fn on_consumed(&mut self, id: u64, offset: u64) -> Found {
        let Some(lanes) = self.lanes.get(&id) else { return Found::Gone };
        match lanes.upgrade() {
            Some(lanes) => Found::Live(lanes),
            None => {
                let late = self.late.entry(id).or_default();
                *late = offset.max(*late);
                Found::Ending
            }
        }
    }

    fn is_drained(&self) -> bool {
        self.draining && self.lanes.is_empty() && self.opening == 0
    }
}

/// Keeps the connection from being closed while a data lane is being opened.
#[derive(Debug)]
pub(crate) struct Opening<'a>(Option<&'a Carrier>);

impl Opening<'_> {
    /// The lane is there: from now on it keeps the connection itself. See [`Carrier::register`].
    pub(super) fn register(mut self, lanes: &Arc<Lanes>) {
        if let Some(carrier) = self.0.take() {
            let mut table = carrier.lock_lanes();
            table.opening -= 1;
            table.lanes.insert(lanes.id(), Arc::downgrade(lanes));
        }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let Some(carrier) = self.0 else { return };
        let idle = {
            let mut table = carrier.lock_lanes();
            table.opening -= 1;
            table.is_drained()
        };
        if idle {
            carrier.idle.notify_one();
        }
    }
}

/// Codes are constants or were checked where they entered; a larger one would be a bug, and becomes the largest.
pub(crate) fn code_to_varint(code: u64) -> VarInt {
    VarInt::from_u64(code.min(varint::MAX)).unwrap_or(VarInt::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_about_a_lane_whose_last_handle_is_being_dropped_is_kept_for_what_stays_of_it() {
        let mut table = LaneTable::default();
        // As for the drop's duration: it is known, and nobody can have it.
        table.lanes.insert(4, Weak::new());
        for offset in [100, 300, 200] {
            assert!(matches!(table.on_consumed(4, offset), Found::Ending));
        }
        assert_eq!(table.late.remove(&4), Some(300));
        table.lanes.remove(&4);
        assert!(matches!(table.on_consumed(4, 400), Found::Gone));
        assert!(table.late.is_empty());
    }
}
