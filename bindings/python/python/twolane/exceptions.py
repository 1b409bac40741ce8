"""All exceptions of the package, as one tree. Most are also the builtin that programs already catch.

    TwolaneError
    ├── StreamError
    │   ├── StreamFailed                                    the peer's program failed the stream, with a reason
    │   │   └── StreamAborted                               likewise, and unread data is discarded
    │   ├── StreamFailedIncomplete                          likewise, and bytes that it wrote before did not arrive
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
    ├── NodeClosed                  ConnectionError         this node is closed, or is closing
    ├── NotStarted                  RuntimeError            this node is not bound yet
    ├── BindError                   OSError                 no socket could be bound
    ├── KeyFileError                OSError                 a key file cannot be used
    │   ├── KeyFileNotFound         FileNotFoundError
    │   ├── KeyFileExists           FileExistsError
    │   └── KeyFilePermission       PermissionError         others can read it, or this program cannot
    ├── InvalidKey                  ValueError              not a key
    ├── InvalidSignature            ValueError              not a signature by that key over that message
    ├── InvalidTicket               ValueError              not a ticket
    ├── InvalidProtocol             ValueError              not a protocol name, or not a pattern of names
    ├── InvalidOption               ValueError              not an address, a relay or another option
    ├── DelegationError             ValueError              a certificate that is not valid, or cannot be made
    ├── AlreadyServed               ValueError              the protocol has a handler
    ├── ConcurrentUse               RuntimeError            two tasks wait for the same thing
    ├── ForkError                   RuntimeError            made before a fork, and used in the child
    ├── Fail                                                raised by handlers: fails the stream or the request
    └── Refuse                                              raised by rules and hooks: the reason for the peer

What the peer's program said (`StreamFailed` and its kin) is no `ConnectionError`: a loop that connects again after
those does not repeat what the other program has refused.
"""

from __future__ import annotations

import asyncio
import os
import typing

from . import _native
from ._buffer import Buffer, to_bytes
from ._text import harmless

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
    "Fail",
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
    "NodeClosed",
    "NotStarted",
    "OpenTimeout",
    "ProtocolViolation",
    "Refuse",
    "Rejected",
    "RequestTimeout",
    "StreamAborted",
    "StreamEnded",
    "StreamError",
    "StreamFailed",
    "StreamFailedIncomplete",
    "StreamReset",
    "StreamStopped",
    "StreamTimedOut",
    "TooLarge",
    "TooManyStreams",
    "TwolaneError",
    "UnknownProtocol",
]

Phase: typing.TypeAlias = typing.Literal["dial", "open", "send", "answer", "response", "read", "write"]
Fault: typing.TypeAlias = typing.Literal["caller", "peer", "network", "local"]


class TwolaneError(Exception):
    """The base class of all exceptions.

    `str()` is for people: what happened, with the causes, and what to do. It shows the text from a peer as it
    is, but escapes characters that a terminal would obey. Programs use the class and the attributes.
    """

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
        phase: Phase | None = None,
        fault: Fault | None = None,
        reason: str | None = None,
        retryable: bool = False,
        may_have_been_handled: bool | None = None,
    ) -> None:
        # Constructors of some builtin exceptions take other arguments, and none of them needs to be called.
        self.args = (harmless(message),)
        self._code = code
        self._text = text
        self._details = details
        self._offset = offset
        self._missing = missing
        self._peer = peer
        self._phase = phase
        self._fault = fault
        self._reason = reason
        self._retryable = retryable
        self._may_have_been_handled = may_have_been_handled

    @property
    def code(self) -> int | None:
        """The application's code, for errors that the peer sent; the code on the wire, for a reset."""
        return self._code

    @property
    def text(self) -> str | None:
        """The text from the peer. Show it as a quotation."""
        return self._text

    @property
    def details(self) -> bytes:
        """The details that the peer sent for programs, at most 60 KiB."""
        return self._details

    @property
    def offset(self) -> int | None:
        """The number of bytes of data that the peer had written on the stream before the error. For
        `StreamFailed`, all of them were read; for `StreamAborted` and `StreamFailedIncomplete`, not all."""
        return self._offset

    @property
    def missing(self) -> int | None:
        """For `StreamFailedIncomplete`: the number of bytes before `offset` that did not arrive."""
        return self._missing

    @property
    def peer(self) -> PeerId | None:
        """The peer of the operation, if it has one."""
        return self._peer

    @property
    def phase(self) -> Phase | None:
        """The phase that the operation had reached."""
        return self._phase

    @property
    def fault(self) -> Fault | None:
        """The side at fault."""
        return self._fault

    @property
    def reason(self) -> str | None:
        """The kind of error, if the class has several, such as `busy` or `peer_restarted`."""
        return self._reason

    @property
    def retryable(self) -> bool:
        """Whether the same operation may succeed later without any change."""
        return self._retryable

    @property
    def may_have_been_handled(self) -> bool | None:
        """For a request: whether the peer's program may have seen it. If not, it is safe to send it again."""
        return self._may_have_been_handled

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class StreamError(TwolaneError):
    """A stream did not end successfully."""


class _Told(StreamError):
    """The peer's program has ended the stream and said why."""

    @property
    def code(self) -> int:
        """The code that the peer's program gave."""
        return self._code or 0

    @property
    def text(self) -> str:
        """The text that the peer's program gave. Show it as a quotation."""
        return self._text or ""

    @property
    def offset(self) -> int:
        """The number of bytes of data that the peer had written on the stream before the error."""
        return self._offset or 0


class StreamFailed(_Told):
    """The peer's program failed the stream, with `code`, `text`, `details` and `offset`. Every byte before
    `offset` was read. Of a request: its handler raised `Fail`."""


class StreamAborted(StreamFailed):
    """The peer's program aborted the stream: unread data is discarded."""


class StreamFailedIncomplete(_Told):
    """The peer's program failed the stream (`code`, `text`, `details`), and its data ended before `offset`: the
    last `missing` bytes did not arrive. This is not a subclass of `StreamFailed`, whose `offset` is the number
    of bytes that were read."""

    @property
    def missing(self) -> int:
        """The number of bytes before `offset` that did not arrive."""
        return self._missing or 0


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
    expected number (None if it is not known)."""

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


class NodeClosed(TwolaneError, ConnectionError):
    """This node is closed, or is closing."""


class NotStarted(TwolaneError, RuntimeError):
    """This node is not bound yet: use `async with`, or `await node.start()`."""


class _OfTheSystem(TwolaneError, OSError):
    """An error with the attributes of an `OSError`."""

    def __init__(
        self,
        message: str = "",
        *,
        errno: int | None = None,
        filename: str | None = None,
        **attributes: typing.Any,
    ) -> None:
        super().__init__(message, **attributes)
        self.errno = errno
        self.strerror = None if errno is None else os.strerror(errno)
        self.filename = filename

    def __reduce__(self) -> tuple[typing.Any, ...]:
        of_the_system = {name: getattr(self, name) for name in ("errno", "strerror", "filename")}
        return _again, (type(self), self.args, self.__dict__ | of_the_system)


class BindError(_OfTheSystem):
    """No socket could be bound."""


class KeyFileError(_OfTheSystem):
    """A key file cannot be read or created."""


class KeyFileNotFound(KeyFileError, FileNotFoundError):
    """The key file does not exist."""


class KeyFileExists(KeyFileError, FileExistsError):
    """Something exists at the path, and a key file is never overwritten."""


class KeyFilePermission(KeyFileError, PermissionError):
    """Others can read the key file, or this program cannot read it."""


class InvalidKey(TwolaneError, ValueError):
    """The value is not a key."""


class InvalidSignature(TwolaneError, ValueError):
    """The signature was not made by that key over exactly that message."""


class InvalidTicket(TwolaneError, ValueError):
    """The value is neither a ticket nor an id52."""


class InvalidProtocol(TwolaneError, ValueError):
    """The name is not 1 to 255 visible ASCII characters, or the text is not a pattern."""


class InvalidOption(TwolaneError, ValueError):
    """An option of a node is not valid."""


class DelegationError(TwolaneError, ValueError):
    """A delegation is not valid, or cannot be made in this form."""


class AlreadyServed(TwolaneError, ValueError):
    """The protocol already has a handler: stop serving it first, or give `replace=True`."""


class ConcurrentUse(TwolaneError, RuntimeError):
    """Another task already waits for the same thing."""


class ForkError(TwolaneError, RuntimeError):
    """A node, a stream or another object was made before a fork, and is used in the child."""


class Fail(TwolaneError):
    """Raised by handlers: fails the stream, or the request, with this code, text and details for the peer, where
    it is a `StreamFailed`.

    `code` is the application's own code (0 to 2**62 - 1), `text` is for people (at most 4 KiB, longer text is
    cut), `details` are for programs.

    Raises `TypeError` and `ValueError` if one of them cannot be sent, and `TooLarge` for details of more than 60
    KiB.

    >>> raise Fail(28, "the disk is full", details=b"/srv/mail")
    """

    def __init__(self, code: int, text: str = "", details: Buffer = b"") -> None:
        if isinstance(code, bool) or not isinstance(code, int):
            raise TypeError(f"a code is a number, and not {type(code).__name__}")
        if not 0 <= code < 2**62:
            raise ValueError(f"a code is a number from 0 to 2**62 - 1, and not {code}")
        if not isinstance(text, str):
            raise TypeError(f"a text is a str, and not {type(text).__name__}: use str(..)")
        # A surrogate has no form in UTF-8: this raises a ValueError.
        text.encode()
        known = to_bytes(details)
        if len(known) > _native.MAX_DETAILS:
            raise TooLarge(
                f"the details have {len(known)} bytes, and the limit is {_native.MAX_DETAILS}: send them as data"
            )
        super().__init__(f"{text} (code {code})" if text else f"code {code}", code=code, text=text, details=known)

    @property
    def code(self) -> int:
        """The code for the peer."""
        return self._code or 0

    @property
    def text(self) -> str:
        """The text for the peer."""
        return self._text or ""

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return type(self), (self.code, self.text, self.details)


class Refuse(TwolaneError):
    """Raised by access rules and by hooks: refuses, with this reason, which the peer reads (at most 1,000
    bytes).

    >>> raise Refuse("only on Mondays")
    """

    def __init__(self, reason: str) -> None:
        if not isinstance(reason, str):
            raise TypeError(f"a reason is a str, and not {type(reason).__name__}")
        reason.encode()
        super().__init__(reason, text=reason)

    @property
    def text(self) -> str:
        """The reason for the peer."""
        return self._text or ""

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return type(self), (self.text,)


def _again(
    cls: type[TwolaneError], args: tuple[typing.Any, ...], attributes: dict[str, typing.Any]
) -> TwolaneError:
    error = cls(*args)
    for name, value in attributes.items():
        setattr(error, name, value)
    return error
