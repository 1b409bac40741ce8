"""The endpoint."""

from __future__ import annotations

import asyncio
import inspect
import sys
import types
import typing
import warnings
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterable

from . import _native, _outcomes, _wait, exceptions, info
from ._native import AccessList, Delegation, KeyPair, PeerId, Question, Request, Ticket
from ._outcomes import RequestHandler, Rule, StreamHandler
from .sources import Events, Keep, Opening, Streams
from .stream import Buffer, XStream

__all__ = ["Endpoint", "Events", "Keep", "Node", "Peer", "RequestHandler", "Rule", "StreamHandler", "Streams"]

Peer: typing.TypeAlias = PeerId | Ticket | str
"""A peer to talk to: a key, a ticket that also has its addresses, or the text of either."""

_S = typing.TypeVar("_S", bound=StreamHandler)
_R = typing.TypeVar("_R", bound=RequestHandler)
_T = typing.TypeVar("_T")

_EAGER: typing.Final = sys.version_info >= (3, 12)


class Endpoint:
    """A local endpoint: one key, one connection to each peer, and any number of streams on it. Also known as
    `Node`.

    >>> async with Endpoint(KeyPair.from_file("my.key", create=True)) as node:
    ...     @node.serve("echo/1")
    ...     async def echo(stream):
    ...         async for chunk in stream:
    ...             await stream.write(chunk)
    ...     print("reachable as", node.ticket)
    ...     await asyncio.Event().wait()

    `async with`, `await Endpoint(..)` or `start` binds the endpoint, which takes milliseconds in any network.
    The event loop needs no setup. Handlers run on the loop that was running when they were given, or when the
    endpoint was bound. The other operations work on any loop of any thread.

    By default the endpoint uses iroh's public relays, DNS and the local network to find peers and to be
    found.
    """

    def __init__(
        self,
        key: KeyPair | None = None,
        *,
        offline: bool = False,
        bind: Iterable[str] = (),
        relays: Iterable[str] = (),
        n0: bool | None = None,
        mdns: bool | None = None,
        relay_only: bool = False,
        peers: Iterable[Peer] = (),
        access: AccessList | Rule | None = None,
        delegations: Iterable[Delegation] = (),
        revocations: Iterable[tuple[PeerId | str, str]] = (),
        congestion: typing.Literal["adaptive", "cubic", "bbr3", "background"] = "adaptive",
        remembered_peers: int | None = None,
        require_post_quantum: bool = False,
        limits: info.Limits | None = None,
        close_timeout: float = 5.0,
    ) -> None:
        """Configures an endpoint, which is not bound yet.

        `key`: the key by which peers identify it. By default a new key, which is lost with the endpoint.
        `offline`: no relay, no lookup, no multicast; on loopback only, unless `bind` names other addresses.
        `bind`: addresses such as `0.0.0.0:4433`, at most one for IPv4 and one for IPv6. By default any
            address.
        `relays`: URLs of your own relays, which replace n0's relays.
        `n0`, `mdns`: whether n0's relays and DNS, and multicast on the local network, are used.
        `relay_only`: no direct paths.
        `peers`: tickets of peers whose addresses are known in advance.
        `access`: decides which peers may connect and open streams; by default all. An `AccessList`, or a
            function that is called with each `Question` on the loop on which the endpoint is bound. The
            function returns whether the peer may, at once or as a coroutine function within
            `Limits.access_timeout`. Any result other than True is a refusal. A `PermissionError` is a refusal
            with its text, which the peer reads. Open connections and streams stay open when the function's
            answers change.
        `delegations`: shown to peers, where this endpoint then acts for their owners.
        `revocations`: (owner, serial) of delegations that are not accepted.
        `congestion`: the congestion control for the data that this endpoint sends. `adaptive` is BBR3 with
            corrections for distant peers, and Cubic for near peers; `cubic` and `bbr3` are those alone;
            `background` yields to all other traffic (LEDBAT++).
        `remembered_peers`: the number of dialled peers whose sessions are kept in memory, by default 32. A
            connection to one of them takes less time, and carries repeatable requests in its first packets.
        `require_post_quantum`: refuses every connection whose key exchange was not post-quantum; see
            `PeerInfo.key_exchange`. Nothing has been sent on such a connection.
        `limits`: all limits.
        `close_timeout`: the number of seconds for which the end of `async with` waits for open streams.
        """
        self._key = KeyPair.generate() if key is None else key
        self._options: dict[str, typing.Any] = {
            "offline": offline,
            "bind": list(bind),
            "relays": list(relays),
            "n0": n0,
            "mdns": mdns,
            "relay_only": relay_only,
            "peers": list(peers),
            "access": access,
            "delegations": list(delegations),
            "revocations": list(revocations),
            "congestion": congestion,
            "remembered_peers": remembered_peers,
            "require_post_quantum": require_post_quantum,
        }
        self._limits = info.Limits() if limits is None else limits
        self._close_timeout = close_timeout
        self._id = self._key.peer_id
        self._native: _native.Endpoint | None = None
        self._starting = asyncio.Lock()
        self._closed = False
        self._handlers: dict[str, Callable[[_native.Endpoint], None]] = {}
        self._tasks: set[asyncio.Task[typing.Any]] = set()
        self._rule = None if access is None or isinstance(access, AccessList) else access
        if self._rule is not None:
            self._options["access"] = self._asker()

    @classmethod
    def bind(cls, *args: typing.Any, **kwargs: typing.Any) -> Endpoint:
        """Works like the class itself: `await Endpoint.bind(..)`, or
        `async with Endpoint.bind(..) as node`."""
        return cls(*args, **kwargs)

    # State

    async def start(self) -> Endpoint:
        """Binds the sockets. This takes milliseconds, with or without a network. `status` shows what cannot
        be reached.

        Raises `BindError` (an `OSError`), `InvalidOption` and `InvalidTicket` (`ValueError`s).
        """
        if self._closed:
            raise exceptions.EndpointClosed("this endpoint is closed: make a new one")
        async with self._starting:
            if self._native is None:
                op = _native.bind(
                    key=self._key,
                    limits={name: getattr(self._limits, name) for name in self._limits.__slots__},
                    **self._options,
                )
                self._native = typing.cast("_native.Endpoint", await _wait.result(op))
                for install in self._handlers.values():
                    install(self._native)
        return self

    async def shutdown(self, deadline: float = 5.0) -> info.ShutdownReport:
        """Accepts no new streams, asks every peer to finish, waits at most `deadline` seconds until all
        streams have ended, and closes. Then it cancels the handlers that still run.

        If the call is cancelled, the shutdown continues in the background. A second call waits for the same
        end.
        """
        if self._native is None:
            self._closed = True
            return info.ShutdownReport()
        op = self._native.shutdown(deadline)
        self._closed = True
        try:
            report = await op.future
        finally:
            ended = self._end_tasks()
        if ended:
            await asyncio.wait(ended, timeout=deadline)
        return info.ShutdownReport(**report)

    async def close(self) -> None:
        """Works like `shutdown` with the `close_timeout` of the constructor."""
        await self.shutdown(self._close_timeout)

    stop = close

    async def __aenter__(self) -> Endpoint:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        await self.shutdown(self._close_timeout if kind is None else 0.0)

    def __await__(self) -> Generator[typing.Any, typing.Any, Endpoint]:
        return self.start().__await__()

    # Properties

    @property
    def id(self) -> PeerId:
        """The public key of this endpoint."""
        return self._id

    @property
    def id52(self) -> str:
        """The public key of this endpoint as text."""
        return str(self._id)

    @property
    def ticket(self) -> Ticket:
        """The key of this endpoint with the addresses that are known now. More addresses may become known
        when relays answer: see `online`."""
        return self._bound().ticket()

    @property
    def limits(self) -> info.Limits:
        """The limits in force."""
        return self._limits if self._native is None else info.Limits(**self._native.limits())

    @property
    def closed(self) -> bool:
        """Whether the endpoint is closed, or is being closed."""
        return self._closed

    def status(self) -> info.Status:
        """Returns the current network status of this endpoint."""
        parts = self._bound().status()
        relays = tuple(info.RelayStatus(**relay) for relay in parts.pop("relays"))
        return info.Status(
            sockets=tuple(parts.pop("sockets")), addrs=tuple(parts.pop("addrs")), relays=relays, **parts
        )

    async def online(self, timeout: float = 5.0) -> bool:
        """Waits until a relay knows this endpoint, for at most `timeout` seconds. Returns False if none does
        by then, which is not an error."""
        return bool(await _wait.result(self._bound().online(timeout)))

    def openmetrics(self) -> str:
        """Returns the counters as OpenMetrics text."""
        return self._bound().openmetrics()

    # Peers

    async def connect(self, peer: Peer, *, timeout: float | None = None) -> PeerId:
        """Connects to a peer, if it is not connected yet. (`open_stream` and `request` connect by
        themselves.)

        Raises `DialError`, `DialTimeout` (a `TimeoutError`), `Forbidden`. Cancel-safe: a dial that other
        callers wait for continues.
        """
        return typing.cast("PeerId", await _wait.result(self._bound().connect(peer, timeout)))

    async def disconnect(self, peer: Peer, reason: str = "") -> bool:
        """Closes the connection to a peer at once, with a reason that the peer can read. Returns False if the
        peer was not connected."""
        return self._bound().disconnect(peer, reason)

    def peers(self) -> list[info.PeerInfo]:
        """Returns the connected peers, ordered by key."""
        return [_peer_info(parts) for parts in self._bound().peers()]

    def peer(self, peer: Peer) -> info.PeerInfo | None:
        """Returns one peer, if it is connected."""
        parts = self._bound().peer(peer)
        return None if parts is None else _peer_info(parts)

    def add_peer(self, ticket: Ticket | str) -> None:
        """Adds addresses of a peer, for later dials."""
        self._bound().add_peer(ticket)

    def keep(self, peer: Peer) -> Keep:
        """Keeps a peer connected until `close` of the result is called, or until its `with` block ends. Dials
        the peer now, and again whenever the connection is lost."""
        return Keep(self._bound().keep(peer))

    def events(self) -> Events:
        """Returns the events from now on: `async for event in node.events()`."""
        return Events(self._bound().events())

    # Streams

    def open_stream(
        self,
        peer: Peer,
        protocol: str,
        *,
        metadata: Buffer = b"",
        early_data: Buffer = b"",
        timeout: float | None = None,
    ) -> Opening:
        """Opens a stream over the existing connection or a new one. This takes one round trip if the peer is
        connected.

        The result is to be awaited, or used with `async with`. The acceptor receives `metadata` (at most 16
        KiB) before any data; `early_data` travels with it. `timeout` limits the whole operation; by default
        the limits of the endpoint apply.

        Raises `Rejected` (including `UnknownProtocol`), `DialError`, `DialTimeout`, `OpenTimeout`,
        `TooManyStreams`, `Forbidden` and `ConnectionLost`. `InvalidProtocol`, `InvalidTicket` and `TooLarge`
        are mistakes of the caller.

        Cancel-safe: a stream that opens at that moment is reset.
        """
        return Opening(self._open(peer, protocol, metadata, early_data, timeout))

    async def _open(
        self, peer: Peer, protocol: str, metadata: Buffer, early_data: Buffer, timeout: float | None
    ) -> XStream:
        op = self._bound().open_stream(peer, protocol, metadata, early_data, timeout)
        return XStream(await _wait.result(op))

    def accept(self, *protocols: str) -> Streams:
        """Returns the streams that peers open for these protocols:
        `async for stream in node.accept("echo/1")`.

        Streams of other protocols are not affected. The iteration ends when the endpoint shuts down.
        """
        return Streams(self._bound().accept(list(protocols)))

    @typing.overload
    def serve(self, protocol: str, handler: None = None) -> Callable[[_S], _S]: ...
    @typing.overload
    def serve(self, protocol: str, handler: StreamHandler) -> None: ...
    def serve(self, protocol: str, handler: StreamHandler | None = None) -> typing.Any:
        """Calls a coroutine function with every stream of a protocol, each in its own task. Can be used as a
        decorator.

        The stream is finished when the handler returns. If the handler raises `StreamFailure`, the stream
        fails with that code and text. Any other exception is logged, and aborts the stream. Other streams are
        not affected. `serve` may be called before the endpoint is bound.

        Raises `AlreadyServed` and `InvalidProtocol` (`ValueError`s).
        """

        # The native half holds the function. A strong reference in it would keep a forgotten endpoint alive
        # for ever.
        endpoint = weakref.ref(self)

        def install(function: StreamHandler, native: _native.Endpoint) -> None:
            def take(stream: _native.Stream) -> None:
                if (node := endpoint()) is not None:
                    node._spawn(_outcomes.serve(function, XStream(stream)))

            native.serve(protocol, take)

        return self._handle(protocol, handler, install)

    @typing.overload
    def serve_requests(
        self, protocol: str, handler: None = None, *, repeatable: bool = False
    ) -> Callable[[_R], _R]: ...
    @typing.overload
    def serve_requests(self, protocol: str, handler: RequestHandler, *, repeatable: bool = False) -> None: ...
    def serve_requests(
        self, protocol: str, handler: RequestHandler | None = None, *, repeatable: bool = False
    ) -> typing.Any:
        """Calls a function with every request of a protocol, and sends back the bytes that it returns. Can be
        used as a decorator.

        The function may be a coroutine function; its task is cancelled when the caller gives up.
        `StreamFailure` is sent to the caller. Any other exception is logged, and the caller learns that the
        handler failed.

        `repeatable`: whether it is harmless to handle a request twice. If so, a request whose caller says the
        same is handled before the handshake is done (`Request.early`), and the response is there after one
        round trip instead of two. An attacker on the path can then have a request handled twice: once for a
        copy that comes before the caller's own packets, and once for the caller. A request that reads
        something is repeatable; a payment is not.

        Raises the same exceptions as `serve`.
        """

        endpoint = weakref.ref(self)

        def install(function: RequestHandler, native: _native.Endpoint) -> None:
            def take(request: Request) -> None:
                if (node := endpoint()) is not None:
                    node._answer(function, request)

            native.serve_requests(protocol, take, repeatable)

        return self._handle(protocol, handler, install)

    def stop_serving(self, protocol: str) -> bool:
        """Stops serving the protocol. Streams that are being handled continue. Returns False if the protocol
        had no handler."""
        known = self._handlers.pop(protocol, None) is not None
        return known if self._native is None else self._native.stop_serving(protocol)

    async def request(
        self,
        peer: Peer,
        protocol: str,
        data: Buffer = b"",
        *,
        timeout: float = 30.0,
        repeatable: bool = False,
    ) -> bytes:
        """Sends `data` to a peer's request handler and returns the response. This takes one round trip if the
        peer is connected.

        `repeatable`: whether it is harmless if the peer handles the request twice. If so, a request of at most
        16 KiB to a peer that was connected before travels with the first packets of the new connection.

        Raises `RequestTimeout` (a `TimeoutError`), `StreamFailed` with the handler's text, and the exceptions
        of `open_stream`. Their `phase` tells how far the request came, and `may_have_been_handled` whether it
        is safe to send it again.

        If the call is cancelled, the stream is reset, and the handler on the other side is cancelled.
        """
        op = self._bound().request(peer, protocol, data, timeout, repeatable)
        try:
            response: bytes = await op.future
        except asyncio.CancelledError:
            op.cancel()
            raise
        return response

    # Delegations

    def set_delegations(self, delegations: Iterable[Delegation]) -> None:
        """Replaces the delegations that this endpoint shows. Raises `DelegationError` if one is for another
        key."""
        self._bound().set_delegations(list(delegations))

    def revoke(self, owner: PeerId | str, serial: str) -> bool:
        """Revokes a delegation here: peers that have shown it no longer act for its owner, at once. Returns
        False if it was already revoked."""
        return self._bound().revoke(owner, serial)

    def set_revocations(self, revocations: Iterable[tuple[PeerId | str, str]]) -> None:
        """Replaces the list of revoked delegations."""
        self._bound().set_revocations(list(revocations))

    # Internal

    def _asker(self) -> Callable[[Question], None]:
        # The native half holds the function, which must not keep the endpoint alive.
        endpoint = weakref.ref(self)

        def ask(question: Question) -> None:
            node = endpoint()
            if node is None or node._rule is None:
                return
            try:
                verdict = node._rule(question)
            except Exception as error:
                _outcomes.refuse(question, error)
                return
            if inspect.isawaitable(verdict):
                node._spawn(_outcomes.judge_later(question, verdict))
            else:
                _outcomes.judge(question, verdict)

        return ask

    def _end_tasks(self) -> list[asyncio.Future[None]]:
        """Cancels the running handlers, each on its own loop. The returned futures complete when the handlers
        have ended."""
        tasks: dict[asyncio.AbstractEventLoop, list[asyncio.Task[typing.Any]]] = {}
        for task in tuple(self._tasks):
            # A handler that closes the endpoint does not wait for itself.
            if task is not asyncio.current_task():
                tasks.setdefault(task.get_loop(), []).append(task)
        ended = [_outcomes.cancel(loop, of_loop) for loop, of_loop in tasks.items()]
        return [asyncio.wrap_future(future) for future in ended if future is not None]

    def _bound(self) -> _native.Endpoint:
        if self._native is None:
            raise exceptions.NotStarted(
                "this endpoint is not bound yet: use `async with`, or `await endpoint.start()`"
            )
        return self._native

    def _handle(
        self,
        protocol: str,
        handler: _T | None,
        install: Callable[[_T, _native.Endpoint], None],
    ) -> Callable[[_T], _T] | None:
        if not 0 < len(protocol) <= 255 or not all("!" <= char <= "~" for char in protocol):
            raise exceptions.InvalidProtocol(f"{protocol!r} is not 1 to 255 visible ASCII characters")

        def register(function: _T) -> _T:
            if protocol in self._handlers:
                raise exceptions.AlreadyServed(f"{protocol} already has a handler: call stop_serving first")
            if self._native is not None:
                install(function, self._native)
            self._handlers[protocol] = lambda native: install(function, native)
            return function

        if handler is None:
            return register
        register(handler)
        return None

    def _spawn(self, coroutine: Coroutine[typing.Any, typing.Any, None]) -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()
        task: asyncio.Task[None]
        if _EAGER:
            # Most answers need no turn of the event loop.
            task = asyncio.Task(coroutine, loop=loop, eager_start=True)  # type: ignore[call-arg, unused-ignore]
            if task.done():
                return task
        else:
            task = loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _answer(self, handler: RequestHandler, request: Request) -> None:
        try:
            response = handler(request)
        except Exception as error:
            _outcomes.explain(request, error)
            return
        if not inspect.isawaitable(response):
            _outcomes.respond(request, response)
            return
        task = self._spawn(_outcomes.respond_later(request, response))
        if not task.done() and not request._when_given_up(lambda _: task.cancel()):
            task.cancel()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "new" if self._native is None else "bound"
        return f"<Endpoint {self._id} {state}>"

    def __del__(self) -> None:
        if getattr(self, "_native", None) is not None and not self._closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)


Node = Endpoint
"""An alias under the name that users of pyxnetwork know."""


def _peer_info(parts: dict[str, typing.Any]) -> info.PeerInfo:
    paths = tuple(info.PathInfo(**path) for path in parts.pop("paths"))
    return info.PeerInfo(paths=paths, **parts)
