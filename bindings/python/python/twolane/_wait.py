"""The three ways to wait for the native half, and the turns of the event loop."""

from __future__ import annotations

import asyncio
import threading
import typing

if typing.TYPE_CHECKING:
    from ._native import Op, Source, Write

TURNS: typing.Final = 32
"""Maximum number of calls in a row, on all streams and sources of an event loop together, that may return without
a turn of the loop. A fast peer can always have more data, streams or warnings ready. Without a turn, neither a
timeout nor another task nor Ctrl-C would ever come. At 256 KiB a call, the maximum takes about 8 ms."""


class _Ready(threading.local):
    """The number of calls in a row that did not have to wait, on the event loop of a thread."""

    count = 0


ready: typing.Final = _Ready()


async def turn() -> None:
    """Gives the event loop a turn."""
    ready.count = 0
    await asyncio.sleep(0)


async def result(op: Op) -> typing.Any:
    """Waits for an operation. If it is cancelled, it ends the operation."""
    try:
        return await op.future
    except asyncio.CancelledError:
        op.cancel()
        raise


async def taken(write: Write) -> None:
    """Waits until flow control took a write. If it is cancelled, it withdraws the rest of the write."""
    try:
        while (future := write.poll()) is not None:
            await future
    except asyncio.CancelledError:
        write.cancel()
        raise


async def following(source: Source) -> typing.Any:
    """Waits for the next item. If it is cancelled, the item stays in the source."""
    if ready.count >= TURNS:
        await turn()
    while True:
        item = source.next()
        if isinstance(item, tuple):
            ready.count += 1
            return item[0]
        ready.count = 0
        await item
