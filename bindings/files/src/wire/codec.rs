//! Numbers, blocks, texts and parameters.

use std::str;

/// Largest number on the wire.
pub(super) const MAX_NUMBER: u64 = (1 << 62) - 1;

/// The reason why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a frame ends too early")]
    Short,
    #[error("a frame has {left} bytes more than its fields")]
    Left { left: usize },
    #[error("{what} has {len} bytes, and {max} is the most")]
    TooLong { what: &'static str, len: u64, max: u64 },
    #[error("{what} is {value}, and {max} is the most")]
    TooLarge { what: &'static str, value: u64, max: u64 },
    #[error("a text is not UTF-8")]
    Text,
    #[error("the parameters do not ascend")]
    Order,
    #[error("parameter {0} is not known, and the frame means something else without it")]
    Critical(u64),
    #[error("frame type {0} is not known, and the transfer means something else without it")]
    Type(u64),
}

/// Appends a number in its shortest form (RFC 9000, section 16). Larger numbers than the form has room for are cut.
pub(super) fn number(out: &mut Vec<u8>, value: u64) {
    let value = value.min(MAX_NUMBER);
    match value {
        0..=0x3f => out.push(value as u8),
        0x40..=0x3fff => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..=0x3fff_ffff => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Appends a block: the length of the bytes, and the bytes.
pub(super) fn block(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a parameter whose value is a number, unless there is none.
pub(super) fn parameter(out: &mut Vec<u8>, id: u64, value: Option<u64>) {
    if let Some(value) = value {
        number(out, id);
        let mut bytes = Vec::with_capacity(8);
        number(&mut bytes, value);
        block(out, &bytes);
    }
}

/// Returns the type of the frame at the start of `bytes`, the length of its body, and the number of bytes before the
/// body. Returns `None` while bytes of these are missing.
pub(crate) fn header(bytes: &[u8]) -> Option<(u64, u64, usize)> {
    let (kind, first) = decode(bytes)?;
    let (len, second) = decode(&bytes[first..])?;
    Some((kind, len, first + second))
}

fn decode(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = 1 << (first >> 6);
    let value =
        bytes.get(1..len)?.iter().fold(u64::from(first & 0x3f), |value, byte| (value << 8) | u64::from(*byte));
    Some((value, len))
}

/// Takes the fields of a frame from its bytes, one after the other.
#[derive(Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let (value, len) = decode(self.0).ok_or(Malformed::Short)?;
        self.0 = &self.0[len..];
        Ok(value)
    }

    pub(super) fn number_up_to(&mut self, what: &'static str, max: u64) -> Result<u64, Malformed> {
        let value = self.number()?;
        if value > max { Err(Malformed::TooLarge { what, value, max }) } else { Ok(value) }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn block(&mut self, what: &'static str, max: u64) -> Result<&'a [u8], Malformed> {
        let len = self.number()?;
        // The bound comes first: a length over it is over it, even if it also reaches beyond the frame.
        if len > max {
            return Err(Malformed::TooLong { what, len, max });
        }
        let len = usize::try_from(len).map_err(|_| Malformed::Short)?;
        let (block, rest) = self.0.split_at_checked(len).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(block)
    }

    pub(super) fn text(&mut self, what: &'static str, max: u64) -> Result<&'a str, Malformed> {
        str::from_utf8(self.block(what, max)?).map_err(|_| Malformed::Text)
    }

    /// Takes all bytes that are left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Takes the parameters up to the end of the frame. `known` is called with the id and the value of each, and returns
    /// whether it knows the id.
    pub(super) fn parameters(
        mut self,
        mut known: impl FnMut(u64, &mut Self) -> Result<bool, Malformed>,
    ) -> Result<(), Malformed> {
        let mut last = None;
        while !self.0.is_empty() {
            let id = self.number()?;
            if last.is_some_and(|last| id <= last) {
                return Err(Malformed::Order);
            }
            last = Some(id);
            let mut value = Self(self.block("a parameter", MAX_NUMBER)?);
            if known(id, &mut value)? {
                value.end()?;
            } else if id % 2 == 1 {
                return Err(Malformed::Critical(id));
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that no bytes are left.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Left { left: self.0.len() }) }
    }
}
