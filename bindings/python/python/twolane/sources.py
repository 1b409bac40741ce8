"""The objects of an endpoint to iterate over, to hold, or to enter."""

from __future__ import annotations

import types
import typing
from collections.abc import AsyncIterator, Coroutine, Generator

from . import _native, _wait, events
from .stream import XStream

__all__ = ["Events", "Keep", "Streams"]


class Events(AsyncIterator[events.Event]):
    """The events of an endpoint's peers; see `Endpoint.events`. Cancel-safe: an event is taken only when it
    is returned."""

    def __init__(self, source: _native.Source) -> None:
        self._source = source

    async def __anext__(self) -> events.Event:
        return events.from_native(await _wait.following(self._source))


class Streams(AsyncIterator[XStream]):
    """Streams that peers open; see `Endpoint.accept`. Cancel-safe: a stream is taken only when it is
    returned. Once this is closed or dropped, the streams go to any other caller that accepts the protocol."""

    def __init__(self, source: _native.Source) -> None:
        self._source = source

    async def __anext__(self) -> XStream:
        return XStream(await _wait.following(self._source))

    def close(self) -> None:
        """Stops accepting streams here."""
        self._source.close()


class Keep:
    """A peer that is kept connected; see `Endpoint.keep`."""

    def __init__(self, native: _native.Keep) -> None:
        self._native = native

    @property
    def state(self) -> str:
        """`dialling`, `connected`, `waiting` (for the next dial), `given_up` or `ended`."""
        return self._native.state()[0]

    @property
    def failures(self) -> int:
        """The number of dials in a row that failed."""
        return self._native.state()[1]

    @property
    def last_error(self) -> str | None:
        """The last error, unless the peer is connected."""
        return self._native.state()[2]

    def close(self) -> None:
        """Stops keeping the peer connected. An existing connection stays open."""
        self._native.close()

    def __enter__(self) -> Keep:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Opening(Coroutine[typing.Any, typing.Any, XStream]):
    """A stream that is being opened: to be awaited, or to be entered with `async with`."""

    __slots__ = ("_coroutine", "_stream")

    def __init__(self, coroutine: Coroutine[typing.Any, typing.Any, XStream]) -> None:
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
