"""Promises of the stream that others could break: a close, a cancellation, a flood, a second task, a closed loop."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import math
import pathlib
import pickle
import threading
import typing

import pytest
from conftest import LIMITS, Pair, both, node, until

import twolane
from twolane import XStream, _native, _wait

# What is behind `to_asyncio`


async def test_a_handler_of_start_server_sends_all_of_its_reply(pair: Pair) -> None:
    @pair.server.serve("greet/1")
    async def greet(stream: XStream) -> None:
        reader, writer = stream.to_asyncio()
        writer.write(b"hello " + await reader.readline())
        await writer.drain()
        writer.close()

    async with pair.client.open_stream(pair.server.ticket, "greet/1") as stream:
        await stream.write(b"you\n")
        assert await stream.read() == b"hello you\n"


async def test_a_block_around_an_asyncio_pair_finishes_what_was_written(pair: Pair) -> None:
    streams = pair.server.accept("test/1")
    async with pair.client.open_stream(pair.server.ticket, "test/1") as stream:
        _, writer = stream.to_asyncio()
        writer.write(b"x" * 3_000_000)
        reading = asyncio.create_task((await anext(streams)).read())
        await writer.drain()
    assert len(await reading) == 3_000_000


@pytest.mark.parametrize("how", ["closed in a finally", "forgotten", "cancelled"])
async def test_data_that_was_cut_off_behind_an_asyncio_pair_never_looks_complete(pair: Pair, how: str) -> None:
    @pair.server.serve("half/1")
    async def half(stream: XStream) -> None:
        _, writer = stream.to_asyncio()
        if how == "forgotten":
            # It does not end in order either.
            writer.write(b"x" * 5_000)
            raise asyncio.CancelledError
        try:
            writer.write(b"x" * 5_000)
            await writer.drain()
            if how == "cancelled":
                raise asyncio.CancelledError
            raise ZeroDivisionError
        finally:
            writer.close()

    async with pair.client.open_stream(pair.server.ticket, "half/1") as stream:
        with pytest.raises(twolane.StreamError):
            await stream.read()
        stream.close()


# Turns of the event loop


class AlwaysReady:
    """What a peer makes of a stream, or of a source of streams or reports, that it keeps full."""

    write_ended = read_ended = True

    def next(self) -> tuple[object]:
        return (None,)

    def read(self, n: int) -> bytes:
        return b"x"

    def read_line(self, limit: int) -> bytes:
        return b"x\n"

    def write(self, data: object, whole: bool = False) -> None:
        return None


@pytest.mark.parametrize("what", ["items", "reads of one stream", "a call on each of many streams"])
async def test_peers_that_are_always_ready_leave_turns_to_others(what: str) -> None:
    """Without turns, neither a timeout nor another task nor Ctrl-C would ever come."""
    peer: typing.Any = AlwaysReady()
    one = XStream(peer)
    calls: dict[str, typing.Callable[[], typing.Awaitable[object]]] = {
        "items": lambda: _wait.following(peer),
        "reads of one stream": lambda: one.read(1),
        "a call on each of many streams": lambda: XStream(peer).readline(),
    }
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for _ in range(1_000):
        await calls[what]()
    counting.cancel()
    assert turns >= 20


# Ends of what is iterated over


async def test_a_source_that_is_closed_ends_for_the_task_that_waits(pair: Pair) -> None:
    async with both(pair) as (_, b):
        for source in (pair.server.accept("never/1"), pair.server.events(), b.errors()):
            while not isinstance(source, twolane.Streams):
                # What is there already comes first.
                try:
                    async with asyncio.timeout(0.01):
                        await anext(source)
                except TimeoutError:
                    break
            waiting = asyncio.create_task(anext(source, "the end"))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            source.close()
            assert await waiting == "the end"
            await source.aclose()


async def test_events_end_with_their_node(pair: Pair) -> None:
    async with node() as other:
        events = other.events()
        await other.connect(pair.server.ticket)
        await other.close()
        seen = [type(event).__name__ async for event in events]
    assert seen[0] == "Connected" and "Disconnected" in seen


# Framed writes


async def test_a_message_whose_write_is_cancelled_is_whole_or_not_there(pair: Pair) -> None:
    async with both(pair) as (a, b):
        began = "x" * 5_000_000
        # It fills the window, and its rest waits.
        first = asyncio.create_task(a.write_json(began))
        await until(lambda: a.bytes_written > 1_000_000)
        second = asyncio.create_task(a.write_json("never begun"))
        await asyncio.sleep(0)
        for task in (first, second):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        third = asyncio.create_task(a.write_json({"n": 3}))
        assert await b.read_json(limit=10_000_000) == began
        assert await b.read_json() == {"n": 3}
        await third
        # The same with lengths in front.
        message = asyncio.create_task(a.write_message(bytes(5_000_000)))
        before = a.bytes_written
        await until(lambda: a.bytes_written > before + 1_000_000)
        message.cancel()
        last = asyncio.create_task(a.write_message(b"last"))
        assert len(await b.read_message()) == 5_000_000
        assert await b.read_message() == b"last"
        await last


async def test_a_write_that_is_cancelled_tells_its_own_bytes_beside_those_of_others(pair: Pair) -> None:
    async with both(pair) as (a, b):
        others = asyncio.create_task(a.write(b"o" * 1_000_000))
        await others
        writing = a.writing(b"m" * 20_000_000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await writing
        assert writing.taken == a.bytes_written - 1_000_000 and 0 < writing.taken < 20_000_000
        rest = asyncio.create_task(a.write(b"r" * 10))
        data = await b.readexactly(1_000_000 + writing.taken + 10)
        assert data == b"o" * 1_000_000 + b"m" * writing.taken + b"r" * 10
        await rest
        done = a.writing(b"small")
        await done
        assert done.taken == 5
        with pytest.raises(RuntimeError):
            await done


async def test_what_is_no_message_and_no_json_is_told_and_sends_nothing(pair: Pair) -> None:
    async with both(pair) as (a, b):
        wrong: typing.Any
        for wrong in (5, [1, 2], True, pair.client.id, "text", (n for n in range(3))):
            with pytest.raises(TypeError):
                await a.write_message(wrong)
        for number in (math.nan, math.inf):
            with pytest.raises(ValueError):
                await a.write_json({"n": number})
        await a.finish()
        assert await b.read() == b""


async def test_data_up_to_a_separator(pair: Pair) -> None:
    async with both(pair) as (a, b):
        # A separator that comes in pieces, and after a search for another one.
        await a.write(b"GET / HTTP/1.1\r")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await b.readuntil(b"\r\n\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await b.readline()
        await a.write(b"\n\r\nbody")
        assert await b.readuntil(b"\r\n\r\n") == b"GET / HTTP/1.1\r\n\r\n"
        with pytest.raises(twolane.TooLarge):
            await b.readuntil(b"#", limit=3)
        assert not b.at_eof()
        await a.finish()
        with pytest.raises(twolane.IncompleteReadError) as caught:
            await b.readuntil(b"#")
        assert (caught.value.partial, caught.value.expected) == (b"body", None) and b.at_eof()
        with pytest.raises(ValueError):
            await b.readuntil(b"")


async def test_a_message_that_ends_early_says_how_long_it_should_have_been(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"\0\0\0\x05abc")
        await a.finish()
        with pytest.raises(twolane.IncompleteReadError) as caught:
            await b.read_message()
        assert (caught.value.partial, caught.value.expected) == (b"\0\0\0\x05abc", 9)


# Errors


async def test_who_fails_after_the_peer_has_takes_no_byte_of_its_data(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"every byte")
        await a.fail(7, "first")
        assert (await anext(b.errors())).code == 7
        with pytest.raises(twolane.StreamFailed, match="first"):
            await b.fail(8, "second")
        assert b.bytes_read == 0
        assert await b.readexactly(10) == b"every byte" and b.bytes_read == 10


async def test_what_cannot_be_said_is_told_before_it_is_sent(pair: Pair) -> None:
    wrong: typing.Any
    for wrong in ((-1,), (2**62,), (1, ValueError("x")), (1, "\ud800"), (1, "", "text"), (True,)):
        with pytest.raises((TypeError, ValueError)):
            twolane.Fail(*wrong)
        async with both(pair) as (a, _):
            with pytest.raises((TypeError, ValueError)):
                await a.fail(*wrong)
            with pytest.raises((TypeError, ValueError)):
                await a.warn(*wrong)
            assert not a.closed


async def test_a_request_that_gets_no_stream_says_what_it_waited_for() -> None:
    limits = LIMITS.replace(streams_per_peer=1)
    async with node(limits=limits) as server, node() as client:
        streams = server.accept("held/1")
        server.serve_requests("echo/1", lambda request: request.body)
        held = await client.open_stream(server.ticket, "held/1")
        accepted = await anext(streams)
        with pytest.raises(twolane.TooManyStreams) as caught:
            await client.request(server.ticket, "echo/1", timeout=0.3)
        assert caught.value.fault == "caller" and caught.value.may_have_been_handled is False
        held.close()
        accepted.close()
        nobody = twolane.Ticket(twolane.KeyPair().peer_id, addrs=["127.0.0.1:9"])
        with pytest.raises(twolane.DialTimeout) as dialled:
            await client.request(nobody, "echo/1", timeout=0.3)
        assert (dialled.value.fault, dialled.value.phase) == ("network", "dial")


def test_an_error_of_a_key_file_has_what_an_oserror_has(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        twolane.KeyPair.from_file(tmp_path / "none.key")
    assert (caught.value.errno, caught.value.filename) == (2, str(tmp_path / "none.key"))
    assert pickle.loads(pickle.dumps(caught.value)).errno == 2
    twolane.KeyPair().to_file(tmp_path / "my.key")
    with pytest.raises(FileExistsError) as exists:
        twolane.KeyPair().to_file(tmp_path / "my.key")
    assert exists.value.errno == 17 and exists.value.strerror


def test_keys_are_copied_and_pickled_as_values_are() -> None:
    key = twolane.KeyPair()
    assert copy.deepcopy({"key": key})["key"] == key == copy.copy(key)
    ticket = twolane.Ticket(key.peer_id, addrs=["192.0.2.7:1"])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for value in (key.peer_id, ticket):
            assert pickle.loads(pickle.dumps(value, protocol)) == value
        with pytest.raises(TypeError):
            pickle.dumps(key, protocol)


@pytest.mark.skipif(not hasattr(_native, "_panics"), reason="only the module of the gate has an operation that panics")
async def test_an_operation_that_panics_ends() -> None:
    with pytest.raises(twolane.TwolaneError, match="defect"):
        await _native._panics().future  # type: ignore[attr-defined]


# Nodes


async def test_a_peer_is_kept_by_its_node_without_a_variable(pair: Pair) -> None:
    pair.client.keep(pair.server.ticket)
    events = pair.server.events()
    assert await anext(events) == twolane.Connected(pair.client.id)
    keep = pair.client.keep(pair.server.ticket)
    assert await keep.connected() and keep.state == "connected"
    changed = asyncio.create_task(keep.changed())
    await asyncio.sleep(0)
    keep.close()
    assert await changed == "ended" and not await keep.connected()
    last = pair.client.keep(twolane.KeyPair().peer_id)
    await pair.client.close()
    assert last.state == "ended"


async def test_a_node_that_is_closed_while_it_starts_is_closed() -> None:
    one = node()
    starting = asyncio.create_task(one.start())
    await asyncio.sleep(0)
    await one.close()
    with pytest.raises(twolane.NodeClosed):
        await starting
    assert one.closed
    with pytest.raises(twolane.NodeClosed):
        _ = one.ticket
    # Two that start it at the same time start it once.
    other = node()
    assert await asyncio.gather(other.start(), other.start()) == [other, other]
    waiting = asyncio.create_task(other.wait_closed())
    serving = asyncio.create_task(other.serve_forever())
    await asyncio.sleep(0)
    assert not waiting.done() and not serving.done()
    await other.close()
    await waiting
    await serving


async def test_options_take_one_or_several(pair: Pair) -> None:
    async with node(bind="127.0.0.1:0", peers=pair.server.ticket) as one:
        assert one.status().sockets[0].startswith("127.0.0.1:")
        assert await one.connect(pair.server.id) == pair.server.id
    for wrong in ("8.8.8.8", "nonsense"):
        with pytest.raises(twolane.InvalidOption):
            await node(nameserver=wrong).start()
    with pytest.raises(twolane.InvalidOption):
        await node(trust_roots=[b"no certificate"]).start()
    with pytest.raises(twolane.InvalidOption):
        await node(directory=("no url", "dns.example.org")).start()


async def test_a_request_carries_metadata(pair: Pair) -> None:
    pair.server.serve_requests("trace/1", lambda request: request.metadata + request.body)
    response = await pair.client.request(pair.server.ticket, "trace/1", b"body", metadata=b"span ", timeout=None)
    assert response == b"span body"


async def test_paths_have_a_policy(pair: Pair) -> None:
    peer = pair.server.id
    assert pair.client.path_policy(peer) == "relay_allowed"
    for policy in ("direct_only", 2.5, "relay_allowed"):
        pair.client.set_path_policy(peer, policy)  # type: ignore[arg-type]
        assert pair.client.path_policy(peer) == policy
    with pytest.raises(twolane.InvalidOption):
        pair.client.set_path_policy(peer, "fast")  # type: ignore[arg-type]
    async with node(path_policy="direct_only") as strict:
        assert strict.path_policy(peer) == "direct_only"
        assert await strict.connect(pair.server.ticket) == peer


async def test_a_node_says_how_it_stands(pair: Pair) -> None:
    status = pair.server.status()
    assert status.reach == "this_machine" and status.network is None
    assert {obstacle.name for obstacle in status.obstacles} == {"no_relay", "loopback_only"}
    assert all(obstacle.text for obstacle in status.obstacles)
    assert (await pair.server.settled(5)).reach == "this_machine"


async def test_an_access_list_can_be_looked_at() -> None:
    access, peers = twolane.AccessList.deny_by_default(), sorted(twolane.KeyPair().peer_id for _ in range(3))
    access.allow(peers[0])
    access.deny(peers[1])
    access.allow_for("admin/*", peers[2])
    access.restrict("empty/1")
    assert (access.allowed(), access.denied()) == (peers[:1], peers[1:2])
    assert access.lists() == {"admin/*": peers[2:], "empty/1": []}


def test_a_read_of_a_loop_that_was_closed_is_no_second_reader() -> None:
    """The task that waited will never run again."""
    ready: list[XStream] = []
    kept: list[typing.Any] = []

    def first() -> None:
        async def begin() -> None:
            server, client = await node().start(), await node().start()
            streams = server.accept("test/1")
            opened = await client.open_stream(server.ticket, "test/1")
            accepted = await anext(streams)
            ready.extend([opened, accepted])
            kept.extend([server, client, loop.create_task(accepted.read(1))])
            await asyncio.sleep(0)

        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin())
        loop.close()

    thread = threading.Thread(target=first)
    thread.start()
    thread.join()
    opened, accepted = ready

    async def second() -> None:
        await opened.write(b"x")
        assert await accepted.read(1) == b"x"
        opened.close()
        accepted.close()
        for one in kept[:2]:
            await one.close(0)

    asyncio.run(second())
    # It is destroyed while it waits, which asyncio tells.
    logging.getLogger("asyncio").disabled = True
    kept.clear()
    logging.getLogger("asyncio").disabled = False


async def test_json_that_the_other_side_reads(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write_json({"ä": 1})
        assert json.loads(await b.readline()) == {"ä": 1}
