//! What a receiver takes, and the bounds of the transfer.

use std::time::Duration;

use crate::store::Existing;

/// Maximum time for which a connected peer may do nothing before a transfer is given up. It is long, because a disk can
/// be slow, a pipe can be idle, and a user may be asked.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// Maximum time for a sender to take a confirmation. It has some hundred bytes, and a dead connection is found within
/// 20 s. Without this bound, a sender that is there and does not read would keep its place at the receiver for ever.
pub(crate) const CONFIRM: Duration = Duration::from_secs(30);
/// Maximum time to wait for the reason of a peer that has let go of a stream. The reason is on its way by then.
pub(crate) const REASON: Duration = Duration::from_secs(30);
/// Number of data streams of a transfer. Each has a window of 2 MB, so eight can have 16 MB on their way: twice what a
/// path with 500 Mbit/s and 100 ms holds.
pub(crate) const STREAMS: u64 = 8;

/// What a receiver takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// What happens if something else has the name of an item. Default: the item is refused.
    pub existing: Existing,
    /// Maximum number of bytes of all files of a transfer. Default: no maximum but the room on the disk.
    pub max_bytes: Option<u64>,
    /// A refusal half-way, to try out the error lane. Default: none.
    pub rehearsal: Option<Rehearsal>,
}

/// A refusal half-way through a transfer, to try out the error lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rehearsal {
    /// The number of bytes that are taken before the refusal. With `files/1` it is rounded up to whole pieces.
    pub after: u64,
    /// The error code that the sender is told.
    pub code: u64,
    /// The time for which nothing is read before the refusal, so that the data lane fills up.
    pub stall: Duration,
}
