//! The application error codes of twolane: on streams (RESET_STREAM, STOP_SENDING), on the connection (CONNECTION_CLOSE), and in
//! records.

/// Codes on a lane.
pub(crate) mod lane {
    /// The lane has done its work: nothing more is needed from the other side.
    pub(crate) const DONE: u64 = 0x00;
    /// The handle was dropped or its task cancelled: what was sent is not complete.
    pub(crate) const CANCELLED: u64 = 0x01;
    /// A fatal error is on the error lane.
    pub(crate) const FAILED: u64 = 0x02;
    /// A fatal error is on the error lane, and unread data is discarded.
    pub(crate) const ABORTED: u64 = 0x03;
    /// The bytes on this lane are not what the wire format allows.
    pub(crate) const MALFORMED: u64 = 0x04;
    /// The stream was rejected: the answer says why.
    pub(crate) const REJECTED: u64 = 0x05;
    /// The error lane names a data lane that is not open, or is one too many.
    pub(crate) const NO_SUCH_LANE: u64 = 0x06;
    /// The first varint of the stream names a kind that this peer does not know.
    pub(crate) const UNKNOWN_KIND: u64 = 0x07;
    /// What was awaited (header, answer, or the end of the bytes before an error) did not come in time.
    pub(crate) const TIMED_OUT: u64 = 0x08;
    /// The handler panicked or something else broke on the side that sends this.
    pub(crate) const INTERNAL: u64 = 0x09;
    /// The bytes on this lane need something that this peer does not know: a critical parameter, or a severity.
    pub(crate) const UNSUPPORTED: u64 = 0x0a;
}

/// Codes in records that are no application's: from 2^61 on (WIRE.md, section 7). 2^61 + 2 is the Python package's: a handler failed.
pub(crate) mod record {
    /// The request is over `Limits::request_bytes`, or does not end.
    pub(crate) const REQUEST_UNREADABLE: u64 = 1 << 61;
    /// The rules do not allow the stream any more.
    pub(crate) const REVOKED: u64 = (1 << 61) + 1;
    /// The opener has given up before the answer.
    pub(crate) const GIVEN_UP: u64 = (1 << 61) + 3;
}

/// Codes on the connection.
pub(crate) mod connection {
    /// An orderly end: both sides have drained, or the endpoint closed.
    pub(crate) const DONE: u64 = 0x100;
    /// A new instance of this peer has taken over.
    pub(crate) const REPLACED: u64 = 0x102;
    /// The control stream is not what the wire format allows.
    pub(crate) const PROTOCOL_VIOLATION: u64 = 0x103;
    /// HELLO did not come in time.
    pub(crate) const HELLO_TIMEOUT: u64 = 0x104;
    /// A control frame has a critical parameter that this peer does not know.
    pub(crate) const UNSUPPORTED: u64 = 0x105;
    /// Too many peers.
    pub(crate) const BUSY: u64 = 0x106;
    /// The user of the library closed the connection.
    pub(crate) const CLOSED: u64 = 0x107;
    /// The rules of the endpoint do not allow the peer, or do not any more. The reason says why.
    pub(crate) const FORBIDDEN: u64 = 0x108;
    /// The certificate that the peer presented does not hold. The reason says why.
    pub(crate) const BAD_DELEGATION: u64 = 0x109;
    /// The path policy of the endpoint does not allow data over a relay for longer. The reason says so.
    pub(crate) const NOT_DIRECT: u64 = 0x10a;
}
