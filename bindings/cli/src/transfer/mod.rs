//! One file over one stream, or over several.
//!
//! The protocol `file/1`, which any program may speak:
//!
//! 1. The opener's metadata is an [`Offer`]: one JSON object, `{"name": "photo.jpg", "size": 123456}`, the size `null`
//!    if it is not known beforehand.
//! 2. The opener's data is the file, then the 32 bytes of its BLAKE3 hash, then the end. The hash comes last because
//!    the file is read once; the acceptor holds the last 32 bytes back, so it needs no frames.
//! 3. The acceptor stores the file and answers with one line of JSON, a [`Receipt`], and the end.
//!
//! The protocol `file/2` is for files of known length that one stream's window of 2 MB would slow down on a long path.
//! The offer has one thing more, `"spread": {"id": 4711, "streams": 8, "block": 524288}`. Once it is taken, the opener
//! opens the other streams, of the protocol `file-part/2`, with the metadata `{"id": 4711, "part": 1}`, and so on. The
//! file's blocks take turns on the streams, the first one included; the latter ends with the hash, the others with their
//! last block. Everything else is said on the first stream as above.
//!
//! Either side may fail the stream at any time; the codes are those of [`Reason`]. Of the acceptor's errors the details
//! are a JSON object with the bytes of the file it had taken, `{"received": 65536}`.

mod early;
mod meter;
mod name;
mod offer;
mod plan;
mod reason;
mod receive;
mod send;
mod source;
mod store;
mod stripes;

pub use self::{
    meter::Meter,
    name::{FileName, NameError},
    offer::{Offer, Receipt, RefusalDetails, Spread},
    plan::Plan,
    reason::Reason,
    receive::{ReceiveError, Rehearsal, Unconfirmed, receive},
    send::{SendError, refusal, send},
    source::{Input, Source},
    store::{Inbox, StoreError},
    stripes::{Expected, Gathering, Parts, TransferId},
};

/// The name of the protocol with one stream.
pub const PROTOCOL: &str = "file/1";
/// The name of the protocol with several.
pub const SPREAD_PROTOCOL: &str = "file/2";
/// What the streams beside its first are of.
pub const PART_PROTOCOL: &str = "file-part/2";

/// How much is read, hashed and written at a time. Below 128 KiB the hand-over between threads shows; above 1 MiB
/// nothing is gained.
const CHUNK: usize = 512 * 1024;
/// Chunks that wait between a disk and the network. With those at both ends a transfer holds some 3 MiB.
const QUEUE: usize = 4;
/// How long a peer that is connected may do nothing before the transfer is given up. Long, because a disk may be slow
/// and a pipe idle.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);
