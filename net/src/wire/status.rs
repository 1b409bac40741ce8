//! The acceptor's answer, which is the first message on the reverse half of the data lane.

use bytes::Bytes;

use super::{
    Decoded, Fields, MAX_PARAMETERS, Malformed, decode_frame, encode_frame, header::MAX_METADATA, parameters, varint,
};
use crate::words::Shown;

/// Maximum length of a rejection's text, in bytes of UTF-8: a sentence or two.
pub(crate) const MAX_TEXT: u64 = 1024;
/// Maximum length of an answer's frame: the acceptor's metadata at its maximum length, with its id and length in
/// their longest form, and the other parameters. (A rejection's text is shorter.)
pub(crate) const MAX_ANSWER: u64 = 8 + 8 + MAX_METADATA + MAX_PARAMETERS;

/// The id of the parameter with the acceptor's metadata.
const METADATA: u64 = 2;

/// The acceptor's answer to a stream's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    /// The stream is accepted, and data follows.
    Accepted {
        /// The acceptor's metadata. An absent parameter means the same as empty metadata.
        metadata: Bytes,
    },
    /// The stream is rejected, and ends here.
    Rejected(Rejection),
}

/// The reason why a peer did not accept a stream. Only this stream ends; the connection and its other streams
/// continue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}{}", if text.is_empty() { "" } else { ": " }, Shown(text))]
pub struct Rejection {
    /// The kind of rejection.
    pub reason: Reason,
    /// The peer's text, at most 1 KiB. It may be empty, and may contain any character. To print it, print the
    /// rejection, which shows characters that act on a terminal or are invisible as `\u{1b}`.
    pub text: String,
}

/// The kinds of rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The peer does not serve the protocol. Check the spelling and the version on both sides.
    #[error("the peer does not serve this protocol")]
    UnknownProtocol,
    /// The peer's program or its access rules refused the stream.
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
    #[error("the peer does not support a parameter of the stream header")]
    Unsupported,
    /// A code of a later version.
    #[error("the peer rejected the stream with the unknown code {0}")]
    Other(u64),
}

impl Reason {
    /// Returns whether the same request may succeed later, with nothing changed.
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
    /// Returns the reason for the rejection of a header that is malformed.
    fn from(malformed: &Malformed) -> Self {
        match malformed {
            Malformed::TooLong { .. } => Self::TooLarge,
            Malformed::Critical { .. } => Self::Unsupported,
            _ => Self::Malformed,
        }
    }
}

impl Rejection {
    /// Creates a rejection with the given text, which is cut to 1 KiB at a character boundary.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(MAX_TEXT as usize));
        Self { reason, text }
    }
}

impl Status {
    /// Appends code, length, { metadata or text, parameters }. `tail` has reserved parameters.
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

    /// Decodes an answer with at most `max_metadata` bytes of metadata.
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
            // It is a rejection whatever its parameters ask for, critical ones included.
            fields.parameters(|_, _| Ok(true))?;
            Self::Rejected(Rejection { reason: Reason::from_code(code), text })
        };
        Ok(Some((status, at + end)))
    }
}

/// The answer ACCEPTED without metadata, in encoded form.
pub(crate) const ACCEPTED: &[u8] =
    if cfg!(debug_assertions) { &[0, 4, parameters::reserved(0) as u8, 2, 0xaa, 0xaa] } else { &[0, 0] };

/// The error of a peer's answer that was cut.
pub(crate) const TRUNCATED: Malformed = Malformed::Truncated { what: "the answer to the stream header" };
