"""An adaptor of a stream for code that was written for `asyncio.open_connection`."""

from __future__ import annotations

import asyncio
import collections
import typing
from collections.abc import Iterable

if typing.TYPE_CHECKING:
    from .stream import XStream

__all__ = ["to_asyncio"]

_PIECE: typing.Final = 64 * 1024
_HIGH: typing.Final = 64 * 1024
"""The number of bytes waiting to be written above which `drain` waits; asyncio's own value."""


def to_asyncio(stream: XStream) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """See `XStream.to_asyncio`."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = _Transport(loop, stream, protocol)
    protocol.connection_made(transport)
    transport.start()
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _Transport(asyncio.Transport):
    """A transport with two tasks: one reads and feeds the protocol, the other writes the queued data."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, stream: XStream, protocol: asyncio.StreamReaderProtocol
    ) -> None:
        super().__init__({"peername": str(stream.peer), "peer_id": stream.peer, "stream": stream})
        self._loop = loop
        self._stream = stream
        self._protocol: asyncio.StreamReaderProtocol = protocol
        self._reading = asyncio.Event()
        self._reading.set()
        self._waiting: collections.deque[bytes] = collections.deque()
        self._size = 0
        self._high, self._low = _HIGH, _HIGH // 4
        self._paused = False
        self._changed = asyncio.Event()
        self._eof = self._closing = self._lost = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [self._loop.create_task(self._read()), self._loop.create_task(self._write())]

    # Reading

    def pause_reading(self) -> None:
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def is_reading(self) -> bool:
        return self._reading.is_set() and not self._closing

    async def _read(self) -> None:
        try:
            while True:
                await self._reading.wait()
                data = await self._stream.read(_PIECE)
                if not data:
                    self._protocol.eof_received()
                    return
                self._protocol.data_received(data)
        except OSError as error:
            self._end(error)

    # Writing

    def write(self, data: bytes | bytearray | memoryview[typing.Any]) -> None:
        if self._eof:
            raise RuntimeError("cannot write after write_eof()")
        if self._lost or self._closing or not data:
            return
        self._waiting.append(bytes(data))
        self._size += len(data)
        self._changed.set()
        if self._size > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[typing.Any]]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._eof = True
        self._changed.set()

    def get_write_buffer_size(self) -> int:
        return self._size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = (_HIGH if low is None else 4 * low) if high is None else high
        self._low = self._high // 4 if low is None else low

    async def _write(self) -> None:
        try:
            while True:
                while self._waiting:
                    data = self._waiting.popleft()
                    await self._stream.write(data)
                    self._size -= len(data)
                    if self._paused and self._size <= self._low:
                        self._paused = False
                        self._protocol.resume_writing()
                if self._eof or self._closing:
                    await self._stream.finish()
                if self._closing:
                    return self._end(None)
                self._changed.clear()
                await self._changed.wait()
        except OSError as error:
            self._end(error)

    # The end

    def is_closing(self) -> bool:
        return self._closing or self._lost

    def close(self) -> None:
        """Writes the queued data, finishes, and closes."""
        self._closing = True
        self._changed.set()

    def abort(self) -> None:
        """Closes at once. The peer reads an error."""
        self._closing = True
        self._end(None)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = typing.cast("asyncio.StreamReaderProtocol", protocol)

    def _end(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._waiting.clear()
        self._size = 0
        self._stream.close()
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._loop.call_soon(self._protocol.connection_lost, error)
