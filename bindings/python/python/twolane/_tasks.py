"""The tasks of a node, each on its own event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import sys
import typing
from collections.abc import Coroutine

__all__ = ["Tasks"]

_EAGER: typing.Final = sys.version_info >= (3, 12)

GRACE: typing.Final = 1.0
"""The number of seconds that cancelled handlers have to end, however short the deadline is. Without it, their
`finally` blocks would not have had a turn of the event loop when the node is closed."""


class Tasks:
    """The handlers that run."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[typing.Any]] = set()

    def spawn(
        self,
        coroutine: Coroutine[typing.Any, typing.Any, None],
        context: contextvars.Context,
        *,
        inner: object = None,
    ) -> asyncio.Task[None]:
        """Runs a coroutine in a context of its own. `inner` is a coroutine that it awaits, which would be warned of
        as never awaited if the task were cancelled before its first turn."""
        loop = asyncio.get_running_loop()
        task: asyncio.Task[None]
        if _EAGER and loop.get_task_factory() is None:
            # Most answers need no turn of the event loop.
            eager: typing.Any = asyncio.Task
            task = eager(coroutine, loop=loop, context=context, eager_start=True)
            if task.done():
                return task
        else:
            task = loop.create_task(coroutine, context=context)
            if isinstance(inner, Coroutine):
                task.add_done_callback(lambda _: inner.close())
        self._running.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[typing.Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Only SystemExit and KeyboardInterrupt get here, and the event loop has raised them.
            task.exception()

    async def end(self, deadline: float) -> None:
        """Cancels everything that runs, and waits until it has ended, for at most `deadline` seconds."""
        tasks: dict[asyncio.AbstractEventLoop, list[asyncio.Task[typing.Any]]] = {}
        for task in tuple(self._running):
            # A handler that closes the node does not wait for itself.
            if task is not asyncio.current_task():
                tasks.setdefault(task.get_loop(), []).append(task)
        ended = [_cancel(loop, of_loop) for loop, of_loop in tasks.items()]
        futures = [asyncio.wrap_future(future) for future in ended if future is not None]
        if futures:
            await asyncio.wait(futures, timeout=max(deadline, GRACE))


def _cancel(
    loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[typing.Any]]
) -> concurrent.futures.Future[None] | None:
    """Cancels tasks of an event loop that may run in another thread. The returned future completes when the
    tasks have ended. Returns None if that loop is closed."""
    ended: concurrent.futures.Future[None] = concurrent.futures.Future()
    left = set(tasks)

    def forget(task: asyncio.Task[typing.Any]) -> None:
        left.discard(task)
        if not left and not ended.done():
            ended.set_result(None)

    def cancel_all() -> None:
        for task in tasks:
            task.add_done_callback(forget)
            task.cancel()

    try:
        loop.call_soon_threadsafe(cancel_all)
    except RuntimeError:
        return None
    return ended
