"""The stream with a data lane and an error lane."""

from __future__ import annotations

import asyncio
import types
import typing
import warnings

from ._buffer import Buffer
from ._framed import Framed
from .adaptors import to_asyncio
from .exceptions import Fail, TwolaneError
from .reports import Reports

if typing.TYPE_CHECKING:
    from ._native import PeerId

__all__ = ["XStream"]


class XStream(Framed):
    """A stream between two peers: data in both directions, and an error lane beside it.

    `Node.open_stream`, `Node.accept` and the handlers of `Node.serve` provide streams. Several tasks may use a
    stream at the same time: one that reads, any number that write (whole writes, one after the other), and any
    number that warn or fail.

    **An end of data means success**: it is read only if the peer finished on purpose. If the peer failed the
    stream, every byte that it wrote before is read first. Then `StreamFailed` is raised with the peer's code
    and text.

    `async with` finishes the stream when the block ends, and resets it when the block raises an exception, so
    that the peer never takes incomplete data for complete data.

    **Cancelling is safe.** A cancelled read, for example by `asyncio.timeout`, has taken nothing: the next
    read gets the data. A cancelled write stops where it is, and `writing` tells how much of it was taken. A
    cancelled message or line of JSON is written completely or not at all.

    >>> async with node.open_stream(peer, "echo/1") as stream:
    ...     await stream.write(b"hello")
    ...     await stream.finish()
    ...     print(await stream.read())
    """

    __slots__ = ()

    # Properties

    @property
    def peer(self) -> PeerId:
        """The peer, as the handshake proved it."""
        return self._native.peer

    @property
    def owner(self) -> PeerId | None:
        """The key for which the peer acted in this protocol, by a delegation, when the stream was opened."""
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
    def answer_metadata(self) -> bytes:
        """The metadata that the acceptor sent with its answer, if this side has opened the stream."""
        return self._native.answer_metadata

    @property
    def id(self) -> int:
        """The id of the stream, unique among the streams of one connection."""
        return self._native.id

    @property
    def bytes_written(self) -> int:
        """The number of bytes that flow control has taken so far, of all writes."""
        return self._native.bytes_written

    @property
    def bytes_read(self) -> int:
        """The number of bytes that were read so far."""
        return self._native.bytes_read

    @property
    def closed(self) -> bool:
        """Whether both directions have ended."""
        return self._native.write_ended and self._native.read_ended

    # The error lane

    async def fail(self, code: int, text: str = "", details: Buffer = b"") -> None:
        """Fails the stream: the peer reads every byte that was written here before, then `StreamFailed` with
        this error.

        `code` is the application's own code (62 bits), `text` is for people (at most 4 KiB, longer text is
        cut), `details` are for programs (at most 60 KiB). Reading and writing end here at once.

        Raises `StreamEnded` if the stream was already failed, the exceptions of `write`, and those of `Fail` for what
        cannot be sent. If the call is cancelled, the error is sent nevertheless.
        """
        told = Fail(code, text, details)
        if self._transport is not None:
            await self._transport.flush()
        await self._operate(lambda: self._native.fail(told.code, told.text, told.details, False), detached=True)

    async def abort(self, code: int, text: str = "", details: Buffer = b"") -> None:
        """Works like `fail`, but at once: data that the peer has not read yet, in either direction, is
        discarded."""
        told = Fail(code, text, details)
        await self._operate(lambda: self._native.fail(told.code, told.text, told.details, True), detached=True)

    async def warn(self, code: int, text: str = "", details: Buffer = b"") -> None:
        """Sends a warning, which the peer's `errors` returns; the stream continues. Also possible after
        `finish`.

        Raises the exceptions of `write`. If the call is cancelled, the warning is sent nevertheless.
        """
        told = Fail(code, text, details)
        await self._operate(lambda: self._native.warn(told.code, told.text, told.details), detached=True)

    def errors(self) -> Reports:
        """Returns the peer's reports on the error lane, unread or future ones: warnings, and the fatal error.

        The iteration ends after the fatal error, or when the stream is closed here. Reading and writing raise
        a fatal error even if it is not read here.
        """
        return Reports(self._native.errors())

    # The end

    async def wait_closed(self) -> None:
        """Waits until the peer has let go of the stream: it reads nothing more, and its data has ended, well or
        not. Data that the peer has finished counts from when it was read. Then nothing more can happen here.

        Cancel-safe.
        """
        await self._operate(self._native.left, detached=False)

    def set_priority(self, priority: int) -> None:
        """Sets the priority of this stream's data relative to other streams to the same peer: -32,768 to
        32,767. A stream with a higher priority is sent first; the default is 0."""
        self._native.set_priority(priority)

    def close(self) -> None:
        """Closes both directions at once. A direction that was not finished is reset: the peer reads an
        error. A read or a write that waits here raises an exception."""
        if self._transport is not None:
            self._transport.abort()
        self._close()

    async def aclose(self) -> None:
        """Works like `close`, for `contextlib.aclosing`."""
        self.close()

    def close_writing(self) -> None:
        """Closes only the sending direction. If it was not finished it is reset; data from the peer still
        arrives."""
        self._native.close_writing()

    def close_reading(self) -> None:
        """Closes only the receiving direction: the peer's writes raise `StreamStopped` from then on, and
        writes here continue."""
        self._native.close_reading()

    def to_asyncio(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Returns the stream in the form for code that was written for `asyncio.open_connection`. From then on, the
        pair reads and writes.

        `write_eof` marks the data as complete, and so does `close`, and the end of the `async with` block or of
        the handler that has the stream. A `close` while an exception is being handled, and a writer that is
        forgotten, reset it.

        Once the peer stops reading, `drain` raises that, and the reader goes on. `get_extra_info` has `peer_id`,
        `peername` (the id52, and 0 as the port) and `stream`.
        """
        reader, writer, self._transport = to_asyncio(self)
        return reader, writer

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
        try:
            return f"<XStream {self.protocol} with {str(self.peer)[:10]}.. {state}>"
        except TwolaneError:
            return f"<XStream {state}, of another process>"

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is not None and not (native.write_ended and native.read_ended):
            warnings.warn(f"{self!r} was not closed: it is reset", ResourceWarning, stacklevel=2, source=self)

    def _close(self) -> None:
        self._native.close_writing()
        self._native.close_reading()
