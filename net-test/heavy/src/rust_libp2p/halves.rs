//! The two halves of a libp2p stream.

use std::sync::Arc;

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, io as halves};
use libp2p::Stream;
use twolane_test::speed::{
    Broken,
    side::{Rx, Tx},
};

/// The maximum number of bytes of one read. Bulk data is written in pieces of this size.
const PIECE: usize = 64 * 1024;

pub(crate) struct WriteHalf(halves::WriteHalf<Stream>);

pub(crate) struct ReadHalf {
    half: halves::ReadHalf<Stream>,
    buffer: Arc<Vec<u8>>,
}

pub(super) fn split(stream: Stream) -> (WriteHalf, ReadHalf) {
    let (half, write) = stream.split();
    (WriteHalf(write), ReadHalf { half, buffer: Arc::new(Vec::new()) })
}

impl Tx for WriteHalf {
    async fn write_all(&mut self, data: &[u8]) -> Result<(), Broken> {
        Ok(self.0.write_all(data).await?)
    }

    /// Writes with a copy, because libp2p has no way without one.
    async fn write_chunk(&mut self, data: Bytes) -> Result<(), Broken> {
        Ok(self.0.write_all(&data).await?)
    }

    fn finish(&mut self) -> Result<(), Broken> {
        // QUIC ends a stream at once, if its protocol has been agreed on.
        match self.0.close().now_or_never() {
            Some(closed) => Ok(closed?),
            None => Err(Broken::msg("a stream does not end at once")),
        }
    }
}

impl Rx for ReadHalf {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        // Reads into the last buffer if it is not in use any more, so that bytes are neither copied nor set to zero
        // first.
        if Arc::get_mut(&mut self.buffer).is_none_or(|buffer| buffer.is_empty()) {
            self.buffer = Arc::new(vec![0; PIECE]);
        }
        let buffer = Arc::get_mut(&mut self.buffer).ok_or_else(|| Broken::msg("a new buffer is shared"))?;
        match self.half.read(buffer).await? {
            0 => Ok(None),
            len => Ok(Some(Bytes::from_owner(Part { buffer: Arc::clone(&self.buffer), len }))),
        }
    }
}

/// The beginning of a buffer.
struct Part {
    buffer: Arc<Vec<u8>>,
    len: usize,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}
