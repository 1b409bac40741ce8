"""What a stream behind `to_asyncio` still has to write, and how it will end. Pure.

The code that uses such a stream calls `write` and `close` and goes on; a task writes later. So the decisions are
made here, from the calls alone:

- What was accepted is written in order, before any end.
- The data is marked as complete only by a call that says so: `write_eof`, or a `close` while no exception is being
  handled. Everything else resets: an abort, a close after an exception, a writer that was forgotten.
- The first end counts. An abort replaces an end that was not reached yet.
"""

from __future__ import annotations

import collections
import enum
import typing

__all__ = ["End", "Outbox"]

HIGH: typing.Final = 64 * 1024
"""The number of bytes waiting to be written above which `drain` waits; asyncio's own value."""


class End(enum.Enum):
    """How the data ends."""

    OPEN = "open"
    """Not yet."""
    FINISH = "finish"
    """It is complete, and the peer reads the end. The other direction continues."""
    CLOSE = "close"
    """It is complete, and nothing more is read either."""
    RESET = "reset"
    """It is not complete, and the peer reads an error."""


class Outbox:
    """The data that waits, and the end."""

    def __init__(self) -> None:
        self.size = 0
        self.high, self.low = HIGH, HIGH // 4
        self.end = End.OPEN
        self._waiting: collections.deque[bytes] = collections.deque()

    def put(self, data: bytes) -> bool:
        """Accepts data. Returns False if it is too late for that."""
        if self.end is not End.OPEN:
            return False
        if data:
            self._waiting.append(data)
            self.size += len(data)
        return True

    def finish(self) -> None:
        """The data that was accepted is all."""
        if self.end is End.OPEN:
            self.end = End.FINISH

    def close(self, *, failing: bool) -> None:
        """Nothing more is to be done with the stream. `failing` tells that an exception is the reason. Data that
        was finished before stays finished."""
        if self.end is End.OPEN:
            self.end = End.RESET if failing else End.CLOSE
        elif self.end is End.FINISH:
            self.end = End.CLOSE
        if self.end is End.RESET:
            self.drop()

    def abort(self) -> None:
        """The stream ends now, whatever was accepted."""
        self.end = End.RESET
        self.drop()

    def drop(self) -> None:
        """What waits is not written any more."""
        self._waiting.clear()
        self.size = 0

    def next(self) -> bytes | None:
        """Returns the data that is to be written next. None if nothing waits."""
        return self._waiting[0] if self._waiting else None

    def took(self) -> None:
        """The data that `next` returned was written."""
        if self._waiting:
            self.size -= len(self._waiting.popleft())

    def is_full(self) -> bool:
        """Whether the program should wait before it writes more."""
        return self.size > self.high

    def has_room(self) -> bool:
        """Whether a program that waited may write more."""
        return self.size <= self.low

    def set_limits(self, high: int | None, low: int | None) -> None:
        """Sets the bounds of `is_full` and `has_room`, as `set_write_buffer_limits` of a transport does."""
        if high is None:
            high = HIGH if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be at least low ({low}), and low at least 0")
        self.high, self.low = high, low
