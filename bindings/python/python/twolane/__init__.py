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

`Endpoint` (or `Node`) is a local endpoint and `XStream` is a stream. `KeyPair` and `PeerId` are keys, and a
`Ticket` has the addresses of a peer. Every error is a `TwolaneError`; `twolane.exceptions` has the tree.
Properties are synchronous, and operations are awaited. Every operation may be cancelled, and its documentation
describes the effect.
"""

import atexit as _atexit
import os as _os

from . import _native, events, exceptions
from ._native import AccessList, Delegation, KeyPair, PeerId, Question, Request, Ticket, __version__
from ._outcomes import HANDLER_FAILED
from .endpoint import (
    Endpoint,
    Events,
    Keep,
    Node,
    Peer,
    RequestHandler,
    Rule,
    StreamHandler,
    Streams,
)
from .events import (
    Connected,
    DialFailed,
    Disconnected,
    Event,
    Missed,
    OtherEvent,
    PathChanged,
    DelegationEnded,
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
    EndpointClosed,
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
    NotStarted,
    OpenTimeout,
    ProtocolViolation,
    Rejected,
    RequestTimeout,
    RevocationsNotSaved,
    StreamAborted,
    StreamEnded,
    StreamError,
    StreamFailed,
    StreamFailedIncomplete,
    StreamFailure,
    StreamReset,
    StreamStopped,
    StreamTimedOut,
    TooLarge,
    TooManyStreams,
    TwolaneError,
    UnknownProtocol,
)
from .info import Limits, PathInfo, PeerInfo, RelayStatus, Report, ShutdownReport, Status
from .stream import Buffer, Reports, XStream

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
    "DelegationError",
    "DialError",
    "DialFailed",
    "DialTimeout",
    "Disconnected",
    "Endpoint",
    "EndpointClosed",
    "Event",
    "Events",
    "Forbidden",
    "ForkError",
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
    "Node",
    "NotStarted",
    "OpenTimeout",
    "OtherEvent",
    "PathChanged",
    "PathInfo",
    "Peer",
    "PeerId",
    "PeerInfo",
    "ProtocolViolation",
    "Question",
    "Rejected",
    "RelayStatus",
    "Report",
    "Reports",
    "Request",
    "RequestHandler",
    "RequestTimeout",
    "RevocationsNotSaved",
    "Rule",
    "ShutdownReport",
    "DelegationEnded",
    "Status",
    "StreamAborted",
    "StreamEnded",
    "StreamError",
    "StreamFailed",
    "StreamFailedIncomplete",
    "StreamFailure",
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

# When the interpreter exits, this stops the threads of the library, and tells the peers that this endpoint is
# gone.
_atexit.register(_native.at_exit)
if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_native.after_fork_in_child)
