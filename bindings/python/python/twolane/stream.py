"""The stream with a data lane and an error lane."""

from __future__ import annotations

import asyncio
import json
import types
import typing
import warnings
from collections.abc import AsyncIterator

from . import _wait
from .exceptions import IncompleteReadError
from .info import Report

if typing.TYPE_CHECKING:
    from . import _native
    from ._native import PeerId

__all__ = ["Buffer", "Reports", "XStream"]

Buffer: typing.TypeAlias = bytes | bytearray | memoryview
"""The types of data that can be written."""

_PIECE: typing.Final = 256 * 1024
_MAX_LINE: typing.Final = 1024 * 1024
_MAX_MESSAGE: typing.Final = 16 * 1024 * 1024
_MAX_ALL: typing.Final = 64 * 1024 * 1024
_HEADER: typing.Final = 4


class XStream:
    """A stream between two peers: data in both directions, and an error lane beside it.

    `Endpoint.open_stream`, `Endpoint.accept` and the handlers of `Endpoint.serve` provide streams. Several
    tasks may use a stream at the same time: one that reads, any number that write (whole writes, one after
    the other), and any number that warn or fail.

    **An end of data means success**: it is read only if the peer finished on purpose. If the peer failed the
    stream, every byte that it wrote before is read first. Then `StreamFailed` is raised with the peer's code
    and text.

    `async with` finishes the stream when the block ends, and resets it when the block raises an exception, so
    that the peer never takes incomplete data for complete data.

    **Cancelling is safe.** A cancelled read, for example by `asyncio.timeout`, has taken nothing: the next
    read gets the data. A cancelled write stops where it is, and `bytes_written` tells how much of it was
    taken.

    >>> async with await node.open_stream(peer, "echo/1") as stream:
    ...     await stream.write(b"hello")
    ...     await stream.finish()
    ...     print(await stream.read())
    """

    __slots__ = ("__weakref__", "_native", "_turns")

    def __init__(self, native: _native.Stream) -> None:
        """Not for programs: an endpoint provides streams."""
        self._native = native
        self._turns = 0

    # Properties

    @property
    def peer(self) -> PeerId:
        """The peer, as the handshake proved it."""
        return self._native.peer

    @property
    def owner(self) -> PeerId | None:
        """The key for which the peer acted in this protocol, by a delegation, when the stream was opened. None if
        the scope of the delegation does not cover the protocol."""
        return self._native.owner

    @property
    def protocol(self) -> str:
        """The protocol of the stream."""
        return self._native.protocol

    @property
    def metadata(self) -> bytes:
        """The metadata that the opener sent, at most 16 KiB."""
        return self._native.metadata

    @property
    def id(self) -> int:
        """The id of the stream, unique among the streams of one connection."""
        return self._native.id

    @property
    def bytes_written(self) -> int:
        """The number of bytes that flow control has taken so far. After a cancelled write, it shows how much
        of it was taken."""
        return self._native.bytes_written

    @property
    def bytes_read(self) -> int:
        """The number of bytes that were read so far."""
        return self._native.bytes_read

    @property
    def closed(self) -> bool:
        """Whether both directions have ended."""
        return self._native.write_ended and self._native.read_ended

    # Reading

    async def read(self, n: int = -1, *, limit: int = _MAX_ALL) -> bytes:
        """Returns at most `n` bytes as soon as any are available; `b""` is the end of the data. One call
        returns up to 256 KiB.

        Without `n`, returns everything up to the end, which must not be more than `limit` bytes.

        Raises `StreamFailed` with the peer's code and text, `StreamReset` or `ConnectionLost` if the data is
        not complete. Raises `TooLarge` if there is more than `limit`; nothing was taken then.

        Cancel-safe: a cancelled call has taken nothing.
        """
        if n < 0:
            return typing.cast("bytes", await self._take(self._native.read_all, limit))
        if self._turns >= _wait.TURNS:
            await self._turn()
        native = self._native
        while True:
            taken = native.read(n)
            if isinstance(taken, bytes):
                self._turns += 1
                return taken
            self._turns = 0
            await taken

    async def readexactly(self, n: int) -> bytes:
        """Returns exactly `n` bytes.

        Raises the exceptions of `read`, and `IncompleteReadError` (an `EOFError`) if the data ends early,
        with the received bytes in `partial`.

        Cancel-safe: the next call gets the bytes that had already arrived.
        """
        if n < 0:
            raise ValueError("n cannot be negative")
        return typing.cast("bytes", await self._take(self._native.read_exactly, n))

    async def readline(self, *, limit: int = _MAX_LINE) -> bytes:
        """Returns the next line with its line feed. The line feed is missing if the data ends first; `b""` is
        the end.

        Raises the exceptions of `read`, and `TooLarge` (a `ValueError`) for a line of more than `limit`
        bytes, of which nothing is taken.

        Cancel-safe.
        """
        return typing.cast("bytes", await self._take(self._native.read_line, limit))

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Reads some bytes into a buffer, with one copy, and returns their number; 0 is the end of the data.

        Raises the exceptions of `read`. Cancel-safe.
        """
        return typing.cast("int", await self._take(self._native.read_into, buffer))

    async def read_chunk(self, n: int = _PIECE) -> memoryview:
        """Returns the next bytes in one piece as they arrived, without a copy: those of one packet, about
        1,200. Empty at the end.

        Raises the exceptions of `read`. Cancel-safe. `readinto` is faster for large amounts of data.
        """
        return typing.cast("memoryview", await self._take(self._native.read_chunk, n))

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterates over the data, piece by piece. Ends when the peer has finished, and raises the exceptions
        of `read` otherwise."""
        return self

    async def __anext__(self) -> bytes:
        data = await self.read(_PIECE)
        if not data:
            raise StopAsyncIteration
        return data

    # Writing

    async def write(self, data: Buffer) -> None:
        """Writes all of `data`, and returns when flow control took it: a peer that does not read slows the
        writer down.

        The data of a `bytes`, or of a `memoryview` of a `bytes`, is not copied; other data is.

        Raises `StreamFailed` with the peer's code and text, `StreamStopped`, `StreamEnded` if the stream was
        already finished here, or `ConnectionLost`.

        If the call is cancelled, the write stops where it is; `bytes_written` tells how much was taken. A
        program that continues there loses nothing.
        """
        if self._turns >= _wait.TURNS:
            await self._turn()
        write = self._native.write(data)
        if write is None:
            self._turns += 1
            return
        self._turns = 0
        await _wait.taken(write)

    async def finish(self) -> None:
        """Marks the data as complete: the peer reads an end of data after the last byte. The other direction
        continues.

        Does nothing if it was called before, or if an error that ended the stream was read. Raises the
        exceptions of `write`. If the call is cancelled while an earlier write waits, the data is not marked
        as complete.
        """
        if self._native.write_ended:
            return
        write = self._native.finish()
        if write is not None:
            await _wait.taken(write)

    async def delivered(self) -> None:
        """Waits after `finish` until the peer's endpoint has every byte. (Its program may not have read
        them.)

        Raises the exceptions of `write` if the peer did not want all bytes. Cancel-safe.
        """
        await _wait.result(self._native.delivered())

    # The error lane

    async def fail(self, code: int, text: str = "", details: Buffer = b"") -> None:
        """Fails the stream: the peer reads every byte that was written here before, then `StreamFailed` with
        this error.

        `code` is the application's own code (62 bits), `text` is for people (at most 4 KiB, longer text is
        cut), `details` are for programs (at most 60 KiB). Reading and writing end here at once.

        Raises `StreamEnded` if the stream was already failed, and the exceptions of `write`. If the call is
        cancelled, the error is sent nevertheless.
        """
        await self._native.fail(code, text, details, False).future

    async def abort(self, code: int, text: str = "", details: Buffer = b"") -> None:
        """Works like `fail`, but at once: data that the peer has not read yet, in either direction, is
        discarded."""
        await self._native.fail(code, text, details, True).future

    async def warn(self, code: int, text: str = "", details: Buffer = b"") -> None:
        """Sends a warning, which the peer's `errors` returns; the stream continues. Also possible after
        `finish`.

        Raises the exceptions of `write`. If the call is cancelled, the warning is sent nevertheless.
        """
        await self._native.warn(code, text, details).future

    def errors(self) -> Reports:
        """Returns the peer's reports on the error lane, unread or future ones: warnings, and the fatal error.

        The iteration ends after the fatal error, or when the stream is closed here. Reading and writing raise
        a fatal error even if it is not read here.
        """
        return Reports(self._native.errors())

    # Messages

    async def write_json(self, value: object) -> None:
        """Writes a value as one line of JSON, like `send_json` of the Rust crate. Raises the exceptions of
        `write` and `json.dumps`."""
        await self.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    async def read_json(self, *, limit: int = _MAX_LINE) -> typing.Any:
        """Returns the value in the next line, as `write_json` writes it.

        Raises the exceptions of `readline`, `IncompleteReadError` (an `EOFError`) at the end of the data, and
        `ValueError` if the line is not JSON. Cancel-safe.
        """
        line = await self.readline(limit=limit)
        if not line.endswith(b"\n"):
            raise IncompleteReadError("the data ended where a line of JSON was expected", partial=line)
        return json.loads(line)

    async def write_message(self, data: Buffer) -> None:
        """Writes a message: its length in 4 bytes, big-endian, and its bytes. Raises the exceptions of
        `write`."""
        body = bytes(data)
        await self.write(len(body).to_bytes(_HEADER, "big") + body)

    async def read_message(self, *, limit: int = _MAX_MESSAGE) -> bytes:
        """Returns the next message, as `write_message` writes it.

        Raises the exceptions of `read`, `IncompleteReadError` (an `EOFError`) at the end of the data, and
        `TooLarge` for a message of more than `limit` bytes, of which nothing is taken. Cancel-safe: a message
        is taken whole or not at all.
        """
        return typing.cast("bytes", await self._take(self._native.read_message, limit))

    async def messages(self, *, limit: int = _MAX_MESSAGE) -> AsyncIterator[bytes]:
        """Iterates over the messages until the peer has finished. Raises the exceptions of `read_message`
        otherwise."""
        while True:
            try:
                message = await self.read_message(limit=limit)
            except IncompleteReadError as end:
                if end.partial:
                    raise
                return
            yield message

    async def json_messages(self, *, limit: int = _MAX_LINE) -> AsyncIterator[typing.Any]:
        """Iterates over the values in the lines until the peer has finished. Raises the exceptions of
        `read_json` otherwise."""
        while True:
            try:
                value = await self.read_json(limit=limit)
            except IncompleteReadError as end:
                if end.partial:
                    raise
                return
            yield value

    def to_asyncio(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Returns the stream in the form for code that was written for `asyncio.open_connection`. The stream
        belongs to the pair from then on: closing the writer closes it, `write_eof` finishes it."""
        from .adaptors import to_asyncio

        return to_asyncio(self)

    # The end

    def set_priority(self, priority: int) -> None:
        """Sets the priority of this stream's data relative to other streams to the same peer: -32,768 to
        32,767. A stream with a higher priority is sent first; the default is 0."""
        self._native.set_priority(priority)

    def close(self) -> None:
        """Closes both directions at once. A direction that was not finished is reset: the peer reads an
        error. A read or a write that waits here raises an exception."""
        self._native.close_writing()
        self._native.close_reading()

    def close_writing(self) -> None:
        """Closes only the sending direction. If it was not finished it is reset; data from the peer still
        arrives."""
        self._native.close_writing()

    def close_reading(self) -> None:
        """Closes only the receiving direction: the peer's writes raise `StreamStopped` from then on, and
        writes here continue."""
        self._native.close_reading()

    async def __aenter__(self) -> XStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                await self.finish()
        finally:
            self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<XStream {self.protocol} with {str(self.peer)[:10]}.. {state}>"

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is not None and not (native.write_ended and native.read_ended):
            warnings.warn(f"{self!r} was not closed: it is reset", ResourceWarning, stacklevel=2, source=self)

    async def _turn(self) -> None:
        self._turns = 0
        await asyncio.sleep(0)

    async def _take(self, take: typing.Callable[[typing.Any], typing.Any], argument: object) -> object:
        """Calls `take` until it gives something other than a future."""
        if self._turns >= _wait.TURNS:
            await self._turn()
        while True:
            taken = take(argument)
            if isinstance(taken, (bytes, int, memoryview)):
                self._turns += 1
                return taken
            self._turns = 0
            await taken


class Reports(AsyncIterator[Report]):
    """The peer's warnings and errors; see `XStream.errors`. Cancel-safe: a report is taken only when it is returned."""

    def __init__(self, source: _native.Source) -> None:
        self._source = source
        self._over = False

    async def __anext__(self) -> Report:
        if self._over:
            raise StopAsyncIteration
        report = Report(*await _wait.following(self._source))
        # No report follows the error that ended the stream.
        self._over = report.severity != "warning"
        return report
