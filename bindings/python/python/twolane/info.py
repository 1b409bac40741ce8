"""Information about peers and about the endpoint, and the limits."""

from __future__ import annotations

import dataclasses
import typing

from . import _native

if typing.TYPE_CHECKING:
    from ._native import PeerId

__all__ = ["Limits", "PathInfo", "PeerInfo", "RelayStatus", "Report", "ShutdownReport", "Status"]


@dataclasses.dataclass(frozen=True, slots=True)
class PathInfo:
    """One path to a peer."""

    kind: str
    """`direct` or `relay`."""
    remote: str
    """An IP address with its port, or a relay's URL."""
    rtt: float
    """The round-trip time in seconds."""
    selected: bool
    """Whether data takes this path now."""
    sent: int
    """The number of bytes of UDP payload sent on the path."""
    received: int
    """The number of bytes of UDP payload received on the path."""


@dataclasses.dataclass(frozen=True, slots=True)
class PeerInfo:
    """Information about a connected peer at one moment."""

    id: PeerId
    owner: PeerId | None
    """The key that the peer acts for, by a delegation that holds now."""
    path: str | None
    """The path that the data takes now, `direct` or `relay`; None until it is known."""
    rtt: float | None
    """The round-trip time of that path in seconds."""
    paths: tuple[PathInfo, ...]
    """All paths, including the selected one."""
    key_exchange: str | None
    """The key exchange of the connection: `X25519MLKEM768`, which is post-quantum, or `X25519`."""
    streams: int
    """The number of open streams, in both directions."""
    connections: int
    """The number of QUIC connections: one, or for a moment two after both sides dialled at the same time."""
    connected_for: float
    """The number of seconds since the peer connected, without interruption."""
    sent: int
    """The number of bytes of UDP payload sent on the connections that exist now."""
    received: int
    last_error: str | None
    """The last error with this peer."""


@dataclasses.dataclass(frozen=True, slots=True)
class RelayStatus:
    """One relay."""

    url: str
    connected: bool
    """Whether the relay knows this endpoint now."""
    last_error: str | None
    """The reason why it does not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """The network status of an endpoint. Parts of the network that cannot be reached are reported here, and
    cause no errors."""

    sockets: tuple[str, ...]
    """The local sockets."""
    addrs: tuple[str, ...]
    """The known addresses at which peers may reach this endpoint."""
    relays: tuple[RelayStatus, ...]
    """The relays. Empty if none is configured, or none was chosen yet."""
    local_network: bool
    """Whether peers on the local network are found."""
    local_network_error: str | None
    """The reason why they are not found, if the lookup was requested."""


@dataclasses.dataclass(frozen=True, slots=True)
class ShutdownReport:
    """The result of a shutdown."""

    drained: int = 0
    """The number of connections that ended without open streams."""
    cut: int = 0
    """The number of connections with open streams that were closed at the deadline, or lost before it."""
    silent: int = 0
    """The number of connections that were closed because nothing arrived from their peers any more."""
    streams_cut: int = 0
    """The number of streams that were open on the connections counted in `cut` and `silent`."""
    tasks_left: int = 0
    """The number of handlers and hooks that were still running when this report was returned."""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """A report of the peer on the error lane."""

    severity: str
    """`warning`: the stream continues. `fatal` or `abort`: the stream has ended, and reading and writing
    raise an error too."""
    code: int
    text: str
    """The text from the peer. Show it as a quotation."""
    details: bytes
    offset: int
    """The number of bytes of data that the peer had written before the report."""
    missed: int = 0
    """The number of reports that were dropped before this one, because they were not read
    (`Limits.warnings`)."""


_DEFAULTS: typing.Final = _native.default_limits()


def _count(name: str) -> typing.Any:
    return dataclasses.field(default=int(_DEFAULTS[name]))


def _seconds(name: str) -> typing.Any:
    return dataclasses.field(default=float(_DEFAULTS[name]))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of an endpoint. Each has a safe default, and an error names the limit that was reached.

    Durations are in seconds, sizes in bytes. The documentation of the Rust crate describes the effects of
    values that are too low and too high, under the same names.
    """

    peers: int = _count("peers")
    """Maximum number of peers that are connected at the same time."""
    handshakes: int = _count("handshakes")
    """Maximum number of concurrent inbound handshakes."""
    handshakes_per_address: int = _count("handshakes_per_address")
    """Maximum number of concurrent inbound handshakes from one address."""
    streams_per_peer: int = _count("streams_per_peer")
    """Maximum number of streams that one side may have open to the other at the same time."""
    streams_without_header: int = _count("streams_without_header")
    """Maximum number of streams of one connection whose header has not arrived."""
    streams_waiting: int = _count("streams_waiting")
    """Maximum number of streams of one peer that wait to be accepted."""
    metadata: int = _count("metadata")
    """Maximum length of a stream's metadata, up to 16 KiB."""
    unread_bytes: int = _count("unread_bytes")
    """Maximum number of unread bytes that one peer may have sent, on all its streams together."""
    warnings: int = _count("warnings")
    """Maximum number of unread warnings on one stream."""
    request_bytes: int = _count("request_bytes")
    """Maximum length of a request or of a response."""
    events: int = _count("events")
    """Maximum number of events that wait for a slow subscriber."""
    connect_timeout: float = _seconds("connect_timeout")
    """Maximum time for a dial, from the lookup of the peer to the end of the handshake."""
    hello_timeout: float = _seconds("hello_timeout")
    """Maximum time for an inbound handshake, and for the peer's first message (HELLO)."""
    header_timeout: float = _seconds("header_timeout")
    """Maximum time for a stream's header, and between two pieces of a request."""
    access_timeout: float = _seconds("access_timeout")
    clock_skew: float = _seconds("clock_skew")
    """Maximum difference between the clocks of two machines."""
    open_timeout: float = _seconds("open_timeout")
    """Maximum time to open a stream: to wait for a free place, and for the peer's answer."""
    accept_timeout: float = _seconds("accept_timeout")
    """Maximum time for which a stream waits for an `accept`, before its opener is told `busy`."""
    linger: float = _seconds("linger")
    """Maximum time for which a failed stream waits for the peer to read the bytes before the error."""
    error_timeout: float = _seconds("error_timeout")
    """Maximum time for which the end of a stream waits for the record that explains it."""
    idle_timeout: float = _seconds("idle_timeout")
    """Time after which a connection is given up if nothing arrives over it."""
    path_timeout: float = _seconds("path_timeout")
    """Time after which a direct path is given up if nothing arrives over it and a relay can replace it.

    The packets that keep the path alive are sent at a third of this interval."""
    unused_timeout: float = _seconds("unused_timeout")
    """Time after which a connection without open streams is closed, if this node has dialled it and does not
    keep it.

    `math.inf` means never."""
