"""What is known of peers and of the endpoint, and the limits."""

from __future__ import annotations

import dataclasses
import typing

from . import _native

if typing.TYPE_CHECKING:
    from ._native import PeerId

__all__ = ["Limits", "PathInfo", "PeerInfo", "RelayStatus", "Report", "ShutdownReport", "Status"]


@dataclasses.dataclass(frozen=True, slots=True)
class PathInfo:
    """One way to a peer."""

    kind: str
    """`direct` or `relay`."""
    remote: str
    """An IP address with its port, or a relay's URL."""
    rtt: float
    """Its round trip, in seconds."""
    selected: bool
    """Whether data takes it now."""
    sent: int
    """Bytes of UDP payload sent on it."""
    received: int
    """Bytes of UDP payload received on it."""


@dataclasses.dataclass(frozen=True, slots=True)
class PeerInfo:
    """What is known of a connected peer, at one moment."""

    id: PeerId
    owner: PeerId | None
    """The key that it acts for, by a delegation that holds now."""
    path: str | None
    """The way its data takes now, `direct` or `relay`; None while that is being decided."""
    rtt: float | None
    """Round trip of that way, in seconds."""
    paths: tuple[PathInfo, ...]
    """Every way there is, that one among them."""
    streams: int
    """Streams that are open, in both directions."""
    connections: int
    """QUIC connections: one, and for a moment two after both sides dialled at once."""
    connected_for: float
    """Seconds without a break."""
    sent: int
    """Bytes of UDP payload sent, on the connections that exist now."""
    received: int
    last_error: str | None
    """The last thing that went wrong with this peer."""


@dataclasses.dataclass(frozen=True, slots=True)
class RelayStatus:
    """One relay."""

    url: str
    connected: bool
    """Whether it knows us now."""
    last_error: str | None
    """Why it does not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """How an endpoint stands in the network. What is not reachable is said here, and fails nothing."""

    sockets: tuple[str, ...]
    """Local sockets."""
    addrs: tuple[str, ...]
    """Addresses at which peers may reach us, as far as known."""
    relays: tuple[RelayStatus, ...]
    """Empty if none is configured, or none was chosen yet."""
    local_network: bool
    """Whether peers on the local network are found."""
    local_network_error: str | None
    """Why not, if that was wanted."""


@dataclasses.dataclass(frozen=True, slots=True)
class ShutdownReport:
    """How an endpoint ended."""

    drained: int = 0
    """Connections that ended with nothing under way."""
    cut: int = 0
    """Connections that were closed by the deadline, or lost before it, with streams open."""
    silent: int = 0
    """Connections that were closed since nothing came from their peers any more."""
    streams_cut: int = 0
    """Streams that were open on the last two."""
    tasks_left: int = 0
    """Handlers and hooks that went on when this was returned."""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What the peer said on the error lane."""

    severity: str
    """`warning`: the stream goes on. `fatal` or `abort`: it has ended, and reading and writing say so too."""
    code: int
    text: str
    """The peer's words: show them as a quotation."""
    details: bytes
    offset: int
    """How many bytes of data the peer had written before."""
    missed: int = 0
    """Reports that were dropped before this one, because nobody read them (`Limits.warnings`)."""


_DEFAULTS: typing.Final = _native.default_limits()


def _count(name: str) -> typing.Any:
    return dataclasses.field(default=int(_DEFAULTS[name]))


def _seconds(name: str) -> typing.Any:
    return dataclasses.field(default=float(_DEFAULTS[name]))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every bound of an endpoint. Each has a safe default, and the one that is hit is named in the error.

    Durations are in seconds, sizes in bytes. What too low and too high values do is in the documentation of the Rust
    crate, under the same names.
    """

    peers: int = _count("peers")
    """Peers that may be connected at a time."""
    handshakes: int = _count("handshakes")
    """Inbound handshakes under way at a time."""
    handshakes_per_address: int = _count("handshakes_per_address")
    """Of those, from one address."""
    streams_per_peer: int = _count("streams_per_peer")
    """Streams that one side may have open to the other at a time."""
    streams_without_header: int = _count("streams_without_header")
    """Streams of one connection whose header has not come."""
    streams_waiting: int = _count("streams_waiting")
    """Streams of one peer that wait for somebody to accept them."""
    metadata: int = _count("metadata")
    """Metadata of a stream, at most 16 KiB."""
    unread_bytes: int = _count("unread_bytes")
    """Bytes that one peer may have sent and nobody read, all its streams together."""
    warnings: int = _count("warnings")
    """Warnings that wait to be read on one stream."""
    request_bytes: int = _count("request_bytes")
    """A request, or a response."""
    events: int = _count("events")
    """Events that wait for a slow subscriber."""
    connect_timeout: float = _seconds("connect_timeout")
    """A dial, from looking the peer up to the end of the handshake."""
    hello_timeout: float = _seconds("hello_timeout")
    """An inbound handshake, and the peer's first words."""
    header_timeout: float = _seconds("header_timeout")
    """A stream's header, and between two pieces of a request."""
    access_timeout: float = _seconds("access_timeout")
    clock_skew: float = _seconds("clock_skew")
    """How far the clocks of two machines may differ."""
    open_timeout: float = _seconds("open_timeout")
    """A stream to be opened: a free place, and the peer's answer."""
    accept_timeout: float = _seconds("accept_timeout")
    """How long a stream waits for an `accept`, before its opener is told `busy`."""
    linger: float = _seconds("linger")
    """How long a stream that was failed waits for the peer to read the bytes before the error."""
    error_timeout: float = _seconds("error_timeout")
    """How long the end of a stream waits for the words that explain it."""
    idle_timeout: float = _seconds("idle_timeout")
    """A connection over which nothing at all arrives is given up after this."""
    path_timeout: float = _seconds("path_timeout")
    """A direct path over which nothing arrives is given up after this, if a relay can carry on.

    A third of it is the time between the packets that keep the path alive."""
    unused_timeout: float = _seconds("unused_timeout")
    """A connection that this node has dialled and does not keep, and on which nothing was open for so long, is let go of.

    `math.inf` is never."""
