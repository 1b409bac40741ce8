"""Reading data from a stream."""

from __future__ import annotations

import typing
from collections.abc import AsyncIterator

from . import _wait
from ._buffer import Buffer
from ._lane import Lane
from .exceptions import TwolaneError

__all__ = ["MAX_LINE", "Reading"]

MAX_LINE: typing.Final = 1024 * 1024
_PIECE: typing.Final = 256 * 1024
_MAX_ALL: typing.Final = 16 * 1024 * 1024
"""What `read()` collects by default. It counts as read for the peer, so it is memory that no limit of the node
bounds: with 256 streams of one peer, 64 MiB each would be 16 GiB."""


class Reading(Lane):
    """The receiving direction of a stream."""

    __slots__ = ()

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
        if _wait.ready.count >= _wait.TURNS:
            await _wait.turn()
        native = self._native
        try:
            while True:
                taken = native.read(n)
                if isinstance(taken, bytes):
                    _wait.ready.count += 1
                    return taken
                _wait.ready.count = 0
                await self._wait_for(taken)
        except TwolaneError as error:
            self._mark(error)
            raise

    async def readexactly(self, n: int) -> bytes:
        """Returns exactly `n` bytes.

        Raises the exceptions of `read`, and `IncompleteReadError` (an `EOFError`) if the data ends early,
        with the received bytes in `partial`.

        Cancel-safe: the next call gets the bytes that had already arrived.
        """
        if n < 0:
            raise ValueError("n cannot be negative")
        return typing.cast("bytes", await self._take(self._native.read_exactly, n))

    async def readline(self, *, limit: int = MAX_LINE) -> bytes:
        """Returns the next line with its line feed. The line feed is missing if the data ends first; `b""` is
        the end.

        Raises the exceptions of `read`, and `TooLarge` (a `ValueError`) for a line of more than `limit`
        bytes, of which nothing is taken.

        Cancel-safe.
        """
        return typing.cast("bytes", await self._take(self._native.read_line, limit))

    async def readuntil(self, separator: bytes = b"\n", *, limit: int = MAX_LINE) -> bytes:
        """Returns the data up to and with the separator.

        Raises the exceptions of `read`, `IncompleteReadError` (an `EOFError`) if the data ends before, and
        `TooLarge` if there are more than `limit` bytes before the separator, of which nothing is taken.

        Cancel-safe.
        """
        take = self._native.read_until
        return typing.cast("bytes", await self._take(lambda most: take(separator, most), limit))

    async def readinto(self, buffer: Buffer) -> int:
        """Reads some bytes into a writable buffer, with one copy, and returns their number; 0 is the end of the
        data.

        Raises the exceptions of `read`. Cancel-safe.
        """
        return typing.cast("int", await self._take(self._native.read_into, buffer))

    async def read_chunk(self, n: int = _PIECE) -> memoryview:
        """Returns the next bytes in one piece as they arrived, without a copy: those of one packet, about
        1,200. Empty at the end.

        Raises the exceptions of `read`. Cancel-safe. `readinto` is faster for large amounts of data.
        """
        return typing.cast("memoryview", await self._take(self._native.read_chunk, n))

    def at_eof(self) -> bool:
        """Whether the end of the data, or an error, was read."""
        return self._native.read_ended

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterates over the data, piece by piece. Ends when the peer has finished, and raises the exceptions
        of `read` otherwise."""
        return self

    async def __anext__(self) -> bytes:
        data = await self.read(_PIECE)
        if not data:
            raise StopAsyncIteration
        return data
