//! What a stream needs of the connection that carries it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use iroh::endpoint::{Connection, ConnectionError, VarInt};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use twolane_id::{PublicKey, delegation::Delegation};

use super::{
    lanes::Lanes,
    share::{self, Loan, Pool},
};
use crate::{
    access::Identity,
    error::ConnectionLost,
    limits::Limits,
    metrics::Metrics,
    tasks::Tasks,
    wire::{
        control::{DEFAULT_UNREAD_BYTES, Frame, PeerLimits},
        grease,
        record::Severity,
        varint,
    },
};

/// Data lanes have the priorities of an `i16`, each in two steps; what is about them goes first.
pub(crate) const PRIORITY_ERRORS: i32 = 2 * i16::MAX as i32 + 1;
/// Consumption reports free blocked writers, and GOAWAY must not queue behind data.
pub(crate) const PRIORITY_CONTROL: i32 = PRIORITY_ERRORS + 1;
/// Until a peer's HELLO is here lanes borrow as if it held so much: enough for a first request with all the data that may travel
/// with its header (`peer/open.rs`), and no more, since some hold less than the default and what is lent stays lent.
const BEFORE_HELLO: u64 = 3 << 20;

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
    /// One permit for each data lane that may be opened.
    pub(crate) free_lanes: Arc<Semaphore>,
    /// Bidirectional streams opened, and accepted, on this connection.
    pub(crate) opened: AtomicU64,
    pub(crate) accepted: AtomicU64,
    /// Writes to any lane.
    writes: AtomicU64,
    lanes: Mutex<LaneTable>,
    /// Bytes of requests that have been read and are not answered yet.
    pub(crate) request_bytes: AtomicU64,
    /// Lanes that share what the peer may hold unread: `LaneTable::sharing`, to be read without its lock.
    sharing: AtomicUsize,
    /// What the peer may hold unread, in bytes, all lanes together.
    peer_unread_bytes: AtomicU64,
    /// What a lane may have unread without being counted among those that share.
    little: AtomicU64,
    /// What lanes may have unread beyond their shares.
    pub(super) pool: Arc<Pool>,
    /// Told when the last lane of a draining connection is gone.
    pub(crate) idle: Notify,
    outbox: Mutex<Outbox>,
    /// Frames about lanes that wait in `outbox`, to be read without its lock.
    queued: AtomicUsize,
    pub(crate) outbox_filled: Notify,
    /// Why this side closed the connection, if it did.
    closed_because: OnceLock<ConnectionLost>,
}

impl Carrier {
    pub(crate) fn new(
        connection: Connection,
        peer: PublicKey,
        limits: Arc<Limits>,
        tasks: Tasks,
        metrics: Arc<Metrics>,
        free_lanes: usize,
    ) -> Self {
        Self {
            connection,
            peer,
            identity: Mutex::new(Identity::new(peer)),
            limits,
            tasks,
            metrics,
            free_lanes: Arc::new(Semaphore::new(free_lanes)),
            opened: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            lanes: Mutex::default(),
            request_bytes: AtomicU64::new(0),
            sharing: AtomicUsize::new(0),
            peer_unread_bytes: AtomicU64::new(DEFAULT_UNREAD_BYTES),
            // Until the peer has said how many lanes there are, all of them count.
            little: AtomicU64::new(0),
            pool: Arc::new(Pool::new(BEFORE_HELLO)),
            idle: Notify::new(),
            outbox: Mutex::default(),
            queued: AtomicUsize::new(0),
            outbox_filled: Notify::new(),
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

    /// The peer's streams that the rules were asked about, and that are open.
    pub(crate) fn admitted(&self) -> Vec<Arc<Lanes>> {
        let lanes: Vec<_> = self.lock_lanes().lanes.values().filter_map(Weak::upgrade).collect();
        lanes.into_iter().filter(|lanes| lanes.admitted.get().is_some()).collect()
    }

    /// Makes a lane known, so that its error lane and the reports about it find it.
    pub(crate) fn register(&self, lanes: &Arc<Lanes>) {
        self.lock_lanes().lanes.insert(lanes.id(), Arc::downgrade(lanes));
    }

    /// Called when the last handle of a lane is gone. `shares`: it is counted among those that share. `consumed` answers a
    /// watermark that had not been reached. `unread` is the end of a lane that was finished with data that the peer has yet
    /// to read: it keeps its share, what it was lent, and the right to be open, until the peer says that the data was read.
    pub(super) fn forget(&self, id: u64, shares: bool, consumed: Option<u64>, unread: Option<Unread>) {
        // Whatever was queued for this lane was queued by who held it: it shows here.
        let queued = if self.queued.load(Relaxed) == 0 { None } else { self.with_outbox(|outbox| outbox.forget(id)) };
        let (idle, ask) = {
            let mut table = self.lock_lanes();
            table.lanes.remove(&id);
            table.with_much -= usize::from(shares);
            let ask = unread.and_then(|unread| table.keep(id, unread, self.max_unread()));
            self.sharing.store(table.sharing(), Relaxed);
            (table.is_drained(), ask)
        };
        if let Some(offset) = ask {
            self.send(Frame::Watermark { lane: id, offset });
        }
        if let Some(offset) = consumed.max(queued) {
            self.report_gone(id, offset);
        }
        if idle {
            self.idle.notify_one();
        }
    }

    /// Lanes of the peer's, which have no permits, that are kept in mind: as many as it can have, twice.
    fn max_unread(&self) -> usize {
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
        self.free_lanes.close();
    }

    /// A lane's own share of what may be unread at the peer now, if it is to have `wanted`. From more than a little on it is
    /// counted.
    pub(super) fn share(&self, lanes: &Lanes, wanted: u64) -> u64 {
        let little = self.little.load(Relaxed);
        if wanted <= little && !lanes.shares() {
            return little;
        }
        if lanes.start_to_share() {
            let mut table = self.lock_lanes();
            table.with_much += 1;
            self.sharing.store(table.sharing(), Relaxed);
        }
        self.counted_share()
    }

    /// The same of a lane that is counted, or will be.
    pub(super) fn counted_share(&self) -> u64 {
        let little = self.little.load(Relaxed);
        share::of(self.peer_unread_bytes.load(Relaxed), self.sharing.load(Relaxed)).max(little)
    }

    /// The peer's HELLO says what it may hold.
    pub(crate) fn set_peer_limits(&self, limits: &PeerLimits) {
        self.peer_unread_bytes.store(limits.unread_bytes, Relaxed);
        self.little.store(share::little(limits.unread_bytes, limits.data_lanes), Relaxed);
        self.pool.set_limit(limits.unread_bytes);
    }

    /// Whether a lane that ends with so much unread has to be kept in mind.
    pub(crate) fn is_much(&self, unread: u64) -> bool {
        unread > self.little.load(Relaxed)
    }

    /// The peer has read a lane up to `offset`.
    pub(crate) fn on_consumed(&self, id: u64, offset: u64) {
        let (lanes, read) = {
            let mut table = self.lock_lanes();
            let whole = table.unread.get(&id).is_some_and(|unread| unread.end <= offset);
            let read = if whole { table.unread.remove(&id) } else { None };
            self.sharing.store(table.sharing(), Relaxed);
            (table.lanes.get(&id).and_then(Weak::upgrade), read)
        };
        // Dropped outside the lock: the permit wakes whoever waits for a lane.
        drop(read);
        if let Some(lanes) = lanes {
            lanes.on_consumed(offset);
        }
    }

    /// The peer wants to hear when a lane has been read up to `offset`. One that is gone holds nothing.
    pub(crate) fn on_watermark(&self, id: u64, offset: u64) {
        match self.find(id) {
            Some(lanes) => lanes.on_watermark(offset),
            None => self.report_gone(id, offset),
        }
    }

    fn report_gone(&self, id: u64, offset: u64) {
        // Twice what an honest peer can have under way: its lanes, and as many that have just ended.
        let max = self.limits.transport_streams() as usize * 2;
        self.with_outbox(|outbox| {
            if outbox.gone.len() < max || outbox.gone.contains_key(&id) {
                raise(&mut outbox.gone, id, offset);
            }
        });
        self.outbox_filled.notify_one();
    }

    fn lock_lanes(&self) -> std::sync::MutexGuard<'_, LaneTable> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a control frame.
    pub(crate) fn send(&self, frame: Frame) {
        self.with_outbox(|outbox| outbox.push(frame));
        self.outbox_filled.notify_one();
    }

    /// Takes every queued frame, encoded.
    pub(crate) fn take_outbox(&self, out: &mut Vec<u8>) {
        self.with_outbox(std::mem::take).encode(out);
    }

    fn with_outbox<T>(&self, change: impl FnOnce(&mut Outbox) -> T) -> T {
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut outbox);
        self.queued.store(outbox.watermarks.len() + outbox.consumed.len(), Relaxed);
        changed
    }

    pub(crate) fn count_write(&self) -> u64 {
        self.writes.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Relaxed)
    }

    /// STREAM frames that went out, of all streams. Takes the connection's lock.
    pub(crate) fn frames(&self) -> u64 {
        self.connection.stats().frame_tx.stream
    }

    /// Closes the connection for a reason of this side. Streams see that reason.
    pub(crate) fn close(&self, because: ConnectionLost, code: u64, reason: &str) {
        let _ = self.closed_because.set(because);
        self.connection.close(code_to_varint(code), reason.as_bytes());
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
        self.free_lanes.close();
        let (lanes, unread) = {
            let mut table = self.lock_lanes();
            table.lost = true;
            (table.lanes.values().filter_map(Weak::upgrade).collect::<Vec<_>>(), std::mem::take(&mut table.unread))
        };
        drop(unread);
        for lanes in lanes {
            lanes.on_lost();
        }
    }

    /// Whether a fatal record makes an end of `severity`.
    pub(crate) fn is_fatal(severity: Severity) -> bool {
        severity != Severity::Warning
    }
}

/// The lanes of a connection.
#[derive(Debug, Default)]
struct LaneTable {
    /// By stream id. A peer that chose ids with equal hashes would slow its own connection down, by as many lanes as it may have.
    lanes: FxHashMap<u64, Weak<Lanes>>,
    /// Those of them that have had more than a little unread at the peer.
    with_much: usize,
    /// Data lanes that are being opened and are not among `lanes` yet.
    opening: usize,
    /// Lanes that have ended here, and whose data the peer has yet to read.
    unread: FxHashMap<u64, Unread>,
    draining: bool,
    lost: bool,
}

/// A lane that has ended here, and whose data the peer has yet to read.
#[derive(Debug)]
pub(super) struct Unread {
    /// How many bytes there are.
    pub(super) end: u64,
    /// The right to have it open, if this side opened it.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// What it was lent.
    pub(super) _loan: Option<Loan>,
}

impl LaneTable {
    fn sharing(&self) -> usize {
        self.with_much + self.unread.len()
    }

    /// Keeps a lane in mind whose data is unread. The answer is what to ask the peer about.
    fn keep(&mut self, id: u64, unread: Unread, max: usize) -> Option<u64> {
        // A peer that never says what it has read could have us keep more and more of its own lanes in mind.
        if self.lost || (unread.permit.is_none() && self.unread.len() >= max) {
            return None;
        }
        let end = unread.end;
        self.unread.insert(id, unread);
        Some(end)
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

/// Control frames that wait for a peer which does not read them. Of each kind there is as much as the lanes that are
/// open can have, whatever the peer does.
#[derive(Debug, Default)]
struct Outbox {
    goaway: Option<Frame>,
    drained: Option<Frame>,
    /// Only the last one counts.
    delegation: Option<Frame>,
    max_lanes: Option<Frame>,
    /// The ledger has at most sixteen under way for a lane, and one at its end.
    watermarks: BTreeMap<u64, Vec<u64>>,
    /// Only the last report for a lane counts.
    consumed: BTreeMap<u64, u64>,
    /// The same for lanes that have ended here.
    gone: BTreeMap<u64, u64>,
}

impl Outbox {
    fn push(&mut self, frame: Frame) {
        match frame {
            Frame::Goaway { .. } => self.goaway = Some(frame),
            Frame::Drained { .. } => self.drained = Some(frame),
            Frame::Watermark { lane, offset } => self.watermarks.entry(lane).or_default().push(offset),
            Frame::Consumed { lane, offset } => raise(&mut self.consumed, lane, offset),
            Frame::Delegation(_) => self.delegation = Some(frame),
            // HELLO is written when the control stream is opened.
            Frame::Hello(_) | Frame::Unknown => {}
            // Only the largest count counts, and counts grow.
            Frame::MaxLanes { .. } => self.max_lanes = Some(frame),
        }
    }

    /// The answer is a report that has yet to go out.
    fn forget(&mut self, lane: u64) -> Option<u64> {
        self.watermarks.remove(&lane);
        self.consumed.remove(&lane)
    }

    fn encode(self, out: &mut Vec<u8>) {
        for frame in [self.delegation, self.max_lanes].into_iter().flatten() {
            frame.encode(out);
        }
        for (lane, offset) in self.consumed.into_iter().chain(self.gone) {
            Frame::Consumed { lane, offset }.encode(out);
        }
        for (lane, offsets) in self.watermarks {
            for offset in offsets {
                Frame::Watermark { lane, offset }.encode(out);
            }
        }
        // DRAINED means something only after GOAWAY.
        for frame in [self.goaway, self.drained].into_iter().flatten() {
            frame.encode_with(out, &grease::tail(out.len() as u64));
        }
    }
}

/// Two tasks can report about a lane at the same time: the larger offset counts.
fn raise(reports: &mut BTreeMap<u64, u64>, lane: u64, offset: u64) {
    let reported = reports.entry(lane).or_insert(offset);
    *reported = (*reported).max(offset);
}

/// Codes are constants or were checked where they entered; a larger one would be a bug, and becomes the largest.
pub(crate) fn code_to_varint(code: u64) -> VarInt {
    VarInt::from_u64(code.min(varint::MAX)).unwrap_or(VarInt::MAX)
}
