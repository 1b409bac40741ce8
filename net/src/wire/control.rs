//! The frames of the control stream.

use bytes::Bytes;

use super::{Decoded, Fields, Malformed, decode_frame, encode_frame, parameters, varint};

/// Maximum length of a control frame's body, in bytes. A certificate has up to 2,048 bytes. The rest is room for
/// frames and parameters of later versions, which are skipped.
pub(crate) const MAX_FRAME: u64 = 4 * 1024;

/// 16 random bytes of one instance of an endpoint. Another value means another instance.
pub(crate) type Nonce = [u8; 16];

/// The limits that one side announces in its HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerLimits {
    /// Number of data lanes that the receiver of this HELLO may have opened before a MAX_LANES frame raises it.
    pub(crate) data_lanes: u64,
    /// Maximum number of bytes of metadata in a stream header, and in the answer to one.
    pub(crate) metadata: u64,
    /// Maximum number of bytes that the sender of this HELLO holds unread, of all lanes together.
    pub(crate) unread_bytes: u64,
    /// Number of unread chunks of one lane above which the connection breaks. `None`: the sender of this HELLO holds
    /// any number.
    pub(crate) unread_chunks: Option<u64>,
}

/// The first message of each side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) nonce: Nonce,
    pub(crate) limits: PeerLimits,
    /// The certificate of the owner for whom the sender acts.
    pub(crate) delegation: Option<Bytes>,
    /// The number of this dial among the dials of the dialler's endpoint, if the dialler sends it.
    pub(crate) dial: Option<u64>,
    /// The largest `dial` of the receiver that the sender knew when it began this dial.
    pub(crate) knows: Option<u64>,
}

/// The numbers that the dialler of a connection sends about its dial. An acceptor sends none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Dial {
    /// The number of the dial. It is larger than those of the dials that the same instance began before. 0 means that
    /// it was not sent.
    pub(crate) number: u64,
    /// The largest number of the receiver's dials whose HELLO had arrived when the dial began. 0 means that there was
    /// none.
    pub(crate) knows: u64,
}

impl Hello {
    pub(crate) fn dial(&self) -> Dial {
        Dial { number: self.dial.unwrap_or_default(), knows: self.knows.unwrap_or_default() }
    }
}

const DATA_LANES: u64 = 2;
const METADATA: u64 = 4;
const UNREAD_BYTES: u64 = 6;
const UNREAD_CHUNKS: u64 = 8;
const CERTIFICATE: u64 = 10;
const DIAL: u64 = 12;
const KNOWS: u64 = 14;

/// The limits of a peer that announces none.
pub(crate) const DEFAULT_LIMITS: PeerLimits =
    PeerLimits { data_lanes: 1, metadata: 0, unread_bytes: DEFAULT_UNREAD_BYTES, unread_chunks: None };
/// Number of unread bytes that a peer is assumed to hold if it announces none.
pub(crate) const DEFAULT_UNREAD_BYTES: u64 = 8 << 20;
/// Minimum of the number of unread bytes. With less, every stream would stall.
pub(crate) const MIN_UNREAD_BYTES: u64 = 64 << 10;
/// Minimum of the number of unread chunks. With fewer unread chunks a writer need not ask anything.
pub(crate) const MIN_UNREAD_CHUNKS: u64 = 256;
/// Number of unread chunks that this library announces: noq 1.4 closes the connection when one stream holds 2,049.
pub(crate) const OWN_UNREAD_CHUNKS: u64 = 2_048;

/// The reason why a side wants no more streams on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum GoawayReason {
    /// Another connection between the two peers is kept.
    Duplicate,
    /// The endpoint is shutting down.
    ShuttingDown,
    /// The connection is not used.
    Unused,
    /// The connection is being closed for a reason of a later version.
    Other(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The first frame on every control stream.
    Hello(Hello),
    /// The sender opens no more data lanes on this connection, and asks the same of the receiver.
    Goaway { reason: GoawayReason },
    /// The sender has no live stream on this connection, and has opened and accepted these numbers of bidirectional
    /// streams.
    Drained { opened: u64, accepted: u64 },
    /// The sender asks for a report when its data on `lane` has been consumed up to `offset`.
    Watermark { lane: u64, offset: u64 },
    /// The sender has consumed `lane` up to `offset`.
    Consumed { lane: u64, offset: u64 },
    /// The certificate of the owner for whom the sender acts. It replaces an earlier one.
    Delegation(Bytes),
    /// The total number of data lanes that the receiver may have opened on this connection, ended ones included.
    MaxLanes { count: u64 },
    /// A frame of a later version.
    Unknown,
}

const HELLO: u64 = 0;
const GOAWAY: u64 = 1;
const DRAINED: u64 = 2;
const WATERMARK: u64 = 3;
const CONSUMED: u64 = 4;
const DELEGATION: u64 = 5;
const MAX_LANES: u64 = 6;

impl Frame {
    /// Appends type, length, body.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.encode_with(out, &[]);
    }

    /// Appends the frame with the reserved parameters `tail` at its end. Frames without parameters ignore `tail`.
    pub(crate) fn encode_with(&self, out: &mut Vec<u8>, tail: &[u8]) {
        let mut body = Vec::with_capacity(32);
        let kind = match self {
            Self::Hello(hello) => {
                hello.encode(&mut body);
                body.extend_from_slice(tail);
                HELLO
            }
            Self::Goaway { reason } => {
                varint::encode(
                    &mut body,
                    match reason {
                        GoawayReason::Duplicate => 0,
                        GoawayReason::ShuttingDown => 1,
                        GoawayReason::Unused => 2,
                        GoawayReason::Other(reason) => *reason,
                    },
                );
                body.extend_from_slice(tail);
                GOAWAY
            }
            Self::Drained { opened: first, accepted: second } => {
                pair(&mut body, *first, *second, DRAINED);
                body.extend_from_slice(tail);
                DRAINED
            }
            Self::Watermark { lane, offset } => pair(&mut body, *lane, *offset, WATERMARK),
            Self::Consumed { lane, offset } => pair(&mut body, *lane, *offset, CONSUMED),
            Self::Delegation(certificate) => {
                body.extend_from_slice(certificate);
                DELEGATION
            }
            Self::MaxLanes { count } => {
                varint::encode(&mut body, *count);
                MAX_LANES
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
            HELLO => Self::Hello(Hello::decode(fields)?),
            GOAWAY => {
                let reason = match fields.varint()? {
                    0 => GoawayReason::Duplicate,
                    1 => GoawayReason::ShuttingDown,
                    2 => GoawayReason::Unused,
                    other => GoawayReason::Other(other),
                };
                fields.parameters(|_, _| Ok(false))?;
                Self::Goaway { reason }
            }
            DRAINED => {
                let (opened, accepted) = (fields.varint()?, fields.varint()?);
                fields.parameters(|_, _| Ok(false))?;
                Self::Drained { opened, accepted }
            }
            WATERMARK => {
                let (lane, offset) = fields.only_pair()?;
                Self::Watermark { lane, offset }
            }
            CONSUMED => {
                let (lane, offset) = fields.only_pair()?;
                Self::Consumed { lane, offset }
            }
            DELEGATION => Self::Delegation(Bytes::copy_from_slice(fields.rest())),
            MAX_LANES => Self::MaxLanes { count: fields.only_varint()? },
            _ => Self::Unknown,
        };
        Ok(Some((frame, at + end)))
    }
}

impl Hello {
    fn encode(&self, body: &mut Vec<u8>) {
        let PeerLimits { data_lanes, metadata, unread_bytes, unread_chunks } = self.limits;
        body.extend_from_slice(&self.nonce);
        let number = parameters::encode_number;
        number(body, DATA_LANES, data_lanes);
        number(body, METADATA, metadata);
        number(body, UNREAD_BYTES, unread_bytes);
        unread_chunks.into_iter().for_each(|chunks| number(body, UNREAD_CHUNKS, chunks));
        self.delegation.iter().for_each(|bytes| parameters::encode(body, CERTIFICATE, bytes));
        self.dial.into_iter().for_each(|dial| number(body, DIAL, dial));
        self.knows.into_iter().for_each(|knows| number(body, KNOWS, knows));
    }

    fn decode(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        let mut nonce = Nonce::default();
        nonce.copy_from_slice(fields.take(16)?);
        let mut hello = Self { nonce, limits: DEFAULT_LIMITS, delegation: None, dial: None, knows: None };
        let limits = &mut hello.limits;
        fields.parameters(|id, mut value| {
            match id {
                DATA_LANES => limits.data_lanes = value.only_varint()?,
                METADATA => limits.metadata = value.only_varint()?,
                UNREAD_BYTES => limits.unread_bytes = value.at_least("UNREAD_BYTES", MIN_UNREAD_BYTES)?,
                UNREAD_CHUNKS => {
                    limits.unread_chunks = Some(value.at_least("UNREAD_CHUNKS", MIN_UNREAD_CHUNKS)?);
                }
                CERTIFICATE => hello.delegation = Some(Bytes::copy_from_slice(value.rest())),
                DIAL => hello.dial = Some(value.only_varint()?),
                KNOWS => hello.knows = Some(value.only_varint()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(hello)
    }
}

impl Fields<'_> {
    fn only_pair(mut self) -> Result<(u64, u64), Malformed> {
        let pair = (self.varint()?, self.varint()?);
        self.end()?;
        Ok(pair)
    }

    fn at_least(self, what: &'static str, min: u64) -> Result<u64, Malformed> {
        let value = self.only_varint()?;
        if value < min { Err(Malformed::TooSmall { what, value, min }) } else { Ok(value) }
    }
}

fn pair(body: &mut Vec<u8>, first: u64, second: u64, kind: u64) -> u64 {
    varint::encode(body, first);
    varint::encode(body, second);
    kind
}
