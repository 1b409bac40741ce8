"""Data behind `to_asyncio` is written before any end, and is complete only if the program said so. The order alone,
without a network."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import types
import typing

import pytest

import twolane
from twolane import adaptors
from twolane._outbox import End, Outbox

SEEDS = 1_000


class Lane:
    """A stream that takes some bytes now and then, and remembers how it ended."""

    def __init__(self) -> None:
        self.peer = twolane.KeyPair().peer_id
        self.taken = b""
        self.end = "open"
        self.room = asyncio.Event()
        self.room.set()
        self.arrived: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.refuses: Exception | None = None

    async def read(self, n: int = -1) -> bytes:
        data = await self.arrived.get()
        if isinstance(data, Exception):
            raise data
        return data

    async def write(self, data: typing.Any) -> None:
        await self.room.wait()
        if self.refuses is not None:
            raise self.refuses
        self.taken += data

    async def _finish(self) -> None:
        await self.room.wait()
        if self.end == "open":
            self.end = "finished"

    def _close(self) -> None:
        if self.end == "open":
            self.end = "reset"


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_an_outbox_is_what_its_calls_say() -> None:
    """Whatever is called in whatever order: the data that is written is what was accepted, in order; and the end says
    `complete` only if a call said so."""
    for seed in range(SEEDS):
        play(seed)


def play(seed: int) -> None:
    choose = random.Random(seed)
    box = Outbox()
    accepted, written, said, failed = b"", b"", False, False
    for n in range(choose.randrange(1, 40)):
        # Ends come late, so that there is something to end.
        calls = ["put", "put", "put", "write", "write", "finish", "close", "failing", "abort"]
        match choose.choice(calls[: 5 + n // 8]):
            case "put":
                data = bytes([n]) * choose.randrange(5)
                open_before = box.end is End.OPEN
                assert box.put(data) == open_before
                accepted += data if open_before else b""
            case "write":
                if (data := box.next()) is not None:
                    written += data
                    box.took()
            case "finish":
                said |= box.end is End.OPEN
                box.finish()
            case "close":
                said |= box.end is End.OPEN
                box.close(failing=False)
            case "failing":
                failed |= box.end is End.OPEN
                box.close(failing=True)
            case "abort":
                failed = True
                box.abort()
        waiting = 0 if box.end is End.RESET else len(accepted) - len(written)
        assert accepted.startswith(written) and box.size == waiting, seed
        assert (box.end in (End.FINISH, End.CLOSE)) == (said and not failed), seed
        assert (box.end is End.RESET) == failed, seed
    while (data := box.next()) is not None:
        written += data
        box.took()
    assert failed or written == accepted, seed


def test_limits_of_an_outbox_are_those_of_asyncio() -> None:
    box = Outbox()
    box.put(bytes(64 * 1024))
    assert not box.is_full() and not box.has_room()
    box.put(b"x")
    assert box.is_full()
    box.set_limits(None, 10)
    assert (box.high, box.low) == (40, 10)
    box.set_limits(0, None)
    assert (box.high, box.low) == (0, 0)
    for high, low in ((10, 20), (1, -1)):
        with pytest.raises(ValueError):
            box.set_limits(high, low)


async def test_what_was_written_and_closed_is_written_and_then_finished() -> None:
    lane = Lane()
    lane.room.clear()
    _, writer, transport = adaptors.to_asyncio(lane)
    writer.write(b"reply")
    await writer.drain()
    writer.close()
    await turns()
    assert (lane.taken, lane.end) == (b"", "open")
    completing = asyncio.create_task(transport.complete())
    await turns()
    assert not completing.done()
    lane.room.set()
    await completing
    await writer.wait_closed()
    assert (lane.taken, lane.end) == (b"reply", "finished")


async def test_the_owner_of_a_stream_completes_what_is_behind_the_pair() -> None:
    lane = Lane()
    _, writer, transport = adaptors.to_asyncio(lane)
    writer.write(b"reply")
    await transport.complete()
    assert (lane.taken, lane.end) == (b"reply", "finished")
    transport.abort()
    await writer.wait_closed()
    assert lane.end == "finished"


async def test_a_close_after_an_exception_resets() -> None:
    lane = Lane()
    _, writer, transport = adaptors.to_asyncio(lane)
    with contextlib.suppress(ZeroDivisionError):
        try:
            writer.write(b"half of")
            raise ZeroDivisionError
        finally:
            writer.close()
    # Whoever owns the stream cannot make it complete any more.
    await transport.complete()
    assert lane.end == "reset"
    lane = Lane()
    _, writer, _ = adaptors.to_asyncio(lane)
    writer.write(b"all")
    writer.write_eof()
    with contextlib.suppress(ZeroDivisionError):
        try:
            raise ZeroDivisionError
        finally:
            writer.close()
    await writer.wait_closed()
    assert (lane.taken, lane.end) == (b"all", "finished")


async def test_a_program_that_runs_inside_an_except_block_closes_as_any_other() -> None:
    async def program() -> None:
        lane = Lane()
        _, writer, _ = adaptors.to_asyncio(lane)
        writer.write(b"all")
        writer.close()
        await writer.wait_closed()
        assert (lane.taken, lane.end) == (b"all", "finished")

    try:
        raise ImportError
    except ImportError:
        await program()


@pytest.mark.parametrize("ended", [False, True])
async def test_a_writer_that_is_forgotten_resets_unless_its_data_has_an_end(ended: bool) -> None:
    lane = Lane()
    pair = adaptors.to_asyncio(lane)[:2]
    pair[1].write(b"half of")
    if ended:
        pair[1].write_eof()
    with pytest.warns(ResourceWarning, match="was not closed"):
        del pair
        gc.collect()
    await turns()
    assert (lane.taken, lane.end) == (b"half of", "finished") if ended else lane.end == "reset"


async def test_a_peer_that_stops_reading_still_answers() -> None:
    lane = Lane()
    reader, writer, _ = adaptors.to_asyncio(lane)
    lane.refuses = twolane.StreamStopped("enough")
    writer.write(b"too much")
    await turns()
    with pytest.raises(twolane.StreamStopped):
        await writer.drain()
    lane.arrived.put_nowait(b"413 too large\n")
    assert await reader.readline() == b"413 too large\n"
    writer.close()
    with pytest.raises(twolane.StreamStopped):
        await writer.wait_closed()


@pytest.mark.parametrize(
    "error", [twolane.ConcurrentUse("other"), twolane.ForkError("child"), twolane.StreamReset("gone")], ids=repr
)
async def test_every_error_of_reading_reaches_the_reader(error: Exception) -> None:
    lane = Lane()
    reader, writer, transport = adaptors.to_asyncio(lane)
    lane.room.clear()
    writer.write(b"never taken")
    lane.arrived.put_nowait(error)
    with pytest.raises(type(error)):
        await reader.read()
    # What was not written is not taken for written.
    with pytest.raises(type(error)):
        await transport.complete()
    with pytest.raises(type(error)):
        await writer.drain()
    writer.close()


async def test_what_is_no_data_is_a_type_error_and_sends_nothing() -> None:
    lane = Lane()
    _, writer, transport = adaptors.to_asyncio(lane)
    wrong: typing.Any
    for wrong in (5, True, [1, 2], "text", (n for n in range(3)), lane.peer):
        with pytest.raises(TypeError):
            writer.write(wrong)
        with pytest.raises(TypeError):
            writer.writelines([wrong])
    assert transport.get_write_buffer_size() == 0
    numbers = memoryview(bytes(8)).cast("I")
    lane.room.clear()
    writer.write(numbers)
    assert transport.get_write_buffer_size() == 8
    lane.room.set()
    await transport.complete()
    assert transport.get_write_buffer_size() == 0 and lane.taken == bytes(8)
    writer.close()


async def test_a_name_can_be_unpacked_as_that_of_a_socket() -> None:
    lane = Lane()
    _, writer, _ = adaptors.to_asyncio(lane)
    host, port = writer.get_extra_info("peername")
    assert (host, port) == (str(lane.peer), 0)
    assert writer.get_extra_info("peer_id") == lane.peer and writer.get_extra_info("stream") is lane
    writer.transport.abort()
    await turns()


async def test_a_slow_peer_holds_up_drain() -> None:
    lane = Lane()
    lane.room.clear()
    _, writer, _ = adaptors.to_asyncio(lane)
    writer.write(bytes(100_000))
    draining = asyncio.create_task(writer.drain())
    await turns()
    assert not draining.done()
    lane.room.set()
    await draining
    writer.close()
    await writer.wait_closed()
    assert len(lane.taken) == 100_000


def test_a_protocol_of_the_program_that_ends_at_the_end_of_the_data_closes() -> None:
    class Once(asyncio.StreamReaderProtocol):
        def eof_received(self) -> bool:
            super().eof_received()
            return False

    async def main() -> None:
        lane = Lane()
        _, writer, transport = adaptors.to_asyncio(lane)
        reader = asyncio.StreamReader()
        protocol = Once(reader)
        protocol.connection_made(types.SimpleNamespace(get_extra_info=lambda name: None))  # type: ignore[arg-type]
        transport.set_protocol(protocol)
        lane.arrived.put_nowait(b"")
        await turns(20)
        assert lane.end == "finished" and transport.is_closing()
        writer.close()

    asyncio.run(main())
