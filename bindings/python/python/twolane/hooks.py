"""Hooks: calls into the program at the stages of a connection."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable

from . import _handlers
from ._native import PeerId, Stage
from ._tasks import Tasks

__all__ = ["Hooks"]


class Hooks:
    """Calls into the program at the stages of a connection. A subclass overrides what it needs and is given to a node:
    `Node(hooks=MyHooks())`.

    The first two methods decide: they return whether the peer may, or raise `Refuse` with a reason that the peer
    reads. The last two are notifications, and come in pairs. No two calls for one peer run at the same time. Each
    call has `Limits.access_timeout`, and its task is cancelled after that. An exception is logged, and is a refusal
    in a method that decides.
    """

    async def before_dial(self, peer: PeerId) -> bool:
        """Decides whether a peer may be dialled."""
        return True

    async def after_handshake(self, peer: PeerId, owner: PeerId | None) -> bool:
        """Decides whether a peer may be connected, whichever side dialled: after the access rule, and before the peer
        counts as connected. `owner` is the key that the peer acts for, by a delegation."""
        return True

    async def on_connect(self, peer: PeerId, owner: PeerId | None) -> None:
        """The peer has become connected."""

    async def on_disconnect(self, peer: PeerId, cause: str, reason: str) -> None:
        """The peer is no longer connected: the cause for people, and for programs as in `ConnectionLost.reason`."""


def call(tasks: Tasks, hooks: Hooks, context: contextvars.Context, stage: Stage) -> None:
    """Calls the hook of a stage."""
    cause, reason = stage.cause or ("", "")
    calls: dict[str, Callable[[], Awaitable[bool]]] = {
        "before_dial": lambda: hooks.before_dial(stage.peer),
        "after_handshake": lambda: hooks.after_handshake(stage.peer, stage.owner),
        "on_connect": lambda: _told(lambda: hooks.on_connect(stage.peer, stage.owner)),
        "on_disconnect": lambda: _told(lambda: hooks.on_disconnect(stage.peer, cause, reason)),
    }
    what = f"the hook {stage.name}"
    _handlers.decide(tasks, context, what, stage.answer, stage.when_given_up, calls[stage.name])


async def _told(tell: Callable[[], Awaitable[None]]) -> bool:
    await tell()
    return True
