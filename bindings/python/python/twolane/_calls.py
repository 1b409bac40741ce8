"""What a node does with its peers."""

from __future__ import annotations

import typing
from collections.abc import Iterable

from . import _wait, info
from ._buffer import Buffer
from ._lifecycle import Lifecycle
from ._native import Delegation, PeerId, Ticket
from ._options import PathPolicy, Peer
from .keep import Keep
from .sources import Events, Opening
from .stream import XStream

__all__ = ["Calls"]


class Calls(Lifecycle):
    """Connections, streams and requests that this side opens."""

    async def connect(self, peer: Peer, *, timeout: float | None = None) -> PeerId:
        """Connects to a peer, if it is not connected yet. (`open_stream` and `request` connect by
        themselves.)

        Raises `DialError`, `DialTimeout` (a `TimeoutError`), `Forbidden`. Cancel-safe: a dial that other
        callers wait for continues.
        """
        return typing.cast("PeerId", await _wait.result(self._bound().connect(peer, timeout)))

    def disconnect(self, peer: Peer, reason: str = "") -> bool:
        """Closes the connection to a peer at once, with a reason that the peer can read. Returns False if the
        peer was not connected."""
        return self._bound().disconnect(peer, reason)

    def peers(self) -> list[info.PeerInfo]:
        """Returns the connected peers, ordered by key."""
        return [info.peer_info(parts) for parts in self._bound().peers()]

    def peer(self, peer: Peer) -> info.PeerInfo | None:
        """Returns one peer, if it is connected."""
        parts = self._bound().peer(peer)
        return None if parts is None else info.peer_info(parts)

    def add_peer(self, ticket: Ticket | str) -> None:
        """Adds addresses of a peer, for later dials."""
        self._bound().add_peer(ticket)

    def path_policy(self, peer: Peer) -> PathPolicy:
        """Returns which paths data to and from the peer may take."""
        return typing.cast("PathPolicy", self._bound().path_policy(peer))

    def set_path_policy(self, peer: Peer, policy: PathPolicy) -> None:
        """Sets which paths data to and from the peer may take, from now on and on existing connections:
        `relay_allowed`, `direct_only`, or the number of seconds for which a relay may take the place of a
        direct path."""
        self._bound().set_path_policy(peer, policy)

    def keep(self, peer: Peer) -> Keep:
        """Keeps a peer connected until `close` of the result is called, until its `with` block ends, or until the
        node is closed. Dials the peer now, and again whenever the connection is lost."""
        keep = Keep(self._bound().keep(peer), self._keeps.discard)
        self._keeps.add(keep)
        return keep

    def events(self) -> Events:
        """Returns the events from now on: `async for event in node.events()`. They end when the node is closed."""
        return Events(self._bound().events())

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
        the limits of the node apply.

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

    async def request(
        self,
        peer: Peer,
        protocol: str,
        data: Buffer = b"",
        *,
        metadata: Buffer = b"",
        timeout: float | None = 30.0,
    ) -> bytes:
        """Sends `data` to a peer's request handler and returns the response. This takes one round trip if the
        peer is connected. The handler gets `metadata` (at most 16 KiB) beside the data. `timeout` limits the
        whole operation; None means the default.

        Raises `RequestTimeout` (a `TimeoutError`), `StreamFailed` with the handler's text, and the exceptions
        of `open_stream`. Their `phase` tells how far the request came, and `may_have_been_handled` whether it
        is safe to send it again.

        If the call is cancelled, the stream is reset, and the handler on the other side is cancelled.
        """
        op = self._bound().request(peer, protocol, data, metadata, timeout)
        return typing.cast("bytes", await _wait.result(op))

    # Delegations

    def set_delegations(self, delegations: Iterable[Delegation]) -> None:
        """Replaces the delegations that this node shows. Raises `DelegationError` if one is for another
        key."""
        self._bound().set_delegations(list(delegations))

    def revoke(self, owner: PeerId | str, serial: str) -> bool:
        """Revokes a delegation here: peers that have shown it no longer act for its owner, at once. Returns
        False if it was already revoked."""
        return self._bound().revoke(owner, serial)

    def set_revocations(self, revocations: Iterable[tuple[PeerId | str, str]]) -> None:
        """Replaces the list of revoked delegations."""
        self._bound().set_revocations(list(revocations))
