"""The two-lane stream."""

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
"""What can be written."""

_PIECE: typing.Final = 256 * 1024
_MAX_LINE: typing.Final = 1024 * 1024
_MAX_MESSAGE: typing.Final = 16 * 1024 * 1024
_MAX_ALL: typing.Final = 64 * 1024 * 1024
_HEADER: typing.Final = 4


class XStream:
    """One stream between two peers: data in both directions, and an error lane beside it.

    Got from `Endpoint.open_stream`, `Endpoint.accept` or in a handler of `Endpoint.serve`. Several tasks may use it at
    the same time: one that reads, any number that write (whole writes, one after the other), any that warn or fail.

    **An end of data means success**: it is read only if the peer finished on purpose. If the peer failed the stream, every
    byte that it wrote before is read first, then `StreamFailed` is raised with its words.

    `async with` finishes the stream when the block ends, and resets it when the block raises, so that the peer never
    takes what it got for complete.

    **Cancelling is safe.** A read that is cancelled, by `asyncio.timeout` say, has taken nothing: what had come is
    there for the next one. A write that is cancelled ends where it is, and `bytes_written` tells how much of it was taken.

    >>> async with await node.open_stream(peer, "echo/1") as stream:
    ...     await stream.write(b"hello")
    ...     await stream.finish()
    ...     print(await stream.read())
    """

    __slots__ = ("__weakref__", "_native", "_turns")

    def __init__(self, native: _native.Stream) -> None:
        """Not for programs: streams come from an endpoint."""
        self._native = native
        self._turns = 0

    # What it is

    @property
    def peer(self) -> PeerId:
        """The peer, as the handshake proved it."""
        return self._native.peer

    @property
    def owner(self) -> PeerId | None:
        """The key that the peer acted for in this protocol when the stream was opened, by a delegation."""
        return self._native.owner

    @property
    def protocol(self) -> str:
        """The protocol that was agreed on."""
        return self._native.protocol

    @property
    def metadata(self) -> bytes:
        """What the opener sent along, at most 16 KiB."""
        return self._native.metadata

    @property
    def id(self) -> int:
        """Unique among the streams of one connection."""
        return self._native.id

    @property
    def bytes_written(self) -> int:
        """How many bytes flow control has taken so far. After a write that was cancelled, this tells how far it came."""
        return self._native.bytes_written

    @property
    def bytes_read(self) -> int:
        """How many bytes were read so far."""
        return self._native.bytes_read

    @property
    def closed(self) -> bool:
        """Whether both directions have ended."""
        return self._native.write_ended and self._native.read_ended

    # Reading

    async def read(self, n: int = -1, *, limit: int = _MAX_ALL) -> bytes:
        """At most `n` bytes, as soon as there are any; `b""` is the end of the data. A call gives up to 256 KiB.

        Without `n`, everything up to the end, which must not be more than `limit` bytes.

        Raises `StreamFailed` with the peer's words, `StreamReset`, `ConnectionLost`: the data is not complete.
        `TooLarge`: there is more than `limit`; nothing was taken.

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
        """Exactly `n` bytes.

        Raises as `read`, and `IncompleteReadError` (an `EOFError`) if the data ends before, with what there was in
        `partial`.

        Cancel-safe: what had come of them is there for the next call.
        """
        if n < 0:
            raise ValueError("n cannot be negative")
        return typing.cast("bytes", await self._take(self._native.read_exactly, n))

    async def readline(self, *, limit: int = _MAX_LINE) -> bytes:
        """The next line, with its line feed; without one if the data ends before, and `b""` at the end.

        Raises as `read`, and `TooLarge` (a `ValueError`) for a line of more than `limit` bytes, which takes nothing away.

        Cancel-safe.
        """
        return typing.cast("bytes", await self._take(self._native.read_line, limit))

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Reads some bytes into a buffer, with one copy, and returns how many; 0 is the end of the data.

        Raises as `read`. Cancel-safe.
        """
        return typing.cast("int", await self._take(self._native.read_into, buffer))

    async def read_chunk(self, n: int = _PIECE) -> memoryview:
        """The next bytes in one piece as they came in, without a copy: one packet's, some 1,200. Empty at the end.

        Raises as `read`. Cancel-safe. `readinto` is faster for much data.
        """
        return typing.cast("memoryview", await self._take(self._native.read_chunk, n))

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The data, piece by piece. It ends when the peer has finished, and raises as `read` otherwise."""
        return self

    async def __anext__(self) -> bytes:
        data = await self.read(_PIECE)
        if not data:
            raise StopAsyncIteration
        return data

    # Writing

    async def write(self, data: Buffer) -> None:
        """Writes all of `data`, and returns when flow control took it: a peer that does not read slows this down.

        A `bytes`, or a `memoryview` of one, is not copied; others are.

        Raises `StreamFailed` with the peer's words, `StreamStopped`, `StreamEnded` if it was finished here before,
        `ConnectionLost`.

        Cancelled, it ends where it is; `bytes_written` tells how much was taken. At most nothing is lost by going on there.
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
        """Says that the data is complete: the peer reads an end of data after the last byte. The other direction goes on.

        Does nothing if it was called before, or if an error that ended the stream has been read. Raises as `write`. Cancelled while an earlier write waits, it is not done.
        """
        if self._native.write_ended:
            return
        write = self._native.finish()
        if write is not None:
            await _wait.taken(write)

    async def delivered(self) -> None:
        """Waits until the peer's endpoint has every byte, after `finish`. (Its program may not have read them.)

        Raises as `write`, if the peer did not want them all. Cancel-safe.
        """
        await _wait.result(self._native.delivered())

    # The error lane

    async def fail(self, code: int, text: str = "", details: Buffer = b"") -> None:
        """Fails the stream: the peer reads every byte that was written here before, then `StreamFailed` with this.

        `code` is the application's own (62 bits), `text` for people (at most 4 KiB, more is cut), `details` for programs
        (at most 60 KiB). Reading and writing end here at once.

        Raises `StreamEnded` if that has happened before, and as `write`. Cancelled, it goes out nevertheless.
        """
        await self._native.fail(code, text, details, False).future

    async def abort(self, code: int, text: str = "", details: Buffer = b"") -> None:
        """As `fail`, but at once: what the peer has not read yet, in either direction, is discarded."""
        await self._native.fail(code, text, details, True).future

    async def warn(self, code: int, text: str = "", details: Buffer = b"") -> None:
        """Tells the peer something, which `errors` gives there; the stream goes on. Also after `finish`.

        Raises as `write`. Cancelled, it goes out nevertheless.
        """
        await self._native.warn(code, text, details).future

    def errors(self) -> Reports:
        """What the peer says on the error lane, from now on or not read yet: warnings, and the fatal error.

        It ends after the fatal error, or when the stream is closed here. Reading and writing raise a fatal error whether or not anybody reads it here.
        """
        return Reports(self._native.errors())

    # Messages

    async def write_json(self, value: object) -> None:
        """Writes a value as one line of JSON, as `send_json` of the Rust crate does. Raises as `write` and `json.dumps`."""
        await self.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    async def read_json(self, *, limit: int = _MAX_LINE) -> typing.Any:
        """The value in the next line, as `write_json` writes it.

        Raises as `readline`, `IncompleteReadError` (an `EOFError`) at the end of the data, and `ValueError` for what is
        no JSON. Cancel-safe.
        """
        line = await self.readline(limit=limit)
        if not line.endswith(b"\n"):
            raise IncompleteReadError("the data ended where a line of JSON was expected", partial=line)
        return json.loads(line)

    async def write_message(self, data: Buffer) -> None:
        """Writes a message: its length in 4 bytes, big-endian, and its bytes. Raises as `write`."""
        body = bytes(data)
        await self.write(len(body).to_bytes(_HEADER, "big") + body)

    async def read_message(self, *, limit: int = _MAX_MESSAGE) -> bytes:
        """The next message, as `write_message` writes it.

        Raises as `read`, `IncompleteReadError` (an `EOFError`) at the end of the data, and `TooLarge` for one of more than
        `limit` bytes, which takes nothing away. Cancel-safe: a message is taken whole or not at all.
        """
        return typing.cast("bytes", await self._take(self._native.read_message, limit))

    async def messages(self, *, limit: int = _MAX_MESSAGE) -> AsyncIterator[bytes]:
        """The messages, until the peer has finished. Raises as `read_message` otherwise."""
        while True:
            try:
                message = await self.read_message(limit=limit)
            except IncompleteReadError as end:
                if end.partial:
                    raise
                return
            yield message

    async def json_messages(self, *, limit: int = _MAX_LINE) -> AsyncIterator[typing.Any]:
        """The values in the lines, until the peer has finished. Raises as `read_json` otherwise."""
        while True:
            try:
                value = await self.read_json(limit=limit)
            except IncompleteReadError as end:
                if end.partial:
                    raise
                return
            yield value

    def to_asyncio(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The stream as code knows it that was written for `asyncio.open_connection`. The stream belongs to the pair
        from then on: closing the writer closes it, `write_eof` finishes it."""
        from .adaptors import to_asyncio

        return to_asyncio(self)

    # The end

    def set_priority(self, priority: int) -> None:
        """How urgent this stream's data is against other streams to the same peer: -32,768 to 32,767. Larger goes
        first; 0 is the default."""
        self._native.set_priority(priority)

    def close(self) -> None:
        """Lets go of both directions at once. A direction that was not finished is reset: the peer reads an error. What
        waits in a read or a write here raises."""
        self._native.close_writing()
        self._native.close_reading()

    def close_writing(self) -> None:
        """Lets go of our direction alone. If it was not finished it is reset; what the peer writes still comes."""
        self._native.close_writing()

    def close_reading(self) -> None:
        """Lets go of the peer's direction alone: its writes raise `StreamStopped` from then on, and ours go on."""
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
        # Nothing comes after the error that ended the stream.
        self._over = report.severity != "warning"
        return report
