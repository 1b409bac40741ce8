"""The error lane, and errors as exceptions."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import pickle
import re

import pytest
from conftest import Pair, both, node, until

import twolane
from twolane import exceptions


async def test_a_failure_comes_after_exactly_the_bytes_before_it(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"one two thr")
        await a.fail(7, "cannot count further", b"details")
        data = b""
        with pytest.raises(twolane.StreamFailed) as caught:
            while True:
                data += await b.read(4)
        assert data == b"one two thr"
        error = caught.value
        # What the peer's program says is no fault of the connection: a loop that connects again does not repeat it.
        assert not isinstance(error, OSError)
        assert (error.code, error.text, error.details, error.offset) == (7, "cannot count further", b"details", 11)
        assert error.fault == "peer" and error.phase == "read" and not error.retryable
        assert "cannot count further" in str(error) and "Arc" not in str(error)


async def test_a_failure_that_was_seen_is_not_raised_again_at_the_end_of_the_block(pair: Pair) -> None:
    async with both(pair) as (a, b):
        async with b:
            await a.fail(7, "enough")
            with pytest.raises(twolane.StreamFailed):
                await b.read()
        assert b.closed


async def test_a_failure_arrives_while_the_data_lane_is_full(pair: Pair) -> None:
    async with both(pair) as (a, b):
        writing = asyncio.create_task(a.write(b"x" * 50_000_000))
        await until(lambda: a.bytes_written > 1_900_000)
        await b.fail(28, "the disk is full")
        with pytest.raises(twolane.StreamFailed, match="the disk is full"):
            await writing
        with pytest.raises(twolane.StreamEnded):
            await b.read(1)


async def test_an_abort_discards_what_was_not_read(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.write(b"x" * 100_000)
        assert await b.read(1) == b"x"
        await a.abort(9, "at once")
        report = await anext(b.errors())
        assert (report.severity, report.code, report.text, report.offset) == ("abort", 9, "at once", 100_000)
        with pytest.raises(twolane.StreamAborted) as caught:
            while await b.read(10_000):
                pass
        assert not isinstance(caught.value, OSError)


async def test_warnings_arrive_and_the_stream_goes_on(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.warn(1, "half the quota is used", b"{}")
        await a.write(b"on")
        errors = b.errors()
        report = await anext(errors)
        assert (report.severity, report.code, report.text, report.details) == (
            "warning",
            1,
            "half the quota is used",
            b"{}",
        )
        await a.finish()
        assert await b.read() == b"on"
        await b.warn(2, "after the end of the other direction")
        assert (await anext(a.errors())).code == 2
        await b.finish()
        assert await a.read() == b""


async def test_the_reports_end_with_the_stream(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await a.fail(3)
        seen = [report.code async for report in b.errors()]
        assert seen == [3]


async def test_who_has_failed_a_stream_cannot_do_it_again(pair: Pair) -> None:
    async with both(pair) as (a, _):
        await a.fail(1, "first")
        with pytest.raises(twolane.StreamEnded):
            await a.fail(2, "second")
        with pytest.raises(twolane.StreamEnded):
            await a.warn(2, "second")
        with pytest.raises(ConnectionError):
            await a.write(b"more")


async def test_who_is_told_first_hears_it_from_everything(pair: Pair) -> None:
    async with both(pair) as (a, b):
        await b.fail(2, "first")
        assert (await anext(a.errors())).code == 2
        for late in (lambda: a.fail(1, "late"), lambda: a.write(b"more"), lambda: a.read(1)):
            with pytest.raises(twolane.StreamFailed, match="first"):
                await late()


async def test_limits_of_what_can_be_said(pair: Pair) -> None:
    async with both(pair) as (a, b):
        with pytest.raises(ValueError):
            await a.fail(2**62)
        with pytest.raises(twolane.TooLarge):
            await a.warn(1, details=b"x" * 61_441)
        await a.warn(2**62 - 1, "ä" * 10_000, b"x" * 61_440)
        report = await anext(b.errors())
        assert report.code == 2**62 - 1 and len(report.text.encode()) == 4096 and len(report.details) == 61_440


async def test_a_protocol_that_nobody_serves_is_rejected(pair: Pair) -> None:
    pair.server.serve_requests("other/1", lambda request: b"")
    with pytest.raises(ConnectionRefusedError) as caught:
        await pair.client.open_stream(pair.server.ticket, "wrong/1")
    error = caught.value
    assert isinstance(error, twolane.UnknownProtocol)
    assert (error.reason, error.peer, error.retryable) == ("unknown_protocol", pair.server.id, False)


async def test_a_peer_that_cannot_be_found_is_a_dial_error(pair: Pair) -> None:
    with pytest.raises(twolane.DialError) as caught:
        await pair.client.open_stream(twolane.KeyPair().peer_id, "test/1")
    assert isinstance(caught.value, ConnectionError) and caught.value.phase == "dial"
    with pytest.raises(twolane.DialError) as caught:
        await pair.client.connect(pair.client.id)
    assert caught.value.reason == "own_key" and caught.value.fault == "caller"


async def test_a_peer_that_is_silent_is_a_timeout(pair: Pair) -> None:
    nobody = twolane.Ticket(twolane.KeyPair().peer_id, addrs=["127.0.0.1:9"])
    with pytest.raises(TimeoutError) as caught:
        await pair.client.open_stream(nobody, "test/1", timeout=0.2)
    assert isinstance(caught.value, twolane.DialTimeout) and caught.value.retryable
    with pytest.raises(TimeoutError):
        await pair.client.request(nobody, "test/1", timeout=0.2)


async def test_mistakes_of_the_caller_are_value_errors(pair: Pair) -> None:
    for wrong in ("not a key", "", "endpointxyz"):
        with pytest.raises(ValueError):
            await pair.client.open_stream(wrong, "test/1")
    with pytest.raises(twolane.InvalidProtocol):
        await pair.client.open_stream(pair.server.ticket, "with a space")
    with pytest.raises(TypeError):
        await pair.client.open_stream(7, "test/1")  # type: ignore[arg-type]
    pair.server.serve_requests("test/1", lambda request: b"")
    with pytest.raises(twolane.TooLarge):
        await pair.client.open_stream(pair.server.ticket, "test/1", metadata=b"x" * 20_000)
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError):
            await pair.client.request(pair.server.ticket, "test/1", timeout=seconds)


async def test_an_endpoint_that_is_not_bound_or_closed_says_so() -> None:
    endpoint = node()
    with pytest.raises(twolane.NotStarted):
        _ = endpoint.ticket
    async with endpoint:
        pass
    with pytest.raises(twolane.NodeClosed):
        await endpoint.start()
    with pytest.raises(ConnectionError):
        await endpoint.open_stream(twolane.KeyPair().peer_id, "test/1")
    with pytest.raises(OSError):
        await node(bind="192.0.2.1:1").start()
    with pytest.raises(ValueError):
        await node(bind=["nonsense"]).start()
    with pytest.raises(twolane.InvalidOption, match="adaptive, cubic, bbr3 or background"):
        await node(congestion="reno").start()


def test_the_tree_in_the_documentation_is_the_tree() -> None:
    """Checks each line of the tree: the class, its base class, and the builtin."""
    assert exceptions.__doc__ is not None
    parents = ["TwolaneError"]
    seen = {"TwolaneError"}
    for line in exceptions.__doc__.splitlines():
        found = re.match(r"(?:    )?((?:│   )*)[├└]── (\w+) *(?:(\w*Error)\b)?", line)
        if not found:
            continue
        depth = len(found[1]) // 4 + 1
        name, builtin = found[2], found[3]
        cls = getattr(twolane, name)
        assert issubclass(cls, getattr(twolane, parents[depth - 1])), line
        assert builtin is None or issubclass(cls, getattr(builtins, builtin)), line
        parents[depth:] = [name]
        seen.add(name)
    assert seen == set(exceptions.__all__)


def test_exceptions_can_be_pickled_and_shown() -> None:
    for name in exceptions.__all__:
        cls = getattr(exceptions, name)
        if cls is exceptions.Fail:
            error = cls(28, "full", b"x")
        elif cls is exceptions.Refuse:
            error = cls("only on Mondays")
        else:
            error = cls("what happened\x1b[2J", code=7, peer=twolane.KeyPair().peer_id, retryable=True)
            assert str(error) == "what happened\\x1b[2J"
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is cls and str(again) == str(error)
        assert (again.code, again.peer, again.retryable) == (error.code, error.peer, error.retryable)
        assert inspect.getdoc(cls)
