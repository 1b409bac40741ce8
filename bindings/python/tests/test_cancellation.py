"""No cancelled operation loses a byte, whichever operation it is, and whenever it is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random

import pytest
from conftest import Pair, both, until

import twolane

READS = 10_000


async def impatient(seconds: float, what: object) -> object:
    """Returns the result, or None if it takes longer than the timeout. The timeout may be 0 or a few turns of
    the loop."""
    try:
        async with asyncio.timeout(seconds):
            return await what  # type: ignore[misc]
    except TimeoutError:
        return None


async def test_ten_thousand_reads_under_random_timeouts_lose_nothing(pair: Pair) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    choose = random.Random(seed)
    # Random data, so that each piece has different content.
    data = random.Random(1).randbytes(32_000_000)
    reads = cancelled = written = 0
    async with both(pair) as (a, b):

        async def write() -> None:
            nonlocal written
            at = 0
            while reads < READS + 1000 and at < len(data):
                piece = choose.choice([1, 10, 100, 1000, 5000])
                await a.write(data[at : at + piece])
                at += piece
                if choose.random() < 0.3:
                    await asyncio.sleep(choose.choice([0, 0, 0.0001, 0.0005]))
            written = min(at, len(data))
            await a.finish()

        writing = asyncio.create_task(write())
        got = bytearray()
        buffer = bytearray(2000)
        while True:
            seconds = choose.choice([-1.0, 0.0, 0.00001, 0.00005, 0.0001, 0.0003, 0.001])
            how = choose.randrange(4)
            if how == 0:
                piece = await impatient(seconds, b.read(choose.randrange(1, 1500)))
            elif how == 1:
                try:
                    piece = await impatient(seconds, b.readexactly(choose.randrange(1, 3000)))
                except EOFError as end:
                    piece = end.partial  # type: ignore[attr-defined]
            elif how == 2:
                count = await impatient(seconds, b.readinto(buffer))
                piece = None if count is None else bytes(buffer[: int(count)])  # type: ignore[call-overload]
            else:
                view = await impatient(seconds, b.read_chunk(choose.randrange(1, 1500)))
                piece = None if view is None else bytes(view)  # type: ignore[call-overload]
            reads += 1
            if piece is None:
                cancelled += 1
            elif piece == b"":
                break
            else:
                assert isinstance(piece, bytes)
                got += piece
                assert data.startswith(bytes(piece), len(got) - len(piece)), f"seed {seed}, at {len(got)}"
        await writing
        assert bytes(got) == data[:written] and b.bytes_read == written
        assert reads >= READS and cancelled > READS // 20, (reads, cancelled)


async def test_lines_and_messages_are_taken_whole_or_not_at_all(pair: Pair) -> None:
    choose = random.Random(7)
    messages = [choose.randbytes(choose.choice([0, 1, 100, 5000, 70_000])) for _ in range(300)]
    async with both(pair) as (a, b):

        async def write() -> None:
            for n, message in enumerate(messages):
                framed = len(message).to_bytes(4, "big") + message + b"%d " % n + b"x" * (n * 50) + b"\n"
                for at in range(0, len(framed), 1 + len(framed) // 7):
                    await a.write(framed[at : at + 1 + len(framed) // 7])
                    await asyncio.sleep(0)
            await a.finish()

        writing = asyncio.create_task(write())
        for n, message in enumerate(messages):
            while (got := await impatient(choose.choice([0, 0.0001, 0.001]), b.read_message())) is None:
                pass
            assert got == message
            while (line := await impatient(choose.choice([0, 0.0001, 0.001]), b.readline())) is None:
                pass
            assert line == b"%d " % n + b"x" * (n * 50) + b"\n"
        await writing
        assert await b.read() == b""


async def test_a_line_that_comes_in_pieces_survives_a_cancellation_after_each(pair: Pair) -> None:
    line = b"0123456789" * 20 + b"\n"
    async with both(pair) as (a, b):
        for at in range(0, len(line) - 1, 7):
            await a.write(line[at : min(at + 7, len(line) - 1)])
            reading = asyncio.create_task(b.readline())
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        await a.write(b"\nnext\n")
        assert await b.readline() == line
        assert await b.readline() == b"next\n"


async def test_a_write_that_is_cancelled_tells_what_was_taken(pair: Pair) -> None:
    """The writer continues from `bytes_written`, and the reader gets every byte once."""
    data = os.urandom(20_000_000)
    choose = random.Random(3)
    async with both(pair) as (a, b):

        async def write() -> int:
            cancelled = 0
            while a.bytes_written < len(data):
                piece = data[a.bytes_written : a.bytes_written + choose.choice([100, 20_000, 3_000_000])]
                try:
                    async with asyncio.timeout(choose.choice([0.0, 0.0001, 0.001, 0.003])):
                        await a.write(piece)
                except TimeoutError:
                    cancelled += 1
            await a.finish()
            return cancelled

        writing = asyncio.create_task(write())
        got = bytearray()
        while piece := await b.read(choose.choice([1000, 200_000])):
            got += piece
            if choose.random() < 0.1:
                await asyncio.sleep(0.001)
        assert await writing > 10
        assert bytes(got) == data


async def test_a_cancelled_write_leaves_those_of_others_alone(pair: Pair) -> None:
    async with both(pair) as (a, b):
        first = asyncio.create_task(a.write(b"a" * 10_000_000))
        second = asyncio.create_task(a.write(b"b" * 100_000))
        third = asyncio.create_task(a.write(b"c" * 100_000))
        # The first write fills the window, so the second write waits behind it.
        await until(lambda: a.bytes_written > 1_000_000)
        second.cancel()
        reading = asyncio.create_task(b.readexactly(10_100_000))
        await first
        await third
        assert await reading == b"a" * 10_000_000 + b"c" * 100_000


async def test_streams_and_events_and_reports_stay_until_they_are_taken(pair: Pair) -> None:
    streams = pair.server.accept("test/1")
    events = pair.server.events()
    choose = random.Random(5)
    opened = []

    async def open_all() -> None:
        for n in range(100):
            stream = await pair.client.open_stream(pair.server.ticket, "test/1", metadata=b"%d" % n)
            await stream.warn(n)
            opened.append(stream)

    opening = asyncio.create_task(open_all())
    accepted = []
    for n in range(100):
        while (stream := await impatient(choose.choice([0, 0.0001, 0.0005]), anext(streams))) is None:
            pass
        assert isinstance(stream, twolane.XStream) and stream.metadata == b"%d" % n
        errors = stream.errors()
        while (report := await impatient(choose.choice([0, 0.0001, 0.0005]), anext(errors))) is None:
            pass
        assert isinstance(report, twolane.Report) and report.code == n
        accepted.append(stream)
    await opening
    while (event := await impatient(0, anext(events))) is None:
        pass
    assert event == twolane.Connected(pair.client.id)
    for stream in opened + accepted:
        stream.close()


async def test_opening_and_asking_can_be_cancelled_at_any_moment(pair: Pair) -> None:
    pair.server.serve_requests("echo/1", lambda request: request.body)
    streams = pair.server.accept("test/1")

    async def accept() -> None:
        async for stream in streams:
            # The stream is accepted and then finished. If it were dropped without an end, its opener could
            # get the reset before the answer.
            with contextlib.suppress(ConnectionError):
                async with stream:
                    pass

    accepting = asyncio.create_task(accept())
    choose = random.Random(9)
    for _ in range(300):
        seconds = choose.choice([0, 0.0001, 0.0003, 0.001])
        await impatient(seconds, pair.client.request(pair.server.ticket, "echo/1", b"x"))
        stream = await impatient(seconds, pair.client.open_stream(pair.server.ticket, "test/1"))
        if isinstance(stream, twolane.XStream):
            stream.close()
    assert await pair.client.request(pair.server.ticket, "echo/1", b"still there") == b"still there"
    accepting.cancel()
    await asyncio.wait([accepting])


async def test_data_that_is_always_there_does_not_keep_the_loop_from_turning(pair: Pair) -> None:
    """Without anything to wait for, neither a timeout nor another task would ever run."""
    calls = 10_000
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with both(pair) as (a, b):
        counting = asyncio.create_task(count())
        # This number of small pieces never has to wait for the reader.
        for _ in range(120):
            await a.write(b"x")
        written = turns
        await a.write(b"x" * (calls - 120))
        await a.finish()
        await a.delivered()
        read = turns
        for n in range(calls):
            assert await (b.read(1) if n % 2 else b.readexactly(1)) == b"x"
        read = turns - read
        counting.cancel()
    assert written >= 2 and read > calls // 100, (written, read)
