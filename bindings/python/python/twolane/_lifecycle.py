"""A node from its making to its end."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import types
import typing
import warnings
import weakref
from collections.abc import Iterable

from . import _handlers, _logs, _native, _wait, exceptions, hooks as _hooks, info
from ._native import AccessList, Delegation, KeyPair, PeerId, Question, Stage, Ticket
from ._options import Congestion, PathPolicy, Peer, peers as _peers, texts
from ._tasks import Tasks
from .keep import Keep
from .limits import Limits

__all__ = ["Lifecycle"]


class Lifecycle:
    """What a node is, how it starts, how it stands, and how it ends."""

    def __init__(
        self,
        key: KeyPair | None = None,
        *,
        offline: bool = False,
        bind: str | Iterable[str] = (),
        relays: str | Iterable[str] = (),
        trust_roots: Iterable[bytes] = (),
        nameserver: str | None = None,
        directory: tuple[str, str] | None = None,
        n0: bool | None = None,
        mdns: bool | None = None,
        relay_only: bool = False,
        path_policy: PathPolicy = "relay_allowed",
        peers: Peer | Iterable[Peer] = (),
        access: AccessList | _handlers.Rule | None = None,
        hooks: _hooks.Hooks | None = None,
        delegations: Iterable[Delegation] = (),
        revocations: Iterable[tuple[PeerId | str, str]] = (),
        congestion: Congestion = "adaptive",
        limits: Limits | None = None,
        close_timeout: float = 5.0,
    ) -> None:
        """Configures a node, which is not bound yet.

        `key`: the key by which peers identify it. By default a new key, which is lost with the node.
        `offline`: no relay, no lookup, no multicast; on loopback only, unless `bind` names other addresses.
        `bind`: addresses such as `0.0.0.0:4433`, at most one for IPv4 and one for IPv6. By default any
            address.
        `relays`: URLs of your own relays, which replace n0's relays.
        `trust_roots`: certificates (DER) of authorities for relays and directories, besides the public ones.
        `nameserver`: the address of a DNS server, such as `192.0.2.53:53`, in place of the system's.
        `directory`: an `iroh-dns-server` in place of n0's servers: the URL to which this node's relay is
            published, such as `https://dns.example.org/pkarr`, and the domain where peers are looked up.
        `n0`, `mdns`: whether the public relays and DNS of n0, the makers of iroh, and multicast on the local
            network, are used.
        `relay_only`: no direct paths.
        `path_policy`: which paths data may take, for peers without a policy of their own.
        `peers`: tickets of peers whose addresses are known in advance.
        `access`: decides which peers may connect and open streams; by default all. An `AccessList`, or a
            function that is called with each `Question` on the loop on which the node is started. The
            function returns whether the peer may, at once or as a coroutine function within
            `Limits.access_timeout`. Any result other than True is a refusal, and so is an exception. The peer
            reads the reason of a `Refuse`, and nothing of other exceptions, which are logged. Open connections
            and streams stay open when the function's answers change.
        `hooks`: is called when a peer is dialled, connected and disconnected.
        `delegations`: shown to peers, where this node then acts for their owners.
        `revocations`: (owner, serial) of delegations that are not accepted.
        `congestion`: the congestion control for the data that this node sends. `adaptive` is BBR3 with
            corrections for distant peers, and Cubic for near peers; `cubic` and `bbr3` are those alone;
            `background` yields to all other traffic (LEDBAT++).
        `limits`: all limits.
        `close_timeout`: the number of seconds for which `close`, and the end of `async with`, waits for open
            streams.

        Raises `TypeError` for an `access` or `hooks` of another kind.
        """
        if hooks is not None and not isinstance(hooks, _hooks.Hooks):
            raise TypeError(f"hooks are twolane.Hooks, and not {type(hooks).__name__}")
        self._key = KeyPair.generate() if key is None else key
        rule = None if access is None or isinstance(access, AccessList) else access
        self._rule = None if rule is None else _handlers.checked("an access rule", rule)
        self._hooks = hooks
        self._options: dict[str, typing.Any] = {
            "offline": offline,
            "bind": texts(bind),
            "relays": texts(relays),
            "trust_roots": list(trust_roots),
            "nameserver": nameserver,
            "directory": directory,
            "n0": n0,
            "mdns": mdns,
            "relay_only": relay_only,
            "path_policy": path_policy,
            "peers": _peers(peers),
            "access": access if rule is None else self._asker(),
            "hooks": None if hooks is None else self._caller(),
            "delegations": list(delegations),
            "revocations": list(revocations),
            "congestion": congestion,
        }
        self._limits = Limits() if limits is None else limits
        self._close_timeout = close_timeout
        self._id = self._key.peer_id
        self._native: _native.Endpoint | None = None
        self._starting: asyncio.Future[typing.Any] | None = None
        self._context = contextvars.copy_context()
        self._closed = False
        self._served: dict[str, _handlers.Served] = {}
        self._tasks = Tasks()
        self._keeps: set[Keep] = set()

    async def start(self) -> typing.Self:
        """Binds the sockets, and returns the node. `async with` does so by itself. This takes milliseconds, with or
        without a network. `status` shows what cannot be reached.

        Raises `BindError` (an `OSError`), `InvalidOption` and `InvalidTicket` (`ValueError`s).
        """
        while self._native is None:
            if self._closed:
                raise exceptions.NodeClosed("this node is closed: make a new one")
            if self._starting is not None:
                # Somebody else starts it.
                await asyncio.wait([self._starting])
                continue
            await self._bind()
        return self

    async def _bind(self) -> None:
        _logs.collect()
        self._context = contextvars.copy_context()
        op = _native.bind(key=self._key, limits=self._limits.to_dict(), **self._options)
        self._starting = op.future
        try:
            native: _native.Endpoint = await _wait.result(op)
            if self._closed:
                # It was closed meanwhile, by a call that waits.
                self._starting = native.shutdown(0.0).future
                await self._starting
                raise exceptions.NodeClosed("this node was closed while it was started")
            self._native = native
            for served in self._served.values():
                served.install(native)
        finally:
            self._starting = None

    async def close(self, deadline: float | None = None) -> info.ShutdownReport:
        """Accepts no new streams, asks every peer to finish, waits at most `deadline` seconds (by default the
        `close_timeout` of the constructor) until all streams have ended, and closes. Then it cancels the
        handlers that still run. 0 closes at once.

        If the call is cancelled, the shutdown continues in the background. A second call waits for the same
        end.
        """
        deadline = self._close_timeout if deadline is None else deadline
        self._closed = True
        if self._native is None:
            while self._starting is not None and self._starting.get_loop() is asyncio.get_running_loop():
                await asyncio.wait([self._starting])
            return info.ShutdownReport()
        op = self._native.shutdown(deadline)
        try:
            report = await op.future
        finally:
            for keep in tuple(self._keeps):
                keep.close()
            await self._tasks.end(deadline)
        return info.ShutdownReport(**report)

    async def wait_closed(self) -> None:
        """Waits until the node is closed. Cancel-safe."""
        await _wait.result(self._bound().closed())

    async def serve_forever(self) -> None:
        """Waits until the node is closed, or until the process gets SIGTERM, on which it would end without a word
        otherwise: then this returns, and the end of the `async with` block tells the peers.

        SIGTERM is looked at in the main thread of Unix, if the program has no handler of its own. Ctrl-C
        (SIGINT) cancels the main task of `asyncio.run`. Cancel-safe.
        """
        self._bound()
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        watched = _watch(loop, asked)
        ends = [asyncio.ensure_future(self.wait_closed()), asyncio.ensure_future(asked.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if watched:
                loop.remove_signal_handler(signal.SIGTERM)
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def __aenter__(self) -> typing.Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        await self.close(None if kind is None else 0.0)

    # Properties

    @property
    def id(self) -> PeerId:
        """The public key of this node."""
        return self._id

    @property
    def id52(self) -> str:
        """The public key of this node as text."""
        return str(self._id)

    @property
    def ticket(self) -> Ticket:
        """The key of this node with the addresses that are known now. More addresses may become known
        when relays answer: see `online`."""
        return self._bound().ticket()

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._limits if self._native is None else Limits(**self._native.limits())

    @property
    def closed(self) -> bool:
        """Whether the node is closed, or is being closed."""
        return self._closed

    def status(self) -> info.Status:
        """Returns the current network status of this node: which peers can reach it, what is in the way, and what
        to do about it."""
        return info.status(self._bound().status())

    async def settled(self, timeout: float = 10.0) -> info.Status:
        """Waits until it is known which peers can reach this node, for at most `timeout` seconds, and returns the
        status at that time. This takes some seconds after the start, and no time later. Cancel-safe."""
        return info.status(await _wait.result(self._bound().settled(timeout)))

    async def online(self, timeout: float = 5.0) -> bool:
        """Waits until a relay knows this node, for at most `timeout` seconds. Returns False if none does
        by then, which is not an error. Cancel-safe."""
        return bool(await _wait.result(self._bound().online(timeout)))

    def openmetrics(self) -> str:
        """Returns the counters as OpenMetrics text."""
        return self._bound().openmetrics()

    # Internal

    def _bound(self) -> _native.Endpoint:
        if self._native is None:
            if self._closed:
                raise exceptions.NodeClosed("this node is closed: make a new one")
            raise exceptions.NotStarted("this node is not bound yet: use `async with`, or `await node.start()`")
        return self._native

    # The native half holds these functions, and no garbage collector sees that. So they must not keep the node
    # alive, which would then never tell that it was forgotten.

    def _asker(self) -> typing.Callable[[Question], None]:
        node = weakref.ref(self)

        def ask(question: Question) -> None:
            if (here := node()) is not None and here._rule is not None:
                _handlers.ask(here._tasks, here._rule, here._context, question)

        return ask

    def _caller(self) -> typing.Callable[[Stage], None]:
        node = weakref.ref(self)

        def call(stage: Stage) -> None:
            if (here := node()) is not None and here._hooks is not None:
                _hooks.call(here._tasks, here._hooks, here._context, stage)

        return call

    def __repr__(self) -> str:
        state = "closed" if self._closed else "new" if self._native is None else "bound"
        return f"<Node {self._id} {state}>"

    def __del__(self) -> None:
        if getattr(self, "_native", None) is not None and not self._closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)


def _watch(loop: asyncio.AbstractEventLoop, asked: asyncio.Event) -> bool:
    """Watches SIGTERM, if nobody else does and this thread may. Returns whether it does."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGTERM"):
        return False
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return False
    try:
        loop.add_signal_handler(signal.SIGTERM, asked.set)
    except (NotImplementedError, RuntimeError, ValueError):
        return False
    return True
