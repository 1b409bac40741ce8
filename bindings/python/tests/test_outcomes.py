"""What a handler's end means for its peer and for the log. The rules alone, without a network."""

from __future__ import annotations

import pytest

from twolane import (
    ConnectionLost,
    Fail,
    IncompleteReadError,
    Refuse,
    RequestTimeout,
    StreamEnded,
    StreamFailed,
    StreamReset,
    TooLarge,
)
from twolane._outcomes import ENDS, judged, reason

OURS = StreamReset("of our stream")
LOST = ConnectionLost("of our stream")
OTHER = StreamFailed("of a stream that the handler has opened itself")
FAIL = Fail(7, "enough")
FAULT = ZeroDivisionError("a mistake")


def ours(error: BaseException) -> bool:
    return isinstance(error, ENDS) and error in (OURS, LOST)


@pytest.mark.parametrize(
    ("error", "failure", "is_fault"),
    [
        (OURS, None, False),
        (FAIL, FAIL, False),
        (FAULT, None, True),
        # The end of another stream is nothing that our peer has seen.
        (OTHER, None, True),
        (RequestTimeout("of a request of the handler"), None, True),
        # After these the peer is there, and waits.
        (StreamEnded("written after the end"), None, True),
        (IncompleteReadError("it ended early"), None, True),
        (TooLarge("the line"), None, True),
        # What a TaskGroup raises counts as each of its exceptions.
        (ExceptionGroup("", [OURS, LOST]), None, False),
        (ExceptionGroup("", [OURS, FAIL]), FAIL, False),
        (ExceptionGroup("", [ExceptionGroup("", [FAIL]), OURS]), FAIL, False),
        (ExceptionGroup("", [OURS, FAULT]), None, True),
        (ExceptionGroup("", [FAULT, FAIL]), FAIL, True),
        (ExceptionGroup("", [OURS, OTHER]), None, True),
    ],
    ids=repr,
)
def test_the_end_of_a_handler(error: Exception, failure: Fail | None, is_fault: bool) -> None:
    assert judged(error, ours) == (failure, is_fault)


def test_only_a_reason_that_is_meant_for_the_peer_reaches_it() -> None:
    assert reason(Refuse("only on Mondays")) == "only on Mondays"
    assert reason(ExceptionGroup("", [FAULT, Refuse("no")])) == "no"
    # The words of the operating system name paths of this machine.
    for private in (PermissionError(13, "Permission denied", "/etc/acl"), PermissionError("words"), FAULT):
        assert reason(private) is None
