//! Messages: what it is, a number, and data.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One byte, and eight of the number.
pub(super) const HEAD: usize = 9;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Wants an answer with the same number.
    Request = 0,
    /// Is one.
    Answer = 1,
    /// Data of a lane, from who opened it.
    Up = 2,
    /// The last of it.
    UpEnd = 3,
    /// Data of a lane, to who opened it.
    Down = 4,
    /// The last of it.
    DownEnd = 5,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// What it is.
    pub(super) kind: Kind,
    /// Of the request or of the lane.
    pub(super) number: u64,
    /// The rest.
    pub(super) data: Bytes,
}

impl Message {
    pub(super) fn len(&self) -> usize {
        HEAD + self.data.len()
    }

    pub(super) fn write(&self, out: &mut impl BufMut) {
        out.put_u8(self.kind as u8);
        out.put_u64(self.number);
        out.put_slice(&self.data);
    }

    pub(super) fn read(mut bytes: BytesMut) -> io::Result<Self> {
        if bytes.len() < HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let kind = match bytes.get_u8() {
            0 => Kind::Request,
            1 => Kind::Answer,
            2 => Kind::Up,
            3 => Kind::UpEnd,
            4 => Kind::Down,
            5 => Kind::DownEnd,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(Self { kind, number: bytes.get_u64(), data: bytes.freeze() })
    }
}
