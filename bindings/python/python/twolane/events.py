"""What happens to an endpoint's peers. Made for `match`:

    async for event in node.events():
        match event:
            case Connected(peer):
                print(peer, "is here")
            case Disconnected(peer, cause):
                print(peer, "is gone:", cause)
"""

from __future__ import annotations

import dataclasses
import typing

if typing.TYPE_CHECKING:
    from ._native import PeerId

__all__ = [
    "Connected",
    "DialFailed",
    "Disconnected",
    "Event",
    "Missed",
    "OtherEvent",
    "PathChanged",
    "StandingEnded",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Connected:
    """The peer was not connected, and is."""

    peer: PeerId


@dataclasses.dataclass(frozen=True, slots=True)
class PathChanged:
    """The peer's data takes another way."""

    peer: PeerId
    path: str
    """`direct` or `relay`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Disconnected:
    """The peer was connected, and is not."""

    peer: PeerId
    cause: str
    """Why, for people."""
    reason: str
    """Why, for programs; the same words as `ConnectionLost.reason`."""


@dataclasses.dataclass(frozen=True, slots=True)
class StandingEnded:
    """The peer acted for an owner, and does not any more: the delegation has expired or was revoked."""

    peer: PeerId
    owner: PeerId
    cause: str


@dataclasses.dataclass(frozen=True, slots=True)
class DialFailed:
    """A dial failed."""

    peer: PeerId
    cause: str
    retryable: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Missed:
    """The subscriber was too slow: so many events were dropped here (`Limits.events`)."""

    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class OtherEvent:
    """Something that this version has no class for."""

    text: str


Event: typing.TypeAlias = (
    Connected | PathChanged | Disconnected | StandingEnded | DialFailed | Missed | OtherEvent
)

_CLASSES: typing.Final[dict[str, typing.Any]] = {
    cls.__name__: cls
    for cls in (Connected, PathChanged, Disconnected, StandingEnded, DialFailed, Missed, OtherEvent)
}


def from_native(parts: tuple[typing.Any, ...]) -> Event:
    """Of the name and the fields that the native half gives."""
    event: Event = _CLASSES[parts[0]](*parts[1:])
    return event
