//! The application error codes of twolane: on streams (RESET_STREAM, STOP_SENDING), on the connection
//! (CONNECTION_CLOSE), and in records.

/// Codes on a lane.
pub(crate) mod lane {
    /// The lane has done its work: nothing more is needed from the other side.
    pub(crate) const DONE: u64 = 0x00;
    /// The handle was dropped or its task was cancelled: the data that was sent is not complete.
    pub(crate) const CANCELLED: u64 = 0x01;
    /// A fatal error is on the error lane.
    pub(crate) const FAILED: u64 = 0x02;
    /// A fatal error is on the error lane, and unread data is discarded.
    pub(crate) const ABORTED: u64 = 0x03;
    /// The bytes on this lane do not follow the wire format.
    pub(crate) const MALFORMED: u64 = 0x04;
    /// The stream was rejected. The answer has the reason.
    pub(crate) const REJECTED: u64 = 0x05;
    /// The error lane names a data lane that is not open, or is one error lane too many.
    pub(crate) const NO_SUCH_LANE: u64 = 0x06;
    /// The first varint of the stream names a kind that this peer does not know.
    pub(crate) const UNKNOWN_KIND: u64 = 0x07;
    /// The bytes that this side waited for (header, answer, or the end of the bytes before an error) did not arrive
    /// in time.
    pub(crate) const TIMED_OUT: u64 = 0x08;
    /// The handler panicked, or something else broke on the side that sends this code.
    pub(crate) const INTERNAL: u64 = 0x09;
    /// The bytes on this lane need something that this peer does not know: a critical parameter, or a severity.
    pub(crate) const UNSUPPORTED: u64 = 0x0a;
}

/// Codes in records that are reserved for the library, from 2^61 on (WIRE.md, section 7). The Python package uses
/// 2^61 + 2: a handler failed.
pub(crate) mod record {
    /// The request is over `Limits::request_bytes`, or its end does not come.
    pub(crate) const REQUEST_UNREADABLE: u64 = 1 << 61;
    /// The access rules do not allow the stream any more.
    pub(crate) const REVOKED: u64 = (1 << 61) + 1;
    /// The opener has given up before the answer.
    pub(crate) const GIVEN_UP: u64 = (1 << 61) + 3;
}

/// Codes on the connection.
pub(crate) mod connection {
    /// An orderly end: both sides have drained the connection, or the endpoint was closed.
    pub(crate) const DONE: u64 = 0x100;
    /// A new instance of this peer has taken over.
    pub(crate) const REPLACED: u64 = 0x102;
    /// The control stream does not follow the wire format.
    pub(crate) const PROTOCOL_VIOLATION: u64 = 0x103;
    /// HELLO did not arrive in time.
    pub(crate) const HELLO_TIMEOUT: u64 = 0x104;
    /// A control frame has a critical parameter that this peer does not know.
    pub(crate) const UNSUPPORTED: u64 = 0x105;
    /// The endpoint has too many peers.
    pub(crate) const BUSY: u64 = 0x106;
    /// The program closed the connection.
    pub(crate) const CLOSED: u64 = 0x107;
    /// The access rules of the endpoint do not allow the peer, or do not allow it any more. The reason has the text
    /// of the rule.
    pub(crate) const FORBIDDEN: u64 = 0x108;
    /// The certificate that the peer presented is not valid. The reason has the details.
    pub(crate) const BAD_DELEGATION: u64 = 0x109;
    /// The path policy of the endpoint does not allow data over a relay for longer. The reason says so.
    pub(crate) const NOT_DIRECT: u64 = 0x10a;
    /// The endpoint requires a post-quantum key exchange. The reason says so.
    pub(crate) const NOT_POST_QUANTUM: u64 = 0x10b;
}
