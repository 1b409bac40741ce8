//! The acceptor's answer, the first bytes of the data lane's reverse half.

use bytes::Bytes;

use super::{
    Decoded, Fields, MAX_PARAMETERS, Malformed, decode_frame, encode_frame, header::MAX_METADATA, parameters, varint,
};
use crate::words::Shown;

/// The text of a rejection, in bytes of UTF-8: a sentence or two.
pub(crate) const MAX_TEXT: u64 = 1024;
/// The frame of an answer: the acceptor's metadata at their bound, their id and length in whatever form, and the other
/// parameters. (A rejection's text is shorter.)
pub(crate) const MAX_ANSWER: u64 = 8 + 8 + MAX_METADATA + MAX_PARAMETERS;

/// The id of the acceptor's metadata.
const METADATA: u64 = 2;

/// What the acceptor says to a stream's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    /// Data follows.
    Accepted {
        /// The acceptor's metadata. None says the same as an empty one.
        metadata: Bytes,
    },
    /// The stream ends here.
    Rejected(Rejection),
}

/// Why a peer did not take a stream. Only this stream ends; the connection and its other streams go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}{}", if text.is_empty() { "" } else { ": " }, Shown(text))]
pub struct Rejection {
    /// The kind of rejection.
    pub reason: Reason,
    /// The peer's words, at most 1 KiB. May be empty. They may have any character in them: print the rejection, which shows
    /// those that act on a terminal or hide as `\u{1b}`.
    pub text: String,
}

/// The kinds of rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody there serves the protocol. Check its spelling and version on both sides.
    #[error("the peer does not serve this protocol")]
    UnknownProtocol,
    /// The peer's program or its rules said no.
    #[error("the peer refused the stream")]
    Refused,
    /// A limit of the peer was reached. Try again later.
    #[error("the peer is busy")]
    Busy,
    /// The peer's endpoint is shutting down. Try again when it is back.
    #[error("the peer is shutting down")]
    ShuttingDown,
    /// The header or the request is over a limit of the peer.
    #[error("the peer finds the request too large")]
    TooLarge,
    /// The peer could not read the header: one of the two sides does not follow the wire format.
    #[error("the peer could not read the stream header")]
    Malformed,
    /// The header has a critical parameter that the peer does not know: it speaks an older version.
    #[error("the peer does not know what the stream header asks for")]
    Unsupported,
    /// A code from a later version.
    #[error("the peer rejected the stream with the unknown code {0}")]
    Other(u64),
}

impl Reason {
    /// Whether the same request may succeed later, with nothing changed.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Busy | Self::ShuttingDown)
    }

    fn code(self) -> u64 {
        match self {
            Self::UnknownProtocol => 1,
            Self::Refused => 2,
            Self::Busy => 3,
            Self::ShuttingDown => 4,
            Self::TooLarge => 5,
            Self::Malformed => 6,
            Self::Unsupported => 7,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u64) -> Self {
        match code {
            1 => Self::UnknownProtocol,
            2 => Self::Refused,
            3 => Self::Busy,
            4 => Self::ShuttingDown,
            5 => Self::TooLarge,
            6 => Self::Malformed,
            7 => Self::Unsupported,
            code => Self::Other(code),
        }
    }
}

impl From<&Malformed> for Reason {
    /// Why a header is rejected that cannot be read.
    fn from(malformed: &Malformed) -> Self {
        match malformed {
            Malformed::TooLong { .. } => Self::TooLarge,
            Malformed::Critical { .. } => Self::Unsupported,
            _ => Self::Malformed,
        }
    }
}

impl Rejection {
    /// A rejection with the given words; they are cut to 1 KiB at a character's boundary.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(MAX_TEXT as usize));
        Self { reason, text }
    }
}

impl Status {
    /// code, length, { metadata or text, parameters }. `tail` holds reserved parameters.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, tail: &[u8]) {
        let mut body = Vec::new();
        match self {
            Self::Accepted { metadata } => {
                varint::encode(out, 0);
                if !metadata.is_empty() {
                    parameters::encode(&mut body, METADATA, metadata);
                }
            }
            Self::Rejected(rejection) => {
                varint::encode(out, rejection.reason.code());
                encode_frame(&mut body, rejection.text.as_bytes());
            }
        }
        body.extend_from_slice(tail);
        encode_frame(out, &body);
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn decode(input: &[u8]) -> Decoded<Self> {
        Self::decode_within(input, MAX_METADATA)
    }

    /// With at most so many bytes of metadata.
    pub(crate) fn decode_within(input: &[u8], max_metadata: u64) -> Decoded<Self> {
        let Some((code, at)) = varint::decode(input) else {
            return Ok(None);
        };
        let rest = &input[at..];
        let Some((start, end)) = decode_frame(rest, "the answer", MAX_ANSWER)? else {
            return Ok(None);
        };
        let mut fields = Fields::new(&rest[start..end], "the answer");
        let status = if code == 0 {
            let mut metadata = Bytes::new();
            fields.parameters(|id, mut value| {
                if id == METADATA {
                    metadata = Bytes::copy_from_slice(
                        value.rest_within("the acceptor's metadata", max_metadata.min(MAX_METADATA))?,
                    );
                }
                Ok(id == METADATA)
            })?;
            Self::Accepted { metadata }
        } else {
            let text = fields.text("the rejection's text", MAX_TEXT)?.to_owned();
            // A rejection it is, whatever else it asks for.
            fields.parameters(|_, _| Ok(true))?;
            Self::Rejected(Rejection { reason: Reason::from_code(code), text })
        };
        Ok(Some((status, at + end)))
    }
}

/// The answer ACCEPTED without metadata, as bytes.
pub(crate) const ACCEPTED: &[u8] =
    if cfg!(debug_assertions) { &[0, 4, parameters::reserved(0) as u8, 2, 0xaa, 0xaa] } else { &[0, 0] };

/// Only used to say that a peer's answer was cut.
pub(crate) const TRUNCATED: Malformed = Malformed::Truncated { what: "the answer to the stream header" };
