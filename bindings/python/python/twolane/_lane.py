"""What reading and writing share."""

from __future__ import annotations

import typing
import weakref
from collections.abc import Awaitable, Callable

from . import _wait
from .exceptions import TwolaneError

if typing.TYPE_CHECKING:
    from . import _native
    from .adaptors import Transport

__all__ = ["Lane"]


class Lane:
    """A stream as the native half has it, the exceptions that it has raised, and who waits for it."""

    __slots__ = ("__weakref__", "_native", "_raised", "_transport", "_waiting")

    def __init__(self, native: _native.Stream) -> None:
        """Not for programs: a node provides streams."""
        self._native = native
        self._raised: weakref.WeakSet[BaseException] | None = None
        self._transport: Transport | None = None
        # The number of reads and writes that wait. They learn from their own results what becomes of the stream.
        self._waiting = 0

    def _has_raised(self, error: BaseException) -> bool:
        """Returns whether an operation on this stream has raised the exception, and not one on another stream."""
        return self._raised is not None and error in self._raised

    def _is_told(self) -> bool:
        """Returns whether the program that has the stream knows, or is about to learn, that its peer is gone."""
        return bool(self._raised) or self._waiting > 0

    def _mark(self, error: TwolaneError) -> None:
        if self._raised is None:
            self._raised = weakref.WeakSet()
        self._raised.add(error)

    async def _take(self, take: Callable[[typing.Any], typing.Any], argument: object) -> object:
        """Calls `take` until it gives something other than a future."""
        if _wait.ready.count >= _wait.TURNS:
            await _wait.turn()
        try:
            while True:
                taken = take(argument)
                if isinstance(taken, (bytes, int, memoryview)):
                    _wait.ready.count += 1
                    return taken
                _wait.ready.count = 0
                await self._wait_for(taken)
        except TwolaneError as error:
            self._mark(error)
            raise

    async def _wait_for(self, awaitable: Awaitable[None]) -> None:
        self._waiting += 1
        try:
            await awaitable
        finally:
            self._waiting -= 1

    async def _operate(self, begin: Callable[[], _native.Op], *, detached: bool) -> None:
        """Waits for an operation. One that is detached goes on if the caller is cancelled."""
        try:
            op = begin()
            if detached:
                await op.future
            else:
                await _wait.result(op)
        except TwolaneError as error:
            self._mark(error)
            raise
