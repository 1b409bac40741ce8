"""An adaptor of a stream for code that was written for `asyncio.open_connection`."""

from __future__ import annotations

import asyncio
import sys
import typing
import warnings
from collections.abc import Iterable

from ._buffer import Buffer, to_bytes
from ._native import PeerId
from ._outbox import End, Outbox

__all__ = ["Transport", "to_asyncio"]

_PIECE: typing.Final = 64 * 1024


class Lanes(typing.Protocol):
    """What the adaptor needs of a stream."""

    @property
    def peer(self) -> PeerId: ...
    async def read(self, n: int = -1) -> bytes: ...
    async def write(self, data: Buffer) -> None: ...
    async def _finish(self) -> None: ...
    def _close(self) -> None: ...


def to_asyncio(stream: Lanes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Transport]:
    """Returns the pair, and the transport, on which the owner of the stream waits for what was written."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = Transport(loop, stream, protocol)
    protocol.connection_made(transport)
    transport.start()
    return reader, _Writer(transport, protocol, reader, loop), transport


class _Writer(asyncio.StreamWriter):
    """A writer that tells of the end of the sending direction while the other one lives, and that resets the stream
    when it is forgotten."""

    async def drain(self) -> None:
        transport = typing.cast("Transport", self.transport)
        if transport.write_error is None:
            await super().drain()
        else:
            # Without a turn, a loop that writes and ignores the error would let nobody else run.
            await asyncio.sleep(0)
        if transport.write_error is not None:
            raise transport.write_error

    def __del__(self, _warn: typing.Any = warnings.warn) -> None:
        transport = typing.cast("Transport | None", getattr(self, "_transport", None))
        if transport is not None and not transport.is_closing():
            _warn(f"the writer of {transport.stream!r} was not closed", ResourceWarning, source=self)
            transport.forget()


class Transport(asyncio.Transport):
    """A transport with two tasks: one reads and feeds the protocol, the other writes what the outbox has."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, stream: Lanes, protocol: asyncio.StreamReaderProtocol
    ) -> None:
        # Code that unpacks the name into host and port gets the key, and no port.
        super().__init__({"peername": (str(stream.peer), 0), "peer_id": stream.peer, "stream": stream})
        self._loop = loop
        self.stream = stream
        self._protocol: asyncio.StreamReaderProtocol = protocol
        self._reading = asyncio.Event()
        self._reading.set()
        self._out = Outbox()
        self._paused = self._lost = False
        self._changed = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._written: asyncio.Future[None] = loop.create_future()
        self._tasks: list[asyncio.Task[None]] = []
        # A program may run as a whole inside an `except` block.
        self._handled_before = sys.exc_info()[1]
        self.write_error: Exception | None = None
        """Why nothing more can be written, although the peer's data may still arrive."""

    def start(self) -> None:
        """Starts the tasks."""
        self._tasks = [self._loop.create_task(self._read()), self._loop.create_task(self._write())]

    # Reading

    def pause_reading(self) -> None:
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def is_reading(self) -> bool:
        return self._reading.is_set() and not self.is_closing()

    async def _read(self) -> None:
        try:
            while True:
                await self._reading.wait()
                data = await self.stream.read(_PIECE)
                if not data:
                    break
                self._protocol.data_received(data)
            if not self._protocol.eof_received():
                self.close()
        except Exception as error:
            # Whatever it is: a reader that is not told would wait for ever.
            self._end(error)

    # Writing

    def write(self, data: Buffer) -> None:
        piece = to_bytes(data)
        if self._out.end is End.FINISH:
            raise RuntimeError("cannot write after write_eof()")
        if self._lost or self.write_error is not None:
            return
        if self._out.put(piece):
            self._empty.clear()
        self._changed.set()
        if self._out.is_full() and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        self.write(b"".join(to_bytes(data) for data in list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Marks the data as complete, after what was written."""
        self._out.finish()
        self._changed.set()

    async def flush(self) -> None:
        """Waits until everything that was written was taken, or cannot be any more."""
        await self._empty.wait()

    async def complete(self) -> None:
        """Marks the data as complete, unless it was reset, and waits until all of it was taken. Raises the error of
        writing."""
        self.write_eof()
        if not self._written.done():
            await asyncio.wait([self._written])
        if self.write_error is not None:
            raise self.write_error

    def get_write_buffer_size(self) -> int:
        return self._out.size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._out.low, self._out.high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._out.set_limits(high, low)

    async def _write(self) -> None:
        try:
            await self._write_to_the_end()
        except Exception as error:
            # The peer may have stopped reading, and still send its answer: reading goes on.
            self.write_error = error
            self._out.drop()
            self._resume()
        self._settle()
        # After `write_eof`, or an error, the program still closes.
        while not self.is_closing():
            self._changed.clear()
            await self._changed.wait()
        self._end(self.write_error)

    async def _write_to_the_end(self) -> None:
        while True:
            while (data := self._out.next()) is not None:
                await self.stream.write(data)
                self._out.took()
                self._resume()
            self._empty.set()
            match self._out.end:
                case End.FINISH | End.CLOSE:
                    return await self.stream._finish()
                case End.RESET:
                    return
            self._changed.clear()
            await self._changed.wait()

    def _resume(self) -> None:
        if self._paused and self._out.has_room():
            self._paused = False
            self._protocol.resume_writing()

    def _settle(self) -> None:
        self._empty.set()
        if not self._written.done():
            self._written.set_result(None)

    # The end

    def is_closing(self) -> bool:
        return self._lost or self._out.end in (End.CLOSE, End.RESET)

    def close(self) -> None:
        """Writes the queued data, marks it as complete, and closes. While an exception is being handled, the data is
        taken for incomplete, and is reset."""
        handled = sys.exc_info()[1]
        self._out.close(failing=handled is not None and handled is not self._handled_before)
        self._changed.set()
        if self._out.end is End.RESET:
            self._end(None)

    def abort(self) -> None:
        """Closes at once. The peer reads an error, unless the data was complete already."""
        self._out.abort()
        self._end(None)

    def forget(self) -> None:
        """The program has let go of the writer without closing it. Called by a finalizer, which may run in another
        thread, or after the loop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._forgotten)

    def _forgotten(self) -> None:
        if self._out.end is End.FINISH:
            self._out.close(failing=False)
            self._changed.set()
        else:
            self.abort()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = typing.cast("asyncio.StreamReaderProtocol", protocol)

    def _end(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        if not self._written.done():
            self.write_error = error
        self._out.drop()
        self.stream._close()
        self._settle()
        current = asyncio.current_task(self._loop)
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._loop.call_soon(self._protocol.connection_lost, error)
