"""How handlers and rules end: what the peer is told, and what goes to the log. Pure."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator

from .exceptions import (
    ConnectionLost,
    Fail,
    ProtocolViolation,
    Refuse,
    StreamFailed,
    StreamFailedIncomplete,
    StreamReset,
    StreamStopped,
    StreamTimedOut,
)

__all__ = ["ENDS", "Outcome", "judged", "reason"]

ENDS: typing.Final = (
    ConnectionLost,
    ProtocolViolation,
    StreamFailed,
    StreamFailedIncomplete,
    StreamReset,
    StreamStopped,
    StreamTimedOut,
)
"""What an operation raises when the peer has ended its stream, or is gone. After the other exceptions the peer is
there and waits: a write after the end is a mistake of the handler, and `IncompleteReadError` is one of the peer."""


class Outcome(typing.NamedTuple):
    """How a handler has ended that raised an exception."""

    failure: Fail | None
    """What the handler tells the peer."""
    is_fault: bool
    """Whether the exception is a fault of the handler. If neither, the peer has ended the stream."""


def judged(error: Exception, is_end: Callable[[BaseException], bool]) -> Outcome:
    """Judges by each exception that is in a group, as a `TaskGroup` raises it. `is_end` tells whether an exception is
    the end of the handler's own stream. That of another stream, which the handler has opened itself, is not."""
    every = list(leaves(error))
    failure = next((leaf for leaf in every if isinstance(leaf, Fail)), None)
    return Outcome(failure, any(not isinstance(leaf, Fail) and not is_end(leaf) for leaf in every))


def reason(error: Exception) -> str | None:
    """Returns the reason for a refusal that the peer may read. None if the rule has failed: then the words of the
    exception are not for strangers."""
    refusal = next((leaf for leaf in leaves(error) if isinstance(leaf, Refuse)), None)
    return None if refusal is None else refusal.text


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Iterates over an exception, or those in a group and in the groups in it."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
