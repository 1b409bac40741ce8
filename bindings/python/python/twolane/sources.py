"""What a node gives to iterate over, or to enter."""

from __future__ import annotations

import types
import typing
from collections.abc import AsyncIterator, Coroutine, Generator

from . import _native, _wait, events
from .stream import XStream

__all__ = ["Events", "Opening", "Streams"]


class Events(AsyncIterator[events.Event]):
    """The events of a node's peers; see `Node.events`. They end when the node is closed and all of them were taken.
    Cancel-safe: an event is taken only when it is returned."""

    def __init__(self, source: _native.Source) -> None:
        """Not for programs: `Node.events` makes it."""
        self._source = source

    async def __anext__(self) -> events.Event:
        return events.from_native(await _wait.following(self._source))

    def close(self) -> None:
        """Ends the iteration, also for a task that waits in it."""
        self._source.close()

    async def aclose(self) -> None:
        """Works like `close`, for `contextlib.aclosing`."""
        self._source.close()


class Streams(AsyncIterator[XStream]):
    """Streams that peers open; see `Node.accept`. Cancel-safe: a stream is taken only when it is returned. Once this
    is closed or dropped, the streams go to any other caller that accepts the protocol."""

    def __init__(self, source: _native.Source) -> None:
        """Not for programs: `Node.accept` makes it."""
        self._source = source

    async def __anext__(self) -> XStream:
        return XStream(await _wait.following(self._source))

    def close(self) -> None:
        """Stops accepting streams here. A task that waits for the next one gets the end of the iteration."""
        self._source.close()

    async def aclose(self) -> None:
        """Works like `close`, for `contextlib.aclosing`."""
        self._source.close()


class Opening(Coroutine[typing.Any, typing.Any, XStream]):
    """A stream that is being opened: to be awaited, or to be entered with `async with`."""

    __slots__ = ("_coroutine", "_stream")

    def __init__(self, coroutine: Coroutine[typing.Any, typing.Any, XStream]) -> None:
        """Not for programs: `Node.open_stream` makes it."""
        self._coroutine = coroutine
        self._stream: XStream | None = None

    def send(self, value: typing.Any) -> typing.Any:
        return self._coroutine.send(value)

    def throw(self, *error: typing.Any) -> typing.Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[typing.Any, typing.Any, XStream]:
        return self._coroutine.__await__()

    async def __aenter__(self) -> XStream:
        self._stream = await self._coroutine
        return self._stream

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if self._stream is not None:
            await self._stream.__aexit__(kind, error, traceback)
