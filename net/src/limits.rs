//! All limits and timeouts of an endpoint.

use std::time::Duration;

/// Number of data lanes that a dialler may open before the peer's HELLO says how many the peer allows.
pub(crate) const LANES_BEFORE_HELLO: u64 = 16;

/// The limits and timeouts of an endpoint. Each has a safe default. When one of them is hit, the error names it.
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
    /// Maximum number of peers that are connected at a time. Default 1,024.
    ///
    /// A further peer is turned away with the code BUSY; the connected peers are not affected. Of the peers that
    /// dialled this endpoint, at most three quarters may come from one address, from one /48 of IPv6, or through
    /// relays. This leaves room for other peers when one machine has any number of keys.
    ///
    /// Too low: peers report "busy". Too high: memory, about 120 kB for each peer.
    pub peers: usize,
    /// Maximum number of peers whose addresses are remembered: those in the tickets of
    /// [`Endpoint::add_peer`](crate::Endpoint::add_peer) and of the calls that dial. Default 4,096; at least 1. The
    /// peers of [`Builder::peer`](crate::Builder::peer) do not count.
    ///
    /// If there are more, an eighth of them is forgotten: peers that are not connected and not kept
    /// ([`Endpoint::keep`](crate::Endpoint::keep)), and of which a ticket told longest ago.
    ///
    /// Too low: a peer is not found by its key alone, and has to be dialled with its ticket again. Too high: memory,
    /// usually 500 bytes for each, and at most about 6 kB.
    pub known_peers: usize,
    /// Time after which the addresses from tickets are forgotten, if their peer was neither connected nor kept in that
    /// time, and no ticket has told of it. Default one day; at least 1 s. [`Duration::MAX`] means never.
    ///
    /// They are forgotten at most an eighth of this time later, and at most ten minutes. The addresses of
    /// [`Builder::peer`](crate::Builder::peer) stay. To forget them earlier, call
    /// [`Endpoint::forget_peer`](crate::Endpoint::forget_peer).
    ///
    /// Too low: a peer is not found by its key alone. Too high: dials go to addresses at which somebody else may be.
    pub address_lifetime: Duration,
    /// Maximum number of inbound handshakes under way at a time. Default 256.
    ///
    /// Further handshakes are refused until some have ended. From half of the limit on, an address has to prove
    /// that packets reach it (QUIC Retry, RFC 9000 section 8.1.2), which costs its handshake one round trip. All
    /// peers that come through a relay have half of the limit together, and so does each /48 of IPv6. The same
    /// number of connections, with the same shares, may wait for the peer's HELLO and for the rules. If there are
    /// more, the connection that has been silent for longest is closed with the code BUSY; if all of them have sent
    /// HELLO, the new connection is.
    ///
    /// Too low: peers that come back all at once are refused, and dial again later. Too high: a flood of
    /// handshakes takes processor time, about 0.3 ms for each.
    pub handshakes: usize,
    /// Maximum number of inbound handshakes under way from one address (for IPv6: from one /64), or from one peer
    /// through a relay. Default 32.
    ///
    /// Too low: peers behind one NAT are refused when they come back all at once. Too high: one machine can take
    /// every slot.
    pub handshakes_per_address: usize,
    /// Maximum number of streams that one peer may have open at this endpoint at a time, and that this endpoint
    /// may have open at the peer. Default 256.
    ///
    /// A stream counts until its acceptor has let go of both halves, however early its opener has given up.
    /// Therefore this is also the maximum number of handlers that run for one peer. Each connection is counted
    /// separately: a peer has one connection, and up to four while older ones drain. The opener waits for a free
    /// stream within [`Limits::open_timeout`]. Range: 1 to 2^20.
    ///
    /// Too low: calls wait for each other, and report `TooManyStreams`. Too high: memory, about 3 kB for each
    /// stream that a peer keeps open and silent.
    pub streams_per_peer: u64,
    /// Timeout for a dial, from the lookup of the peer's addresses to the end of the handshake. Default 15 s.
    ///
    /// A dial to a peer behind a NAT takes one relay round trip more than a dial to a peer nearby. Under 3 s such
    /// peers are reported as unreachable.
    ///
    /// Too high: a caller waits that long for a peer that is not there.
    pub connect_timeout: Duration,
    /// Timeout for an inbound handshake, and for the peer's first message on a new connection (HELLO).
    /// Default 10 s.
    ///
    /// On a connection that this endpoint dialled, time in which no packet comes from the peer does not count, up
    /// to three times this timeout in all.
    ///
    /// Too low: peers on bad links are disconnected. Too high: silent peers hold their slots for longer.
    pub hello_timeout: Duration,
    /// Timeout for a stream's header, for the next piece of a request's body, and for a caller to take some of a
    /// response. Default 10 s.
    ///
    /// A request whose body comes at less than 512 bytes a second for six times this timeout is refused as well.
    /// The time for a whole body or response has no limit. While the connection carries data of other streams, a
    /// caller has up to thirty times this timeout to take some of a response, because its part of a slow link can
    /// take that long.
    ///
    /// Too low: streams on bad links are reset. Too high: streams without a header hold their places for longer.
    pub header_timeout: Duration,
    /// Timeout for an [`Access`](crate::Access) rule or a hook to answer. Default 5 s.
    ///
    /// No answer of a rule, or of a hook that decides, is a refusal, except when a rule is asked again after a change
    /// ([`Limits::recheck_timeout`]). Another hook is cancelled.
    ///
    /// Too low: a rule that asks a database refuses peers that it would allow. Too high: peers wait for the
    /// answer.
    pub access_timeout: Duration,
    /// Maximum number of questions to the [`Access`](crate::Access) rules that are asked again at a time, after the
    /// rules, a certificate or the list of revoked certificates has changed. Default 64.
    ///
    /// A change makes the endpoint ask about every connection and every open stream. The other questions wait.
    ///
    /// Too low: peers that are no longer allowed stay for longer, if the rules take time to answer. Too high: the
    /// rules' database gets all questions at once.
    pub rechecks: usize,
    /// Time for which such a question is repeated if the rules leave it unanswered for
    /// [`Limits::access_timeout`]. After that, the connection or the stream ends. Default 60 s.
    ///
    /// Too low: everybody is disconnected while the rules' database is busy or restarts. Too high: a peer that is no
    /// longer allowed stays for longer while the rules do not answer.
    pub recheck_timeout: Duration,
    /// Tolerated difference between the clocks of two machines: a certificate is accepted this long before and
    /// after its period of validity. Default 1 min.
    ///
    /// Too low: fresh certificates are refused. Too high: expired certificates are accepted for longer.
    pub clock_skew: Duration,
    /// Timeout for opening a stream: for the wait for a free data lane, and for the peer's answer. Default 10 s.
    ///
    /// Too low: streams to peers that are busy for a moment are given up. Too high: callers wait for peers that do
    /// not answer.
    pub open_timeout: Duration,
    /// Timeout for a stream that waits for a call of `accept_bi`, if an earlier call has named its protocol. After
    /// this time its opener is told "busy". Default 5 s: less than the default of the opener's
    /// [`Limits::open_timeout`], so that the opener learns the reason.
    ///
    /// Too low: streams are turned away while the program is between two calls. Too high: openers give up first,
    /// and do not learn the reason.
    pub accept_timeout: Duration,
    /// Maximum time that a stream which its own side failed waits for the peer to read the bytes before the error,
    /// and that the error itself waits for room to be sent. Default 10 min.
    ///
    /// After that the bytes are discarded, and the reader gets
    /// [`ReadError::FailedIncomplete`](crate::ReadError::FailedIncomplete).
    ///
    /// Too low: slow readers lose data. Too high: streams that nobody reads are kept.
    pub linger: Duration,
    /// Maximum time that the end of a lane waits for the record that explains it, and that a warning waits to be
    /// sent. Default 5 s.
    ///
    /// A fatal error is not given up after this time: it is sent as soon as there is room, within
    /// [`Limits::linger`].
    ///
    /// Too low: on bad links errors come without their reason, and warnings are not sent. Too high: an error whose
    /// reason does not come is reported later.
    pub error_timeout: Duration,
    /// Idle timeout: a connection on which nothing at all arrives for this time is given up. Default 20 s.
    ///
    /// Both sides have such a timeout, and the smaller value holds. Range: 100 ms to one day. Keep-alive packets
    /// are sent at least four times in this period, and on each path as described at [`Limits::path_timeout`].
    ///
    /// Too low: connections break in every short outage. Too high: the loss of a peer is noticed late.
    pub idle_timeout: Duration,
    /// Time after which an unused connection is closed, in order. A connection is unused if this endpoint has
    /// dialled it and does not keep its peer ([`Endpoint::keep`](crate::Endpoint::keep)), and no stream was open
    /// on it for this time. Default [`Duration::MAX`], which means never; at least 1 s.
    ///
    /// No stream is lost by this, and the next stream of either side dials again. It counts as a disconnection:
    /// events and hooks report it, and [`Connection::closed`](crate::Connection::closed) and
    /// [`Connection::accept_bi`](crate::Connection::accept_bi) end. A program that waits for streams from a peer
    /// that it has dialled should keep that peer. With a path policy that waits for a direct path, this timeout
    /// should be longer than that wait. An endpoint behind a NAT that has no relay cannot be dialled: set the
    /// timeout there only if the other side opens no streams to it.
    ///
    /// Too low: streams wait for a handshake. Too high: keep-alive packets, and about 120 kB for each peer.
    pub unused_timeout: Duration,
    /// Timeout for a direct path: a path on which nothing at all arrives for this time is given up, if a relay can
    /// carry on. Default 3 s.
    ///
    /// A third of it is the interval of the packets that keep a silent path, and the NAT mappings on it, alive.
    /// (RFC 4787, REQ-5, requires NATs to keep a mapping for two minutes; many drop it after 30 s, some after
    /// 20 s.) Range: 500 ms to 15 s, and at least three probe timeouts of the path. A longer value saves battery:
    /// 15 s sends a third of the packets that 5 s sends. The path over the relay is kept alive as often. An
    /// endpoint without a relay has no other path to use; its timeout is 15 s.
    ///
    /// Too low: the data of paths that lose many packets goes over the relay for some seconds. Too high: data
    /// stands still for that long when a direct path is cut.
    pub path_timeout: Duration,
    /// Maximum number of streams of one connection whose header has not come. Default 512.
    ///
    /// If there are more, the newest are told "busy".
    ///
    /// Too low: one lost packet can hold up the headers of many streams, which are then turned away. Too high:
    /// about 3 kB for each stream.
    pub streams_without_header: usize,
    /// Maximum number of streams of one peer that have a header and wait for the program to take them.
    /// Default 256.
    ///
    /// Too low: openers are told "busy" in a burst. Too high: openers wait for a program that cannot keep up.
    pub streams_waiting: usize,
    /// Maximum length of the metadata in a stream's header, in bytes. Default and maximum 16 KiB.
    ///
    /// The limit is sent to the peers, and they keep to it.
    pub metadata: usize,
    /// Maximum number of bytes that one peer has sent and the program has not read, on all streams of the peer
    /// together. The same limit holds separately for the requests of the peer that were read for a handler of
    /// [`Endpoint::serve_requests`](crate::Endpoint::serve_requests) and are not answered. Default 64 MiB, at
    /// least 1 MiB.
    ///
    /// The limit is sent to the peers, and they divide it among their streams so that paused streams leave room
    /// for the others. A peer that does not divide it comes to a halt, and no other peer does.
    ///
    /// Too low: transfers are slow where many streams share a long path. Too high: memory that one peer can take.
    /// Small pieces that stay unread take more memory than their length: noq 1.4 keeps each piece with the block
    /// that it was received in. Such a block has 64 KiB or more, and contains what other peers sent at that time.
    pub unread_bytes: u64,
    /// Maximum number of warnings that wait to be read on one stream. Default 64.
    ///
    /// They are also limited to 128 KiB on one stream, and to 4 MiB on all streams of one peer. If there are more,
    /// the oldest are dropped, and counted.
    ///
    /// Too low: warnings are missed. Too high: about 160 bytes for each.
    pub warnings: usize,
    /// Maximum length of a request, or of a response, that [`Endpoint::request`](crate::Endpoint::request) and
    /// [`Endpoint::serve_requests`](crate::Endpoint::serve_requests) accept, in bytes. Default 16 MiB.
    ///
    /// Too low: requests fail, and the error says so. Too high: memory, for each request under way.
    pub request_bytes: usize,
    /// Maximum number of events that wait for a slow subscriber. Default 256.
    ///
    /// If there are more, the oldest are dropped, and counted.
    ///
    /// Too low: subscribers miss events in a burst. Too high: 64 bytes for each, allocated when the endpoint is
    /// bound.
    pub events: usize,
}

impl Limits {
    /// Flow control window of a stream: the number of bytes that the peer may send on it before they are read,
    /// 2.2 MB. With a larger window, the first loss or pause would end the connection: noq tolerates 2,048 unread
    /// packets of one stream, and at 1,130 bytes in each packet 2.2 MB are 1,947 packets. A writer of this library
    /// keeps to 1,900.
    pub const STREAM_WINDOW: u32 = 2_200_000;
    /// Maximum number of unacknowledged bytes on one connection, all streams together: 64 MiB, as many as a peer
    /// with default limits holds unread. Data lanes take at most 0.95 of it, however many there are
    /// (`stream/credit`), so that error records and control frames find room while a path is dead. With 18 MB,
    /// nine lanes of bulk data filled it in an outage, and no error could be sent until the outage was over. With
    /// 48 MiB, 512 requests of 64 KiB waited for each other's loans, and reached 0.8 of their rate.
    pub const SEND_WINDOW: u64 = 64 << 20;
    /// Maximum length of a stream's metadata, in bytes.
    pub const METADATA: usize = crate::wire::header::MAX_METADATA as usize;
    /// Maximum length of the text of a [`StreamError`](crate::StreamError), in bytes.
    pub const ERROR_TEXT: usize = crate::wire::record::MAX_TEXT as usize;
    /// Maximum length of the details of a [`StreamError`](crate::StreamError), in bytes.
    pub const ERROR_DETAILS: usize = crate::wire::record::MAX_DETAILS as usize;

    /// The longest timeout of a direct path that iroh accepts.
    pub(crate) const PATH_TIMEOUT_MAX: Duration = Duration::from_secs(15);

    /// Returns the limits with every value in the range that noq supports. (With an idle timeout of zero, noq
    /// would send keep-alive packets without a pause.)
    pub(crate) fn sane(mut self) -> Self {
        self.streams_per_peer = self.streams_per_peer.clamp(1, 1 << 20);
        self.metadata = self.metadata.min(Self::METADATA);
        // With less, the shares of paused lanes would leave no room for the lanes that are read.
        self.unread_bytes = self.unread_bytes.clamp(1 << 20, 1 << 40);
        self.rechecks = self.rechecks.clamp(1, 1 << 20);
        self.idle_timeout = self.idle_timeout.clamp(Duration::from_millis(100), Duration::from_secs(24 * 3600));
        self.unused_timeout = self.unused_timeout.max(Duration::from_secs(1));
        // With no place at all, a ticket could not be dialled.
        self.known_peers = self.known_peers.max(1);
        self.address_lifetime = self.address_lifetime.max(Duration::from_secs(1));
        self.path_timeout = self.path_timeout.clamp(Duration::from_millis(500), Self::PATH_TIMEOUT_MAX);
        self
    }

    /// Returns the number of streams that the QUIC transport has to allow the peer, so that there is always room
    /// for an error lane: the data lanes that the peer may open, an error lane for each of them, and an error lane
    /// for each data lane that this side may open. A dialler may open some data lanes before it knows the limit. A
    /// seventh is added because noq reports ended streams to the peer only when they are an eighth of the number
    /// that it allows.
    pub(crate) fn transport_streams(&self) -> u32 {
        let lanes = self.streams_per_peer.max(LANES_BEFORE_HELLO);
        u32::try_from(lanes.saturating_mul(3 * 8).div_ceil(7)).unwrap_or(u32::MAX)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers: 1024,
            known_peers: 4096,
            address_lifetime: Duration::from_secs(24 * 3600),
            handshakes: 256,
            handshakes_per_address: 32,
            streams_per_peer: 256,
            connect_timeout: Duration::from_secs(15),
            hello_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            access_timeout: Duration::from_secs(5),
            rechecks: 64,
            recheck_timeout: Duration::from_secs(60),
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
