//! Bytes in, values out: the wire format of `net/WIRE.md`.
//!
//! Nothing here knows tokio, a clock or a socket. Decoders take whatever bytes have arrived and answer with a
//! value and its length, with "not yet", or with a [`Malformed`] that carries the bound which was hit; they never
//! allocate more than the bound allows, and never panic.

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

/// The ALPN of this wire format, and the only number of its version. A change that an older peer cannot skip gets a new one.
pub const ALPN: &[u8] = b"twolane/1";

/// The ALPN of a connection that carries nothing: its handshake has both ends look for a direct path again.
pub(crate) const PROBE_ALPN: &[u8] = b"twolane-probe/1";

/// First varint on a unidirectional stream: the control stream.
pub(crate) const KIND_CONTROL: u64 = 0;
/// First varint on a bidirectional stream: a data lane.
pub(crate) const KIND_DATA: u64 = 1;
/// First varint on a bidirectional stream: an error lane.
pub(crate) const KIND_ERROR: u64 = 2;

/// Bytes that the parameters of a lane's frame may take, the acceptor's metadata aside: room in the frame's bound.
pub(crate) const MAX_PARAMETERS: u64 = 1024;

/// Why bytes from a peer are not what WIRE.md allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A length prefix is over its bound.
    #[error("{what} announces {len} bytes, and the limit is {max}")]
    TooLong {
        /// The field.
        what: &'static str,
        /// What the peer announced, in bytes.
        len: u64,
        /// The bound, in bytes.
        max: u64,
    },
    /// A frame ends before its fields do, or goes on after them.
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
    /// A parameter that its sender calls critical, and that this version of the format does not know.
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
        /// The bound.
        min: u64,
    },
    /// Something that may not come here, or not again.
    #[error("{what} came where the format does not allow it")]
    Unexpected {
        /// What came.
        what: &'static str,
    },
    /// A control frame that is not HELLO came first.
    #[error("the control stream begins with a frame of type {kind}, and HELLO comes first")]
    NotHello {
        /// The type of the frame that came.
        kind: u64,
    },
    /// A text that is not UTF-8, or a protocol name with other than visible ASCII characters.
    #[error("{what} is not the text it has to be")]
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
    /// Whether the bytes may be well-formed in a later version of the format.
    fn is_unsupported(&self) -> bool {
        matches!(self, Self::Value { .. } | Self::Critical { .. })
    }

    /// The code with which a lane is ended that holds such bytes.
    pub(crate) fn lane_code(&self) -> u64 {
        if self.is_unsupported() { codes::lane::UNSUPPORTED } else { codes::lane::MALFORMED }
    }

    /// The code with which a connection is closed whose control stream holds such bytes.
    pub(crate) fn connection_code(&self) -> u64 {
        if self.is_unsupported() { codes::connection::UNSUPPORTED } else { codes::connection::PROTOCOL_VIOLATION }
    }
}

/// What a decoder makes of the bytes so far.
pub(crate) type Decoded<T> = Result<Option<(T, usize)>, Malformed>;

/// A cursor over one frame whose bytes are all there. What is kept of it is copied by whoever keeps it.
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

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.length())?;
        self.rest = rest;
        Ok(taken)
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Everything that is left, at most `max` bytes.
    pub(crate) fn rest_within(&mut self, what: &'static str, max: u64) -> Result<&'a [u8], Malformed> {
        let rest = self.rest();
        let len = rest.len() as u64;
        if len > max { Err(Malformed::TooLong { what, len, max }) } else { Ok(rest) }
    }

    /// A varint length of at most `max`, then that many bytes.
    pub(crate) fn block(&mut self, what: &'static str, max: u64) -> Result<&'a [u8], Malformed> {
        let len = self.varint()?;
        if len > max {
            return Err(Malformed::TooLong { what, len, max });
        }
        // `max` is far below `usize::MAX` on every target, so the cast keeps the value.
        self.take(len as usize)
    }

    /// A block that is UTF-8.
    pub(crate) fn text(&mut self, what: &'static str, max: u64) -> Result<&'a str, Malformed> {
        str::from_utf8(self.block(what, max)?).map_err(|_| Malformed::Text { what })
    }

    /// The frame has been used up to its last byte.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.length()) }
    }

    fn length(&self) -> Malformed {
        Malformed::Length { what: self.what }
    }
}

/// A varint length of at most `max`, then that many bytes: the frame all messages are made of.
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

/// How long `body` is as a frame.
pub(crate) fn framed_len(body: &[u8]) -> usize {
    varint::len(body.len() as u64) + body.len()
}

/// Appends `body` as a frame.
pub(crate) fn encode_frame(out: &mut Vec<u8>, body: &[u8]) {
    varint::encode(out, body.len() as u64);
    out.extend_from_slice(body);
}
