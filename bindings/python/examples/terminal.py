"""What the examples have in common: their end, the words of peers on a terminal, and the input of a user."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import typing
from collections.abc import AsyncIterator, Callable, Coroutine

from twolane import TwolaneError

_AHEAD = 100
"""The number of lines that are read in advance."""


def run(main: Callable[[], Coroutine[typing.Any, typing.Any, int]]) -> int:
    """Runs a program. What went wrong with a peer is a sentence, and no traceback. Returns the exit code."""
    try:
        return asyncio.run(main())
    except KeyboardInterrupt:
        return 130
    except TwolaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def shown(text: str) -> str:
    """Escapes what a terminal would obey, because a peer has written the text."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


async def lines() -> AsyncIterator[str]:
    """The lines of standard input, until its end. While this waits for a line, everything else continues,
    including Ctrl-C.

    A thread reads the lines, because neither a file nor the terminal of every system can be awaited. The
    thread is a daemon: with `asyncio.to_thread`, the end of the program would wait for Enter. The thread
    reads the descriptor, because the end of the program needs the lock of `sys.stdin`.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)

    def read() -> None:
        descriptor = sys.stdin.fileno()
        whole, cut = [], b""
        while data := os.read(descriptor, 65_536):
            *whole, cut = (cut + data).split(b"\n")
            for line in whole:
                room.acquire()
                loop.call_soon_threadsafe(queue.put_nowait, line + b"\n")
        if cut:
            loop.call_soon_threadsafe(queue.put_nowait, cut)
        loop.call_soon_threadsafe(queue.put_nowait, b"")

    def read_until_the_loop_is_closed() -> None:
        try:
            read()
        except RuntimeError:
            pass

    threading.Thread(target=read_until_the_loop_is_closed, daemon=True).start()
    while line := await queue.get():
        room.release()
        yield line.decode(errors="replace")
