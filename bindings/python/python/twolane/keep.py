"""A peer that is kept connected."""

from __future__ import annotations

import typing
from collections.abc import Callable

from . import _wait

if typing.TYPE_CHECKING:
    from . import _native

__all__ = ["Keep"]

State: typing.TypeAlias = typing.Literal["dialling", "connected", "waiting", "given_up", "ended"]


class Keep:
    """A peer that is kept connected; see `Node.keep`. The node holds it until `close` is called, or until the node is
    closed."""

    def __init__(self, native: _native.Keep, forget: Callable[[Keep], None]) -> None:
        """Not for programs: `Node.keep` makes it."""
        self._native = native
        self._forget = forget

    @property
    def state(self) -> State:
        """`dialling`, `connected`, `waiting` (for the next dial), `given_up` or `ended`."""
        return typing.cast("State", self._native.state()[0])

    @property
    def failures(self) -> int:
        """The number of dials in a row that failed."""
        return self._native.state()[1]

    @property
    def last_error(self) -> str | None:
        """The last error, unless the peer is connected."""
        return self._native.state()[2]

    async def connected(self) -> bool:
        """Waits until the peer is connected. Returns False once it is not dialled any more: `state` is `given_up` or
        `ended` then. Cancel-safe."""
        return bool(await _wait.result(self._native.connected()))

    async def changed(self) -> State:
        """Waits until the state or the number of failures changes, and returns the new state. States that come and go
        meanwhile are not seen. Returns the last state at once. Cancel-safe."""
        state: State = (await _wait.result(self._native.changed(self._native.state())))[0]
        return state

    def close(self) -> None:
        """Stops keeping the peer connected. An existing connection stays open."""
        self._native.close()
        self._forget(self)

    def __enter__(self) -> Keep:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
