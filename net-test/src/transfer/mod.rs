//! One file over one stream.
//!
//! The protocol `file/1`, which any program may speak:
//!
//! 1. The opener's metadata is an [`Offer`]: one JSON object, `{"name": "photo.jpg", "size": 123456}`, the size `null`
//!    if it is not known beforehand.
//! 2. The opener's data is the file, then the 32 bytes of its BLAKE3 hash, then the end. The hash comes last because
//!    the file is read once; the acceptor holds the last 32 bytes back, so it needs no frames.
//! 3. The acceptor stores the file and answers with one line of JSON, a [`Receipt`], and the end.
//!
//! Either side may fail the stream at any time; the codes are those of [`Reason`]. Of the acceptor's errors the details
//! are a JSON object with the bytes of the file it had taken, `{"received": 65536}`.

mod meter;
mod name;
mod offer;
mod reason;
mod receive;
mod send;
mod source;
mod store;

pub use self::{
    meter::Meter,
    name::{FileName, NameError},
    offer::{Offer, Receipt, RefusalDetails},
    reason::Reason,
    receive::{ReceiveError, Rehearsal, receive},
    send::{SendError, send},
    source::{Input, Source},
    store::{Inbox, StoreError},
};

/// The name of the protocol.
pub const PROTOCOL: &str = "file/1";

/// How much is read, hashed and written at a time. Below 128 KiB the hand-over between threads shows; above 1 MiB
/// nothing is gained.
const CHUNK: usize = 512 * 1024;
/// Chunks that wait between a disk and the network. With those at both ends a transfer holds some 3 MiB.
const QUEUE: usize = 4;
/// How long a peer that is connected may do nothing before the transfer is given up. Long, because a disk may be slow
/// and a pipe idle.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);
