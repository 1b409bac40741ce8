"""Forks, subinterpreters, signals, exits, imports and the log, each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest
from test_life import run

unix = pytest.mark.skipif(sys.platform == "win32", reason="forks and signals are those of Unix")

USE = """
    async def use():
        async with twolane.Node(offline=True) as server, twolane.Node(offline=True) as client:
            server.serve_requests("echo/1", lambda request: request.body)
            return await client.request(server.ticket, "echo/1", b"from here", timeout=60)
"""
"""A function that uses the package in whatever process it is."""


def program(text: str) -> str:
    """A program with the function `use`."""
    before = "import asyncio, os, signal, sys, warnings\nimport twolane\n"
    return before + textwrap.dedent(USE) + textwrap.dedent(text)


@unix
def test_a_child_that_is_forked_after_the_import_is_as_good_as_any_process() -> None:
    done = run(
        program("""
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            assert asyncio.run(use()) == b"from here"
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert asyncio.run(use()) == b"from here"
        """)
    )
    assert (done.returncode, done.stderr) == (0, "")


@unix
def test_a_child_of_a_process_that_has_used_it_starts_afresh_again_and_again() -> None:
    done = run(
        program("""
        warnings.simplefilter("ignore")

        def grow(depth):
            assert asyncio.run(use()) == b"from here"
            if depth == 0:
                return
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                grow(depth - 1)
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            assert asyncio.run(use()) == b"from here"

        grow(2)
        """)
    )
    assert (done.returncode, done.stderr) == (0, "")


@unix
def test_what_was_made_before_a_fork_says_so_in_the_child_and_lives_in_the_parent() -> None:
    done = run(
        program("""
        warnings.simplefilter("ignore")

        async def main():
            async with twolane.Node(offline=True) as server, twolane.Node(offline=True) as client:
                server.serve_requests("echo/1", lambda request: request.body)
                keep, events = client.keep(server.ticket), client.events()
                await keep.connected()
                child = os.fork()
                if child == 0:
                    signal.alarm(60)
                    old = [lambda: server.ticket, client.peers, client.status, events._source.next]
                    for call in old:
                        try:
                            call()
                        except twolane.ForkError as error:
                            assert "Make a new node" in str(error)
                        else:
                            os._exit(1)
                    assert keep.state == "ended"
                    events.close()
                    keep.close()
                    asyncio.events._set_running_loop(None)
                    # In a thread, because the loop of this one is the parent's.
                    import threading
                    found = []
                    thread = threading.Thread(target=lambda: found.append(asyncio.run(use())))
                    thread.start()
                    thread.join()
                    os._exit(7 if found == [b"from here"] else 2)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                assert await client.request(server.ticket, "echo/1", b"still", timeout=60) == b"still"
                keep.close()

        asyncio.run(main())
        """)
    )
    assert (done.returncode, done.stderr) == (0, "")


@unix
def test_the_error_of_a_block_is_not_replaced_in_a_forked_child() -> None:
    done = run(
        program("""
        warnings.simplefilter("ignore")

        async def main():
            async with twolane.Node(offline=True) as server, twolane.Node(offline=True) as client:
                streams = server.accept("test/1")
                stream = await client.open_stream(server.ticket, "test/1")
                accepted = await anext(streams)
                child = os.fork()
                if child == 0:
                    signal.alarm(60)
                    try:
                        async with stream:
                            raise ZeroDivisionError
                    except ZeroDivisionError:
                        os._exit(7)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                stream.close()
                accepted.close()

        asyncio.run(main())
        """)
    )
    assert (done.returncode, done.stderr) == (0, "")


@unix
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_every_start_method_of_multiprocessing_works(method: str, tmp_path: object) -> None:
    script = f"{tmp_path}/main.py"
    text = program("""
        import multiprocessing

        def work(queue):
            queue.put(asyncio.run(use()))

        if __name__ == "__main__":
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.run(use())
            context = multiprocessing.get_context(sys.argv[1])
            queue = context.Queue()
            child = context.Process(target=work, args=(queue,))
            child.start()
            assert queue.get(timeout=60) == b"from here"
            child.join()
            assert child.exitcode == 0, child.exitcode
    """)
    with open(script, "w") as file:
        file.write(text)
    command = [sys.executable, "-X", "dev", script, method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before 3.12, subinterpreters share what is imported")
def test_a_subinterpreter_is_refused_with_a_sentence() -> None:
    done = run("""
        import twolane
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        code = '''
        try:
            import twolane
        except ImportError as error:
            assert "process of its own" in str(error), error
        else:
            raise AssertionError("it was imported")
        '''
        import textwrap
        number = interpreters.create()
        failed = interpreters.run_string(number, textwrap.dedent(code))
        assert not failed, failed
        interpreters.destroy(number)
    """)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["stream", "request", "request of a coroutine function", "rule"])
@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt()"])
def test_an_exit_in_a_handler_ends_the_program(kind: str, error: str) -> None:
    done = run(
        program(f"""
        kind = {kind!r}

        def leave():
            raise {error}

        async def serve(stream):
            leave()

        async def answer(request):
            leave()

        def rule(question):
            return kind != "rule" or leave()

        async def main():
            access = rule
            async with twolane.Node(offline=True, access=access) as server, twolane.Node(offline=True) as client:
                server.serve("stream/1", serve)
                server.serve_requests("sync/1", lambda request: leave())
                server.serve_requests("async/1", answer)
                if kind == "stream":
                    async with client.open_stream(server.ticket, "stream/1") as stream:
                        await stream.read()
                else:
                    protocol = "sync/1" if kind == "request" else "async/1"
                    await client.request(server.ticket, protocol, timeout=60)
            print("it went on")

        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            sys.exit(130)
        """)
    )
    assert done.returncode == (3 if "SystemExit" in error else 130), done
    assert done.stdout == ""


@unix
def test_sigterm_ends_a_server_in_order_and_its_peers_know_at_once() -> None:
    serving = program("""
        async def main():
            async with twolane.Node(offline=True) as node:
                node.serve_requests("echo/1", lambda request: request.body)
                print(node.ticket, flush=True)
                await node.serve_forever()
            print("closed", flush=True)

        asyncio.run(main())
    """)
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", serving]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        ticket = child.stdout.readline().strip()
        watching = program(f"""
            async def main():
                async with twolane.Node(offline=True, limits=twolane.Limits(idle_timeout=60)) as node:
                    await node.request({ticket!r}, "echo/1", timeout=60)
                    events = node.events()
                    print("connected", flush=True)
                    async for event in events:
                        if isinstance(event, twolane.Disconnected):
                            print(event.reason, flush=True)
                            return

            asyncio.run(main())
        """)
        watch = [sys.executable, "-X", "dev", "-W", "error", "-c", watching]
        with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as peer:
            assert peer.stdout is not None and peer.stdout.readline() == "connected\n"
            child.send_signal(signal.SIGTERM)
            # This is shorter than the idle timeout.
            out, err = child.communicate(timeout=30)
            assert (child.returncode, out, err) == (0, "closed\n", "")
            assert peer.communicate(timeout=30)[0] == "peer_done\n"


def test_an_import_loads_only_what_it_needs() -> None:
    done = run("""
        import asyncio, sys
        before = set(sys.modules)
        import twolane
        loaded = {name.split(".")[0] for name in set(sys.modules) - before}
        for slow in ("anyio", "argparse", "dataclasses", "statistics", "subprocess", "unittest"):
            assert slow not in loaded, slow
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_log_of_the_transport_is_quiet_until_its_level_is_set() -> None:
    text = """
        import logging, threading
        seen = []

        class Keep(logging.Handler):
            def emit(self, record):
                seen.append((record.name, record.getMessage()))

        logging.basicConfig(handlers=[Keep()], level=logging.DEBUG)
        logging.getLogger("asyncio").setLevel(logging.WARNING)
        if LOUD:
            logging.getLogger("twolane").setLevel(logging.DEBUG)
        asyncio.run(use())
        if LOUD:
            # The end of the interpreter would pass the last lines on.
            twolane._logs.stop()
            names = {name for name, _ in seen}
            assert any(name.startswith("twolane.") for name in names), names
            assert all(text.isprintable() for _, text in seen)
        else:
            assert seen == [] and threading.active_count() == 1, seen
    """
    for loud in ("True", "False"):
        done = run(program(text.replace("LOUD", loud)))
        assert (done.returncode, done.stderr) == (0, ""), done


def test_without_an_event_loop_of_asyncio_an_operation_says_what_it_needs() -> None:
    done = run(
        program("""
        starting = twolane.Node(offline=True).start()
        try:
            starting.send(None)
        except RuntimeError as error:
            assert "asyncio" in str(error) and "anyio" in str(error), error
        else:
            raise AssertionError
        """)
    )
    assert (done.returncode, done.stderr) == (0, "")
