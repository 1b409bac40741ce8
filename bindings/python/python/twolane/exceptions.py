"""Everything that can go wrong, as one tree. Each is also the builtin that people catch already.

    TwolaneError
    ├── StreamError
    │   ├── StreamFailed            ConnectionError         the peer failed the stream, and says why
    │   │   └── StreamAborted       ConnectionAbortedError  likewise, and unread data is discarded
    │   ├── StreamFailedIncomplete  ConnectionError         likewise, and bytes that it wrote before did not arrive
    │   ├── StreamReset             ConnectionResetError    the peer dropped the stream before its data was complete
    │   ├── StreamStopped           BrokenPipeError         the peer stopped reading
    │   ├── StreamTimedOut          TimeoutError            nothing more could be sent for too long
    │   ├── StreamEnded             ConnectionError         this side has ended the stream
    │   └── IncompleteReadError     EOFError                the data ended, in order, before there was enough
    ├── ConnectionLost              ConnectionError         the connection to the peer is no more; `reason` says why
    │   ├── ConnectionTimedOut      TimeoutError
    │   └── Forbidden               PermissionError         the rules of one of the two sides do not allow it
    ├── DialError                   ConnectionError         the peer cannot be reached
    │   └── DialTimeout             TimeoutError
    ├── Rejected                    ConnectionRefusedError  the peer said no to a stream; `reason` says why
    │   └── UnknownProtocol                                 nobody there serves the protocol
    ├── OpenTimeout                 TimeoutError            the peer did not answer the stream in time
    │   └── TooManyStreams                                  as many are open as the peer allows
    ├── RequestTimeout              TimeoutError            there was no response in time
    ├── TooLarge                    ValueError              a limit on a size; nothing was taken
    ├── ProtocolViolation           ConnectionError         the peer does not follow the wire format
    ├── EndpointClosed              ConnectionError         this endpoint is closed, or is closing
    ├── NotStarted                  RuntimeError            this endpoint is not bound yet
    ├── BindError                   OSError                 no socket
    ├── KeyFileError                OSError                 a key file cannot be used
    │   ├── KeyFileNotFound         FileNotFoundError
    │   ├── KeyFileExists           FileExistsError
    │   └── KeyFilePermission       PermissionError         others can read it, or we cannot
    ├── InvalidKey                  ValueError              not a key
    ├── InvalidSignature            ValueError              not a signature by that key over that message
    ├── InvalidTicket               ValueError              not a ticket
    ├── InvalidProtocol             ValueError              not a protocol's name, or not a pattern of such
    ├── InvalidOption               ValueError              not an address or a relay
    ├── DelegationError             ValueError              a certificate that does not hold, or cannot be made
    ├── AlreadyServed               ValueError              the protocol has a handler
    ├── ConcurrentUse               RuntimeError            two tasks wait for the same thing
    ├── ForkError                   RuntimeError            used in a forked child
    └── StreamFailure                                       raised by handlers, to tell the peer
"""

from __future__ import annotations

import asyncio
import typing

if typing.TYPE_CHECKING:
    from ._native import PeerId

__all__ = [
    "AlreadyServed",
    "BindError",
    "ConcurrentUse",
    "ConnectionLost",
    "ConnectionTimedOut",
    "DelegationError",
    "DialError",
    "DialTimeout",
    "EndpointClosed",
    "Forbidden",
    "ForkError",
    "IncompleteReadError",
    "InvalidKey",
    "InvalidOption",
    "InvalidProtocol",
    "InvalidSignature",
    "InvalidTicket",
    "KeyFileError",
    "KeyFileExists",
    "KeyFileNotFound",
    "KeyFilePermission",
    "NotStarted",
    "OpenTimeout",
    "ProtocolViolation",
    "Rejected",
    "RequestTimeout",
    "StreamAborted",
    "StreamEnded",
    "StreamError",
    "StreamFailed",
    "StreamFailedIncomplete",
    "StreamFailure",
    "StreamReset",
    "StreamStopped",
    "StreamTimedOut",
    "TooLarge",
    "TooManyStreams",
    "TwolaneError",
    "UnknownProtocol",
]


class TwolaneError(Exception):
    """The base of all.

    `str()` is for people: what happened, with the causes, and what to do. A peer's words in it are shown as they are,
    but for what a terminal would obey. Programs look at the class and the attributes:
    """

    code: int | None
    """The application's code, of errors that the peer sent; the transport's, of a reset."""
    text: str | None
    """The peer's words."""
    details: bytes
    """What the peer sent for programs, at most 60 KiB."""
    offset: int | None
    """How many bytes of data the peer had written on the stream before. Of `StreamFailed` all of them have been read; of
    `StreamAborted` and `StreamFailedIncomplete` not."""
    missing: int | None
    """Of `StreamFailedIncomplete`: how many bytes before `offset` did not arrive."""
    peer: PeerId | None
    """With whom, where the operation has one."""
    phase: str | None
    """How far it came: `dial`, `open`, `send`, `answer`, `response`, `read` or `write`."""
    fault: str | None
    """Whose it is: `caller`, `peer`, `network` or `us`."""
    reason: str | None
    """The kind, where the class has several, such as `busy` or `restarted`."""
    retryable: bool
    """Whether the same may work later, with nothing changed."""
    may_have_been_handled: bool | None
    """Of a request: whether the peer's program can have seen it. If not, it is safe to send it again."""

    def __init__(
        self,
        message: str = "",
        *,
        code: int | None = None,
        text: str | None = None,
        details: bytes = b"",
        offset: int | None = None,
        missing: int | None = None,
        peer: PeerId | None = None,
        phase: str | None = None,
        fault: str | None = None,
        reason: str | None = None,
        retryable: bool = False,
        may_have_been_handled: bool | None = None,
    ) -> None:
        # The constructors of some builtins take other arguments, and none needs to be called.
        self.args = (_harmless(message),)
        self.code = code
        self.text = text
        self.details = details
        self.offset = offset
        self.missing = missing
        self.peer = peer
        self.phase = phase
        self.fault = fault
        self.reason = reason
        self.retryable = retryable
        self.may_have_been_handled = may_have_been_handled

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class StreamError(TwolaneError):
    """A stream did not come to a good end."""


class StreamFailed(StreamError, ConnectionError):
    """The peer failed the stream: `code`, `text`, `details`, and `offset`. Every byte before that has been read."""


class StreamAborted(StreamFailed, ConnectionAbortedError):
    """The peer aborted the stream: what was not read yet is discarded."""


class StreamFailedIncomplete(StreamError, ConnectionError):
    """The peer failed the stream (`code`, `text`, `details`), and its data ended before `offset`: the last `missing` bytes
    of it did not arrive. No kind of `StreamFailed`, whose `offset` is how many bytes have been read."""


class StreamReset(StreamError, ConnectionResetError):
    """The peer's side was dropped or cancelled: the data is not complete, and no reason was given."""


class StreamStopped(StreamError, BrokenPipeError):
    """The peer wants no more data, and gave no reason."""


class StreamTimedOut(StreamError, TimeoutError):
    """The peer allowed nothing more to be sent for the time that this side waits at most."""


class StreamEnded(StreamError, ConnectionError):
    """This side has finished, failed, aborted or closed the stream before."""


class IncompleteReadError(StreamError, asyncio.IncompleteReadError):
    """The data ended, in order, before there was enough of it: `partial` is what there was, `expected` how many bytes."""

    def __init__(
        self, message: str = "", *, partial: bytes = b"", expected: int | None = None, **attributes: typing.Any
    ) -> None:
        super().__init__(message, **attributes)
        self.partial = partial
        self.expected = expected

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return _again, (type(self), self.args, self.__dict__.copy())


class ConnectionLost(TwolaneError, ConnectionError):
    """The connection to the peer is no more."""


class ConnectionTimedOut(ConnectionLost, TimeoutError):
    """Nothing was heard from the peer any more."""


class Forbidden(ConnectionLost, PermissionError):
    """The rules of one of the two sides do not allow the connection, or do not any more."""


class DialError(TwolaneError, ConnectionError):
    """The peer cannot be reached."""


class DialTimeout(DialError, TimeoutError):
    """The peer did not answer in time: is it running, and is its network up?"""


class Rejected(TwolaneError, ConnectionRefusedError):
    """The peer said no to this stream, and to nothing else. `reason` is one of `unknown_protocol`, `refused`, `busy`,
    `shutting_down`, `too_large`, `malformed`, `unsupported` and `other`; `text` may have more."""


class UnknownProtocol(Rejected):
    """Nobody there serves the protocol: check its spelling and version on both sides."""


class OpenTimeout(TwolaneError, TimeoutError):
    """The peer is connected, and did not answer the stream in time."""


class TooManyStreams(OpenTimeout):
    """As many streams to the peer are open as it allows, and none ended in time."""


class RequestTimeout(TwolaneError, TimeoutError):
    """There was no response in time. `phase` and `may_have_been_handled` say how far the request came."""


class TooLarge(TwolaneError, ValueError):
    """Something is over a limit, which the message names. Nothing was taken or sent of it."""


class ProtocolViolation(TwolaneError, ConnectionError):
    """The peer does not follow the wire format."""


class EndpointClosed(TwolaneError, ConnectionError):
    """This endpoint is closed, or is closing."""


class NotStarted(TwolaneError, RuntimeError):
    """This endpoint is not bound yet: use `async with`, or `await endpoint.start()`."""


class BindError(TwolaneError, OSError):
    """No socket could be bound."""


class KeyFileError(TwolaneError, OSError):
    """A key file cannot be read or made."""


class KeyFileNotFound(KeyFileError, FileNotFoundError):
    """There is no key file."""


class KeyFileExists(KeyFileError, FileExistsError):
    """There is something at the path, and a key file is never overwritten."""


class KeyFilePermission(KeyFileError, PermissionError):
    """Others can read the key file, or we cannot."""


class InvalidKey(TwolaneError, ValueError):
    """Not a key."""


class InvalidSignature(TwolaneError, ValueError):
    """Not a signature by that key over exactly that message."""


class InvalidTicket(TwolaneError, ValueError):
    """Neither a ticket nor an id52."""


class InvalidProtocol(TwolaneError, ValueError):
    """Not 1 to 255 visible ASCII characters, or not a pattern."""


class InvalidOption(TwolaneError, ValueError):
    """An option of an endpoint that cannot be."""


class DelegationError(TwolaneError, ValueError):
    """A delegation does not hold, or cannot be made like that."""


class AlreadyServed(TwolaneError, ValueError):
    """The protocol has a handler: stop serving it first."""


class ConcurrentUse(TwolaneError, RuntimeError):
    """Another task waits for the same thing already."""


class ForkError(TwolaneError, RuntimeError):
    """twolane cannot be used in a forked child."""


class StreamFailure(TwolaneError):
    """For handlers to raise: fails the stream, or the request, with these words to the peer.

    >>> raise StreamFailure(28, "the disk is full", details=b"/srv/mail")
    """

    def __init__(self, code: int, text: str = "", details: bytes = b"") -> None:
        super().__init__(f"{text} (code {code})" if text else f"code {code}", code=code, text=text, details=details)

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return type(self), (self.code, self.text, self.details)


def _again(
    cls: type[TwolaneError], args: tuple[typing.Any, ...], attributes: dict[str, typing.Any]
) -> TwolaneError:
    error = cls(*args)
    error.__dict__.update(attributes)
    return error


def _harmless(message: str) -> str:
    """A peer's words may be in it: what a terminal would obey is spelled out."""
    if message.isprintable():
        return message
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in message
    )
