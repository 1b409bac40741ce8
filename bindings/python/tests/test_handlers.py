"""What becomes of handlers and rules that fail, wait or are no longer wanted."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import weakref

import pytest
from conftest import LIMITS, Pair, node, until

import twolane
from twolane import XStream


async def told(pair: Pair, protocol: str, data: bytes = b"") -> Exception | None:
    """Returns what the peer of a handler reads, after some data that it sends. None is the end of the data."""
    stream = await pair.client.open_stream(pair.server.ticket, protocol)
    try:
        await stream.write(data)
        await stream.read()
    except twolane.TwolaneError as error:
        return error
    finally:
        stream.close()
    return None


async def test_what_a_task_group_raises_counts_as_each_of_its_exceptions(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    @pair.server.serve("fails/1")
    async def fails(stream: XStream) -> None:
        async def fail() -> None:
            raise twolane.Fail(28, "the disk is full", b"/srv")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            tasks.create_task(stream.read())

    left = asyncio.Event()

    @pair.server.serve("visited/1")
    async def visited(stream: XStream) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(stream.read())
                tasks.create_task(stream.write(b"x" * 50_000_000))
        finally:
            left.set()

    error = await told(pair, "fails/1")
    assert isinstance(error, twolane.StreamFailed)
    assert (error.code, error.text, error.details) == (28, "the disk is full", b"/srv")
    visitor = await pair.client.open_stream(pair.server.ticket, "visited/1")
    await visitor.readexactly(1)
    visitor.close()
    await left.wait()
    await asyncio.sleep(0)
    # A visitor who leaves is no fault of the handler.
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_the_end_of_a_stream_of_the_handlers_own_is_a_fault_and_is_logged(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    async with node() as upstream:

        @upstream.serve("source/1")
        async def source(stream: XStream) -> None:
            raise twolane.Fail(5, "nothing here")

        @pair.server.serve("proxy/1")
        async def proxy(stream: XStream) -> None:
            async with pair.server.open_stream(upstream.ticket, "source/1") as other:
                await stream.write(await other.read())

        @pair.server.serve("early/1")
        async def early(stream: XStream) -> None:
            await stream.readexactly(100)

        @pair.server.serve("late/1")
        async def late(stream: XStream) -> None:
            await stream.finish()
            await stream.write(b"after the end")

        error = await told(pair, "proxy/1")
        assert isinstance(error, twolane.StreamAborted) and error.code == twolane.HANDLER_FAILED
        assert "nothing here" in caplog.text
        # The peer is there, and waits for words.
        async with pair.client.open_stream(pair.server.ticket, "early/1") as stream:
            await stream.write(b"too few")
            await stream.finish()
            with pytest.raises(twolane.StreamAborted):
                await stream.read()
            stream.close()
        await told(pair, "late/1")
        assert "early/1 failed" in caplog.text and "late/1 failed" in caplog.text


async def test_a_request_whose_handler_is_cancelled_is_answered_at_once(pair: Pair) -> None:
    @pair.server.serve_requests("cancelled/1")
    async def cancelled(request: twolane.Request) -> bytes:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    with pytest.raises(twolane.StreamFailed) as caught:
        await pair.client.request(pair.server.ticket, "cancelled/1", timeout=60)
    assert caught.value.code == twolane.HANDLER_FAILED


async def test_a_handler_that_waits_for_something_else_is_cancelled_when_its_peer_is_gone(pair: Pair) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    @pair.server.serve("topic/1")
    async def topic(stream: XStream) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    # It drops its side, and then it is gone as a whole.
    subscriber = await pair.client.open_stream(pair.server.ticket, "topic/1")
    await begun.wait()
    subscriber.close()
    await ended.wait()
    begun.clear()
    ended.clear()
    async with node() as other:
        stream = await other.open_stream(pair.server.ticket, "topic/1")
        await begun.wait()
        await other.close(0)
        stream.close()
    await ended.wait()


async def test_a_handler_that_uses_its_stream_learns_from_it_that_its_peer_is_gone(pair: Pair) -> None:
    begun, told = asyncio.Event(), asyncio.Queue[str]()

    @pair.server.serve("read/1")
    async def read(stream: XStream) -> None:
        begun.set()
        try:
            await stream.read()
        except twolane.StreamReset:
            # What comes after the error is not cut short.
            for _ in range(20):
                await asyncio.sleep(0.001)
            await told.put("reset")

    stream = await pair.client.open_stream(pair.server.ticket, "read/1")
    await begun.wait()
    stream.close()
    assert await told.get() == "reset"


async def test_data_that_was_finished_is_handled_to_the_end_whoever_leaves(pair: Pair) -> None:
    stored = asyncio.Queue[bytes]()
    gone = asyncio.Event()

    @pair.server.serve("mail/1")
    async def mail(stream: XStream) -> None:
        data = await stream.read()
        # The sender has closed the stream, and nobody waits for a reply.
        await gone.wait()
        await asyncio.sleep(0.01)
        await stored.put(data)

    async with pair.client.open_stream(pair.server.ticket, "mail/1") as stream:
        await stream.write(b"a letter")
    gone.set()
    assert await stored.get() == b"a letter"


async def test_a_handler_that_has_closed_its_stream_goes_on(pair: Pair) -> None:
    done = asyncio.Queue[str]()
    closed = asyncio.Event()

    @pair.server.serve("late/1")
    async def late(stream: XStream) -> None:
        await stream.write(b"thanks")
        await stream.finish()
        stream.close()
        closed.set()
        for _ in range(20):
            await asyncio.sleep(0.001)
        await done.put("and more work")

    stream = await pair.client.open_stream(pair.server.ticket, "late/1")
    assert await stream.read() == b"thanks"
    stream.close()
    await closed.wait()
    assert await done.get() == "and more work"


async def test_a_handler_can_wait_for_its_peer_to_leave(pair: Pair) -> None:
    left = asyncio.Queue[str]()

    @pair.server.serve("topic/1", cancel=False)
    async def topic(stream: XStream) -> None:
        await stream.read()
        await stream.wait_closed()
        await left.put(stream.protocol)

    async with pair.client.open_stream(pair.server.ticket, "topic/1") as stream:
        await stream.write(b"subscribe")
        await stream.finish()
        assert left.empty()
    assert await left.get() == "topic/1"


async def test_no_more_handlers_run_than_the_limit_says(pair: Pair) -> None:
    running, most = 0, 0
    release = asyncio.Semaphore(0)

    async def busy() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.acquire()
        running -= 1

    @pair.server.serve("stream/1", limit=2)
    async def serve(stream: XStream) -> None:
        await busy()

    @pair.server.serve_requests("request/1", limit=2)
    async def answer(request: twolane.Request) -> bytes:
        await busy()
        return request.body

    async def use(n: int) -> None:
        async with pair.client.open_stream(pair.server.ticket, "stream/1") as stream:
            await stream.read()

    for work in (use, lambda n: pair.client.request(pair.server.ticket, "request/1", b"%d" % n)):
        running = most = 0
        async with asyncio.TaskGroup() as tasks:
            for n in range(10):
                tasks.create_task(work(n))  # type: ignore[arg-type]
            await until(lambda: running == 2)
            for _ in range(10):
                release.release()
        assert most == 2


async def test_a_handler_is_replaced(pair: Pair) -> None:
    pair.server.serve_requests("version/1", lambda request: b"1")
    with pytest.raises(twolane.AlreadyServed, match="replace"):
        pair.server.serve_requests("version/1", lambda request: b"2")
    assert await pair.client.request(pair.server.ticket, "version/1") == b"1"
    pair.server.serve_requests("version/1", lambda request: b"2", replace=True)
    assert await pair.client.request(pair.server.ticket, "version/1") == b"2"


async def test_handlers_have_the_context_in_which_they_were_given() -> None:
    trace = contextvars.ContextVar("trace", default="none")
    async with node() as server, node() as client:
        trace.set("registered")
        server.serve_requests("sync/1", lambda request: trace.get().encode())

        @server.serve_requests("async/1")
        async def answer(request: twolane.Request) -> bytes:
            before = trace.get()
            trace.set("of one request")
            return before.encode()

        trace.set("of the caller")
        for protocol in ("sync/1", "async/1", "async/1"):
            assert await client.request(server.ticket, protocol) == b"registered"


async def test_tasks_of_handlers_are_made_by_the_task_factory(pair: Pair) -> None:
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: object, **options: object) -> asyncio.Task[object]:
        made.append(getattr(coroutine, "__name__", ""))
        return asyncio.Task(coroutine, loop=loop, **options)  # type: ignore[arg-type]

    async def answer(request: twolane.Request) -> bytes:
        return b""

    pair.server.serve_requests("test/1", answer)
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        await pair.client.request(pair.server.ticket, "test/1")
    finally:
        loop.set_task_factory(None)
    assert "_answer_later" in made


async def test_what_cannot_be_a_handler_or_a_rule_is_told_when_it_is_given(pair: Pair) -> None:
    async def yields(stream: XStream) -> object:  # type: ignore[misc]
        yield stream

    for wrong in (7, [yields], yields):
        with pytest.raises(TypeError):
            pair.server.serve("test/1", wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        node(access=[pair.client.id])
    with pytest.raises(TypeError):
        node(hooks=object())


async def test_a_handler_that_is_no_coroutine_function_is_a_fault_that_says_so(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    pair.server.serve("sync/1", lambda stream: None)  # type: ignore[arg-type, return-value]
    error = await told(pair, "sync/1")
    assert isinstance(error, twolane.StreamAborted) and "no coroutine function" in caplog.text


async def test_a_rule_says_to_strangers_only_what_it_means_to_say(caplog: pytest.LogCaptureFixture) -> None:
    def rule(question: twolane.Question) -> bool:
        if question.protocol == "file/1":
            raise PermissionError(13, "Permission denied", "/etc/acl")
        if question.protocol == "nothing/1":
            return None  # type: ignore[return-value]
        if question.protocol == "refused/1":
            raise twolane.Refuse("only on Mondays")
        return True

    async with node(access=rule) as server, node() as client:
        words = {}
        for protocol in ("file/1", "nothing/1", "refused/1"):
            server.serve_requests(protocol, lambda request: b"")
            with pytest.raises(twolane.Rejected) as caught:
                await client.request(server.ticket, protocol)
            words[protocol] = str(caught.value)
    assert "only on Mondays" in words["refused/1"] and "/etc" not in "".join(words.values())
    assert "/etc/acl" in caplog.text and "returned None" in caplog.text


async def test_a_rule_that_hangs_is_cancelled_when_nobody_waits_for_it() -> None:
    cancelled = asyncio.Event()

    async def rule(question: twolane.Question) -> bool:
        if question.protocol is None:
            return True
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return True

    async with node(access=rule, limits=LIMITS.replace(access_timeout=0.2)) as server, node() as client:
        server.serve_requests("test/1", lambda request: b"")
        with pytest.raises(twolane.Rejected):
            await client.request(server.ticket, "test/1")
        await cancelled.wait()


async def test_handlers_end_before_a_node_that_is_closed_at_once() -> None:
    ended = False

    async with node() as server, node() as client:
        begun = asyncio.Event()

        @server.serve("slow/1")
        async def slow(stream: XStream) -> None:
            nonlocal ended
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)
                ended = True

        stream = await client.open_stream(server.ticket, "slow/1")
        await begun.wait()
        await server.close(0)
        assert ended
        stream.close()


async def test_hooks_are_called_at_the_stages_of_a_connection() -> None:
    seen: list[tuple[object, ...]] = []

    class Watch(twolane.Hooks):
        async def before_dial(self, peer: twolane.PeerId) -> bool:
            seen.append(("dial", peer))
            return peer != stranger

        async def after_handshake(self, peer: twolane.PeerId, owner: twolane.PeerId | None) -> bool:
            seen.append(("handshake", peer, owner))
            return True

        async def on_connect(self, peer: twolane.PeerId, owner: twolane.PeerId | None) -> None:
            seen.append(("connect", peer))

        async def on_disconnect(self, peer: twolane.PeerId, cause: str, reason: str) -> None:
            seen.append(("disconnect", peer, reason))
            assert cause

    class No(twolane.Hooks):
        async def after_handshake(self, peer: twolane.PeerId, owner: twolane.PeerId | None) -> bool:
            raise twolane.Refuse("not today")

    stranger = twolane.KeyPair().peer_id
    async with node() as server, node(hooks=Watch()) as client, node(hooks=No()) as closed:
        await client.connect(server.ticket)
        with pytest.raises(twolane.Forbidden):
            await client.connect(stranger)
        assert client.disconnect(server.id)
        await until(lambda: len(seen) == 5)
        with pytest.raises(twolane.Forbidden, match="not today"):
            await client.connect(closed.ticket)
    assert seen[0] == ("dial", server.id) and ("handshake", server.id, None) in seen
    assert ("connect", server.id) in seen and ("dial", stranger) in seen
    assert [event for event in seen if event[0] == "disconnect"][0][1] == server.id


async def test_a_forgotten_node_whose_handlers_hold_it_tells_so_and_goes() -> None:
    class Application:
        def __init__(self) -> None:
            self.node = node()
            self.node.serve("test/1", self.serve)
            self.node.serve_requests("ask/1", lambda request: self.node.id52.encode())

        async def serve(self, stream: XStream) -> None:
            pass

    application = Application()
    await application.node.start()
    gone = weakref.ref(application.node)
    with pytest.warns(ResourceWarning, match="was not closed"):
        del application
        gc.collect()
    assert gone() is None
