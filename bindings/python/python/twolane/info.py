"""Information about peers and about a node."""

from __future__ import annotations

import typing

from ._native import PeerId
from ._record import Record, field

__all__ = ["Network", "Obstacle", "PathInfo", "PeerInfo", "RelayStatus", "Report", "ShutdownReport", "Status"]

PathKind: typing.TypeAlias = typing.Literal["direct", "relay"]
Reach: typing.TypeAlias = typing.Literal[
    "unknown", "direct", "relay_only", "local_network", "this_machine", "nobody"
]
Severity: typing.TypeAlias = typing.Literal["warning", "fatal", "abort"]


class PathInfo(Record):
    """One path to a peer."""

    kind: PathKind = field("`direct` or `relay`.")
    remote: str = field("An IP address with its port, or a relay's URL.")
    rtt: float = field("The round-trip time in seconds.")
    selected: bool = field("Whether data takes this path now.")
    sent: int = field("The number of bytes of UDP payload sent on the path.")
    received: int = field("The number of bytes of UDP payload received on the path.")


class PeerInfo(Record):
    """Information about a connected peer at one moment."""

    id: PeerId = field("The peer's key.")
    owner: PeerId | None = field("The key that the peer acts for, by a delegation that holds now.")
    path: PathKind | None = field("The path that the data takes now; None until it is known.")
    rtt: float | None = field("The round-trip time of that path in seconds.")
    paths: tuple[PathInfo, ...] = field("All paths, including the selected one.")
    streams: int = field("The number of open streams, in both directions.")
    connections: int = field(
        "The number of QUIC connections: one, or for a moment two after both sides dialled at the same time."
    )
    connected_for: float = field("The number of seconds since the peer connected, without interruption.")
    sent: int = field("The number of bytes of UDP payload sent on the connections that exist now.")
    received: int = field("The number of bytes of UDP payload received on the connections that exist now.")
    last_error: str | None = field("The last error with this peer.")


class RelayStatus(Record):
    """One relay."""

    url: str = field("The URL of the relay.")
    home: bool = field("Whether peers are told to meet this node at this relay. It is the nearest one.")
    connected: bool = field("Whether the relay knows this node now.")
    latency: float | None = field("The shortest round-trip time to the relay in seconds; None if it is not known.")
    last_error: str | None = field("The reason why the relay does not know this node.")


class Obstacle(Record):
    """What keeps a node from being reached, or from being reached directly."""

    name: str = field(
        "Its name for programs: `no_network`, `no_relay`, `relay_unreachable`, `relay_denied`, `direct_off`, "
        "`loopback_only`, `udp_blocked`, `no_address_discovery`, `nat_varies` or `captive_portal`."
    )
    text: str = field("What it is and what to do, for people.")


class Network(Record):
    """What the network lets through, as the relays have seen it."""

    ipv4: bool = field("Whether UDP over IPv4 went to a relay and back.")
    ipv6: bool = field("Whether UDP over IPv6 went to a relay and back.")
    public_ipv4: str | None = field("The IPv4 address of this node with its port, as a relay sees it.")
    public_ipv6: str | None = field("The IPv6 address of this node with its port, as a relay sees it.")
    nat_varies: bool | None = field(
        "Whether two relays see this node at different addresses or ports. Between two such NATs, data stays on the "
        "relay. None if there were not two relays to compare."
    )


class Status(Record):
    """The status of a node in the network. Parts of the network that cannot be reached are reported here, and
    cause no errors."""

    reach: Reach = field(
        "Which peers can reach this node: `unknown` yet, any peer `direct`, any peer but `relay_only`, those in the "
        "`local_network`, programs on `this_machine`, or `nobody`."
    )
    obstacles: tuple[Obstacle, ...] = field("What keeps it from a better reach.")
    sockets: tuple[str, ...] = field("The local sockets.")
    addrs: tuple[str, ...] = field("The known addresses at which peers may reach this node.")
    relays: tuple[RelayStatus, ...] = field("The relays. Empty if none is configured, or none was chosen yet.")
    network: Network | None = field("What the network lets through; None until a relay was asked.")
    local_network: bool = field("Whether peers on the local network are found.")
    local_network_error: str | None = field("The reason why they are not found, if the lookup was requested.")


class ShutdownReport(Record):
    """The result of closing a node."""

    drained: int = field("The number of connections that ended without open streams.", default=0)
    cut: int = field(
        "The number of connections with open streams that were closed at the deadline, or lost before it.", default=0
    )
    silent: int = field(
        "The number of connections that were closed because nothing arrived from their peers any more.", default=0
    )
    streams_cut: int = field(
        "The number of streams that were open on the connections counted in `cut` and `silent`.", default=0
    )
    tasks_left: int = field(
        "The number of handlers and hooks that were still running when this report was returned.", default=0
    )


class Report(Record):
    """A report of the peer on the error lane."""

    severity: Severity = field(
        "`warning`: the stream continues. `fatal` or `abort`: the stream has ended, and reading and writing raise an "
        "error too."
    )
    code: int = field("The code that the peer's program gave.")
    text: str = field("The text from the peer. Show it as a quotation.")
    details: bytes = field("The details for programs.")
    offset: int = field("The number of bytes of data that the peer had written before the report.")
    missed: int = field(
        "The number of reports that were dropped before this one, because they were not read (`Limits.warnings`).",
        default=0,
    )


def peer_info(parts: dict[str, typing.Any]) -> PeerInfo:
    """Makes the information from the fields that the native half returns."""
    paths = tuple(PathInfo(**path) for path in parts.pop("paths"))
    return PeerInfo(paths=paths, **parts)


def status(parts: dict[str, typing.Any]) -> Status:
    """Makes the status from the fields that the native half returns."""
    network = parts.pop("network")
    return Status(
        obstacles=tuple(Obstacle(*obstacle) for obstacle in parts.pop("obstacles")),
        sockets=tuple(parts.pop("sockets")),
        addrs=tuple(parts.pop("addrs")),
        relays=tuple(RelayStatus(**relay) for relay in parts.pop("relays")),
        network=None if network is None else Network(**network),
        **parts,
    )
