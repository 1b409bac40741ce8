"""Events of a node's peers, for use with `match`:

    async for event in node.events():
        match event:
            case Connected(peer):
                print(peer, "is here")
            case Disconnected(peer, cause):
                print(peer, "is gone:", cause)
"""

from __future__ import annotations

import typing

from ._native import PeerId
from ._record import Record, field
from .info import PathKind

__all__ = [
    "Connected",
    "DelegationEnded",
    "DialFailed",
    "Disconnected",
    "Event",
    "Missed",
    "OtherEvent",
    "PathChanged",
]


class Connected(Record):
    """A peer that was not connected is connected now."""

    peer: PeerId = field("The peer.")


class PathChanged(Record):
    """The peer's data takes another path."""

    peer: PeerId = field("The peer.")
    path: PathKind = field("`direct` or `relay`.")


class Disconnected(Record):
    """A peer that was connected is no longer connected."""

    peer: PeerId = field("The peer.")
    cause: str = field("The cause, for people.")
    reason: str = field("The cause, for programs; the same names as in `ConnectionLost.reason`.")


class DelegationEnded(Record):
    """The peer no longer acts for an owner: the delegation has expired or was revoked."""

    peer: PeerId = field("The peer.")
    owner: PeerId = field("The key that the peer acted for.")
    cause: str = field("The cause, for people.")


class DialFailed(Record):
    """A dial failed."""

    peer: PeerId = field("The peer.")
    cause: str = field("The cause, for people.")
    retryable: bool = field("Whether the same dial may succeed later.")


class Missed(Record):
    """The subscriber was too slow: events were dropped at this point (`Limits.events`)."""

    count: int = field("The number of dropped events.")


class OtherEvent(Record):
    """An event that this version has no class for."""

    text: str = field("The event, for people.")


Event: typing.TypeAlias = (
    Connected | PathChanged | Disconnected | DelegationEnded | DialFailed | Missed | OtherEvent
)

_CLASSES: typing.Final[dict[str, typing.Any]] = {
    cls.__name__: cls
    for cls in (Connected, PathChanged, Disconnected, DelegationEnded, DialFailed, Missed, OtherEvent)
}


def from_native(parts: tuple[typing.Any, ...]) -> Event:
    """Makes an event from the name and the fields that the native half returns."""
    event: Event = _CLASSES[parts[0]](*parts[1:])
    return event
