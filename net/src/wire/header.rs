//! The first bytes of a bidirectional stream: the kind of the lane, and its purpose.

use bytes::Bytes;

use super::{
    Decoded, Fields, KIND_DATA, KIND_ERROR, MAX_PARAMETERS, Malformed, decode_frame, encode_frame, framed_len,
    parameters, varint,
};
use crate::protocol::Protocol;

/// Maximum length of a stream's metadata, in bytes. It is enough for a token and the head of a request, and too
/// little for a body.
pub(crate) const MAX_METADATA: u64 = 16 * 1024;
/// Maximum length of the header frame: its two fields at their maximum lengths, with length prefixes in their longest
/// form, and its parameters.
pub(crate) const MAX_HEADER: u64 = 8 + 255 + 8 + MAX_METADATA + MAX_PARAMETERS;

/// The first message of the opener of a data lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) protocol: Protocol,
    pub(crate) metadata: Bytes,
    /// The opener says that handling the lane twice is harmless, so the lane may be taken before the handshake is
    /// done.
    pub(crate) early: bool,
}

/// The parameter of [`Header::early`]. Its value is empty.
const EARLY: u64 = 2;

/// The kind of a bidirectional stream, decoded from its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A data lane.
    Data(Header),
    /// An error lane for the data lane with this stream id.
    Error {
        /// The QUIC stream id of the data lane.
        data_lane: u64,
    },
    /// A kind of a later version. The stream is refused, and nothing else is affected.
    Unknown {
        /// The kind.
        kind: u64,
    },
}

impl Header {
    /// Appends kind, length, { protocol, metadata, parameters }. `tail` has reserved parameters.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, tail: &[u8]) {
        varint::encode(out, KIND_DATA);
        varint::encode(out, self.frame_len(tail) as u64);
        encode_frame(out, self.protocol.as_str().as_bytes());
        encode_frame(out, &self.metadata);
        if self.early {
            parameters::encode(out, EARLY, &[]);
        }
        out.extend_from_slice(tail);
    }

    /// Returns the number of bytes that [`Header::encode`] appends.
    pub(crate) fn len(&self, tail: &[u8]) -> usize {
        let frame = self.frame_len(tail);
        varint::len(KIND_DATA) + varint::len(frame as u64) + frame
    }

    fn frame_len(&self, tail: &[u8]) -> usize {
        let early = if self.early { varint::len(EARLY) + framed_len(&[]) } else { 0 };
        framed_len(self.protocol.as_str().as_bytes()) + framed_len(&self.metadata) + early + tail.len()
    }

    fn decode(frame: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(frame, "the stream header");
        let name = fields.text("the protocol name", Protocol::MAX_LEN as u64)?;
        let protocol = Protocol::new(name).map_err(|_| Malformed::Text { what: "the protocol name" })?;
        let metadata = fields.block("the metadata", MAX_METADATA)?;
        let mut early = false;
        fields.parameters(|id, value| {
            if id != EARLY {
                return Ok(false);
            }
            value.end()?;
            early = true;
            Ok(true)
        })?;
        Ok(Self { protocol, metadata: Bytes::copy_from_slice(metadata), early })
    }
}

impl Opening {
    /// Appends the kind and the stream id of the data lane.
    pub(crate) fn encode_error_lane(out: &mut Vec<u8>, data_lane: u64) {
        varint::encode(out, KIND_ERROR);
        varint::encode(out, data_lane);
    }

    /// Reads the opening from the bytes so far. The bytes that follow it belong to the lane.
    pub(crate) fn decode(input: &[u8]) -> Decoded<Self> {
        let Some((kind, at)) = varint::decode(input) else {
            return Ok(None);
        };
        let rest = &input[at..];
        match kind {
            KIND_DATA => {
                let Some((start, end)) = decode_frame(rest, "the stream header", MAX_HEADER)? else {
                    return Ok(None);
                };
                let header = Header::decode(&rest[start..end])?;
                Ok(Some((Self::Data(header), at + end)))
            }
            KIND_ERROR => Ok(varint::decode(rest).map(|(data_lane, len)| (Self::Error { data_lane }, at + len))),
            kind => Ok(Some((Self::Unknown { kind }, at))),
        }
    }
}
