"""The limits of a node."""

from __future__ import annotations

import typing

from . import _native
from ._record import Record, field

__all__ = ["Limits"]

_DEFAULTS: typing.Final = _native.default_limits()


class Limits(Record, kw_only=True):
    """The limits of a node. Each has a safe default, and an error names the limit that was reached.

    Durations are in seconds, sizes in bytes. `math.inf` means no limit of time. The documentation of the Rust
    crate describes the effects of values that are too low and too high, under the same names.
    """

    peers: int = field(
        "Maximum number of peers that are connected at the same time.",
        default=int(_DEFAULTS["peers"]),
    )
    handshakes: int = field(
        "Maximum number of concurrent inbound handshakes.",
        default=int(_DEFAULTS["handshakes"]),
    )
    handshakes_per_address: int = field(
        "Maximum number of concurrent inbound handshakes from one address.",
        default=int(_DEFAULTS["handshakes_per_address"]),
    )
    streams_per_peer: int = field(
        "Maximum number of streams that one side may have open to the other at the same time.",
        default=int(_DEFAULTS["streams_per_peer"]),
    )
    streams_without_header: int = field(
        "Maximum number of streams of one connection whose header has not arrived.",
        default=int(_DEFAULTS["streams_without_header"]),
    )
    streams_waiting: int = field(
        "Maximum number of streams of one peer that wait to be accepted.",
        default=int(_DEFAULTS["streams_waiting"]),
    )
    metadata: int = field(
        "Maximum length of a stream's metadata, up to 16 KiB.",
        default=int(_DEFAULTS["metadata"]),
    )
    unread_bytes: int = field(
        "Maximum number of unread bytes that one peer may have sent, on all its streams together. What a call such "
        "as `XStream.read()` without a length has collected counts as read: its `limit` bounds that.",
        default=int(_DEFAULTS["unread_bytes"]),
    )
    warnings: int = field(
        "Maximum number of unread warnings on one stream.",
        default=int(_DEFAULTS["warnings"]),
    )
    request_bytes: int = field(
        "Maximum length of a request or of a response.",
        default=int(_DEFAULTS["request_bytes"]),
    )
    events: int = field(
        "Maximum number of events that wait for a slow subscriber.",
        default=int(_DEFAULTS["events"]),
    )
    connect_timeout: float = field(
        "Maximum time for a dial, from the lookup of the peer to the end of the handshake.",
        default=float(_DEFAULTS["connect_timeout"]),
    )
    hello_timeout: float = field(
        "Maximum time for an inbound handshake, and for the peer's first message (HELLO).",
        default=float(_DEFAULTS["hello_timeout"]),
    )
    header_timeout: float = field(
        "Maximum time for a stream's header, and between two pieces of a request.",
        default=float(_DEFAULTS["header_timeout"]),
    )
    access_timeout: float = field(
        "Maximum time for an answer of an access rule, and for a call of a hook.",
        default=float(_DEFAULTS["access_timeout"]),
    )
    clock_skew: float = field(
        "Maximum difference between the clocks of two machines.",
        default=float(_DEFAULTS["clock_skew"]),
    )
    open_timeout: float = field(
        "Maximum time to open a stream: to wait for a free place, and for the peer's answer.",
        default=float(_DEFAULTS["open_timeout"]),
    )
    accept_timeout: float = field(
        "Maximum time for which a stream waits for an `accept`, before its opener is told `busy`.",
        default=float(_DEFAULTS["accept_timeout"]),
    )
    linger: float = field(
        "Maximum time for which a failed stream waits for the peer to read the bytes before the error.",
        default=float(_DEFAULTS["linger"]),
    )
    error_timeout: float = field(
        "Maximum time for which the end of a stream waits for the record that explains it.",
        default=float(_DEFAULTS["error_timeout"]),
    )
    idle_timeout: float = field(
        "Time after which a connection is given up if nothing arrives over it.",
        default=float(_DEFAULTS["idle_timeout"]),
    )
    path_timeout: float = field(
        "Time after which a direct path is given up if nothing arrives over it and a relay can replace it. The "
        "packets that keep the path alive are sent at a third of this interval.",
        default=float(_DEFAULTS["path_timeout"]),
    )
    unused_timeout: float = field(
        "Time after which a connection without open streams is closed, if this node has dialled it and does not keep "
        "it.",
        default=float(_DEFAULTS["unused_timeout"]),
    )
