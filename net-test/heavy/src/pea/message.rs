//! Messages. Each has a kind, a number, and data.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The length of the head: one byte for the kind, and eight bytes for the number.
pub(super) const HEAD: usize = 9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A request. Its answer has the same number.
    Request = 0,
    Answer = 1,
    /// Data of a lane, from its opener.
    Up = 2,
    UpEnd = 3,
    /// Data of a lane, to its opener.
    Down = 4,
    DownEnd = 5,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(super) kind: Kind,
    /// The number of the request or of the lane.
    pub(super) number: u64,
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
