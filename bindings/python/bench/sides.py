"""The sides that the benchmark compares: the server and the client of each side.

A client does each task twice, for one duration each: to warm up, and to be measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import sys
import time
import typing
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager

from twolane import Node, Request, XStream, _native

BULK: typing.Final = "bench-bulk/1"
ECHO: typing.Final = "bench-echo/1"
PIECE: typing.Final = bytes(1024 * 1024)
READ: typing.Final = 256 * 1024
BODY: typing.Final = b"\7" * 64


class Done(typing.NamedTuple):
    """The work of the measured time: the number of pieces or requests, and the seconds that they took."""

    units: int
    seconds: float


class Times(typing.NamedTuple):
    """The seconds of the warm-up, and the measured seconds."""

    warm_up: float
    measured: float


class Side(typing.NamedTuple):
    """One of the compared sides."""

    title: str
    settings: str
    serve: Callable[[], Coroutine[typing.Any, typing.Any, None]]
    bulk: Callable[[str, Times], Coroutine[typing.Any, typing.Any, Done]]
    ask: Callable[[str, Times, int], Coroutine[typing.Any, typing.Any, Done]]


Lane = tuple[Callable[[bytes], Awaitable[object]], Callable[[], Awaitable[int]]]
"""Two functions: one writes a piece, the other ends the data and returns the number of bytes that have
arrived."""


async def pieces(lane: Callable[[], AbstractAsyncContextManager[Lane]], times: Times) -> Done:
    """Writes as many pieces as possible in the time, and waits until they have arrived. Each time uses its
    own lane."""
    done = Done(0, 0.0)
    for seconds in times:
        async with lane() as (write, finish):
            start = time.perf_counter()
            count = 0
            while not count or time.perf_counter() - start < seconds:
                await write(PIECE)
                count += 1
            arrived = await finish()
            done = Done(count, time.perf_counter() - start)
        check(arrived == count * len(PIECE), f"{arrived} bytes arrived of {count} pieces")
    return done


async def many(ask: Callable[[], Awaitable[bytes]], times: Times, in_flight: int) -> Done:
    """Sends as many requests as possible in the time, always with `in_flight` requests in flight."""
    done = Done(0, 0.0)
    for seconds in times:
        start = time.perf_counter()

        async def one_after_the_other(start: float = start, seconds: float = seconds) -> int:
            count = 0
            while not count or time.perf_counter() - start < seconds:
                check(await ask() == BODY, "another answer came")
                count += 1
            return count

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one_after_the_other()) for _ in range(in_flight)]
        done = Done(sum(task.result() for task in tasks), time.perf_counter() - start)
    return done


# twolane


async def serve_twolane() -> None:
    async with Node(offline=True, close_timeout=0) as node:

        @node.serve(BULK)
        async def bulk(stream: XStream) -> None:
            buffer = bytearray(READ)
            count = 0
            while len_ := await stream.readinto(buffer):
                count += len_
            await stream.write(b"%d\n" % count)

        @node.serve_requests(ECHO)
        async def echo(request: Request) -> bytes:
            return request.body

        await ready(str(node.ticket))


async def bulk_twolane(ticket: str, times: Times) -> Done:
    async with Node(offline=True, close_timeout=0) as node:

        @contextlib.asynccontextmanager
        async def lane() -> typing.AsyncIterator[Lane]:
            async with node.open_stream(ticket, BULK) as stream:

                async def finish() -> int:
                    await stream.finish()
                    return int(await stream.readline())

                yield stream.write, finish

        return await pieces(lane, times)


async def ask_twolane(ticket: str, times: Times, in_flight: int) -> Done:
    async with Node(offline=True, close_timeout=0) as node:
        peer = await node.connect(ticket)
        return await many(lambda: node.request(peer, ECHO, BODY), times, in_flight)


# The Rust library


# Only a module that was built with the feature `bench` has it.
NATIVE: typing.Final[typing.Any] = _native


async def serve_rust() -> None:
    await ready(NATIVE._bench_serve())


async def bulk_rust(ticket: str, times: Times) -> Done:
    return Done(*await asyncio.to_thread(NATIVE._bench_run, ticket, "bulk", 1, *times))


async def ask_rust(ticket: str, times: Times, in_flight: int) -> Done:
    return Done(*await asyncio.to_thread(NATIVE._bench_run, ticket, "ask", in_flight, *times))


# asyncio's TCP streams


async def serve_tcp() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            kind = await reader.readexactly(1)
            if kind == b"b":
                count = 0
                while data := await reader.read(READ):
                    count += len(data)
                writer.write(b"%d\n" % count)
            else:
                while True:
                    writer.write(await reader.readexactly(len(BODY)))
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    await ready(str(server.sockets[0].getsockname()[1]))


async def bulk_tcp(port: str, times: Times) -> Done:
    @contextlib.asynccontextmanager
    async def lane() -> typing.AsyncIterator[Lane]:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"b")

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        async def finish() -> int:
            writer.write_eof()
            return int(await reader.readline())

        yield write, finish
        writer.close()

    return await pieces(lane, times)


async def ask_tcp(port: str, times: Times, in_flight: int) -> Done:
    pool = [await asyncio.open_connection("127.0.0.1", int(port)) for _ in range(in_flight)]
    free = list(pool)
    for _, writer in pool:
        writer.write(b"e")

    async def ask() -> bytes:
        connection = free.pop()
        connection[1].write(BODY)
        answer = await connection[0].readexactly(len(BODY))
        free.append(connection)
        return answer

    done = await many(ask, times, in_flight)
    for _, writer in pool:
        writer.close()
    return done


# PyPI iroh


async def iroh_endpoint() -> typing.Any:
    import iroh  # type: ignore[import-not-found, unused-ignore]

    iroh.iroh_ffi.uniffi_set_event_loop(typing.cast(typing.Any, asyncio.get_running_loop()))
    builder = iroh.EndpointOptions(preset=iroh.preset_minimal(), alpns=[b"bench/1"], bind_addr="127.0.0.1:0")
    return await iroh.Endpoint.bind(builder)


async def serve_iroh() -> None:
    endpoint = await iroh_endpoint()

    async def stream(two: typing.Any) -> None:
        send, recv = two.send(), two.recv()
        kind = bytes(await recv.read_exact(1))
        if kind == b"b":
            count = 0
            while data := await recv.read(READ):
                count += len(data)
            await send.write_all(b"%d" % count)
        else:
            await send.write_all(bytes(await recv.read_to_end(len(BODY))))
        await send.finish()

    async def connection(incoming: typing.Any) -> None:
        connected = await (await incoming.accept()).connect()
        tasks = set()
        with contextlib.suppress(Exception):
            while True:
                task = asyncio.create_task(stream(await connected.accept_bi()))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def accept() -> None:
        tasks = set()
        while (incoming := await endpoint.accept_next()) is not None:
            task = asyncio.create_task(connection(incoming))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    accepting = asyncio.create_task(accept())
    await ready(json.dumps([str(endpoint.id()), endpoint.bound_sockets()]))
    accepting.cancel()


@contextlib.asynccontextmanager
async def iroh_connected(where: str) -> typing.AsyncIterator[typing.Any]:
    import iroh

    peer, addrs = json.loads(where)
    endpoint = await iroh_endpoint()
    addr = iroh.EndpointAddr(iroh.EndpointId.from_string(peer), None, addrs)
    yield await endpoint.connect(addr, b"bench/1")
    await endpoint.close()


async def bulk_iroh(where: str, times: Times) -> Done:
    async with iroh_connected(where) as connected:

        @contextlib.asynccontextmanager
        async def lane() -> typing.AsyncIterator[Lane]:
            two = await connected.open_bi()
            send, recv = two.send(), two.recv()
            await send.write_all(b"b")

            async def finish() -> int:
                await send.finish()
                return int(bytes(await recv.read_to_end(100)))

            yield send.write_all, finish

        return await pieces(lane, times)


async def ask_iroh(where: str, times: Times, in_flight: int) -> Done:
    async with iroh_connected(where) as connected:

        async def ask() -> bytes:
            two = await connected.open_bi()
            await two.send().write_all(b"e" + BODY)
            await two.send().finish()
            return bytes(await two.recv().read_to_end(len(BODY)))

        return await many(ask, times, in_flight)


async def ready(where: str) -> None:
    """Prints the address of the server, and returns when the client no longer needs the server."""
    print(where, flush=True)
    await asyncio.to_thread(sys.stdin.read)


def available(side: str) -> str | None:
    """Returns why a side cannot be measured. None if it can."""
    if side == "rust" and not hasattr(_native, "_bench_run"):
        return "the module was built without the feature `bench`"
    if side == "iroh" and importlib.util.find_spec("iroh") is None:
        return "it is not installed (pip install iroh)"
    return None


class Worthless(Exception):
    """The measured work differs from the requested work."""


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Worthless(otherwise)


SIDES: typing.Final = {
    "twolane": Side(
        "twolane in Python",
        "one connection; a request is a stream of its own",
        serve_twolane,
        bulk_twolane,
        ask_twolane,
    ),
    "rust": Side(
        "twolane in Rust",
        "the library below, called from Rust; a request is a stream of its own",
        serve_rust,
        bulk_rust,
        ask_rust,
    ),
    "tcp": Side(
        "TCP in asyncio, not encrypted",
        "asyncio.open_connection; a socket for each request in flight, opened before and kept",
        serve_tcp,
        bulk_tcp,
        ask_tcp,
    ),
    "iroh": Side(
        "PyPI iroh",
        "its minimal preset: no relay, no discovery; a request is a stream of its own",
        serve_iroh,
        bulk_iroh,
        ask_iroh,
    ),
}
"""The sides by their names on the command line."""
