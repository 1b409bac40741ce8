"""The three ways to wait for the native half."""

from __future__ import annotations

import asyncio
import typing

if typing.TYPE_CHECKING:
    from ._native import Op, Source, Write

TURNS: typing.Final = 32
"""So many calls in a row may return without a turn of the event loop. A fast peer can always have more data ready: with
no turn at all neither a timeout nor another task would ever get its chance. At 256 KiB a call this is some 8 ms."""


async def result(op: Op) -> typing.Any:
    """Waits for an operation. Cancelled, it ends the operation."""
    try:
        return await op.future
    except asyncio.CancelledError:
        op.cancel()
        raise


async def taken(write: Write) -> None:
    """Waits until flow control took a write. Cancelled, it takes back what is left of it."""
    try:
        while (future := write.poll()) is not None:
            await future
    except asyncio.CancelledError:
        write.cancel()
        raise


async def following(source: Source) -> typing.Any:
    """Waits for what comes next. Cancelled, it leaves it there."""
    while True:
        item = source.next()
        if isinstance(item, tuple):
            return item[0]
        await item
