//! `file/1`: one file on one stream, in a protocol that a program of twenty lines can speak.
//!
//! 1. The metadata of the opener is an [`Offer`]: one JSON object, `{"name": "photo.jpg", "size": 123456}`. The size is
//!    `null` if it is not known in advance.
//! 2. The data of the opener is the file, then the 32 bytes of its BLAKE3 hash, then the end. The hash comes last,
//!    because the file is read only once. The acceptor holds the last 32 bytes back, so the protocol needs no frames.
//! 3. The acceptor stores the file, and answers with one line of JSON, a [`Receipt`], and the end.
//!
//! Either side may fail the stream at any time, with one of the codes of [`Reason`](crate::Reason). The details of the
//! acceptor's errors are a JSON object with the number of bytes of the file that the acceptor had taken,
//! `{"received": 65536}`.
//!
//! It has no folders, goes on nowhere after it was cut, and is as fast as one stream. [`send`](crate::send()) and
//! [`receive`](crate::receive()) have all that.

mod offer;
mod receive;
mod send;
mod source;

pub use self::{
    offer::{Offer, Receipt},
    receive::receive,
    send::send,
    source::Source,
};

/// The name of the protocol.
pub const PROTOCOL: &str = "file/1";

/// The number of bytes that are read, hashed and written at a time. Below 128 KiB the hand-over between threads
/// costs time; above 1 MiB nothing is gained.
const CHUNK: usize = 512 * 1024;
/// The number of chunks that wait between the disk and the network. Together with those at both ends, a transfer
/// holds about 3 MiB.
const QUEUE: usize = 4;
