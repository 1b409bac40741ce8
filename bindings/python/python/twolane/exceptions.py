"""All exceptions of the package, as one tree. Most are also the builtin that programs already catch.

    TwolaneError
    ├── StreamError
    │   ├── StreamFailed            ConnectionError         the peer failed the stream, with a reason
    │   │   └── StreamAborted       ConnectionAbortedError  likewise, and unread data is discarded
    │   ├── StreamFailedIncomplete  ConnectionError         likewise, and bytes that it wrote before did not arrive
    │   ├── StreamReset             ConnectionResetError    the peer dropped the stream before its data was complete
    │   ├── StreamStopped           BrokenPipeError         the peer stopped reading
    │   ├── StreamTimedOut          TimeoutError            nothing could be sent for too long
    │   ├── StreamEnded             ConnectionError         this side has ended the stream
    │   └── IncompleteReadError     EOFError                the data ended, in order, before there was enough
    ├── ConnectionLost              ConnectionError         the connection to the peer was lost; `reason` tells why
    │   ├── ConnectionTimedOut      TimeoutError
    │   └── Forbidden               PermissionError         the rules of one of the two sides do not allow it
    ├── DialError                   ConnectionError         the peer cannot be reached
    │   └── DialTimeout             TimeoutError
    ├── Rejected                    ConnectionRefusedError  the peer rejected a stream; `reason` tells why
    │   └── UnknownProtocol                                 the peer does not serve the protocol
    ├── OpenTimeout                 TimeoutError            the peer did not answer the stream in time
    │   └── TooManyStreams                                  as many are open as the peer allows
    ├── RequestTimeout              TimeoutError            there was no response in time
    ├── TooLarge                    ValueError              a limit on a size; nothing was taken
    ├── ProtocolViolation           ConnectionError         the peer does not follow the wire format
    ├── EndpointClosed              ConnectionError         this endpoint is closed, or is closing
    ├── NotStarted                  RuntimeError            this endpoint is not bound yet
    ├── BindError                   OSError                 no socket could be bound
    ├── RevocationsNotSaved         OSError                 the revoked delegations are not on the disk
    ├── KeyFileError                OSError                 a key file cannot be used
    │   ├── KeyFileNotFound         FileNotFoundError
    │   ├── KeyFileExists           FileExistsError
    │   └── KeyFilePermission       PermissionError         others can read it, or this program cannot
    ├── InvalidKey                  ValueError              not a key
    ├── InvalidSignature            ValueError              not a signature by that key over that message
    ├── InvalidTicket               ValueError              not a ticket
    ├── InvalidProtocol             ValueError              not a protocol name, or not a pattern of names
    ├── InvalidOption               ValueError              not an address or a relay
    ├── DelegationError             ValueError              a certificate that is not valid, or cannot be made
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
    "RevocationsNotSaved",
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
    """The base class of all exceptions.

    `str()` is for people: what happened, with the causes, and what to do. It shows the text from a peer as it
    is, but escapes characters that a terminal would obey. Programs use the class and the attributes:
    """

    code: int | None
    """The application's code, for errors that the peer sent; the code on the wire, for a reset."""
    text: str | None
    """The text from the peer."""
    details: bytes
    """The details that the peer sent for programs, at most 60 KiB."""
    offset: int | None
    """The number of bytes of data that the peer had written on the stream before the error. For
    `StreamFailed`, all of them were read; for `StreamAborted` and `StreamFailedIncomplete`, not all."""
    missing: int | None
    """For `StreamFailedIncomplete`: the number of bytes before `offset` that did not arrive."""
    peer: PeerId | None
    """The peer of the operation, if it has one."""
    phase: str | None
    """The phase that the operation had reached: `dial`, `open`, `send`, `answer`, `response`, `read` or
    `write`."""
    fault: str | None
    """The side at fault: `caller`, `peer`, `network` or `local`."""
    reason: str | None
    """The kind of error, if the class has several, such as `busy` or `peer_restarted`."""
    retryable: bool
    """Whether the same operation may succeed later without any change."""
    may_have_been_handled: bool | None
    """For a request: whether the peer's program may have seen it. If not, it is safe to send it again."""

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
        # Constructors of some builtin exceptions take other arguments, and none of them needs to be called.
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
    """A stream did not end successfully."""


class StreamFailed(StreamError, ConnectionError):
    """The peer failed the stream, with `code`, `text`, `details` and `offset`. Every byte before `offset` was
    read."""


class StreamAborted(StreamFailed, ConnectionAbortedError):
    """The peer aborted the stream: unread data is discarded."""


class StreamFailedIncomplete(StreamError, ConnectionError):
    """The peer failed the stream (`code`, `text`, `details`), and its data ended before `offset`: the last
    `missing` bytes did not arrive. This is not a subclass of `StreamFailed`, whose `offset` is the number of
    bytes that were read."""


class StreamReset(StreamError, ConnectionResetError):
    """The peer's side was dropped or cancelled: the data is not complete, and there is no reason."""


class StreamStopped(StreamError, BrokenPipeError):
    """The peer stopped reading, without a reason."""


class StreamTimedOut(StreamError, TimeoutError):
    """The peer allowed no more data to be sent for the maximum time that this side waits."""


class StreamEnded(StreamError, ConnectionError):
    """This side has already finished, failed, aborted or closed the stream."""


class IncompleteReadError(StreamError, asyncio.IncompleteReadError):
    """The data ended, in order, before there was enough: `partial` are the received bytes, `expected` their
    expected number."""

    def __init__(
        self, message: str = "", *, partial: bytes = b"", expected: int | None = None, **attributes: typing.Any
    ) -> None:
        super().__init__(message, **attributes)
        self.partial = partial
        self.expected = expected

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return _again, (type(self), self.args, self.__dict__.copy())


class ConnectionLost(TwolaneError, ConnectionError):
    """The connection to the peer was lost."""


class ConnectionTimedOut(ConnectionLost, TimeoutError):
    """Nothing arrived from the peer any more."""


class Forbidden(ConnectionLost, PermissionError):
    """The rules of one of the two sides do not allow the connection, or no longer allow it."""


class DialError(TwolaneError, ConnectionError):
    """The peer cannot be reached."""


class DialTimeout(DialError, TimeoutError):
    """The peer did not answer in time: is it running, and is its network up?"""


class Rejected(TwolaneError, ConnectionRefusedError):
    """The peer rejected this stream, without effect on others. `reason` is one of `unknown_protocol`,
    `refused`, `busy`, `shutting_down`, `too_large`, `malformed`, `unsupported` and `other`; `text` may have
    more information."""


class UnknownProtocol(Rejected):
    """The peer does not serve the protocol: check its spelling and version on both sides."""


class OpenTimeout(TwolaneError, TimeoutError):
    """The peer is connected, but did not answer the stream in time."""


class TooManyStreams(OpenTimeout):
    """As many streams to the peer are open as it allows, and none ended in time."""


class RequestTimeout(TwolaneError, TimeoutError):
    """There was no response in time. `phase` and `may_have_been_handled` tell how far the request came."""


class TooLarge(TwolaneError, ValueError):
    """A size is over a limit, which the message names. Nothing of the data was taken or sent."""


class ProtocolViolation(TwolaneError, ConnectionError):
    """The peer does not follow the wire format."""


class EndpointClosed(TwolaneError, ConnectionError):
    """This endpoint is closed, or is closing."""


class NotStarted(TwolaneError, RuntimeError):
    """This endpoint is not bound yet: use `async with`, or `await endpoint.start()`."""


class BindError(TwolaneError, OSError):
    """No socket could be bound."""


class RevocationsNotSaved(TwolaneError, OSError):
    """The revoked delegations are not on the disk: their file cannot be read or written, or there is none."""


class KeyFileError(TwolaneError, OSError):
    """A key file cannot be read or created."""


class KeyFileNotFound(KeyFileError, FileNotFoundError):
    """The key file does not exist."""


class KeyFileExists(KeyFileError, FileExistsError):
    """Something exists at the path, and a key file is never overwritten."""


class KeyFilePermission(KeyFileError, PermissionError):
    """Others can read or replace the key file, or this program cannot read it."""


class InvalidKey(TwolaneError, ValueError):
    """The value is not a key."""


class InvalidSignature(TwolaneError, ValueError):
    """The signature was not made by that key over exactly that message."""


class InvalidTicket(TwolaneError, ValueError):
    """The value is neither a ticket nor an id52, or the ticket is larger than any may be."""


class InvalidProtocol(TwolaneError, ValueError):
    """The name is not 1 to 255 visible ASCII characters, or the text is not a pattern."""


class InvalidOption(TwolaneError, ValueError):
    """An option of an endpoint is not valid."""


class DelegationError(TwolaneError, ValueError):
    """A delegation is not valid, or cannot be made in this form."""


class AlreadyServed(TwolaneError, ValueError):
    """The protocol already has a handler: stop serving it first."""


class ConcurrentUse(TwolaneError, RuntimeError):
    """Another task already waits for the same thing."""


class ForkError(TwolaneError, RuntimeError):
    """twolane cannot be used in a forked child."""


class StreamFailure(TwolaneError):
    """Raised by handlers: fails the stream, or the request, with this code and text for the peer.

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
    """Escapes characters that a terminal would obey, because the message may contain text from a peer."""
    if message.isprintable():
        return message
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in message
    )
