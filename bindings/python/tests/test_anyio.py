"""Streams as anyio has them, and what other event loops are told."""

from __future__ import annotations

import anyio
import pytest
from conftest import Pair, both

import twolane
from twolane.anyio import Attribute, ByteStream, Listener, connect


async def test_a_listener_serves_streams_of_anyio(pair: Pair) -> None:
    async def echo(stream: ByteStream) -> None:
        async for data in stream:
            await stream.send(data)

    async with anyio.create_task_group() as tasks:
        listener = Listener(pair.server, "echo/1")
        tasks.start_soon(listener.serve, echo)
        for n in range(3):
            async with await connect(pair.client, pair.server.ticket, "echo/1") as stream:
                assert stream.extra(Attribute.peer) == pair.server.id
                await stream.send(b"%d" % n)
                await stream.send_eof()
                assert b"".join([data async for data in stream]) == b"%d" % n
        # A peer that leaves in the middle ends its own stream.
        gone = await pair.client.open_stream(pair.server.ticket, "echo/1")
        gone.close()
        async with await connect(pair.client, pair.server.ticket, "echo/1") as stream:
            await stream.send(b"still there")
            assert await stream.receive() == b"still there"
        await listener.aclose()


async def test_what_was_cut_off_never_looks_complete(pair: Pair) -> None:
    async with both(pair) as (a, b):
        with pytest.raises(ZeroDivisionError):
            async with ByteStream(a) as stream:
                await stream.send(b"half of")
                raise ZeroDivisionError
        with pytest.raises(anyio.BrokenResourceError) as caught:
            while True:
                await ByteStream(b).receive()
        assert isinstance(caught.value.__cause__, twolane.StreamReset)
    async with both(pair, "other/1") as (a, b):
        with anyio.move_on_after(0.1):
            async with ByteStream(a) as stream:
                await stream.send(b"half of")
                await anyio.sleep_forever()
        with pytest.raises(anyio.BrokenResourceError):
            while True:
                await ByteStream(b).receive()
    async with both(pair, "closed/1") as (a, b):
        async with ByteStream(a) as stream:
            await stream.send(b"all")
        assert await ByteStream(b).receive() == b"all"
        with pytest.raises(anyio.EndOfStream):
            await ByteStream(b).receive()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.send(b"more")


def test_trio_is_told_what_is_missing() -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        async with twolane.Node(offline=True):
            pass

    with pytest.raises(RuntimeError, match="no asyncio event loop"):
        trio.run(main)
