//! The connection that carries a stream, with the state that all its streams share.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError, Weak,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
};

use iroh::endpoint::{ConnectionError, VarInt};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, Semaphore};
use twolane_id::{PublicKey, delegation::Delegation};

use super::{
    credit::{Grants, OpenCredit, PeerCredit, Tail, Traffic},
    errors::{InboxBudget, LONG_RECORDS},
    lanes::Lanes,
    outbox::Outbox,
    quic::Quic,
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

/// The priority of error lanes. Data lanes have the priorities of an `i16`, with two noq priorities for each; frames
/// and records about data lanes are sent before them.
pub(crate) const PRIORITY_ERRORS: i32 = 2 * i16::MAX as i32 + 1;
/// The priority of the control stream. CONSUMED frames free blocked writers, and GOAWAY must not queue behind data.
pub(crate) const PRIORITY_CONTROL: i32 = PRIORITY_ERRORS + 1;

/// The state that all streams of one connection share. Its driver is `peer::link`.
#[derive(Debug)]
pub(crate) struct Carrier {
    pub(crate) connection: Quic,
    pub(crate) peer: PublicKey,
    identity: Mutex<Identity>,
    pub(crate) limits: Arc<Limits>,
    /// Owns every task that outlives a call.
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Arc<Metrics>,
    /// The number of data lanes that this side may open.
    pub(crate) open_credit: OpenCredit,
    /// The number of data lanes that the peer may open.
    grants: Grants,
    /// The number of data lanes that the peer may open before it has this side's HELLO.
    assumed: u64,
    /// Numbers of bidirectional streams that were opened and accepted on this connection.
    pub(crate) opened: AtomicU64,
    pub(crate) accepted: AtomicU64,
    /// Number of writes to any lane.
    writes: AtomicU64,
    /// Number of times that a data lane was finished.
    ends: AtomicU64,
    /// The connection rests: the next write or end of data calls `on_stir`.
    rests: AtomicBool,
    on_stir: OnceLock<OnStir>,
    lanes: Mutex<LaneTable>,
    /// Number of bytes of requests that have been read and are not answered yet.
    pub(crate) request_bytes: AtomicU64,
    /// The account of the data that the peer may hold unread.
    pub(super) credit: PeerCredit,
    /// Maximum number of bytes of metadata that the peer takes.
    metadata: AtomicU64,
    /// The weight of the peer's reports that wait to be read.
    pub(super) inbox_budget: Arc<InboxBudget>,
    /// Permits for long records of the peer that are being collected.
    pub(super) long_records: Arc<Semaphore>,
    /// Notified when the last lane of a draining connection is gone.
    pub(crate) idle: Notify,
    pub(crate) outbox: Outbox,
    /// The reason for which this side closed the connection, if it did.
    closed_because: OnceLock<ConnectionLost>,
    /// The peer has dropped everything that was sent before the handshake was done. The connection is there, and
    /// belongs to another carrier.
    void: AtomicBool,
}

impl Carrier {
    /// Creates the state of a connection. `dialled`: this side is the dialler.
    pub(crate) fn new(
        connection: Quic,
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
            void: AtomicBool::new(false),
        }
    }

    /// Returns the peer's identity: its key, and the owner that it acts for now.
    pub(crate) fn identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the certificate that names the owner for whom the peer acts.
    pub(crate) fn set_delegation(&self, delegation: Arc<Delegation>) {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).delegation = Some(delegation);
    }

    /// Ends the effect of a certificate: the peer does not act for its owner any more. Returns false if the peer has
    /// presented another certificate in the meantime, or if the effect had ended already.
    pub(crate) fn end_delegation(&self, ended: &Arc<Delegation>) -> bool {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = identity.delegation.as_ref().is_some_and(|delegation| Arc::ptr_eq(delegation, ended));
        if ends {
            identity.delegation = None;
        }
        ends
    }

    // --- The lanes ---------------------------------------------------------------------------------------------------

    /// Returns the open streams of the peer about which the access rules were asked.
    pub(crate) fn admitted(&self) -> Vec<Arc<Lanes>> {
        let lanes: Vec<_> = self.lock_lanes().lanes.values().filter_map(Weak::upgrade).collect();
        lanes.into_iter().filter(|lanes| lanes.admitted.get().is_some()).collect()
    }

    /// Registers a lane, so that its error lane and the reports about it find it.
    pub(crate) fn register(&self, lanes: &Arc<Lanes>) {
        self.lock_lanes().lanes.insert(lanes.id(), Arc::downgrade(lanes));
    }

    /// Called when the last handle of a lane is gone. `counted`: the lane is one of those that share the peer's
    /// limit. `consumed` answers a watermark that had not been reached. `tail` is finished data that the peer has yet
    /// to read.
    pub(super) fn forget(&self, id: u64, counted: bool, consumed: Option<u64>, tail: Option<Tail>) {
        let unsaid = self.outbox.forget(id);
        // Done before the lane leaves the table, so that a report that does not find the lane there finds its tail.
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

    /// Returns the maximum number of ended lanes whose state is kept: twice the number that an honest peer can have
    /// under way, which are its open lanes and as many that have just ended.
    fn max_gone(&self) -> usize {
        self.limits.transport_streams() as usize * 2
    }

    pub(crate) fn find(&self, id: u64) -> Option<Arc<Lanes>> {
        self.lock_lanes().lanes.get(&id)?.upgrade()
    }

    /// Returns the number of lanes that have not ended, including those that are about to be opened.
    pub(crate) fn live(&self) -> usize {
        let table = self.lock_lanes();
        table.lanes.len() + table.opening
    }

    /// Returns the right to open a data lane now. `None` once GOAWAY was sent: the stream belongs on another
    /// connection.
    pub(crate) fn begin_opening(&self) -> Option<Opening<'_>> {
        let mut table = self.lock_lanes();
        if table.draining {
            return None;
        }
        table.opening += 1;
        drop(table);
        Some(Opening(Some(self)))
    }

    /// From now on no data lane is opened, and no call waits for permission to open one.
    pub(crate) fn start_draining(&self) {
        self.lock_lanes().draining = true;
        self.open_credit.close();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.lock_lanes().draining
    }

    /// Records that the peer has opened a data lane. Returns false if that is one more than it may have.
    pub(super) fn on_lane(&self) -> bool {
        let granted = self.grants.on_lane(self.assumed);
        self.grant_lanes();
        granted
    }

    /// Records that one of the peer's data lanes has ended here: the peer may open another one.
    pub(super) fn on_lane_ended(&self) {
        self.grants.on_ended();
        self.grant_lanes();
    }

    fn grant_lanes(&self) {
        if let Some(count) = self.grants.due() {
            self.outbox.send(Frame::MaxLanes { count });
        }
    }

    /// Sends a frame that a living peer acknowledges, and that says nothing new. After an outage QUIC retransmits
    /// lost data at growing intervals, and the next retransmission may be seconds away.
    pub(crate) fn poke(&self) {
        self.outbox.send(Frame::MaxLanes { count: self.grants.renew() });
    }

    fn lock_lanes(&self) -> std::sync::MutexGuard<'_, LaneTable> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- What the peer says ------------------------------------------------------------------------------------------

    /// Sets the limits that the peer has announced in its HELLO.
    pub(crate) fn set_peer_limits(&self, limits: &PeerLimits) {
        self.metadata.store(limits.metadata.min(MAX_METADATA), Relaxed);
        self.credit.set_limits(limits);
        self.open_credit.begin(limits.data_lanes);
    }

    /// Returns the maximum number of bytes of metadata that the peer takes, in a header and in an answer. Before the
    /// peer's HELLO that is the maximum of the wire format.
    pub(crate) fn max_metadata(&self) -> u64 {
        self.metadata.load(Relaxed)
    }

    /// Records that the peer has read the lane up to `offset`.
    pub(crate) fn on_consumed(&self, id: u64, offset: u64) {
        let found = self.lock_lanes().on_consumed(id, offset);
        match found {
            Found::Live(lanes) => lanes.on_consumed(offset),
            Found::Ending => {}
            Found::Gone => self.on_tail_consumed(id, offset),
        }
    }

    /// Records a report about a lane that has ended here. A question about that lane that is still queued has been
    /// answered by the report. It is removed: otherwise a peer that reports, and reads no control frames, would have
    /// one question kept for each lane that it ever opened.
    fn on_tail_consumed(&self, id: u64, offset: u64) {
        if self.credit.on_consumed(id, offset) {
            self.outbox.forget(id);
        }
    }

    /// Records that the peer asks for a report when a lane has been read up to `offset`. A lane that is gone holds no
    /// data.
    pub(crate) fn on_watermark(&self, id: u64, offset: u64) {
        match self.find(id) {
            Some(lanes) => lanes.on_watermark(offset),
            None => self.outbox.report_gone(id, offset, self.max_gone()),
        }
    }

    // --- The connection ----------------------------------------------------------------------------------------------

    /// Records that the peer has dropped everything that was sent before the handshake was done. Nothing is sent for
    /// this carrier's streams any more: the connection uses their ids again.
    pub(crate) fn set_void(&self) {
        self.void.store(true, SeqCst);
        self.start_draining();
    }

    pub(crate) fn is_void(&self) -> bool {
        self.void.load(SeqCst)
    }

    /// Returns whether this side has closed the connection, and wants none of its data any more.
    pub(crate) fn is_cut(&self) -> bool {
        self.closed_because.get().is_some()
    }

    pub(crate) fn count_write(&self) {
        // Sequentially consistent with `rest`: a write that `rest` has not counted sees that the connection rests.
        self.writes.fetch_add(1, SeqCst);
        self.stir();
    }

    /// Counts an end of data. It must be acknowledged like a write, and takes no room.
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

    /// Returns the number of writes and ends of data, in total.
    pub(crate) fn uses(&self) -> u64 {
        self.writes.load(SeqCst) + self.ends.load(SeqCst)
    }

    /// Sets the callback for a use of a connection that rests.
    pub(crate) fn on_stir(&self, told: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_stir.set(OnStir(Box::new(told)));
    }

    /// Lets the next use call `on_stir`. Returns false, without doing so, if the connection was used after the first
    /// `uses` uses.
    pub(crate) fn rest(&self, uses: u64) -> bool {
        self.rests.store(true, SeqCst);
        self.uses() == uses || !self.rests.swap(false, SeqCst)
    }

    /// Closes the connection for a reason of this side, unless it is closed already. Its streams fail with that
    /// reason.
    pub(crate) fn close(&self, because: ConnectionLost, code: u64, reason: &str) {
        // noq reports the cause of the last close to streams, even if the peer has closed the connection before.
        if !self.is_void() && self.connection.close_reason().is_none() && self.closed_because.set(because).is_ok() {
            self.connection.close(code_to_varint(code), reason.as_bytes());
        }
    }

    /// Converts an error of noq to this library's error.
    pub(crate) fn lost(&self, error: ConnectionError) -> ConnectionLost {
        match (error, self.closed_because.get()) {
            (ConnectionError::LocallyClosed, Some(because)) => because.clone(),
            (error, _) => error.into(),
        }
    }

    /// Records that the connection is gone, and wakes every call that waits for something that only the connection
    /// can bring.
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

    /// Returns the number of STREAM frames that were sent, of all streams.
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
    /// The lanes by stream id. A peer that chooses ids with equal hashes slows down its own connection, and with no
    /// more lanes than it may have.
    lanes: FxHashMap<u64, Weak<Lanes>>,
    /// The offsets up to which the peer has read lanes whose last handle is being dropped now.
    late: FxHashMap<u64, u64>,
    /// Number of data lanes that are being opened and are not in `lanes` yet.
    opening: usize,
    draining: bool,
}

/// The receiver of a report.
#[derive(Debug)]
enum Found {
    Live(Arc<Lanes>),
    /// The last handle is being dropped: [`Carrier::forget`] finds the report.
    Ending,
    Gone,
}

impl LaneTable {
    /// Records that the peer has read a lane up to `offset`.
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
    /// Registers the lane that was opened. From now on the lane itself keeps the connection from being closed. See
    /// [`Carrier::register`].
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

/// Converts a code. Codes are constants or were checked where they entered the library; a larger one would be a bug,
/// and becomes the largest code.
pub(crate) fn code_to_varint(code: u64) -> VarInt {
    VarInt::from_u64(code.min(varint::MAX)).unwrap_or(VarInt::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_about_a_lane_whose_last_handle_is_being_dropped_is_kept_for_what_stays_of_it() {
        let mut table = LaneTable::default();
        // The state while the last handle is being dropped: the table has the lane, and it cannot be upgraded.
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
