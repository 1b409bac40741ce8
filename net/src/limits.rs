//! Every bound in one place.

use std::time::Duration;

/// The bounds of an endpoint. Each has a safe default; a bound that is hit is named in the error.
///
/// ```
/// use std::time::Duration;
/// use twolane::Limits;
///
/// let limits = Limits { connect_timeout: Duration::from_secs(5), ..Limits::default() };
/// # let _ = limits;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Peers that may be connected at a time. Default 1,024. One more is turned away with the code BUSY; those
    /// that are there are not disturbed. Too low: peers report "busy". Too high: memory, some 60 kB a peer.
    pub peers: usize,
    /// Inbound handshakes under way at a time. Default 256. Further ones are refused until some have ended.
    pub handshakes: usize,
    /// Data lanes that one side may have open to the other at a time. Default 256. The opener waits for a free
    /// one within [`Limits::open_timeout`]. From 1 to 2^20. Each may hold [`Limits::STREAM_WINDOW`] unread bytes.
    pub streams_per_peer: u64,
    /// Time for a dial, from looking the peer up to the end of the handshake. Default 15 s. A peer behind a NAT
    /// takes a relay round trip more than one that is near; under 3 s such peers are reported as unreachable.
    pub connect_timeout: Duration,
    /// Time for the peer's first words on a new connection (HELLO), for a stream's header, and between two pieces of a
    /// request's body. Default 10 s.
    pub hello_timeout: Duration,
    /// Time for a stream to be opened: a free lane, and the peer's answer. Default 10 s.
    pub open_timeout: Duration,
    /// How long a stream whose protocol is known waits for an `accept_bi`, before its opener is told "busy".
    /// Default 5 s: under the opener's default [`Limits::open_timeout`], so that it hears why.
    pub accept_timeout: Duration,
    /// How long a stream that its own side failed waits for the peer to read the bytes before the error.
    /// Default 10 min. After that they are discarded, and the reader gets the error without them.
    pub linger: Duration,
    /// How long the end of a lane waits for the record that explains it. Default 5 s.
    pub error_timeout: Duration,
    /// A connection over which nothing at all arrives is given up after this. Default 20 s; keep-alives go out
    /// every 5 s. Both sides have a say, and the smaller value holds. From 100 ms to a day.
    pub idle_timeout: Duration,
    /// Streams of one connection that wait, with a header or without, for somebody to take them. Default 256.
    pub streams_waiting: usize,
    /// Warnings that wait to be read on one stream. Default 64. Of more the oldest are dropped, and counted.
    pub warnings: usize,
    /// Bytes of a request, or of a response, that [`Endpoint::request`](crate::Endpoint::request) and
    /// [`Endpoint::serve_requests`](crate::Endpoint::serve_requests) take. Default 16 MiB.
    pub request_bytes: usize,
    /// Events that wait for a slow subscriber. Default 256. Of more the oldest are dropped, and counted.
    pub events: usize,
}

impl Limits {
    /// Bytes that the peer may send on a stream before they are read: 2 MB. A larger window dies with the
    /// connection at the first loss or pause: the QUIC implementation below tolerates 2,048 unread packets of one
    /// stream, and at 1,130 bytes in each 2 MB are 1,770.
    pub const STREAM_WINDOW: u32 = 2_000_000;
    /// Metadata of a stream, in bytes.
    pub const METADATA: usize = crate::wire::header::MAX_METADATA as usize;
    /// The text of a [`StreamError`](crate::StreamError), in bytes.
    pub const ERROR_TEXT: usize = crate::wire::record::MAX_TEXT as usize;
    /// The details of a [`StreamError`](crate::StreamError), in bytes.
    pub const ERROR_DETAILS: usize = crate::wire::record::MAX_DETAILS as usize;

    /// With values that the transport below can carry. (An idle timeout of nothing would have it send keep-alives
    /// without a pause.)
    pub(crate) fn sane(mut self) -> Self {
        self.streams_per_peer = self.streams_per_peer.clamp(1, 1 << 20);
        self.idle_timeout = self.idle_timeout.clamp(Duration::from_millis(100), Duration::from_secs(24 * 3600));
        self
    }

    /// What the transport has to allow the peer, so that an error lane always finds room: the data lanes it may
    /// open, an error lane for each, and one for each that we may open.
    pub(crate) fn transport_streams(&self) -> u32 {
        u32::try_from(self.streams_per_peer.saturating_mul(3)).unwrap_or(u32::MAX)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers: 1024,
            handshakes: 256,
            streams_per_peer: 256,
            connect_timeout: Duration::from_secs(15),
            hello_timeout: Duration::from_secs(10),
            open_timeout: Duration::from_secs(10),
            accept_timeout: Duration::from_secs(5),
            linger: Duration::from_secs(600),
            error_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(20),
            streams_waiting: 256,
            warnings: 64,
            request_bytes: 16 * 1024 * 1024,
            events: 256,
        }
    }
}
