"""Tests against the Rust program `stream-tester`. With `serve` it plays the other side and reports what it
saw; with `run` it lets Python play the acceptor in all of its cases."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import typing
from collections.abc import AsyncIterator

import blake3
import pytest
from conftest import node
from rust_tester import LIMITS, PROTOCOL, Acceptor, pattern
from test_examples import program

import twolane
from twolane import Node, XStream


class Other(typing.NamedTuple):
    client: Node
    ticket: str

    @contextlib.asynccontextmanager
    async def play(self, number: int, *steps: object) -> AsyncIterator[XStream]:
        """A stream whose acceptor executes these steps."""
        role = {"play": {"id": number, "report": True, "steps": steps}}
        stream = await self.client.open_stream(self.ticket, PROTOCOL, metadata=json.dumps(role).encode())
        try:
            yield stream
        finally:
            stream.close()

    async def seen(self, number: int) -> dict[str, typing.Any]:
        """Returns the acceptor's report of this stream."""
        role = json.dumps({"report": {"id": number}}).encode()
        async with self.client.open_stream(self.ticket, PROTOCOL, metadata=role) as stream:
            await stream.finish()
            report = await stream.read_json()
            assert await stream.read() == b""
        return typing.cast("dict[str, typing.Any]", report)


@pytest.fixture
async def tester() -> AsyncIterator[Other]:
    command = [program("stream-tester"), "serve", "--offline", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            ticket = json.loads(await asyncio.to_thread(server.stdout.readline))["ticket"]
            async with node() as client:
                yield Other(client, ticket)
        finally:
            server.terminate()
            await asyncio.to_thread(server.communicate, timeout=30)


def seed(number: int) -> int:
    """Returns the seed of the data that the acceptor writes."""
    return number * 2 + 1


async def test_data_from_rust(tester: Other) -> None:
    async with tester.play(1, {"write": {"len": 5_000_000, "piece": 65_536}}, "finish") as stream:
        assert await stream.read() == pattern(seed(1), 5_000_000)
    seen = await tester.seen(1)
    assert seen["written"]["sum"]["bytes"] == 5_000_000 and seen["finished"]


async def test_data_to_rust_and_back(tester: Other) -> None:
    data = pattern(4, 5_000_000)
    async with tester.play(2, "echo") as stream:

        async def write() -> None:
            await stream.write(data)
            await stream.finish()

        writing = asyncio.create_task(write())
        assert await stream.read() == data
        await writing


async def test_small_writes_to_rust(tester: Other) -> None:
    data = pattern(6, 300_000)
    async with tester.play(3, "read_end", "finish") as stream:
        for at in range(0, len(data), 100):
            await stream.write(data[at : at + 100])
        await stream.finish()
        assert await stream.read() == b""
    seen = await tester.seen(3)
    assert seen["read"]["sum"]["bytes"] == len(data)
    assert blake3.blake3(data).hexdigest() in json.dumps(seen["read"])


async def test_rust_fails_after_its_data(tester: Other) -> None:
    words = {"code": 77, "text": 40, "details": 100}
    async with tester.play(4, {"write": {"len": 100_000, "piece": 1000}}, {"fail": words}) as stream:
        got = b""
        with pytest.raises(twolane.StreamFailed) as caught:
            while True:
                got += await stream.read(65_536)
        assert got == pattern(seed(4), 100_000)
        error = caught.value
        assert (error.code, error.offset, error.details) == (77, 100_000, pattern(77, 100))
        assert error.text is not None and error.text.startswith("fehlgeschlagen für 77")
        assert "fehlgeschlagen für 77" in str(error)


async def test_python_fails_after_its_data(tester: Other) -> None:
    async with tester.play(5, "read_end") as stream:
        await stream.write(pattern(10, 100_000))
        await stream.fail(78, "fehlgeschlagen", b"details")
    seen = await tester.seen(5)
    assert seen["read"]["sum"]["bytes"] == 100_000
    told = json.dumps(seen["read"]["end"], ensure_ascii=False)
    assert "78" in told and "fehlgeschlagen" in told and "100000" in told


async def test_warnings_in_both_directions(tester: Other) -> None:
    words = {"code": 5, "text": 40, "details": 0}
    async with tester.play(6, {"warn": {"words": words, "count": 3}}, {"hear": 2}, "finish") as stream:
        errors = stream.errors()
        assert [(await anext(errors)).code for _ in range(3)] == [5, 6, 7]
        await stream.warn(1, "one")
        await stream.warn(2, "two")
        assert await stream.read() == b""
    seen = await tester.seen(6)
    assert [(report["severity"], report["told"]["text"]) for report in seen["reports"]] == [
        ("warning", "one"),
        ("warning", "two"),
    ]


async def test_rust_drops_its_side(tester: Other) -> None:
    async with tester.play(7, {"read": 1}, "drop_send", "read_end") as stream:
        # The stream is open by now. A reset before that would be a failed opening.
        await stream.write(b"x")
        with pytest.raises(twolane.StreamReset):
            await stream.read()


async def test_lines_of_rust(tester: Other) -> None:
    async with tester.play(8, {"write_lines": 100}, "finish") as stream:
        for n in range(100):
            assert (await stream.readline()).decode() == f"{n} {'äb' * (n % 50)}\n"
        assert await stream.readline() == b""


async def test_json_of_rust(tester: Other) -> None:
    async with tester.play(9, {"write_items": 20}, {"read_items": 20}, "finish") as stream:
        for n in range(20):
            value = await stream.read_json()
            assert value["n"] == n and value["list"] == [n, None, True, '\n\0"']
            await stream.write_json(value)
        assert await stream.read() == b""
    assert (await tester.seen(9))["finished"]


@pytest.mark.timeout(300)
async def test_every_case_of_rust_holds_against_a_node_in_python() -> None:
    async with Node(offline=True, limits=LIMITS) as server:
        Acceptor(server)
        command = [program("stream-tester"), "run", "--offline", "--json", "--against", str(server.ticket)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=240)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [(event["name"], event["error"]) for event in events if event["event"] == "case" and not event["ok"]]
    assert failed == [] and done.returncode == 0, (failed, done)
    # The summary comes last, and no case was left out.
    assert events[-1]["event"] == "summary" and events[-1]["passed"] >= 55
