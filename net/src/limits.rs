//! Every bound in one place.

use std::time::Duration;

/// Data lanes that a dialler takes for granted until the peer's HELLO says how many there are.
pub(crate) const LANES_BEFORE_HELLO: u64 = 16;

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
    /// that are there are not disturbed. Of those that have dialled this endpoint no more than three quarters come from one
    /// address or /48 of IPv6, or through relays: one machine with any number of keys leaves room for others. Too low: peers
    /// report "busy". Too high: memory, some 120 kB a peer.
    pub peers: usize,
    /// Inbound handshakes under way at a time. Default 256. Further ones are refused until some have ended. From half
    /// of it on, an address has to prove that packets reach it (QUIC Retry, RFC 9000 section 8.1.2), which costs its
    /// handshake a round trip. All peers that come through a relay have half of it together, and so has each /48 of IPv6. As many
    /// connections may wait for the peer's HELLO and for the rules, with the same shares: of more, the one that has been silent
    /// for longest is closed with the code BUSY. Too low: peers that come back all at once are refused, and dial again later. Too
    /// high: a flood of handshakes takes the processor, some 0.3 ms each.
    pub handshakes: usize,
    /// Of those, from one address (for IPv6 one /64), or from one peer through a relay. Default 32. Too low: peers
    /// behind one NAT are refused when they come back all at once. Too high: one machine can take every slot.
    pub handshakes_per_address: usize,
    /// Streams that one peer may have open here at a time, and this side there. Default 256. A stream counts until its acceptor
    /// has let go of both halves, however early its opener has given up: so many handlers run for one peer at most. Each
    /// connection is counted alone: a peer has one, and up to four while older ones drain. The opener waits for a free one
    /// within [`Limits::open_timeout`]. From 1 to 2^20. Too low: calls wait for each other, and report `TooManyStreams`. Too
    /// high: memory, some 3 kB a stream that a peer keeps open and silent.
    pub streams_per_peer: u64,
    /// Time for a dial, from looking the peer up to the end of the handshake. Default 15 s. A peer behind a NAT
    /// takes a relay round trip more than one that is near. Under 3 s such peers are reported as unreachable. Too
    /// high: a caller waits that long for a peer that is not there.
    pub connect_timeout: Duration,
    /// Time for an inbound handshake, and for the peer's first words on a new connection (HELLO). Default 10 s. On a connection
    /// that this side dialled, time in which no packet comes from the peer does not count, up to three times this. Too low:
    /// peers on bad links are let go. Too high: silent ones hold their slots for longer.
    pub hello_timeout: Duration,
    /// Time for a stream's header, between two pieces of a request's body, and for a caller to take something of a
    /// response. Default 10 s. A request's body that comes at less than 512 bytes a second for six times this is
    /// refused as well; how long a body or a response takes as a whole has no bound. A caller has up to thirty times
    /// this for a response while the connection carries data of other streams: its part of a slow link can take so
    /// long. Too low: streams on bad links are reset. Too high: streams without a header hold their places for longer.
    pub header_timeout: Duration,
    /// Time for an [`Access`](crate::Access) rule or a deciding hook to answer. Default 5 s. No answer in time is a
    /// refusal. Too low: a rule that asks a database refuses those whom it would allow. Too high: peers wait for it.
    pub access_timeout: Duration,
    /// How far the clocks of two machines may differ: a certificate counts so much before and after its time. Default
    /// 1 min. Too low: fresh certificates are refused. Too high: expired ones count for longer.
    pub clock_skew: Duration,
    /// Time for a stream to be opened: a free lane, and the peer's answer. Default 10 s. Too low: peers that are busy
    /// for a moment are given up. Too high: callers wait for peers that do not answer.
    pub open_timeout: Duration,
    /// How long a stream whose protocol is known waits for an `accept_bi`, before its opener is told "busy".
    /// Default 5 s: under the opener's default [`Limits::open_timeout`], so that it hears why. Too low: streams are
    /// turned away while the program is between two calls. Too high: openers give up first, and do not hear why.
    pub accept_timeout: Duration,
    /// How long a stream that its own side failed waits for the peer to read the bytes before the error, and the error itself for
    /// room to be sent. Default 10 min. After that the bytes are discarded, and the reader gets
    /// [`ReadError::FailedIncomplete`](crate::ReadError::FailedIncomplete). Too low: slow readers lose data. Too high: streams
    /// that nobody reads are kept.
    pub linger: Duration,
    /// How long the end of a lane waits for the record that explains it, and a warning until it is sent. Default 5 s. (A fatal
    /// error is not given up after this: it goes out as soon as there is room, within [`Limits::linger`].) Too low: on bad
    /// links errors come without their reason, and warnings are not sent. Too high: where no reason comes, the error takes
    /// longer.
    pub error_timeout: Duration,
    /// A connection over which nothing at all arrives is given up after this. Default 20 s. Both sides have a say, and the smaller
    /// value holds. From 100 ms to a day. Packets that keep the connection alive go out four times in it at least, and over each path
    /// as [`Limits::path_timeout`] has it. Too low: connections break in every short outage. Too high: a peer that vanished is
    /// noticed late.
    pub idle_timeout: Duration,
    /// A connection that this endpoint has dialled and does not keep ([`Endpoint::keep`](crate::Endpoint::keep)), and on which no stream
    /// was open for so long, is let go of, in order. Default [`Duration::MAX`], which is never; from 1 s on. Nothing that was opened
    /// is lost, and the next stream of either side dials again. It counts as a disconnection: events and hooks say so, and
    /// [`Connection::closed`](crate::Connection::closed) and [`Connection::accept_bi`](crate::Connection::accept_bi) end. Whoever waits
    /// for streams of a peer that it has dialled keeps it. With a path policy that waits for a direct path it should be longer than
    /// that wait. Too low: streams wait for a handshake. Too high: packets that keep it alive, and some 120 kB a peer. An endpoint
    /// behind a NAT that no relay helps cannot be dialled: set it there only if the other side opens no streams to it.
    pub unused_timeout: Duration,
    /// A direct path over which nothing at all arrives is given up after this, if a relay can carry on. Default 3 s; a
    /// third of it is the time between the packets that keep a silent path, and the mappings of NATs on it, alive. (RFC 4787, REQ-5,
    /// has NATs keep a mapping for two minutes; many forget it after 30 s, some after 20 s.) From 500 ms to 15 s, and at least
    /// three of the path's own timeouts. Too low: paths that lose many packets go over the relay for some seconds. Too
    /// high: data stands still for so long when a direct path is cut. Longer saves battery: 15 s sends a third of what
    /// 5 s do. The path over the relay is kept alive as often. An endpoint without a
    /// relay has nothing else to turn to, and takes 15 s.
    pub path_timeout: Duration,
    /// Streams of one connection whose header has not come. Default 512. Of more, the newest are told "busy". Too low:
    /// one lost packet can hold the headers of many streams, which are then turned away. Too high: some 3 kB each.
    pub streams_without_header: usize,
    /// Streams of one peer that wait, with a header, for somebody to take them. Default 256. Too low: openers are told
    /// "busy" in a burst. Too high: they wait for a program that cannot keep up.
    pub streams_waiting: usize,
    /// Bytes of metadata that a stream's header may have. Default and maximum 16 KiB. Peers are told, and keep to it.
    pub metadata: usize,
    /// Bytes that one peer may have sent and nobody read, all its streams together; and as many of its requests that
    /// have been read for a handler of [`Endpoint::serve_requests`](crate::Endpoint::serve_requests) and are not answered.
    /// Default 64 MiB, at least 1 MiB.
    /// Peers are told, and divide it among their streams so that paused ones leave room for the others; a peer that
    /// does not comes to a halt, and no other does. Too low: slow transfers where many streams share a long path.
    /// Too high: memory that one peer can take. Small pieces that stay unread take up more: noq 1.4 keeps each with the block that it
    /// was received in, which is 64 KiB and more, with what others sent at that time.
    pub unread_bytes: u64,
    /// Warnings that wait to be read on one stream. Default 64, and no more than 128 KiB of them, or 4 MiB on all streams of
    /// one peer. Of more the oldest are dropped, and counted. Too low: warnings are missed. Too high: some 160 bytes each.
    pub warnings: usize,
    /// Bytes of a request, or of a response, that [`Endpoint::request`](crate::Endpoint::request) and
    /// [`Endpoint::serve_requests`](crate::Endpoint::serve_requests) take. Default 16 MiB. Too low: they fail, and say
    /// so. Too high: memory, for each request under way.
    pub request_bytes: usize,
    /// Events that wait for a slow subscriber. Default 256. Of more the oldest are dropped, and counted. Too low:
    /// subscribers miss some in a burst. Too high: 64 bytes each, set aside when the endpoint is bound.
    pub events: usize,
}

impl Limits {
    /// Bytes that the peer may send on a stream before they are read: 2.2 MB. A larger window dies with the
    /// connection at the first loss or pause: noq tolerates 2,048 unread packets of one
    /// stream, and at 1,130 bytes in each 2.2 MB are 1,947. A writer of this library keeps to 1,900.
    pub const STREAM_WINDOW: u32 = 2_200_000;
    /// Unacknowledged bytes on one connection, all streams together: 64 MiB, as many as a peer with default limits holds unread.
    /// Data lanes take at most 0.95 of it, however many there are (`stream/credit`), so that error records and control frames
    /// find room while a path is dead. With 18 MB, nine lanes of bulk data filled it in an outage, and no error could be sent
    /// until the outage was over. With 48 MiB, 512 requests of 64 KiB waited for each other's loans: 0.8 of their rate.
    pub(crate) const SEND_WINDOW: u64 = 64 << 20;
    /// Metadata of a stream, in bytes, at most.
    pub const METADATA: usize = crate::wire::header::MAX_METADATA as usize;
    /// The text of a [`StreamError`](crate::StreamError), in bytes.
    pub const ERROR_TEXT: usize = crate::wire::record::MAX_TEXT as usize;
    /// The details of a [`StreamError`](crate::StreamError), in bytes.
    pub const ERROR_DETAILS: usize = crate::wire::record::MAX_DETAILS as usize;

    /// What iroh takes at most for a direct path.
    pub(crate) const PATH_TIMEOUT_MAX: Duration = Duration::from_secs(15);

    /// With values that the transport below can carry. (An idle timeout of nothing would have it send keep-alives
    /// without a pause.)
    pub(crate) fn sane(mut self) -> Self {
        self.streams_per_peer = self.streams_per_peer.clamp(1, 1 << 20);
        self.metadata = self.metadata.min(Self::METADATA);
        // Less than a stream's window would stop a lane in front of a reader that reads.
        self.unread_bytes = self.unread_bytes.clamp(1 << 20, 1 << 40);
        self.idle_timeout = self.idle_timeout.clamp(Duration::from_millis(100), Duration::from_secs(24 * 3600));
        self.unused_timeout = self.unused_timeout.max(Duration::from_secs(1));
        self.path_timeout = self.path_timeout.clamp(Duration::from_millis(500), Self::PATH_TIMEOUT_MAX);
        self
    }

    /// What the transport has to allow the peer, so that an error lane always finds room: the data lanes it may
    /// open, an error lane for each, and one for each that we may open. A dialler may open some before it knows how many. And a
    /// seventh more: noq tells the peer of streams that have ended only when these are an eighth of what it allows.
    pub(crate) fn transport_streams(&self) -> u32 {
        let lanes = self.streams_per_peer.max(LANES_BEFORE_HELLO);
        u32::try_from(lanes.saturating_mul(3 * 8).div_ceil(7)).unwrap_or(u32::MAX)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers: 1024,
            handshakes: 256,
            handshakes_per_address: 32,
            streams_per_peer: 256,
            connect_timeout: Duration::from_secs(15),
            hello_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            access_timeout: Duration::from_secs(5),
            clock_skew: Duration::from_secs(60),
            open_timeout: Duration::from_secs(10),
            accept_timeout: Duration::from_secs(5),
            linger: Duration::from_secs(600),
            error_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(20),
            unused_timeout: Duration::MAX,
            path_timeout: Duration::from_secs(3),
            streams_without_header: 512,
            streams_waiting: 256,
            metadata: Self::METADATA,
            unread_bytes: 64 << 20,
            warnings: 64,
            request_bytes: 16 * 1024 * 1024,
            events: 256,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_finds_room_while_an_eighth_of_the_streams_is_not_announced_again() {
        for streams_per_peer in (1..3_000).chain([1 << 20]) {
            let allowed = u64::from(Limits { streams_per_peer, ..Limits::default() }.transport_streams());
            assert!(
                allowed - allowed / 8 >= streams_per_peer.max(LANES_BEFORE_HELLO) * 3,
                "{allowed} for {streams_per_peer}"
            );
        }
    }
}
