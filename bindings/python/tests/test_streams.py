"""The data of a stream."""

from __future__ import annotations

import asyncio
import os

import pytest
from conftest import Pair, both, until

import twolane


async def test_what_is_written_is_read_and_an_end_means_success(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"hello ")
        await a.write(bytearray(b"wor"))
        await a.write(memoryview(b"--ld--")[2:4])
        await a.finish()
        assert await b.read() == b"hello world"
        assert await b.read(10) == b""
        assert a.bytes_written == 11 == b.bytes_read


async def test_each_direction_ends_by_itself(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"question")
        await a.finish()
        assert await b.read() == b"question"
        await b.write(b"answer")
        await b.finish()
        assert await a.read() == b"answer"
        assert a.closed and b.closed


async def test_much_data_goes_both_ways_at_the_same_time(pair: Pair) -> None:
    data = os.urandom(8 * 1024 * 1024)
    async with both(pair) as (a, b):

        async def send(stream: twolane.XStream) -> None:
            await stream.write(data)
            await stream.finish()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send(a))
            tasks.create_task(send(b))
            one = tasks.create_task(a.read())
            other = tasks.create_task(b.read())
        assert one.result() == data == other.result()


async def test_whole_writes_of_several_tasks_follow_one_another(pair: Pair) -> None:
    async with both(pair) as (a, b):
        size = 3_000_000

        async def send() -> None:
            async with asyncio.TaskGroup() as tasks:
                for letter in b"abcd":
                    tasks.create_task(a.write(bytes([letter]) * size))
            await a.finish()

        sending = asyncio.create_task(send())
        seen = [await b.readexactly(size) for _ in range(4)]
        assert sorted(seen) == [bytes([letter]) * size for letter in b"abcd"]
        assert await b.read() == b""
        await sending


async def test_lines_exact_lengths_and_pieces(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"first\nsecond\n0123456789rest\nlast")
        await a.finish()
        assert await b.readline() == b"first\n"
        assert await b.readline() == b"second\n"
        assert await b.readexactly(10) == b"0123456789"
        assert await b.read(2) == b"re"
        assert await b.readline() == b"st\n"
        assert await b.readline() == b"last"
        assert await b.readline() == b""


async def test_data_that_ends_too_early_says_so_and_gives_what_there_was(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"only")
        await a.finish()
        with pytest.raises(twolane.IncompleteReadError) as caught:
            await b.readexactly(10)
        assert (caught.value.partial, caught.value.expected) == (b"only", 10)
        assert isinstance(caught.value, EOFError) and isinstance(caught.value, asyncio.IncompleteReadError)


async def test_what_is_over_a_limit_is_not_taken(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"x" * 1000 + b"\n")
        await a.finish()
        with pytest.raises(twolane.TooLarge):
            await b.readline(limit=100)
        with pytest.raises(ValueError):
            await b.read(limit=100)
        assert await b.readline() == b"x" * 1000 + b"\n"


async def test_the_limit_of_a_line_is_the_same_however_the_line_comes(pair: Pair) -> None:
    async with both(pair) as (a, b):
        for length, limit in [(99, 100), (100, 100), (101, 100), (150, 100), (0, 0), (1, 0)]:
            line = b"x" * length + b"\n"
            reading = asyncio.create_task(b.readline(limit=limit))
            for n in range(len(line) - 1):
                # The line is written byte by byte, with turns of the reader in between.
                await a.write(line[n : n + 1])
                await asyncio.sleep(0)
            if length <= limit:
                await a.write(b"\n")
                assert await reading == line
            else:
                # The error comes before the line ends, and none of the line is lost.
                with pytest.raises(twolane.TooLarge):
                    await reading
                await a.write(b"\n")
                assert await b.readline(limit=length) == line


async def test_a_line_after_other_reads_is_searched_anew(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"zab")
        # The bytes arrive together: when this byte is read, the others are there to be searched.
        assert await b.readexactly(1) == b"z"
        reading = asyncio.create_task(b.readline())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        # Another call takes the searched bytes, and a line feed follows within the same number of bytes.
        assert await b.readexactly(2) == b"ab"
        await a.write(b"\nc\n")
        assert await b.readline() == b"\n"
        assert await b.readline() == b"c\n"


async def test_one_direction_is_let_go_of_and_the_other_goes_on(pair: Pair) -> None:
    async with both(pair) as (a, b):
        a.close_writing()
        with pytest.raises(twolane.StreamReset):
            await b.read()
        with pytest.raises(twolane.StreamEnded):
            await a.write(b"more")
        await b.write(b"still")
        await b.finish()
        assert await a.read() == b"still"
    async with both(pair, "other/1") as (a, b):
        a.close_reading()
        with pytest.raises(twolane.StreamStopped):
            while True:
                await b.write(b"x" * 10_000)
        with pytest.raises(twolane.StreamEnded):
            await a.read(1)
        await a.write(b"still")
        await a.finish()
        assert await b.read() == b"still"


async def test_reading_into_a_buffer_and_as_a_view(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"abcdef")
        await a.finish()
        buffer = bytearray(4)
        assert await b.readinto(buffer) == 4
        assert buffer == b"abcd"
        view = await b.read_chunk()
        assert isinstance(view, memoryview) and view.readonly and bytes(view) == b"ef"
        assert len(await b.read_chunk()) == 0
        with pytest.raises(TypeError):
            await b.readinto(b"read only")  # type: ignore[arg-type]


async def test_the_data_as_an_iterator(pair: Pair) -> None:
    data = os.urandom(1_000_000)
    async with both(pair) as (a, b):

        async def send() -> None:
            await a.write(data)
            await a.finish()

        sending = asyncio.create_task(send())
        assert b"".join([chunk async for chunk in b]) == data
        await sending


async def test_messages_and_json(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write_message(b"")
        await a.write_message(b"\n" * 70_000)
        await a.write_json({"ä": [1, None, "\n"]})
        await a.write_message(b"one")
        await a.write_message(b"two")
        await a.finish()
        assert await b.read_message() == b""
        with pytest.raises(twolane.TooLarge):
            await b.read_message(limit=69_999)
        assert await b.read_message() == b"\n" * 70_000
        assert await b.read_json() == {"ä": [1, None, "\n"]}
        assert [message async for message in b.messages()] == [b"one", b"two"]
        await b.write_json(1)
        await b.write_json("zwei")
        await b.finish()
        assert [value async for value in a.json_messages()] == [1, "zwei"]


async def test_a_message_that_is_cut_short_is_none(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"\0\0\0\x05abc")
        await a.finish()
        with pytest.raises(EOFError):
            _ = [message async for message in b.messages()]


async def test_a_block_that_ends_well_finishes_the_stream(pair: Pair) -> None:
    async with both(pair) as (a, b):
        async with a:
            await a.write(b"done")
        assert await b.read() == b"done"


async def test_a_block_that_raises_resets_the_stream(pair: Pair) -> None:
    async with both(pair) as (a, b):
        with pytest.raises(ZeroDivisionError):
            async with a:
                await a.write(b"half")
                raise ZeroDivisionError
        with pytest.raises(ConnectionResetError) as caught:
            await b.read()
        assert isinstance(caught.value, twolane.StreamReset)


async def test_opening_can_be_entered(pair: Pair) -> None:
    # The protocol is accepted from here on: the opener does not wait for `anext`.
    streams = pair.server.accept("test/1")
    async with pair.client.open_stream(pair.server.ticket, "test/1", metadata=b"meta", early_data=b"ear") as stream:
        await stream.write(b"ly")
        accepted = await anext(streams)
        assert accepted.metadata == b"meta"
        assert accepted.protocol == stream.protocol == "test/1"
        assert accepted.peer == pair.client.id
    async with accepted:
        assert await accepted.read() == b"early"
    assert stream.bytes_written == 5


async def test_delivered_means_that_the_other_endpoint_has_it(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"all of it")
        await a.finish()
        await a.delivered()
        assert await b.read() == b"all of it"
        # There is no result for data that is not finished.
        await b.write(b"not all of it")
        with pytest.raises(twolane.StreamEnded):
            await b.delivered()


async def test_a_paused_reader_holds_its_writer_up(pair: Pair) -> None:
    async with both(pair) as (a, b):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    await a.write(b"x" * 100_000)
        # The window of 2 MB, and the data that both sides have in transit.
        assert a.bytes_written < 20_000_000
        taken = a.bytes_written
        await_end = asyncio.create_task(a.finish())
        assert len(await b.read()) == taken
        await await_end


async def test_only_one_task_may_read(pair: Pair) -> None:
    async with both(pair) as (a, b):
        reading = asyncio.create_task(b.read(1))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError) as caught:
            await b.read(1)
        assert isinstance(caught.value, twolane.ConcurrentUse)
        await a.write(b"x")
        assert await reading == b"x"


async def test_what_is_no_bytes_is_a_type_error(pair: Pair) -> None:
    async with both(pair) as (a, _):
        for wrong in ("text", 7, None):
            with pytest.raises(TypeError):
                await a.write(wrong)  # type: ignore[arg-type]


async def test_closing_wakes_whoever_waits(pair: Pair) -> None:
    async with both(pair) as (a, b):
        reading = asyncio.create_task(a.read(1))
        writing = asyncio.create_task(a.write(b"x" * 50_000_000))
        await until(lambda: a.bytes_written > 1_000_000)
        a.close()
        with pytest.raises(ConnectionError):
            await reading
        with pytest.raises(ConnectionError):
            await writing
        with pytest.raises(ConnectionError):
            await a.write(b"more")
        with pytest.raises(ConnectionResetError):
            await b.read()
