"""Events of an endpoint's peers, for use with `match`:

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
    "DelegationEnded",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Connected:
    """A peer that was not connected is connected now."""

    peer: PeerId
    key_exchange: str | None = dataclasses.field(default=None, compare=False)
    """The key exchange of the connection, as in `PeerInfo.key_exchange`."""


@dataclasses.dataclass(frozen=True, slots=True)
class PathChanged:
    """The peer's data takes another path."""

    peer: PeerId
    path: str
    """`direct` or `relay`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Disconnected:
    """A peer that was connected is no longer connected."""

    peer: PeerId
    cause: str
    """The cause, for people."""
    reason: str
    """The cause, for programs; the same names as in `ConnectionLost.reason`."""


@dataclasses.dataclass(frozen=True, slots=True)
class DelegationEnded:
    """The peer no longer acts for an owner: the delegation has expired or was revoked."""

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
    """The subscriber was too slow: `count` events were dropped at this point (`Limits.events`)."""

    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class OtherEvent:
    """An event that this version has no class for."""

    text: str


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
