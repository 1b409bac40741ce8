"""Peer-to-peer streams by public key, with two lanes each: one for data, one for errors.

>>> import asyncio
>>> from twolane import Node
>>>
>>> async def main():
...     async with Node(offline=True) as server, Node(offline=True) as client:
...
...         @server.serve_requests("upper/1")
...         def upper(request):
...             return request.body.upper()
...
...         print(await client.request(server.ticket, "upper/1", b"hello"))
>>>
>>> asyncio.run(main())
b'HELLO'

`Node` is a local endpoint and `XStream` is a stream. `KeyPair` and `PeerId` are keys, and a `Ticket` has the addresses
of a peer. Every error is a `TwolaneError`; `twolane.exceptions` has the tree. Properties are synchronous, and
operations are awaited. Every operation may be cancelled, and its documentation describes the effect.

`twolane.anyio` has streams and a listener for anyio. The logger `twolane` has what goes wrong in handlers, and, if its
level is set before a node is started, what the transport says.
"""

try:
    from . import _native
except ImportError as _error:
    if "subinterpreter" in str(_error):
        raise ImportError(
            "twolane cannot be used in a subinterpreter, because its threads belong to the main interpreter: use a "
            "process of its own"
        ) from _error
    raise

from . import _process, events, exceptions
from ._buffer import Buffer
from ._handlers import HANDLER_FAILED, RequestHandler, Rule, StreamHandler
from ._native import AccessList, Delegation, KeyPair, PeerId, Question, Request, Ticket, __version__
from ._options import PathPolicy, Peer
from ._writing import PartialWrite
from .events import (
    Connected,
    DelegationEnded,
    DialFailed,
    Disconnected,
    Event,
    Missed,
    OtherEvent,
    PathChanged,
)
from .exceptions import (
    AlreadyServed,
    BindError,
    ConcurrentUse,
    ConnectionLost,
    ConnectionTimedOut,
    DelegationError,
    DialError,
    DialTimeout,
    Fail,
    Forbidden,
    ForkError,
    IncompleteReadError,
    InvalidKey,
    InvalidOption,
    InvalidProtocol,
    InvalidSignature,
    InvalidTicket,
    KeyFileError,
    KeyFileExists,
    KeyFileNotFound,
    KeyFilePermission,
    NodeClosed,
    NotStarted,
    OpenTimeout,
    ProtocolViolation,
    Refuse,
    Rejected,
    RequestTimeout,
    StreamAborted,
    StreamEnded,
    StreamError,
    StreamFailed,
    StreamFailedIncomplete,
    StreamReset,
    StreamStopped,
    StreamTimedOut,
    TooLarge,
    TooManyStreams,
    TwolaneError,
    UnknownProtocol,
)
from .hooks import Hooks
from .info import Network, Obstacle, PathInfo, PeerInfo, RelayStatus, Report, ShutdownReport, Status
from .keep import Keep
from .limits import Limits
from .node import Node
from .reports import Reports
from .sources import Events, Opening, Streams
from .stream import XStream

__all__ = [
    "HANDLER_FAILED",
    "AccessList",
    "AlreadyServed",
    "BindError",
    "Buffer",
    "ConcurrentUse",
    "Connected",
    "ConnectionLost",
    "ConnectionTimedOut",
    "Delegation",
    "DelegationEnded",
    "DelegationError",
    "DialError",
    "DialFailed",
    "DialTimeout",
    "Disconnected",
    "Event",
    "Events",
    "Fail",
    "Forbidden",
    "ForkError",
    "Hooks",
    "IncompleteReadError",
    "InvalidKey",
    "InvalidOption",
    "InvalidProtocol",
    "InvalidSignature",
    "InvalidTicket",
    "Keep",
    "KeyFileError",
    "KeyFileExists",
    "KeyFileNotFound",
    "KeyFilePermission",
    "KeyPair",
    "Limits",
    "Missed",
    "Network",
    "Node",
    "NodeClosed",
    "NotStarted",
    "Obstacle",
    "OpenTimeout",
    "Opening",
    "OtherEvent",
    "PartialWrite",
    "PathChanged",
    "PathInfo",
    "PathPolicy",
    "Peer",
    "PeerId",
    "PeerInfo",
    "ProtocolViolation",
    "Question",
    "Refuse",
    "Rejected",
    "RelayStatus",
    "Report",
    "Reports",
    "Request",
    "RequestHandler",
    "RequestTimeout",
    "Rule",
    "ShutdownReport",
    "Status",
    "StreamAborted",
    "StreamEnded",
    "StreamError",
    "StreamFailed",
    "StreamFailedIncomplete",
    "StreamHandler",
    "StreamReset",
    "StreamStopped",
    "StreamTimedOut",
    "Streams",
    "Ticket",
    "TooLarge",
    "TooManyStreams",
    "TwolaneError",
    "UnknownProtocol",
    "XStream",
    "__version__",
    "events",
    "exceptions",
]

_process.watch()
