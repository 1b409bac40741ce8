//! The wire format of `net/WIRE.md`, written a second time for hostile and strange peers. It uses no code of the
//! library, and it can also write bytes that the document forbids. `tests/stranger/document.rs` compares it with
//! the document.

#![expect(clippy::expect_used, reason = "bytes that cannot be decoded are a failed test")]

/// Defines constants, and a table of their names and values that is compared with the table in WIRE.md.
macro_rules! codes {
    ($($name:ident = $value:literal),* $(,)?) => {
        $(pub const $name: u64 = $value;)*
        pub const ALL: &[(&str, u64)] = &[$((stringify!($name), $name)),*];
    };
}

pub const ALPN: &[u8] = b"twolane/1";
/// The largest varint, 2^62 - 1.
pub const MAX: u64 = (1 << 62) - 1;
/// [`MAX`] as a varint: the largest length that can be announced.
pub const OVERSIZE: [u8; 8] = [0xff; 8];

/// The first varint of a stream.
pub mod kind {
    pub const CONTROL: u64 = 0;
    pub const DATA: u64 = 1;
    pub const ERROR: u64 = 2;
}

/// Types of control frames.
pub mod frame {
    codes! { HELLO = 0, GOAWAY = 1, DRAINED = 2, WATERMARK = 3, CONSUMED = 4, DELEGATION = 5, MAX_LANES = 6 }
}

/// Ids of the parameters in HELLO.
pub mod parameter {
    codes! {
        DATA_LANES = 2, METADATA = 4, UNREAD_BYTES = 6, UNREAD_CHUNKS = 8, DELEGATION = 10, DIAL = 12, KNOWS = 14,
    }
}

/// Ids of the parameters in a header.
pub mod header_with {
    codes! { EARLY = 2 }
}

/// Ids of the parameters in an answer of code 0.
pub mod accepted_with {
    codes! { METADATA = 2 }
}

/// Reasons in GOAWAY.
pub mod goaway {
    codes! { DUPLICATE = 0, SHUTTING_DOWN = 1, UNUSED = 2 }
}

/// Codes of an answer.
pub mod answer {
    codes! {
        ACCEPTED = 0, UNKNOWN_PROTOCOL = 1, REFUSED = 2, BUSY = 3, SHUTTING_DOWN = 4, TOO_LARGE = 5, MALFORMED = 6,
        UNSUPPORTED = 7,
    }
}

/// Severities of a record.
pub mod severity {
    codes! { WARNING = 0, FATAL = 1, ABORT = 2 }
}

/// Codes in RESET_STREAM and STOP_SENDING.
pub mod lane {
    codes! {
        DONE = 0x00, CANCELLED = 0x01, FAILED = 0x02, ABORTED = 0x03, MALFORMED = 0x04, REJECTED = 0x05,
        NO_SUCH_LANE = 0x06, UNKNOWN_KIND = 0x07, TIMED_OUT = 0x08, INTERNAL = 0x09, UNSUPPORTED = 0x0a,
    }
}

/// Codes in CONNECTION_CLOSE.
pub mod close {
    codes! {
        DONE = 0x100, REPLACED = 0x102, PROTOCOL_VIOLATION = 0x103, HELLO_TIMEOUT = 0x104,
        UNSUPPORTED = 0x105, BUSY = 0x106, CLOSED = 0x107, FORBIDDEN = 0x108, BAD_DELEGATION = 0x109,
        NOT_DIRECT = 0x10a, NOT_POST_QUANTUM = 0x10b,
    }
}

/// Limits in bytes, except `WATERMARKS` and `DELEGATIONS`, which are numbers of frames.
pub mod bound {
    codes! {
        CONTROL_FRAME = 4096, HEADER = 17679, PROTOCOL = 255, METADATA = 16384, ANSWER = 17424, REJECTION_TEXT = 1024,
        RECORD = 66600, RECORD_TEXT = 4096, RECORD_DETAILS = 61440, DELEGATION = 2048, DELEGATIONS = 8, WATERMARKS = 16,
    }
}

/// Reserved values: ids of parameters, types of frames and kinds of streams that have no meaning. The functions of
/// this module draw them at random, and the messages of [`crate::wire`] contain some of them wherever the format
/// allows them.
pub mod grease {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::{MAX, Out};

    pub const fn is_reserved(id: u64) -> bool {
        id % 62 == 58
    }

    /// Returns a reserved id that fits 1, 2, 4 or 8 bytes.
    pub fn id() -> u64 {
        let drawn = draw();
        let most = [0x3f, 0x3fff, 0x3fff_ffff, MAX][(drawn % 4) as usize];
        58 + 62 * ((drawn >> 2) % ((most - 58) / 62 + 1))
    }

    /// Returns no parameter or one reserved parameter.
    pub fn tail() -> Vec<u8> {
        let drawn = draw();
        if drawn.is_multiple_of(4) {
            return Vec::new();
        }
        Out::default().varint(id()).block(&drawn.to_be_bytes()[..(drawn >> 60) as usize % 8]).0
    }

    /// Returns no control frame or one reserved control frame.
    pub fn frame() -> Vec<u8> {
        let drawn = draw();
        if drawn.is_multiple_of(2) {
            return Vec::new();
        }
        super::control_frame(id(), &drawn.to_be_bytes()[..(drawn >> 60) as usize % 8])
    }

    /// Draws the next number of SplitMix64. The same order of calls draws the same numbers.
    fn draw() -> u64 {
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut drawn = DRAWN.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^ (drawn >> 31)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Out(pub Vec<u8>);

impl Out {
    pub fn varint(self, value: u64) -> Self {
        let exponent = match value {
            0..0x40 => 0,
            0x40..0x4000 => 1,
            0x4000..0x4000_0000 => 2,
            _ => 3,
        };
        self.varint_in(value, exponent)
    }

    /// Appends a varint of 2^`exponent` bytes, even if fewer bytes would do.
    pub fn varint_in(mut self, value: u64, exponent: u32) -> Self {
        let len = 1usize << exponent;
        let marked = value | u64::from(exponent) << (8 * len - 2);
        self.0.extend_from_slice(&marked.to_be_bytes()[8 - len..]);
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn block(self, bytes: &[u8]) -> Self {
        self.varint(bytes.len() as u64).raw(bytes)
    }
}

pub fn varint(value: u64) -> Vec<u8> {
    Out::default().varint(value).0
}

/// Returns a length, followed by the bytes.
pub fn block(bytes: &[u8]) -> Vec<u8> {
    Out::default().block(bytes).0
}

pub fn control_frame(frame_type: u64, body: &[u8]) -> Vec<u8> {
    Out::default().varint(frame_type).block(body).0
}

/// Returns a control frame whose fields are varints. GOAWAY and DRAINED end in parameters.
pub fn numbers(frame_type: u64, values: &[u64]) -> Vec<u8> {
    let ends_in_parameters = matches!(frame_type, frame::GOAWAY | frame::DRAINED);
    let tail = if ends_in_parameters { grease::tail() } else { Vec::new() };
    numbers_then(frame_type, values, &tail)
}

pub fn numbers_then(frame_type: u64, values: &[u64], tail: &[u8]) -> Vec<u8> {
    let body = values.iter().fold(Out::default(), |out, value| out.varint(*value));
    control_frame(frame_type, &body.raw(tail).0)
}

/// Returns a parameter whose value is a varint.
pub fn parameter(id: u64, value: u64) -> Vec<u8> {
    Out::default().varint(id).block(&varint(value)).0
}

pub fn hello(nonce: [u8; 16], parameters: &[(u64, u64)]) -> Vec<u8> {
    hello_then(nonce, parameters, &grease::tail())
}

/// Returns a HELLO with `parameters`, whose values are varints, followed by the bytes of `tail`.
pub fn hello_then(nonce: [u8; 16], parameters: &[(u64, u64)], tail: &[u8]) -> Vec<u8> {
    let fixed = Out::default().raw(&nonce);
    let body = parameters.iter().fold(fixed, |out, (id, value)| out.raw(&parameter(*id, *value)));
    control_frame(frame::HELLO, &body.raw(tail).0)
}

/// Returns the first bytes of a control stream: its kind and HELLO.
pub fn greeting(nonce: [u8; 16], parameters: &[(u64, u64)]) -> Vec<u8> {
    [varint(kind::CONTROL), hello(nonce, parameters)].concat()
}

/// Returns the first bytes of a data lane: its kind and header.
pub fn header(protocol: &str, metadata: &[u8]) -> Vec<u8> {
    header_then(protocol, metadata, &grease::tail())
}

pub fn header_then(protocol: &str, metadata: &[u8], tail: &[u8]) -> Vec<u8> {
    let body = Out::default().block(protocol.as_bytes()).block(metadata).raw(tail);
    Out::default().varint(kind::DATA).block(&body.0).0
}

/// Returns the parameter EARLY of a header.
pub fn early() -> Vec<u8> {
    Out::default().varint(header_with::EARLY).block(b"").0
}

pub fn accepted() -> Vec<u8> {
    accepted_then(&grease::tail())
}

pub fn accepted_then(tail: &[u8]) -> Vec<u8> {
    Out::default().varint(answer::ACCEPTED).block(tail).0
}

pub fn rejected(code: u64, text: &str) -> Vec<u8> {
    rejected_then(code, text, &grease::tail())
}

pub fn rejected_then(code: u64, text: &str, tail: &[u8]) -> Vec<u8> {
    Out::default().varint(code).block(&Out::default().block(text.as_bytes()).raw(tail).0).0
}

/// Returns the first bytes of an error lane: its kind and the id of its data lane.
pub fn error_lane(data_lane: u64) -> Vec<u8> {
    Out::default().varint(kind::ERROR).varint(data_lane).0
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub severity: u64,
    pub code: u64,
    pub offset: u64,
    pub text: String,
    pub details: Vec<u8>,
}

impl Record {
    pub fn new(severity: u64, code: u64, offset: u64, text: &str) -> Self {
        Self { severity, code, offset, text: text.into(), details: Vec::new() }
    }

    pub fn encode(&self) -> Vec<u8> {
        self.encode_then(&grease::tail())
    }

    pub fn encode_then(&self, tail: &[u8]) -> Vec<u8> {
        let numbers = Out::default().varint(self.severity).varint(self.code).varint(self.offset);
        let body = numbers.block(self.text.as_bytes()).block(&self.details).raw(tail);
        block(&body.0)
    }

    pub fn decode(frame: &[u8]) -> Self {
        let mut fields = Fields(frame);
        let record = Self {
            severity: fields.varint(),
            code: fields.varint(),
            offset: fields.varint(),
            text: String::from_utf8(fields.block()).expect("a record's text is UTF-8"),
            details: fields.block(),
        };
        fields.nothing_but_reserved();
        record
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub nonce: [u8; 16],
    /// The parameters whose values are varints.
    pub numbers: Vec<(u64, u64)>,
    pub delegation: Option<Vec<u8>>,
}

impl Hello {
    pub fn decode(body: &[u8]) -> Self {
        let mut fields = Fields(body);
        let nonce = fields.take(16).try_into().expect("16 bytes");
        let (mut numbers, mut delegation) = (Vec::new(), None);
        for (id, value) in fields.parameters() {
            if id == parameter::DELEGATION {
                delegation = Some(value);
                continue;
            }
            let mut only = Fields(&value);
            numbers.push((id, only.varint()));
            only.end();
        }
        Self { nonce, numbers, delegation }
    }
}

/// The header of a data lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub protocol: String,
    pub metadata: Vec<u8>,
    /// Whether the opener allows the lane to be taken before the handshake is done.
    pub early: bool,
}

impl Header {
    pub fn decode(frame: &[u8]) -> Self {
        let mut fields = Fields(frame);
        let protocol = String::from_utf8(fields.block()).expect("a protocol's name is ASCII");
        let metadata = fields.block();
        let parameters = fields.parameters();
        let early = parameters == [(header_with::EARLY, Vec::new())];
        assert!(early || parameters.is_empty(), "WIRE.md has no such parameters: {parameters:02x?}");
        Self { protocol, metadata, early }
    }
}

/// Reads the fields of a frame. A frame that is too short or too long fails the test.
#[derive(Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn varint(&mut self) -> u64 {
        let exponent = self.0.first().expect("a varint") >> 6;
        let mut value = [0; 8];
        let bytes = self.take(1 << exponent);
        value[8 - bytes.len()..].copy_from_slice(bytes);
        value[8 - bytes.len()] &= 0x3f;
        u64::from_be_bytes(value)
    }

    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(len).expect("the frame holds its fields");
        self.0 = rest;
        taken
    }

    pub fn block(&mut self) -> Vec<u8> {
        let len = usize::try_from(self.varint()).expect("a length");
        self.take(len).to_vec()
    }

    /// Reads the rest of a frame: parameters with ascending ids. The result leaves out the reserved ones.
    pub fn parameters(&mut self) -> Vec<(u64, Vec<u8>)> {
        let (mut parameters, mut last) = (Vec::new(), None);
        while !self.0.is_empty() {
            let id = self.varint();
            assert!(last < Some(id), "parameter {id} after {last:?}");
            last = Some(id);
            parameters.push((id, self.block()));
        }
        parameters.retain(|(id, _)| !grease::is_reserved(*id));
        parameters
    }

    pub fn nothing_but_reserved(&mut self) {
        let parameters = self.parameters();
        assert!(parameters.is_empty(), "WIRE.md has no such parameters: {parameters:02x?}");
    }

    pub fn end(&self) {
        assert!(self.0.is_empty(), "bytes after the last field: {:02x?}", self.0);
    }
}
