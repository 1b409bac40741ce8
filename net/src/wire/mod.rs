//! The wire format of `net/WIRE.md`: bytes in, values out.
//!
//! Nothing here uses tokio, a clock or a socket. A decoder takes the bytes that have arrived, however few, and
//! returns a value and its length, `None` if bytes are missing, or a [`Malformed`] with the limit that was exceeded.
//! It never allocates more than the limit allows, and never panics.

pub(crate) mod codes;
pub(crate) mod control;
pub(crate) mod grease;
pub(crate) mod header;
pub(crate) mod parameters;
pub(crate) mod record;
pub(crate) mod status;
pub(crate) mod varint;

#[cfg(test)]
mod tests;

/// The ALPN of this wire format, and the only place of its version number. A change that an older peer cannot skip
/// gets a new ALPN.
pub const ALPN: &[u8] = b"twolane/1";

/// The ALPN of a connection that carries no data: its handshake makes both endpoints look for a direct path again.
pub(crate) const PROBE_ALPN: &[u8] = b"twolane-probe/1";

/// First varint on a unidirectional stream: the control stream.
pub(crate) const KIND_CONTROL: u64 = 0;
/// First varint on a bidirectional stream: a data lane.
pub(crate) const KIND_DATA: u64 = 1;
/// First varint on a bidirectional stream: an error lane.
pub(crate) const KIND_ERROR: u64 = 2;

/// Maximum number of bytes of the parameters of a lane's frame, without the acceptor's metadata. The limit of the
/// frame includes them.
pub(crate) const MAX_PARAMETERS: u64 = 1024;

/// The reason why bytes from a peer do not follow WIRE.md.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A length prefix is over its limit.
    #[error("{what} announces {len} bytes, and the limit is {max}")]
    TooLong {
        /// The field.
        what: &'static str,
        /// The length that the peer announced, in bytes.
        len: u64,
        /// The limit, in bytes.
        max: u64,
    },
    /// A frame ends before its fields do, or continues after them.
    #[error("{what} does not fill its frame exactly")]
    Length {
        /// The field or frame.
        what: &'static str,
    },
    /// A value that this version of the format does not know.
    #[error("{what} has the unknown value {value}")]
    Value {
        /// The field.
        what: &'static str,
        /// The value that was read.
        value: u64,
    },
    /// A critical parameter that this version of the format does not know.
    #[error("{what} has the critical parameter {id}, which is not known here")]
    Critical {
        /// The frame.
        what: &'static str,
        /// The parameter's id.
        id: u64,
    },
    /// A number that the format does not allow in this place.
    #[error("{what} is {value}, and has to be at least {min}")]
    TooSmall {
        /// The field.
        what: &'static str,
        /// The value that was read.
        value: u64,
        /// The minimum.
        min: u64,
    },
    /// A frame or field is not allowed in this place, or not a second time.
    #[error("{what} came where the format does not allow it")]
    Unexpected {
        /// The frame or field.
        what: &'static str,
    },
    /// The first control frame is not HELLO.
    #[error("the control stream begins with a frame of type {kind} instead of HELLO")]
    NotHello {
        /// The type of the frame.
        kind: u64,
    },
    /// A text is not UTF-8, or a protocol name has characters other than visible ASCII.
    #[error("{what} is not valid text")]
    Text {
        /// The field.
        what: &'static str,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside {what}")]
    Truncated {
        /// The frame.
        what: &'static str,
    },
}

impl Malformed {
    /// Returns whether the bytes may be well-formed in a later version of the format.
    fn is_unsupported(&self) -> bool {
        matches!(self, Self::Value { .. } | Self::Critical { .. })
    }

    /// Returns the code that ends a lane with such bytes.
    pub(crate) fn lane_code(&self) -> u64 {
        if self.is_unsupported() { codes::lane::UNSUPPORTED } else { codes::lane::MALFORMED }
    }

    /// Returns the code that closes a connection whose control stream has such bytes.
    pub(crate) fn connection_code(&self) -> u64 {
        if self.is_unsupported() { codes::connection::UNSUPPORTED } else { codes::connection::PROTOCOL_VIOLATION }
    }
}

/// The result of a decoder: the value and its length, `None` if bytes are missing, or the reason why the bytes are
/// malformed.
pub(crate) type Decoded<T> = Result<Option<(T, usize)>, Malformed>;

/// A cursor over one complete frame. A caller that keeps a part of the frame copies it.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(frame: &'a [u8], what: &'static str) -> Self {
        Self { rest: frame, what }
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let (value, len) = varint::decode(self.rest).ok_or_else(|| self.length())?;
        self.rest = &self.rest[len..];
        Ok(value)
    }

    /// Returns the next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.length())?;
        self.rest = rest;
        Ok(taken)
    }

    /// Returns all bytes that are left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Returns all bytes that are left, at most `max`.
    pub(crate) fn rest_within(&mut self, what: &'static str, max: u64) -> Result<&'a [u8], Malformed> {
        let rest = self.rest();
        let len = rest.len() as u64;
        if len > max { Err(Malformed::TooLong { what, len, max }) } else { Ok(rest) }
    }

    /// Reads a varint length of at most `max`, then that number of bytes.
    pub(crate) fn block(&mut self, what: &'static str, max: u64) -> Result<&'a [u8], Malformed> {
        let len = self.varint()?;
        if len > max {
            return Err(Malformed::TooLong { what, len, max });
        }
        // `max` is far below `usize::MAX` on every target, so the cast keeps the value.
        self.take(len as usize)
    }

    /// Reads a block that is UTF-8.
    pub(crate) fn text(&mut self, what: &'static str, max: u64) -> Result<&'a str, Malformed> {
        str::from_utf8(self.block(what, max)?).map_err(|_| Malformed::Text { what })
    }

    /// Checks that the frame has been read up to its last byte.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.length()) }
    }

    fn length(&self) -> Malformed {
        Malformed::Length { what: self.what }
    }
}

/// Decodes a frame, of which all messages are made: a varint length of at most `max`, then that number of bytes.
/// Returns the start and the end of the bytes.
pub(crate) fn decode_frame(input: &[u8], what: &'static str, max: u64) -> Result<Option<(usize, usize)>, Malformed> {
    let Some((len, prefix)) = varint::decode(input) else {
        return Ok(None);
    };
    if len > max {
        return Err(Malformed::TooLong { what, len, max });
    }
    let end = prefix + len as usize;
    Ok((input.len() >= end).then_some((prefix, end)))
}

/// Returns the length of `body` as a frame.
pub(crate) fn framed_len(body: &[u8]) -> usize {
    varint::len(body.len() as u64) + body.len()
}

/// Appends `body` as a frame.
pub(crate) fn encode_frame(out: &mut Vec<u8>, body: &[u8]) {
    varint::encode(out, body.len() as u64);
    out.extend_from_slice(body);
}
