"""Writing data to a stream."""

from __future__ import annotations

import typing
from collections.abc import Generator, Iterable

from . import _wait
from ._buffer import Buffer
from ._lane import Lane
from .exceptions import TwolaneError

if typing.TYPE_CHECKING:
    from . import _native

__all__ = ["PartialWrite", "Writing"]


class Writing(Lane):
    """The sending direction of a stream."""

    __slots__ = ()

    async def write(self, data: Buffer) -> None:
        """Writes all of `data`, and returns when flow control took it: a peer that does not read slows the
        writer down.

        The data of a `bytes`, or of a `memoryview` of a `bytes`, is not copied; other data is, before the call
        returns for the first time.

        Raises `StreamFailed` with the peer's code and text, `StreamStopped`, `StreamEnded` if the stream was
        already finished here, or `ConnectionLost`.

        If the call is cancelled, the write stops where it is: see `writing`.
        """
        if _wait.ready.count >= _wait.TURNS:
            await _wait.turn()
        try:
            write = self._native.write(data)
            if write is None:
                _wait.ready.count += 1
                return
            _wait.ready.count = 0
            await self._wait_for(_wait.taken(write))
        except TwolaneError as error:
            self._mark(error)
            raise

    def writing(self, data: Buffer) -> PartialWrite:
        """Begins to write `data`. The result is to be awaited, as `write` is, and tells in `taken` how far it came.
        A program that was interrupted continues there:

        >>> writing = stream.writing(data)
        >>> try:
        ...     async with asyncio.timeout(2):
        ...         await writing
        ... except TimeoutError:
        ...     rest = data[writing.taken :]
        """
        return PartialWrite(self, data)

    async def writelines(self, pieces: Iterable[Buffer]) -> None:
        """Writes all pieces, one after the other, as `write` does."""
        for piece in pieces:
            await self.write(piece)

    async def finish(self) -> None:
        """Marks the data as complete: the peer reads an end of data after the last byte. The other direction
        continues.

        Does nothing if it was called before, or if an error that ended the stream was read. Raises the
        exceptions of `write`. If the call is cancelled while an earlier write waits, the data is not marked
        as complete.
        """
        if self._transport is not None:
            await self._transport.complete()
        else:
            await self._finish()

    async def delivered(self) -> None:
        """Waits after `finish` until the peer's endpoint has every byte. (Its program may not have read
        them.)

        Raises the exceptions of `write` if the peer did not want all bytes. Cancel-safe.
        """
        await self._operate(self._native.delivered, detached=False)

    async def _finish(self) -> None:
        if self._native.write_ended:
            return
        try:
            write = self._native.finish()
            if write is not None:
                await self._wait_for(_wait.taken(write))
        except TwolaneError as error:
            self._mark(error)
            raise

    async def _write_whole(self, data: bytes) -> None:
        if _wait.ready.count >= _wait.TURNS:
            await _wait.turn()
        try:
            write = self._native.write(data, True)
            if write is None:
                _wait.ready.count += 1
                return
            _wait.ready.count = 0
            await self._wait_for(_wait.taken(write))
        except TwolaneError as error:
            self._mark(error)
            raise


class PartialWrite:
    """A write that tells how far it came; see `XStream.writing`."""

    __slots__ = ("_data", "_stream", "_taken", "_write")

    def __init__(self, stream: Writing, data: Buffer) -> None:
        """Not for programs: `XStream.writing` makes it."""
        self._stream = stream
        self._data: Buffer | None = data
        self._write: _native.Write | None = None
        self._taken = 0

    @property
    def taken(self) -> int:
        """The number of bytes of this write that flow control has taken: all of them once it is done, and none before
        it is awaited."""
        return self._taken if self._write is None else self._write.taken

    def __await__(self) -> Generator[typing.Any, typing.Any, None]:
        return self._run().__await__()

    async def _run(self) -> None:
        data, self._data = self._data, None
        if data is None:
            raise RuntimeError("this write was awaited already: begin another one with the rest")
        if _wait.ready.count >= _wait.TURNS:
            await _wait.turn()
        before = self._stream._native.bytes_written
        try:
            self._write = self._stream._native.write(data)
            if self._write is not None:
                _wait.ready.count = 0
                return await self._stream._wait_for(_wait.taken(self._write))
        except TwolaneError as error:
            self._stream._mark(error)
            raise
        _wait.ready.count += 1
        self._taken = self._stream._native.bytes_written - before
