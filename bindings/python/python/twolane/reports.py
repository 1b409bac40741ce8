"""Warnings and errors of the peer on a stream."""

from __future__ import annotations

import typing
from collections.abc import AsyncIterator

from . import _wait
from .info import Report

if typing.TYPE_CHECKING:
    from . import _native

__all__ = ["Reports"]


class Reports(AsyncIterator[Report]):
    """The peer's warnings and errors; see `XStream.errors`. Cancel-safe: a report is taken only when it is
    returned."""

    def __init__(self, source: _native.Source) -> None:
        """Not for programs: `XStream.errors` makes it."""
        self._source = source
        self._over = False

    async def __anext__(self) -> Report:
        if self._over:
            raise StopAsyncIteration
        report = Report(*await _wait.following(self._source))
        # No report follows the error that ended the stream.
        self._over = report.severity != "warning"
        return report

    def close(self) -> None:
        """Ends the iteration, also for a task that waits in it."""
        self._source.close()

    async def aclose(self) -> None:
        """Works like `close`, for `contextlib.aclosing`."""
        self._source.close()
