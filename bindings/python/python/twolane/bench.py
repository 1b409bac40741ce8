"""How fast it is here: `python -m twolane.bench`.

Each row is measured between two processes on this machine, client against server: twolane in Python, the Rust library
without Python, asyncio's TCP streams, and PyPI `iroh` if it is installed. All rows are run in turns, and the median of
the rounds counts, so that what else the machine does weighs on all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import time
import typing
from collections.abc import Callable, Coroutine

from . import Node, XStream, _native

BULK: typing.Final = "bench-bulk/1"
ECHO: typing.Final = "bench-echo/1"
PIECE: typing.Final = 1024 * 1024
READ: typing.Final = 256 * 1024
BODY: typing.Final = b"\7" * 64
MIB: typing.Final = 1024 * 1024

EXAMPLES: typing.Final = """\
examples:
  python -m twolane.bench
  python -m twolane.bench --json --only bulk
  python -m twolane.bench --rounds 5 --mib 512
"""


class Row(typing.NamedTuple):
    """What is measured, and how: seconds for so many units."""

    what: str
    who: str
    unit: str
    amount: int
    run: Callable[[str], Coroutine[typing.Any, typing.Any, float]]


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
        async def echo(request: _native.Request) -> bytes:
            return request.body

        ready(str(node.ticket))
        await stdin_closed()


async def bulk_twolane(ticket: str, pieces: int) -> float:
    data = bytes(PIECE)
    async with Node(offline=True, close_timeout=0) as node:
        async with node.open_stream(ticket, BULK) as stream:
            start = time.perf_counter()
            for _ in range(pieces):
                await stream.write(data)
            await stream.finish()
            count = int(await stream.readline())
            took = time.perf_counter() - start
            check(count == pieces * PIECE, f"{count} bytes arrived")
            return took


async def ask_twolane(ticket: str, count: int, in_flight: int) -> float:
    async with Node(offline=True, close_timeout=0) as node:
        peer = await node.connect(ticket)
        return await many(lambda: node.request(peer, ECHO, BODY), count, in_flight)


# The Rust library


async def serve_rust() -> None:
    ready(_native.bench_serve())
    await stdin_closed()


async def run_rust(ticket: str, kind: str, count: int, in_flight: int) -> float:
    return await asyncio.to_thread(_native.bench_run, ticket, kind, count, in_flight)


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
    ready(str(server.sockets[0].getsockname()[1]))
    await stdin_closed()


async def bulk_tcp(port: str, pieces: int) -> float:
    data = bytes(PIECE)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(b"b")
    start = time.perf_counter()
    for _ in range(pieces):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
    count = int(await reader.readline())
    took = time.perf_counter() - start
    check(count == pieces * PIECE, f"{count} bytes arrived")
    writer.close()
    return took


async def ask_tcp(port: str, count: int, in_flight: int) -> float:
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

    took = await many(ask, count, in_flight)
    for _, writer in pool:
        writer.close()
    return took


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
    ready(json.dumps([str(endpoint.id()), endpoint.bound_sockets()]))
    await stdin_closed()
    accepting.cancel()


async def iroh_connect(where: str) -> tuple[typing.Any, typing.Any]:
    import iroh

    peer, addrs = json.loads(where)
    endpoint = await iroh_endpoint()
    addr = iroh.EndpointAddr(iroh.EndpointId.from_string(peer), None, addrs)
    return endpoint, await endpoint.connect(addr, b"bench/1")


async def bulk_iroh(where: str, pieces: int) -> float:
    endpoint, connected = await iroh_connect(where)
    two = await connected.open_bi()
    send, recv = two.send(), two.recv()
    data = bytes(PIECE)
    await send.write_all(b"b")
    start = time.perf_counter()
    for _ in range(pieces):
        await send.write_all(data)
    await send.finish()
    count = int(bytes(await recv.read_to_end(100)))
    took = time.perf_counter() - start
    check(count == pieces * PIECE, f"{count} bytes arrived")
    await endpoint.close()
    return took


async def ask_iroh(where: str, count: int, in_flight: int) -> float:
    endpoint, connected = await iroh_connect(where)

    async def ask() -> bytes:
        two = await connected.open_bi()
        await two.send().write_all(b"e" + BODY)
        await two.send().finish()
        return bytes(await two.recv().read_to_end(len(BODY)))

    took = await many(ask, count, in_flight)
    await endpoint.close()
    return took


# The measurement

SERVERS: typing.Final = {
    "twolane": serve_twolane,
    "rust": serve_rust,
    "tcp": serve_tcp,
    "iroh": serve_iroh,
}


def rows(mib: int, requests: int, others: list[str]) -> list[Row]:
    """What is to be measured. iroh gets a twentieth of the data: it would take minutes."""
    few = max(mib // 20, 1)
    some = max(requests // 5, 64)
    table = [
        Row("bulk", "twolane", "MB/s", mib, lambda at: bulk_twolane(at, mib)),
        Row("bulk", "rust", "MB/s", mib, lambda at: run_rust(at, "bulk", mib, 1)),
        Row("bulk", "tcp", "MB/s", mib, lambda at: bulk_tcp(at, mib)),
        Row("bulk", "iroh", "MB/s", few, lambda at: bulk_iroh(at, few)),
    ]
    for in_flight in (1, 64):
        what = f"requests, {in_flight} in flight"
        one = requests if in_flight > 1 else max(requests // 4, 64)
        less = some if in_flight > 1 else max(some // 4, 64)
        table += [
            Row(what, "twolane", "/s", one, lambda at, n=one, k=in_flight: ask_twolane(at, n, k)),  # type: ignore[misc]
            Row(what, "rust", "/s", one, lambda at, n=one, k=in_flight: run_rust(at, "ask", n, k)),  # type: ignore[misc]
            Row(what, "tcp", "/s", one, lambda at, n=one, k=in_flight: ask_tcp(at, n, k)),  # type: ignore[misc]
            Row(what, "iroh", "/s", less, lambda at, n=less, k=in_flight: ask_iroh(at, n, k)),  # type: ignore[misc]
        ]
    return [row for row in table if row.who in others]


async def many(ask: Callable[[], Coroutine[typing.Any, typing.Any, bytes]], count: int, in_flight: int) -> float:
    """So many requests, always so many of them under way; the seconds that took."""
    for _ in range(min(in_flight, 16)):
        check(await ask() == BODY, "another answer came")

    async def one_after_the_other() -> None:
        for _ in range(count // in_flight):
            await ask()

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(one_after_the_other())
    return time.perf_counter() - start


def measure(row: Row) -> float:
    """One round: a server in a process of its own, and the units a second."""
    command = [sys.executable, "-W", "ignore", "-m", "twolane.bench", "--serve", row.who]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        where = server.stdout.readline().strip()
        check(where != "", f"the server of {row.who} did not start")
        try:
            took = asyncio.run(row.run(where))
        finally:
            server.stdin.close()
            server.wait(30)
    units = row.amount * MIB / 1e6 if row.unit == "MB/s" else row.amount
    return units / took


def ready(where: str) -> None:
    print(where, flush=True)


async def stdin_closed() -> None:
    await asyncio.to_thread(sys.stdin.read)


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(f"the measurement is worth nothing: {otherwise}")


def main(arguments: list[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(
        prog="python -m twolane.bench",
        description="Measures twolane in Python against the Rust library, TCP, and PyPI iroh where it is installed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, the summary last")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is measured (default: 3)")
    parser.add_argument("--mib", type=int, default=256, metavar="N", help="how much a bulk row sends (default: 256)")
    parser.add_argument("--requests", type=int, default=20_000, metavar="N", help="how many (default: 20,000)")
    parser.add_argument("--only", metavar="WORD", help="only rows with this word in them, such as bulk or requests")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        asyncio.run(SERVERS[options.serve]())
        return 0

    others = [who for who in SERVERS if who != "iroh" or importlib.util.find_spec("iroh")]
    table = [row for row in rows(options.mib, options.requests, others) if (options.only or "") in row.what]
    seen: dict[tuple[str, str], list[float]] = {(row.what, row.who): [] for row in table}
    for turn in range(options.rounds):
        for row in table:
            value = measure(row)
            seen[row.what, row.who].append(value)
            if options.json:
                emit(event="round", round=turn, what=row.what, who=row.who, value=round(value, 1), unit=row.unit)
    medians = {key: statistics.median(values) for key, values in seen.items()}
    ratios = []
    for row in table:
        ours = medians.get((row.what, "twolane"))
        median = medians[row.what, row.who]
        ratio = None if ours is None or row.who == "twolane" else ours / median
        if ratio is not None:
            ratios.append({"what": row.what, "against": row.who, "ratio": round(ratio, 3)})
        if options.json:
            emit(event="row", what=row.what, who=row.who, median=round(median, 1), unit=row.unit)
        else:
            beside = "" if ratio is None else f"   twolane has {ratio:.2f} of it"
            print(f"{row.what:24} {row.who:8} {median:12,.0f} {row.unit}{beside}")
    if options.json:
        emit(event="summary", rounds=options.rounds, ratios=ratios)
    return 0


def emit(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    sys.exit(main())
