"""Start and end of endpoints and processes: loops, threads, forks, exits, interrupts, memory."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import typing

import pytest
from conftest import Pair, both, node

import twolane


def run(program: str, *, wait: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs a program in its own process, in which any warning is an error."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program)]
    return subprocess.run(command, capture_output=True, text=True, timeout=wait, check=False)


async def talk() -> bytes:
    """Uses all main functions on the running loop."""
    async with node() as server, node() as client:

        @server.serve("echo/1")
        async def echo(stream: twolane.XStream) -> None:
            async for chunk in stream:
                await stream.write(chunk)

        server.serve_requests("upper/1", lambda request: request.body.upper())
        async with client.open_stream(server.ticket, "echo/1") as stream:
            await stream.write(b"x" * 1_000_000)
            await stream.finish()
            length = len(await stream.read())
        return await client.request(server.ticket, "upper/1", b"%d bytes" % length)


def test_one_loop_after_the_other_in_one_thread() -> None:
    for _ in range(3):
        assert asyncio.run(talk()) == b"1000000 BYTES"


def test_several_loops_in_several_threads() -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: asyncio.run(talk()), range(8))) == [b"1000000 BYTES"] * 8


def test_two_loops_take_turns_in_one_thread() -> None:
    loops = [asyncio.new_event_loop() for _ in range(2)]
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    first, second = (loop.run_until_complete(node().start()) for loop in loops)
    loops[0].run_until_complete(_serve(first))
    for _ in range(20):
        # The server answers on its own loop, which has to run in the meantime.
        asking = loops[1].create_task(second.request(first.ticket, "echo/1", b"x"))
        while not asking.done():
            loops[0].run_until_complete(asyncio.sleep(0.001))
            loops[1].run_until_complete(asyncio.sleep(0.001))
        assert asking.result() == b"x"
    if before:
        assert len(os.listdir("/proc/self/fd")) < before + 30
    for loop, endpoint in zip(loops, (first, second), strict=True):
        loop.run_until_complete(endpoint.close(0))
        loop.close()


async def _serve(endpoint: twolane.Node) -> None:
    endpoint.serve_requests("echo/1", lambda request: request.body)


def test_an_endpoint_of_one_loop_is_used_by_another_thread() -> None:
    async def main() -> bytes:
        async with node() as server, node() as client:
            server.serve_requests("echo/1", lambda request: request.body)
            ticket = server.ticket
            return await asyncio.to_thread(lambda: asyncio.run(client.request(ticket, "echo/1", b"from there")))

    assert asyncio.run(main()) == b"from there"


def test_an_endpoint_is_shut_down_by_another_thread() -> None:
    async def main() -> None:
        server = await node().start()
        begun, cancelled = asyncio.Event(), threading.Event()

        @server.serve("slow/1")
        async def slow(stream: twolane.XStream) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                assert threading.current_thread() is here
                cancelled.set()

        here = threading.current_thread()
        async with node() as client:
            stream = await client.open_stream(server.ticket, "slow/1")
            await begun.wait()
            report = await asyncio.to_thread(lambda: asyncio.run(server.close(0.1)))
            # The handler has ended in its own thread when the call returns.
            assert cancelled.is_set() and report.streams_cut == 1
            with pytest.raises(ConnectionError):
                await stream.read()
            stream.close()

    asyncio.run(main(), debug=True)


def test_an_endpoint_is_shut_down_when_the_loop_of_its_handlers_is_closed() -> None:
    async def begin() -> tuple[twolane.Node, twolane.XStream]:
        server, client = await node().start(), await node().start()
        begun = asyncio.Event()

        @server.serve("slow/1")
        async def slow(stream: twolane.XStream) -> None:
            begun.set()
            await asyncio.Event().wait()

        stream = await client.open_stream(server.ticket, "slow/1")
        await begun.wait()
        stream.close()
        await client.close(0)
        return server, stream

    server, _ = asyncio.run(begin())
    asyncio.run(server.close(60))
    assert server.closed


def test_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(talk()) == b"1000000 BYTES"


def test_a_loop_that_cannot_watch_sockets() -> None:
    class Proactor(asyncio.SelectorEventLoop):
        """Behaves like Windows' own loop."""

        def add_reader(  # type: ignore[override]
            self, fd: typing.Any, callback: typing.Any, *args: typing.Any
        ) -> None:
            if type(callback).__name__ == "Drain":
                raise NotImplementedError
            super().add_reader(fd, callback, *args)

    with asyncio.Runner(loop_factory=Proactor) as runner:
        assert runner.run(talk()) == b"1000000 BYTES"


def test_a_child_that_was_forked_gets_a_clear_error() -> None:
    done = run("""
        import asyncio, os, warnings
        import twolane
        warnings.simplefilter("ignore", DeprecationWarning)

        async def main():
            async with twolane.Node(offline=True) as server, twolane.Node(offline=True) as client:
                streams = server.accept("test/1")
                stream = await client.open_stream(server.ticket, "test/1")
                accepted = await anext(streams)
                child = os.fork()
                if child == 0:
                    warnings.simplefilter("ignore")
                    try:
                        await client.open_stream(server.ticket, "test/1")
                    except RuntimeError as error:
                        assert isinstance(error, twolane.ForkError), error
                        del stream, accepted, streams
                        os._exit(7)
                    os._exit(1)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                async with stream:
                    await stream.write(b"the parent goes on")
                    await stream.finish()
                    assert await accepted.read() == b"the parent goes on"
                    accepted.close()

        asyncio.run(main())
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_that_was_forked_lets_go_of_streams_that_are_in_use_in_that_moment() -> None:
    # Threads of the parent hold locks of the stream now and then. In the child, no thread releases those
    # locks.
    done = run("""
        import asyncio, os, signal, warnings
        import twolane
        warnings.simplefilter("ignore", DeprecationWarning)

        async def flood(stream):
            while True:
                await stream.write(bytes(1_000_000))

        async def drain(stream):
            while await stream.read(100_000):
                pass

        async def main():
            async with twolane.Node(offline=True) as server, twolane.Node(offline=True) as client:
                streams = server.accept("test/1")
                stream = await client.open_stream(server.ticket, "test/1")
                accepted = await anext(streams)
                tasks = [asyncio.create_task(flood(stream)), asyncio.create_task(drain(accepted))]
                for n in range(40):
                    until = accepted.bytes_read + 1_000_000
                    while accepted.bytes_read < until:
                        await asyncio.sleep(0)
                    child = os.fork()
                    if child == 0:
                        signal.alarm(20)
                        for one in (stream, accepted):
                            assert one.closed and "closed" in repr(one)
                            one.__del__()
                        streams.close()
                        os._exit(7)
                    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                stream.close()
                accepted.close()

        asyncio.run(main())
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_exit_with_everything_open_is_silent() -> None:
    done = run("""
        import asyncio, sys, warnings
        import twolane
        warnings.simplefilter("ignore", ResourceWarning)
        keep = []

        async def main():
            server = await twolane.Node(offline=True).start()
            client = await twolane.Node(offline=True).start()
            streams = server.accept("test/1")
            stream = await client.open_stream(server.ticket, "test/1")
            reading = asyncio.create_task(stream.read())
            writing = asyncio.create_task(stream.write(b"x" * 10_000_000))
            events = asyncio.create_task(anext(server.events()))
            keep.extend([server, client, streams, stream, await anext(streams)])
            # The window is full, so it waits.
            while stream.bytes_written < 1_000_000:
                await asyncio.sleep(0.001)

        asyncio.run(main())
        print("end")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_peers_are_told_of_an_exit_at_once(tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        async with node() as server:
            events = server.events()
            server.serve_requests("echo/1", lambda request: request.body)
            program = f"""
                import asyncio, sys, warnings
                import twolane
                warnings.simplefilter("ignore", ResourceWarning)

                async def main():
                    global client
                    client = await twolane.Node(offline=True).start()
                    # A server that has answered has admitted its client: it tells of a connection, and of its end.
                    await client.request("{server.ticket}", "echo/1", b"", timeout=60)

                asyncio.run(main())
            """
            done = await asyncio.to_thread(run, program)
            assert (done.returncode, done.stderr) == (0, "")
            # This is shorter than the idle timeout, which is one minute here.
            async with asyncio.timeout(30):
                assert isinstance(await anext(events), twolane.Connected)
                async for event in events:
                    if isinstance(event, twolane.Disconnected):
                        break
            assert isinstance(event, twolane.Disconnected) and event.reason == "peer_done"

    asyncio.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another thing there")
def test_an_interrupt_ends_it_like_any_other_program() -> None:
    program = textwrap.dedent("""
        import asyncio
        import signal
        import twolane

        # What a shell starts in the background ignores it, and so does what that starts.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        async def main():
            async with twolane.Node(offline=True) as node:
                print("ready", flush=True)
                async for event in node.events():
                    pass

        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (0, "interrupted\n", "")


def test_what_is_not_closed_is_told() -> None:
    async def main() -> None:
        async with node() as server, node() as client:
            streams = server.accept("test/1")
            stream = await client.open_stream(server.ticket, "test/1")
            with pytest.warns(ResourceWarning, match="was not closed"):
                del stream
                gc.collect()
            accepted = await anext(streams)
            with pytest.raises(ConnectionResetError):
                await accepted.read()
            accepted.close()
        forgotten = await node().start()
        forgotten.serve_requests("test/1", lambda request: b"")
        with pytest.warns(ResourceWarning, match="was not closed"):
            del forgotten
            gc.collect()

    asyncio.run(main())


def memory() -> int:
    """Returns the resident memory in bytes."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads Linux' /proc")
@pytest.mark.timeout(600)
def test_memory_is_flat_over_many_streams() -> None:
    count = int(os.environ.get("TWOLANE_PY_STREAMS", "100000"))

    async def main() -> tuple[int, int]:
        async with node() as server, node() as client:
            peer = await client.connect(server.ticket)

            @server.serve("echo/1")
            async def echo(stream: twolane.XStream) -> None:
                await stream.write(await stream.read())

            async def some(streams: int) -> None:
                for _ in range(streams):
                    async with client.open_stream(peer, "echo/1") as stream:
                        await stream.write(b"x" * 100)
                        await stream.finish()
                        assert len(await stream.read()) == 100

            async def many(streams: int) -> int:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(50):
                        tasks.create_task(some(streams // 50))
                gc.collect()
                return memory()

            await many(count // 10)
            return await many(count // 10), await many(count * 8 // 10)

    before, after = asyncio.run(main())
    # 100 bytes for each stream would be 8 MB.
    assert after - before < 8_000_000, (before, after)
    assert threading.active_count() == 1


async def test_an_asyncio_pair(pair: Pair) -> None:
    async with both(pair) as (a, b):
        reader, writer = a.to_asyncio()
        other_reader, other_writer = b.to_asyncio()
        for n in range(100):
            writer.write(b"line %d\n" % n)
            await writer.drain()
            assert await other_reader.readline() == b"line %d\n" % n
        other_writer.writelines([b"x" * 1_000_000] * 3)
        drained = asyncio.create_task(other_writer.drain())
        assert len(await reader.readexactly(3_000_000)) == 3_000_000
        await drained
        assert writer.get_extra_info("peer_id") == pair.server.id
        writer.write(b"end")
        writer.write_eof()
        assert await other_reader.read() == b"end"
        other_writer.close()
        await other_writer.wait_closed()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_an_asyncio_pair_whose_peer_fails(pair: Pair) -> None:
    async with both(pair) as (a, b):
        reader, writer = a.to_asyncio()
        await b.write(b"some")
        await b.fail(7, "no more")
        with pytest.raises(twolane.StreamFailed, match="no more"):
            await reader.readexactly(10)
        writer.close()
