//! The frames of the control stream.

use bytes::Bytes;

use super::{Decoded, Fields, Malformed, VERSION, decode_frame, encode_frame, varint};

/// A control frame's body, in bytes. A certificate has up to 2,048; the rest is room for
/// frames of later versions, which are skipped.
pub(crate) const MAX_FRAME: u64 = 4 * 1024;

/// 16 random bytes of one process's endpoint: another value is another instance.
pub(crate) type Nonce = [u8; 16];

/// The limits that one side announces. Ids that are not known are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerLimits {
    /// How many data lanes the receiver of this HELLO may have open at a time.
    pub(crate) data_lanes: u64,
    /// Bytes of metadata that are taken in a stream header.
    pub(crate) metadata: u64,
    /// Bytes that the sender of this HELLO holds unread, all lanes together.
    pub(crate) unread_bytes: u64,
}

/// What the dialler of a connection says about its dial; an acceptor says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Dial {
    /// Larger than those of the dials that the same instance began before; 0 is not said.
    pub(crate) number: u64,
    /// The largest number of the receiver's dials whose HELLO had come when the dial began; 0 is none.
    pub(crate) knows: u64,
}

const DATA_LANES: u64 = 1;
const METADATA: u64 = 2;
const UNREAD_BYTES: u64 = 3;
const DELEGATED: u64 = 4;
const DIAL: u64 = 5;
const KNOWS: u64 = 6;

/// What a peer that does not say how much it holds is taken to hold.
pub(crate) const DEFAULT_UNREAD_BYTES: u64 = 8 << 20;

/// Why a side wants no more streams on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum GoawayReason {
    /// Another connection between the two peers stays.
    Duplicate,
    /// The endpoint is shutting down.
    ShuttingDown,
    /// The connection is being closed for a reason of a later version.
    Other(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// First on every control stream.
    Hello {
        version: u64,
        nonce: Nonce,
        limits: PeerLimits,
        /// The next frame is a DELEGATION.
        delegated: bool,
        dial: Dial,
    },
    /// The sender opens no more data lanes here, and asks the same of the receiver.
    Goaway { reason: GoawayReason },
    /// The sender has no live stream on this connection, having opened and accepted so many bidirectional streams.
    Drained { opened: u64, accepted: u64 },
    /// The sender asks to be told when its data on `lane` has been consumed up to `offset`.
    Watermark { lane: u64, offset: u64 },
    /// The sender has consumed `lane` up to `offset`.
    Consumed { lane: u64, offset: u64 },
    /// The sender acts for an owner: the certificate that says so. It takes the place of an earlier one.
    Delegation(Bytes),
    /// A frame of a later version.
    Unknown,
}

const HELLO: u64 = 0;
const GOAWAY: u64 = 1;
const DRAINED: u64 = 2;
const WATERMARK: u64 = 3;
const CONSUMED: u64 = 4;
const DELEGATION: u64 = 5;

impl Frame {
    /// type, length, body.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(32);
        let kind = match self {
            Self::Hello { version, nonce, limits, delegated, dial } => {
                varint::encode(&mut body, *version);
                body.extend_from_slice(nonce);
                let limits =
                    [(DATA_LANES, limits.data_lanes), (METADATA, limits.metadata), (UNREAD_BYTES, limits.unread_bytes)];
                let dial = [(DIAL, dial.number), (KNOWS, dial.knows)].into_iter().filter(|(_, value)| *value > 0);
                for (id, value) in limits.into_iter().chain(delegated.then_some((DELEGATED, 1))).chain(dial) {
                    varint::encode(&mut body, id);
                    varint::encode(&mut body, value);
                }
                HELLO
            }
            Self::Goaway { reason } => {
                varint::encode(
                    &mut body,
                    match reason {
                        GoawayReason::Duplicate => 0,
                        GoawayReason::ShuttingDown => 1,
                        GoawayReason::Other(reason) => *reason,
                    },
                );
                GOAWAY
            }
            Self::Drained { opened: first, accepted: second } => pair(&mut body, *first, *second, DRAINED),
            Self::Watermark { lane, offset } => pair(&mut body, *lane, *offset, WATERMARK),
            Self::Consumed { lane, offset } => pair(&mut body, *lane, *offset, CONSUMED),
            Self::Delegation(certificate) => {
                body.extend_from_slice(certificate);
                DELEGATION
            }
            // Received only.
            Self::Unknown => return,
        };
        varint::encode(out, kind);
        encode_frame(out, &body);
    }

    pub(crate) fn decode(input: &[u8]) -> Decoded<Self> {
        let Some((kind, at)) = varint::decode(input) else {
            return Ok(None);
        };
        let rest = &input[at..];
        let Some((start, end)) = decode_frame(rest, "the control frame", MAX_FRAME)? else {
            return Ok(None);
        };
        let mut fields = Fields::new(&rest[start..end], "the control frame");
        let frame = match kind {
            HELLO => return Ok(Some((hello(fields)?, at + end))),
            GOAWAY => Self::Goaway {
                reason: match fields.varint()? {
                    0 => GoawayReason::Duplicate,
                    1 => GoawayReason::ShuttingDown,
                    other => GoawayReason::Other(other),
                },
            },
            DRAINED => Self::Drained { opened: fields.varint()?, accepted: fields.varint()? },
            WATERMARK => Self::Watermark { lane: fields.varint()?, offset: fields.varint()? },
            CONSUMED => Self::Consumed { lane: fields.varint()?, offset: fields.varint()? },
            DELEGATION => Self::Delegation(Bytes::copy_from_slice(fields.rest())),
            _ => return Ok(Some((Self::Unknown, at + end))),
        };
        fields.end()?;
        Ok(Some((frame, at + end)))
    }
}

fn pair(body: &mut Vec<u8>, first: u64, second: u64, kind: u64) -> u64 {
    varint::encode(body, first);
    varint::encode(body, second);
    kind
}

fn hello(mut fields: Fields<'_>) -> Result<Frame, Malformed> {
    let version = fields.varint()?;
    let mut nonce = Nonce::default();
    nonce.copy_from_slice(fields.take(16)?);
    // A peer that announces nothing is taken to allow nothing special: one lane, no metadata.
    let mut limits = PeerLimits { data_lanes: 1, metadata: 0, unread_bytes: DEFAULT_UNREAD_BYTES };
    let (mut delegated, mut dial) = (false, Dial::default());
    // Another version has its own fields after the nonce.
    while version == VERSION && fields.end().is_err() {
        let (id, value) = (fields.varint()?, fields.varint()?);
        match id {
            DATA_LANES => limits.data_lanes = value,
            METADATA => limits.metadata = value,
            UNREAD_BYTES => limits.unread_bytes = value,
            DELEGATED => delegated = value == 1,
            DIAL => dial.number = value,
            KNOWS => dial.knows = value,
            _ => {}
        }
    }
    Ok(Frame::Hello { version, nonce, limits, delegated, dial })
}
