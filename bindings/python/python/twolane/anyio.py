"""Streams and a listener for anyio, on its asyncio backend. Needs the package `anyio`.

    async with Node() as node:
        listener = Listener(node, "echo/1")
        await listener.serve(handle)                         # handle(stream: ByteStream)

    async with await connect(node, ticket, "echo/1") as stream:
        await stream.send(b"hello")
        await stream.send_eof()

On other backends, such as trio, each operation raises a `RuntimeError` that says so.
"""

from __future__ import annotations

import contextlib
import sys
import typing
from collections.abc import Callable, Iterator, Mapping

import anyio
import anyio.abc

from ._native import PeerId
from ._options import Peer
from .exceptions import StreamEnded, TwolaneError
from .node import Node
from .sources import Streams
from .stream import XStream

__all__ = ["Attribute", "ByteStream", "Listener", "connect"]


class Attribute(anyio.TypedAttributeSet):
    """What a stream tells of itself: `stream.extra(Attribute.peer)`."""

    peer: PeerId = anyio.typed_attribute()
    stream: XStream = anyio.typed_attribute()


class ByteStream(anyio.abc.ByteStream):
    """A stream as anyio has it.

    `send_eof` marks the data as complete, and so does `aclose` if no exception is being handled: after an exception,
    or in a scope that is cancelled, the stream is reset, so that the peer never takes a part for the whole.

    Errors of the peer and of the connection are `anyio.BrokenResourceError`s, whose `__cause__` is the exception of
    twolane.
    """

    def __init__(self, stream: XStream) -> None:
        self._stream = stream
        self._handled_before = sys.exc_info()[1]

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Receives some bytes. Raises `anyio.EndOfStream` once the peer has finished."""
        with _translated():
            data = await self._stream.read(max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """Sends all of the data, and returns when flow control took it."""
        with _translated():
            await self._stream.write(item)

    async def send_eof(self) -> None:
        """Marks the data as complete."""
        with _translated():
            await self._stream.finish()

    async def aclose(self) -> None:
        """Closes the stream."""
        handled = sys.exc_info()[1]
        try:
            if handled is None or handled is self._handled_before:
                with _translated():
                    await self._stream.finish()
        finally:
            self._stream.close()

    @property
    def extra_attributes(self) -> Mapping[typing.Any, Callable[[], typing.Any]]:
        return {Attribute.peer: lambda: self._stream.peer, Attribute.stream: lambda: self._stream}


class Listener(anyio.abc.Listener[ByteStream]):
    """Serves the streams that peers open for some protocols, in the caller's task group."""

    def __init__(self, node: Node, *protocols: str) -> None:
        self._streams: Streams = node.accept(*protocols)

    async def serve(
        self,
        handler: Callable[[ByteStream], typing.Any],
        task_group: anyio.abc.TaskGroup | None = None,
    ) -> None:
        """Calls the handler with every stream, until the listener or the node is closed. A stream is closed as
        `ByteStream.aclose` does when its handler returns or raises. An `anyio.BrokenResourceError` ends only the
        stream of its handler: a peer that leaves must not end the server."""

        async def run(stream: ByteStream) -> None:
            with contextlib.suppress(anyio.BrokenResourceError):
                async with stream:
                    await handler(stream)

        async with contextlib.AsyncExitStack() as stack:
            tasks = task_group or await stack.enter_async_context(anyio.create_task_group())
            async for stream in self._streams:
                tasks.start_soon(run, ByteStream(stream))

    async def aclose(self) -> None:
        """Accepts no more streams."""
        self._streams.close()


async def connect(
    node: Node, peer: Peer, protocol: str, *, metadata: bytes = b"", timeout: float | None = None
) -> ByteStream:
    """Opens a stream, as `Node.open_stream` does, with its exceptions."""
    return ByteStream(await node.open_stream(peer, protocol, metadata=metadata, timeout=timeout))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except StreamEnded as error:
        raise anyio.ClosedResourceError from error
    except TwolaneError as error:
        raise anyio.BrokenResourceError from error
