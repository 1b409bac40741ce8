"""The three ways to wait for the native half."""

from __future__ import annotations

import asyncio
import typing

if typing.TYPE_CHECKING:
    from ._native import Op, Source, Write

TURNS: typing.Final = 32
"""Maximum number of calls in a row that may return without a turn of the event loop. A fast peer can always
have more data ready. Without a turn, neither a timeout nor another task would ever run. At 256 KiB a call,
the maximum takes about 8 ms."""


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
    while True:
        item = source.next()
        if isinstance(item, tuple):
            return item[0]
        await item
