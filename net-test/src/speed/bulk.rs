//! Moves data over one stream, in both directions at once if asked. The code is the same for the streams of both
//! sides.
//!
//! The client begins with 17 bytes: the number of bytes that it sends and the number that it wants (big endian), and
//! whether to hash. Then both ends send, in pieces of [`PIECE`]. When the server has read everything, it adds the
//! number of bytes that it has read and, if asked, their BLAKE3 hash. (The server can also read for a given time: see
//! [`super::timed`].)

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{
    Broken,
    side::{Rx, Tx},
    timed,
};

pub const PIECE: usize = 64 * 1024;
pub(super) const ASKED: usize = 17;
const TRAILER: usize = 8 + blake3::OUT_LEN;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Bytes from the client to the server.
    pub up: u64,
    /// Bytes from the server to the client.
    pub down: u64,
    /// Both ends hash the data, and compare the hashes. This is not used while a time is measured, since hashing
    /// costs as much as the transfer.
    pub check: bool,
}

/// Runs the client's end. Both ends have all data when this returns.
pub async fn run(mut send: impl Tx, mut recv: impl Rx, load: Load) -> Result<(), Broken> {
    let writing = async {
        let asked = [&load.up.to_be_bytes()[..], &load.down.to_be_bytes(), &[u8::from(load.check)]].concat();
        send.write_all(&asked).await?;
        let hash = pour(&mut send, load.up, load.check).await?;
        send.finish()?;
        Ok::<_, Broken>(hash)
    };
    let reading = async {
        let mut sink = Sink::new(load.down, load.check);
        while let Some(chunk) = recv.chunk().await? {
            sink.take(&chunk)?;
        }
        Ok(sink)
    };
    let (sent, sink) = tokio::try_join!(writing, reading)?;
    let trailer = sink.end(pattern_hash(load.down, load.check))?;
    let read = trailer.get(..8).and_then(|len| len.try_into().ok()).map(u64::from_be_bytes);
    if read != Some(load.up) || trailer[8..] != sent {
        return Err(Broken::msg("the server has read something else than was sent"));
    }
    Ok(())
}

/// Runs the server's end.
pub async fn serve(mut send: impl Tx, mut recv: impl Rx) -> Result<(), Broken> {
    let mut asked = BytesMut::new();
    while asked.len() < ASKED {
        match recv.chunk().await? {
            Some(chunk) => asked.extend_from_slice(&chunk),
            None => return Err(Broken::msg("a stream ended before it said what it wants")),
        }
    }
    let first = asked.split_off(ASKED);
    let number = |at: usize| asked[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let (up, down, check) = (number(0), number(8), asked[16] == 1);
    if asked[16] == timed::MODE {
        return timed::serve(send, recv, Duration::from_millis(up), first.len()).await;
    }
    let reading = async {
        let mut sink = Sink::new(up, check);
        sink.take(&first)?;
        while let Some(chunk) = recv.chunk().await? {
            sink.take(&chunk)?;
        }
        Ok::<_, Broken>(sink)
    };
    let writing = pour(&mut send, down, check);
    let (sink, _) = tokio::try_join!(reading, writing)?;
    if !sink.trailer.is_empty() {
        return Err(Broken::msg("more came than was announced"));
    }
    let trailer = [&sink.read.to_be_bytes()[..], &sink.hash()].concat();
    send.write_all(&trailer).await?;
    send.finish()
}

/// Writes `len` bytes of the pattern. Returns their hash if `check` is set, and zeros otherwise.
async fn pour(send: &mut impl Tx, len: u64, check: bool) -> Result<[u8; blake3::OUT_LEN], Broken> {
    let piece = pattern();
    let mut left = len;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        send.write_all(&piece[..now]).await?;
        left -= now as u64;
    }
    Ok(pattern_hash(len, check))
}

/// Returns a piece of the pattern. Adjacent bytes differ, so a shift by one byte or a missing packet changes the
/// hash.
pub(super) fn pattern() -> Bytes {
    (0..PIECE as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn pattern_hash(len: u64, check: bool) -> [u8; blake3::OUT_LEN] {
    if !check {
        return [0; blake3::OUT_LEN];
    }
    let (piece, mut hasher, mut left) = (pattern(), blake3::Hasher::new(), len);
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        hasher.update(&piece[..now]);
        left -= now as u64;
    }
    *hasher.finalize().as_bytes()
}

/// A reader that takes `expected` bytes and then a trailer.
struct Sink {
    expected: u64,
    read: u64,
    hasher: Option<blake3::Hasher>,
    trailer: Vec<u8>,
}

impl Sink {
    fn new(expected: u64, check: bool) -> Self {
        Self { expected, read: 0, hasher: check.then(blake3::Hasher::new), trailer: Vec::new() }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Broken> {
        let data = usize::try_from(self.expected - self.read).unwrap_or(usize::MAX).min(chunk.len());
        self.read += data as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk[..data]);
        }
        self.trailer.extend_from_slice(&chunk[data..]);
        if self.trailer.len() > TRAILER {
            return Err(Broken::msg("more came than was sent"));
        }
        Ok(())
    }

    fn hash(&self) -> [u8; blake3::OUT_LEN] {
        self.hasher.as_ref().map_or([0; blake3::OUT_LEN], |hasher| *hasher.finalize().as_bytes())
    }

    /// Returns the trailer, if the data before it has the expected length and hash.
    fn end(self, expected: [u8; blake3::OUT_LEN]) -> Result<Vec<u8>, Broken> {
        if self.read != self.expected || self.trailer.len() != TRAILER || self.hash() != expected {
            return Err(Broken::msg("something else came than the server sent"));
        }
        Ok(self.trailer)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::sync::mpsc;

    use super::*;

    struct End(mpsc::Sender<Bytes>);
    struct Start(mpsc::Receiver<Bytes>, VecDeque<Bytes>);

    impl Tx for End {
        async fn write_all(&mut self, data: &[u8]) -> Result<(), Broken> {
            self.write_chunk(Bytes::copy_from_slice(data)).await
        }

        async fn write_chunk(&mut self, data: Bytes) -> Result<(), Broken> {
            self.0.send(data).await.map_err(|_| Broken::msg("gone"))
        }

        fn finish(&mut self) -> Result<(), Broken> {
            let (closed, _) = mpsc::channel(1);
            self.0 = closed;
            Ok(())
        }
    }

    impl Rx for Start {
        async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
            Ok(match self.1.pop_front() {
                Some(chunk) => Some(chunk),
                None => self.0.recv().await,
            })
        }
    }

    fn lane() -> (End, Start) {
        let (send, recv) = mpsc::channel(4);
        (End(send), Start(recv, VecDeque::new()))
    }

    #[tokio::test]
    async fn what_is_sent_both_ways_is_compared_at_both_ends() {
        for check in [false, true] {
            for (up, down) in [(0, 0), (1, 0), (0, 1), (300_000, 70_000)] {
                let ((up_end, up_start), (down_end, down_start)) = (lane(), lane());
                let server = tokio::spawn(serve(down_end, up_start));
                run(up_end, down_start, Load { up, down, check }).await.unwrap();
                server.await.unwrap().unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_byte_that_changes_on_the_way_is_found() {
        let ((up_end, up_start), (down_end, mut down_start)) = (lane(), lane());
        let (middle_end, middle_start) = lane();
        let server = tokio::spawn(serve(down_end, up_start));
        let middle = tokio::spawn(async move {
            let mut end = middle_end;
            let mut first = true;
            while let Some(chunk) = down_start.0.recv().await {
                let mut chunk = chunk.to_vec();
                if std::mem::take(&mut first) {
                    chunk[7] ^= 1;
                }
                end.write_all(&chunk).await.unwrap();
            }
        });
        let broken = run(up_end, middle_start, Load { up: 10, down: 100_000, check: true }).await.unwrap_err();
        assert!(broken.to_string().contains("something else came"), "{broken}");
        server.await.unwrap().unwrap();
        middle.await.unwrap();
    }
}
