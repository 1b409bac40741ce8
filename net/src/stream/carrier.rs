//! What a stream needs of the connection that carries it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use iroh::endpoint::{Connection, ConnectionError, VarInt};
use tokio::sync::{Notify, Semaphore};
use twolane_id::PublicKey;

use super::lanes::Lanes;
use crate::{
    error::ConnectionLost,
    limits::Limits,
    tasks::Tasks,
    wire::{control::Frame, record::Severity, varint},
};

/// Data lanes have the priorities of an `i16`; what is about them goes first.
pub(crate) const PRIORITY_ERRORS: i32 = i16::MAX as i32 + 1;
/// Consumption reports free blocked writers, and GOAWAY must not queue behind data.
pub(crate) const PRIORITY_CONTROL: i32 = PRIORITY_ERRORS + 1;

/// The state that all streams of one connection share. Its driver is `peer::link`.
#[derive(Debug)]
pub(crate) struct Carrier {
    pub(crate) connection: Connection,
    pub(crate) peer: PublicKey,
    pub(crate) limits: Arc<Limits>,
    /// Owns every task that outlives a call.
    pub(crate) tasks: Tasks,
    /// One permit for each data lane that may be opened.
    pub(crate) free_lanes: Arc<Semaphore>,
    /// Bidirectional streams opened, and accepted, on this connection.
    pub(crate) opened: AtomicU64,
    pub(crate) accepted: AtomicU64,
    /// Writes to any lane.
    writes: AtomicU64,
    lanes: Mutex<LaneTable>,
    /// Told when the last lane of a draining connection is gone.
    pub(crate) idle: Notify,
    outbox: Mutex<Outbox>,
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
        free_lanes: usize,
    ) -> Self {
        Self {
            connection,
            peer,
            limits,
            tasks,
            free_lanes: Arc::new(Semaphore::new(free_lanes)),
            opened: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            lanes: Mutex::default(),
            idle: Notify::new(),
            outbox: Mutex::default(),
            outbox_filled: Notify::new(),
            closed_because: OnceLock::new(),
        }
    }

    /// Makes a lane known, so that its error lane and the reports about it find it.
    pub(crate) fn register(&self, lanes: &Arc<Lanes>) {
        self.lock_lanes().lanes.insert(lanes.id(), Arc::downgrade(lanes));
    }

    /// Called when the last handle of a lane is gone.
    pub(crate) fn forget(&self, id: u64) {
        let idle = {
            let mut table = self.lock_lanes();
            table.lanes.remove(&id);
            table.is_drained()
        };
        self.lock_outbox().forget(id);
        if idle {
            self.idle.notify_one();
        }
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
        Some(Opening(self))
    }

    /// No data lane is opened any more, and nobody waits for a free one.
    pub(crate) fn start_draining(&self) {
        self.lock_lanes().draining = true;
        self.free_lanes.close();
    }

    fn lock_lanes(&self) -> std::sync::MutexGuard<'_, LaneTable> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a control frame.
    pub(crate) fn send(&self, frame: Frame) {
        self.lock_outbox().push(frame);
        self.outbox_filled.notify_one();
    }

    /// Takes every queued frame, encoded.
    pub(crate) fn take_outbox(&self, out: &mut Vec<u8>) {
        std::mem::take(&mut *self.lock_outbox()).encode(out);
    }

    fn lock_outbox(&self) -> std::sync::MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
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
        let lanes: Vec<_> = self.lock_lanes().lanes.values().filter_map(Weak::upgrade).collect();
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
    lanes: HashMap<u64, Weak<Lanes>>,
    /// Data lanes that are being opened and are not among `lanes` yet.
    opening: usize,
    draining: bool,
}

impl LaneTable {
    fn is_drained(&self) -> bool {
        self.draining && self.lanes.is_empty() && self.opening == 0
    }
}

/// Keeps the connection from being closed while a data lane is being opened.
#[derive(Debug)]
pub(crate) struct Opening<'a>(&'a Carrier);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let idle = {
            let mut table = self.0.lock_lanes();
            table.opening -= 1;
            table.is_drained()
        };
        if idle {
            self.0.idle.notify_one();
        }
    }
}

/// Control frames that wait for a peer which does not read them. Of each kind there is as much as the lanes that are
/// open can have, whatever the peer does.
#[derive(Debug, Default)]
struct Outbox {
    goaway: Option<Frame>,
    drained: Option<Frame>,
    /// The ledger has at most eight under way for a lane.
    watermarks: BTreeMap<u64, Vec<u64>>,
    /// Only the last report for a lane counts.
    consumed: BTreeMap<u64, u64>,
}

impl Outbox {
    fn push(&mut self, frame: Frame) {
        match frame {
            Frame::Goaway { .. } => self.goaway = Some(frame),
            Frame::Drained { .. } => self.drained = Some(frame),
            Frame::Watermark { lane, offset } => self.watermarks.entry(lane).or_default().push(offset),
            Frame::Consumed { lane, offset } => drop(self.consumed.insert(lane, offset)),
            // HELLO is written when the control stream is opened.
            Frame::Hello { .. } | Frame::Unknown => {}
        }
    }

    fn forget(&mut self, lane: u64) {
        self.watermarks.remove(&lane);
        self.consumed.remove(&lane);
    }

    fn encode(self, out: &mut Vec<u8>) {
        for (lane, offset) in self.consumed {
            Frame::Consumed { lane, offset }.encode(out);
        }
        for (lane, offsets) in self.watermarks {
            for offset in offsets {
                Frame::Watermark { lane, offset }.encode(out);
            }
        }
        // DRAINED means something only after GOAWAY.
        for frame in [self.goaway, self.drained].into_iter().flatten() {
            frame.encode(out);
        }
    }
}

/// Codes are constants or were checked where they entered; a larger one would be a bug, and becomes the largest.
pub(crate) fn code_to_varint(code: u64) -> VarInt {
    VarInt::from_u64(code.min(varint::MAX)).unwrap_or(VarInt::MAX)
}
