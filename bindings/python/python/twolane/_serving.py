"""What a node serves."""

from __future__ import annotations

import contextvars
import typing
import weakref
from collections.abc import Callable

from . import _handlers, _native, exceptions
from ._handlers import RequestHandler, Served, StreamHandler
from ._lifecycle import Lifecycle
from ._native import Request
from .sources import Streams
from .stream import XStream

__all__ = ["Serving"]

_S = typing.TypeVar("_S", bound=StreamHandler)
_R = typing.TypeVar("_R", bound=RequestHandler)


class Serving(Lifecycle):
    """Streams and requests that peers open."""

    def accept(self, *protocols: str) -> Streams:
        """Returns the streams that peers open for these protocols:
        `async for stream in node.accept("echo/1")`.

        Streams of other protocols are not affected. The iteration ends when the node is closed.
        """
        return Streams(self._bound().accept(list(protocols)))

    @typing.overload
    def serve(
        self,
        protocol: str,
        handler: None = None,
        *,
        limit: int | None = None,
        cancel: bool = True,
        replace: bool = False,
    ) -> Callable[[_S], _S]: ...
    @typing.overload
    def serve(
        self,
        protocol: str,
        handler: StreamHandler,
        *,
        limit: int | None = None,
        cancel: bool = True,
        replace: bool = False,
    ) -> None: ...
    def serve(
        self,
        protocol: str,
        handler: StreamHandler | None = None,
        *,
        limit: int | None = None,
        cancel: bool = True,
        replace: bool = False,
    ) -> typing.Any:
        """Calls a coroutine function with every stream of a protocol, each in its own task. Can be used as a
        decorator, and before the node is started. Handlers run on the loop that was running when they were
        given, or when the node was started, each in a copy of the context (`contextvars`) of this call.

        The stream is finished when the handler returns. If the handler raises `Fail`, the stream fails with
        that code and text. If it raises what an operation on the stream has raised because the peer has ended
        it, nobody has to be told. Any other exception is logged, and aborts the stream. In an
        `ExceptionGroup`, as a `TaskGroup` raises it, each exception in it counts like that. Other streams are
        not affected.

        `limit`: the number of handlers that may run at the same time. Further streams wait for their answer.
        `cancel`: whether a handler is cancelled when the data of its peer is cut off (the peer is gone, or was
            cancelled) while the handler waits for something else than the stream. A peer that has finished its
            data and closed the stream cuts nothing off: `XStream.wait_closed` tells of that.
        `replace`: replaces a handler that the protocol has already, for example in a notebook. Streams that
            are being handled continue.

        Raises `AlreadyServed` and `InvalidProtocol` (`ValueError`s).
        """
        node = weakref.ref(self)

        def take(stream: _native.Stream) -> None:
            # The protocol may be served no more, or the node may be forgotten: the stream is dropped then.
            if (here := node()) is not None and (served := here._served.get(protocol)) is not None:
                context, handler = served.context, served.handler
                _handlers.take(here._tasks, handler, context, XStream(stream), cancel=served.cancel)

        def install(native: _native.Endpoint) -> None:
            native.serve(protocol, take, limit)

        return self._handle(protocol, handler, install, cancel=cancel, replace=replace)

    @typing.overload
    def serve_requests(
        self, protocol: str, handler: None = None, *, limit: int | None = None, replace: bool = False
    ) -> Callable[[_R], _R]: ...
    @typing.overload
    def serve_requests(
        self, protocol: str, handler: RequestHandler, *, limit: int | None = None, replace: bool = False
    ) -> None: ...
    def serve_requests(
        self,
        protocol: str,
        handler: RequestHandler | None = None,
        *,
        limit: int | None = None,
        replace: bool = False,
    ) -> typing.Any:
        """Calls a function with every request of a protocol, and sends back the bytes that it returns. Can be
        used as a decorator.

        The function may be a coroutine function; its task is cancelled when the caller gives up. `Fail` is
        sent to the caller. Any other exception is logged, and the caller learns that the handler failed.

        `limit`: the number of requests that are handled at the same time. Further ones wait.
        `replace`: replaces a handler that the protocol has already.

        Raises the same exceptions as `serve`.
        """
        node = weakref.ref(self)

        def take(request: Request) -> None:
            if (here := node()) is not None and (served := here._served.get(protocol)) is not None:
                _handlers.answer(here._tasks, served.handler, served.context, request)

        def install(native: _native.Endpoint) -> None:
            native.serve_requests(protocol, take, limit)

        return self._handle(protocol, handler, install, cancel=True, replace=replace)

    def stop_serving(self, protocol: str) -> bool:
        """Stops serving the protocol. Streams that are being handled continue. Returns False if the protocol
        had no handler."""
        known = self._served.pop(protocol, None) is not None
        return known if self._native is None else self._native.stop_serving(protocol)

    # Internal

    def _handle(
        self,
        protocol: str,
        handler: typing.Any,
        install: Callable[[_native.Endpoint], None],
        *,
        cancel: bool,
        replace: bool,
    ) -> typing.Any:
        if not 0 < len(protocol) <= 255 or not all("!" <= char <= "~" for char in protocol):
            raise exceptions.InvalidProtocol(f"{protocol!r} is not 1 to 255 visible ASCII characters")

        def register(function: typing.Any) -> typing.Any:
            _handlers.checked(f"the handler of {protocol}", function)
            if replace:
                self.stop_serving(protocol)
            elif protocol in self._served:
                raise exceptions.AlreadyServed(
                    f"{protocol} already has a handler: call stop_serving first, or give replace=True"
                )
            if self._native is not None:
                install(self._native)
            self._served[protocol] = Served(function, contextvars.copy_context(), install, cancel)
            return function

        if handler is None:
            return register
        register(handler)
        return None
