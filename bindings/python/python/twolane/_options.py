"""The options of a node, as programs give them."""

from __future__ import annotations

import typing
from collections.abc import Iterable

from ._native import PeerId, Ticket

__all__ = ["Congestion", "PathPolicy", "Peer", "peers", "texts"]

Peer: typing.TypeAlias = PeerId | Ticket | str
"""A peer to talk to: a key, a ticket that also has its addresses, or the text of either."""

PathPolicy: typing.TypeAlias = typing.Literal["relay_allowed", "direct_only"] | float
"""Which paths data may take: every path that works; direct paths alone; or, as a number, a relay for at most so many
seconds."""

Congestion: typing.TypeAlias = typing.Literal["adaptive", "cubic", "bbr3", "background"]


def texts(value: str | Iterable[str]) -> list[str]:
    """Returns the texts of an option that takes one or several: a text alone is not its letters."""
    return [value] if isinstance(value, str) else list(value)


def peers(value: Peer | Iterable[Peer]) -> list[Peer]:
    """Returns the peers of an option that takes one or several."""
    return [value] if isinstance(value, (PeerId, Ticket, str)) else list(value)
