//! Transfer of one file over one stream or over several streams.
//!
//! The protocol `file/1`, which any program may implement:
//!
//! 1. The metadata of the opener is an [`Offer`]: one JSON object, `{"name": "photo.jpg", "size": 123456}`. The
//!    size is `null` if it is not known in advance.
//! 2. The data of the opener is the file, then the 32 bytes of its BLAKE3 hash, then the end. The hash comes last,
//!    because the file is read only once. The acceptor holds the last 32 bytes back, so the protocol needs no
//!    frames.
//! 3. The acceptor stores the file, and answers with one line of JSON, a [`Receipt`], and the end.
//!
//! The protocol `file/2` is for files of known length that the flow control window of one stream, 2 MB, would slow
//! down on a long path. The offer has one more field, `"spread": {"id": 4711, "streams": 8, "block": 524288}`. Once
//! the acceptor has accepted the stream, the opener opens the part streams, of the protocol `file-part/2`, with the
//! metadata `{"id": 4711, "part": 1}`, and so on. The blocks of the file go to the streams in turn, including the
//! first stream. The first stream ends with the hash, each part stream with its last block. Everything else is
//! exchanged on the first stream, as above.
//!
//! Either side may fail the stream at any time, with one of the codes of [`Reason`]. The details of the acceptor's
//! errors are a JSON object with the number of bytes of the file that the acceptor had taken,
//! `{"received": 65536}`.

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
/// The name of the protocol with several streams.
pub const SPREAD_PROTOCOL: &str = "file/2";
/// The name of the protocol of the part streams, the streams of a transfer beside the first one.
pub const PART_PROTOCOL: &str = "file-part/2";

/// The number of bytes that are read, hashed and written at a time. Below 128 KiB the hand-over between threads
/// costs time; above 1 MiB nothing is gained.
const CHUNK: usize = 512 * 1024;
/// The number of chunks that wait between the disk and the network. Together with those at both ends, a transfer
/// holds about 3 MiB.
const QUEUE: usize = 4;
/// Maximum time for which a connected peer may do nothing before the transfer is given up. It is long, because a
/// disk can be slow and a pipe can be idle.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);
