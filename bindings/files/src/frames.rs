//! Frames on a stream.

use bytes::Bytes;
use twolane::{ReadError, RecvStream};

use crate::{
    error::{ReceiveError, SendError},
    wire::{MAX_BODY, Malformed, header},
};

/// The reason why there is no next frame.
#[derive(Debug)]
pub(crate) enum FrameError {
    Read(ReadError),
    Malformed(Malformed),
    /// The stream ended inside a frame.
    Cut,
}

/// Reads the type and the body of the next frame. Returns `None` at the end of the stream.
///
/// Not cancel-safe: a part of a frame may have been read.
pub(crate) async fn next_frame(rx: &mut RecvStream) -> Result<Option<(u64, Bytes)>, FrameError> {
    let mut wanted = 2;
    let (kind, len, before) = loop {
        let seen = rx.peek(wanted).await?;
        match header(seen) {
            Some(header) => break header,
            None if seen.is_empty() => return Ok(None),
            None if seen.len() < wanted => return Err(FrameError::Cut),
            None => wanted = seen.len() + 1,
        }
    };
    if len > MAX_BODY {
        return Err(FrameError::Malformed(Malformed::TooLong { what: "a frame", len, max: MAX_BODY }));
    }
    drop(rx.consume(before));
    let mut body = vec![0; len as usize];
    let mut filled = 0;
    while filled < body.len() {
        match rx.read(&mut body[filled..]).await? {
            0 => return Err(FrameError::Cut),
            read => filled += read,
        }
    }
    Ok(Some((kind, body.into())))
}

impl From<ReadError> for FrameError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<FrameError> for SendError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Read(error) => error.into(),
            FrameError::Malformed(malformed) => malformed.into(),
            FrameError::Cut => Self::Protocol("its answer ended inside a frame"),
        }
    }
}

impl From<Malformed> for SendError {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Type(_) | Malformed::Critical(_) => Self::Protocol("it speaks a later version"),
            _ => Self::Protocol("a frame is malformed"),
        }
    }
}

impl From<FrameError> for ReceiveError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Read(error) => error.into(),
            FrameError::Malformed(malformed) => malformed.into(),
            FrameError::Cut => Self::protocol("the data ended inside a frame"),
        }
    }
}
