//! Properties that every codec of the wire format has for arbitrary bytes, and for streams of messages that arrive in
//! pieces.

use std::fmt::Debug;

use crate::{
    protocol::Protocol,
    wire::{
        Decoded, Malformed,
        control::{Frame, GoawayReason, Hello, MAX_FRAME},
        header::{MAX_HEADER, MAX_METADATA, Opening},
        record::{MAX_DETAILS, MAX_RECORD, MAX_TEXT, Record},
        status::{self, Rejection, Status},
        varint,
    },
    words::Shown,
};

/// Decodes the bytes as each message that a data lane or an error lane can begin with, and as a whole error lane.
pub fn wire(data: &[u8]) {
    message::<u64>(data);
    message::<Opening>(data);
    message::<Status>(data);
    message::<Record>(data);
    if let Ok(Some((Opening::Error { .. }, used))) = Opening::decode(data) {
        stream::<Record>(&data[used..]);
    }
}

/// Decodes the bytes as a control stream, from its first frame on.
pub fn control(data: &[u8]) {
    message::<Frame>(data);
    stream::<Frame>(data);
}

/// Number of further bytes with which a decoder is called again after it has decided. Its result must stay the same.
/// The number is large enough to notice a decoder that takes bytes after the message for a part of a length.
const AFTERWARDS: usize = 16;

/// A message, and the properties that its codec must have.
trait Message: Debug + PartialEq + Sized {
    /// Number of bytes with which the message is complete or malformed. No peer can make this side hold more.
    const LONGEST: u64;

    fn decode(input: &[u8]) -> Decoded<Self>;

    fn encode(&self) -> Option<Vec<u8>>;

    fn check_bounds(&self);

    /// Returns the number of varints of the message. Each may be received with up to 7 bytes more than it needs;
    /// apart from that, every byte that is read is written again. `None` for a message with parameters, which can be
    /// skipped, or of a later version.
    fn varints(&self) -> Option<usize>;
}

/// Checks one message at the start of arbitrary bytes.
fn message<T: Message>(data: &[u8]) {
    let whole = T::decode(data);
    arrives_byte_by_byte(data, &whole);
    let (value, used) = match whole {
        Ok(Some(decoded)) => decoded,
        Ok(None) => return assert!((data.len() as u64) < T::LONGEST, "{} bytes, and still not whole", data.len()),
        Err(malformed) => return check_error(&malformed),
    };
    assert!(0 < used && used <= data.len(), "{used} bytes of {} are used", data.len());
    value.check_bounds();
    let Some(encoded) = value.encode() else {
        return;
    };
    if let Some(varints) = value.varints() {
        let len = encoded.len();
        assert!((len..=len + 7 * varints).contains(&used), "{value:?} came in {used} bytes and goes in {len}");
    }
    assert_eq!(T::decode(&encoded[..encoded.len() - 1]), Ok(None), "cut before the last byte");
    let (again, len) = T::decode(&encoded).expect("what is encoded is well-formed").expect("and whole");
    assert_eq!(len, encoded.len());
    assert_eq!(again, value);
    assert_eq!(again.encode(), Some(encoded), "one value has one encoding");
}

/// Checks that the decoder returns `None` until the message is complete or malformed, and from then on its result,
/// whatever bytes follow.
fn arrives_byte_by_byte<T: Message>(data: &[u8], whole: &Decoded<T>) {
    let decided = (0..=data.len()).find(|len| T::decode(&data[..*len]) != Ok(None));
    let Some(decided) = decided else {
        assert_eq!(*whole, Ok(None), "the whole is more than its parts");
        return;
    };
    if let Ok(Some((_, used))) = whole {
        assert_eq!(*used, decided, "a message is complete with its last byte");
    }
    for len in decided..=data.len().min(decided + AFTERWARDS) {
        assert_eq!(T::decode(&data[..len]), *whole, "after {len} bytes, decided after {decided}");
    }
}

fn check_error(malformed: &Malformed) {
    assert!(!malformed.to_string().is_empty());
    if let Malformed::TooLong { len, max, .. } = malformed {
        assert!(len > max, "{malformed}");
    }
}

/// Checks that a stream of messages is the same whether it arrives in one piece, in small pieces or byte by byte.
fn stream<T: Message>(data: &[u8]) {
    let whole = read_pieces::<T>([data]);
    assert_eq!(read_pieces::<T>(data.chunks(1)), whole);
    // Pieces of a few bytes each, whose boundaries depend on the bytes themselves.
    let cuts = data.iter().enumerate().filter(|(_, byte)| *byte % 5 == 0).map(|(at, _)| at);
    let mut last = 0;
    let pieces = cuts.chain([data.len()]).map(|at| &data[std::mem::replace(&mut last, at)..at]);
    assert_eq!(read_pieces::<T>(pieces), whole);
}

/// The result of a stream: the messages, and the number of bytes that are no complete message yet, or the reason why
/// it cannot continue.
#[derive(Debug, PartialEq)]
struct Read<T> {
    messages: Vec<T>,
    rest: Result<usize, Malformed>,
}

/// Reads messages as the driver does: appends bytes, and takes complete messages from the front.
fn read_pieces<'a, T: Message>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read<T> {
    let (mut buffer, mut messages) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match T::decode(&buffer) {
                Ok(Some((message, used))) => {
                    messages.push(message);
                    buffer.drain(..used);
                }
                Ok(None) => break,
                Err(malformed) => return Read { messages, rest: Err(malformed) },
            }
        }
    }
    Read { messages, rest: Ok(buffer.len()) }
}

/// Checks that numbers fit a varint, since each of them came in one.
fn check_numbers<const N: usize>(numbers: [u64; N]) {
    for number in numbers {
        assert!(number <= varint::MAX, "{number} fits no varint");
    }
}

/// Length of a kind and a length prefix in their longest form.
const PREFIXES: u64 = 8 + 8;

impl Message for u64 {
    const LONGEST: Self = 8;

    fn decode(input: &[u8]) -> Decoded<Self> {
        Ok(varint::decode(input))
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        varint::encode(&mut out, *self);
        Some(out)
    }

    fn check_bounds(&self) {
        check_numbers([*self]);
    }

    fn varints(&self) -> Option<usize> {
        Some(1)
    }
}

impl Message for Opening {
    const LONGEST: u64 = PREFIXES + MAX_HEADER;

    fn decode(input: &[u8]) -> Decoded<Self> {
        Self::decode(input)
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Data(header) => header.encode(&mut out, &[]),
            Self::Error { data_lane } => Self::encode_error_lane(&mut out, *data_lane),
            Self::Unknown { .. } => return None,
        }
        Some(out)
    }

    fn check_bounds(&self) {
        match self {
            Self::Data(header) => {
                assert_eq!(Protocol::new(header.protocol.as_str()), Ok(header.protocol.clone()));
                assert!(header.metadata.len() as u64 <= MAX_METADATA);
            }
            Self::Error { data_lane } => check_numbers([*data_lane]),
            Self::Unknown { kind } => check_numbers([*kind]),
        }
    }

    fn varints(&self) -> Option<usize> {
        // The kind and the lane.
        match self {
            Self::Data(_) => None,
            Self::Error { .. } => Some(2),
            Self::Unknown { .. } => Some(1),
        }
    }
}

impl Message for Status {
    const LONGEST: u64 = PREFIXES + status::MAX_ANSWER;

    fn decode(input: &[u8]) -> Decoded<Self> {
        Self::decode(input)
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.encode(&mut out, &[]);
        Some(out)
    }

    fn check_bounds(&self) {
        if let Self::Accepted { metadata } = self {
            assert!(metadata.len() as u64 <= MAX_METADATA);
        }
        if let Self::Rejected(rejection) = self {
            assert!(rejection.text.len() as u64 <= status::MAX_TEXT);
            assert_eq!(Rejection::new(rejection.reason, rejection.text.clone()), *rejection, "nothing is cut again");
            assert!(rejection.to_string().ends_with(&Shown(&rejection.text).to_string()));
        }
    }

    fn varints(&self) -> Option<usize> {
        None
    }
}

impl Message for Record {
    const LONGEST: u64 = PREFIXES + MAX_RECORD;

    fn decode(input: &[u8]) -> Decoded<Self> {
        Self::decode(input)
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.encode(&mut out, &[]);
        Some(out)
    }

    fn check_bounds(&self) {
        check_numbers([self.code, self.offset]);
        assert!(self.text.len() as u64 <= MAX_TEXT);
        assert!(self.details.len() as u64 <= MAX_DETAILS);
    }

    fn varints(&self) -> Option<usize> {
        None
    }
}

impl Message for Frame {
    const LONGEST: u64 = PREFIXES + MAX_FRAME;

    fn decode(input: &[u8]) -> Decoded<Self> {
        Self::decode(input)
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.encode(&mut out);
        // A frame of a later version is only received, never sent.
        (*self != Self::Unknown).then_some(out)
    }

    fn check_bounds(&self) {
        match self {
            Self::Hello(Hello { limits, delegation, dial, knows, .. }) => {
                check_numbers([limits.data_lanes, limits.metadata, limits.unread_bytes]);
                check_numbers([limits.unread_chunks, *dial, *knows].map(Option::unwrap_or_default));
                assert!(delegation.as_ref().is_none_or(|bytes| bytes.len() as u64 <= MAX_FRAME));
            }
            Self::MaxLanes { count } => check_numbers([*count]),
            Self::Goaway { reason: GoawayReason::Other(reason) } => check_numbers([*reason]),
            Self::Drained { opened: first, accepted: second }
            | Self::Watermark { lane: first, offset: second }
            | Self::Consumed { lane: first, offset: second } => check_numbers([*first, *second]),
            Self::Delegation(certificate) => assert!(certificate.len() as u64 <= MAX_FRAME),
            Self::Goaway { .. } | Self::Unknown => {}
        }
    }

    fn varints(&self) -> Option<usize> {
        // The kind, the length and the numbers.
        match self {
            Self::Hello(_) | Self::Goaway { .. } | Self::Drained { .. } | Self::Unknown => None,
            Self::Delegation(_) => Some(2),
            Self::MaxLanes { .. } => Some(3),
            Self::Watermark { .. } | Self::Consumed { .. } => Some(4),
        }
    }
}
