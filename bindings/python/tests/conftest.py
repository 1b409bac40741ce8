"""Shared parts of the tests: nodes on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import typing
from collections.abc import AsyncIterator, Callable

import pytest

from twolane import Limits, Node, XStream

LIMITS = Limits(connect_timeout=60, open_timeout=60, accept_timeout=60, idle_timeout=60, header_timeout=60)
"""No test reaches one of these limits before its own timeout, even on a slow machine."""


def node(**options: typing.Any) -> Node:
    options.setdefault("limits", LIMITS)
    return Node(offline=True, **options)


class Pair(typing.NamedTuple):
    server: Node
    client: Node


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two nodes that are started."""
    async with node() as server, node() as client:
        yield Pair(server, client)


@contextlib.asynccontextmanager
async def both(pair: Pair, protocol: str = "test/1") -> AsyncIterator[tuple[XStream, XStream]]:
    """Both ends of a stream: the opener's stream, and the acceptor's stream."""
    streams = pair.server.accept(protocol)
    async with asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(pair.client.open_stream(pair.server.ticket, protocol))
        accepting = tasks.create_task(anext(streams))
    opened, accepted = opening.result(), accepting.result()
    try:
        yield opened, accepted
    finally:
        opened.close()
        accepted.close()


async def until(condition: Callable[[], bool]) -> None:
    """Waits until the condition is true, while other tasks continue."""
    while not condition():
        await asyncio.sleep(0.001)
