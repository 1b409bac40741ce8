"""The functions of a node: handlers, requests, peers, events, rules."""

from __future__ import annotations

import asyncio
import pathlib
import pickle
import time

import pytest
from conftest import LIMITS, Pair, node

import twolane
from twolane import Connected, Disconnected, XStream


async def test_a_handler_serves_every_stream(pair: Pair) -> None:
    @pair.server.serve("echo/1")
    async def echo(stream: XStream) -> None:
        async for chunk in stream:
            await stream.write(chunk)

    async def ask(n: int) -> None:
        data = bytes([n]) * 10_000
        async with pair.client.open_stream(pair.server.ticket, "echo/1") as stream:
            await stream.write(data)
            await stream.finish()
            assert await stream.read() == data

    async with asyncio.TaskGroup() as tasks:
        for n in range(50):
            tasks.create_task(ask(n))


@pytest.mark.parametrize("congestion", ["adaptive", "cubic", "bbr3", "background"])
async def test_bytes_arrive_with_every_congestion_control(congestion: str) -> None:
    async with node(congestion=congestion) as server, node(congestion=congestion) as client:
        server.serve_requests("echo/1", lambda request: request.body)
        data = bytes(500_000)
        assert await client.request(server.ticket, "echo/1", data) == data


async def test_handlers_may_be_given_before_the_endpoint_is_bound() -> None:
    server = node()

    @server.serve_requests("upper/1")
    def upper(request: twolane.Request) -> bytes:
        return request.body.upper()

    with pytest.raises(twolane.AlreadyServed):
        server.serve_requests("upper/1", upper)
    async with server, node() as client:
        assert await client.request(server.ticket, "upper/1", b"quiet") == b"QUIET"
        assert server.stop_serving("upper/1") and not server.stop_serving("upper/1")
        server.serve_requests("upper/1", lambda request: b"again")
        assert await client.request(server.ticket, "upper/1") == b"again"


async def test_a_handler_that_raises_costs_its_own_stream(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    @pair.server.serve("broken/1")
    async def broken(stream: XStream) -> None:
        await stream.readexactly(1)
        raise ZeroDivisionError

    @pair.server.serve("says/1")
    async def says(stream: XStream) -> None:
        await stream.write(b"some")
        raise twolane.Fail(28, "the disk is full", b"/srv")

    async with pair.client.open_stream(pair.server.ticket, "broken/1") as stream:
        await stream.write(b"x")
        with pytest.raises(twolane.StreamAborted) as caught:
            await stream.read()
        assert caught.value.code == twolane.HANDLER_FAILED
        stream.close()
    assert "ZeroDivisionError" in caplog.text
    stream = await pair.client.open_stream(pair.server.ticket, "says/1")
    assert await stream.readexactly(4) == b"some"
    with pytest.raises(twolane.StreamFailed) as failed:
        await stream.read()
    assert (failed.value.code, failed.value.details, failed.value.offset) == (28, b"/srv", 4)
    stream.close()


async def test_requests_and_their_errors(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    @pair.server.serve_requests("rpc/1")
    async def rpc(request: twolane.Request) -> bytes:
        assert request.peer == pair.client.id and request.protocol == "rpc/1" and request.owner is None
        await asyncio.sleep(0)
        if request.body == b"no":
            raise twolane.Fail(4, "not that one", b"why")
        if request.body == b"bug":
            raise KeyError("bug")
        return request.body * 2

    ticket = pair.server.ticket
    assert await pair.client.request(ticket, "rpc/1", b"x" * 1_000_000) == b"x" * 2_000_000
    with pytest.raises(twolane.StreamFailed, match="not that one") as caught:
        await pair.client.request(ticket, "rpc/1", b"no")
    assert (caught.value.code, caught.value.details, caught.value.phase) == (4, b"why", "response")
    assert caught.value.may_have_been_handled is True and caught.value.peer == pair.server.id
    with pytest.raises(twolane.StreamFailed) as caught:
        await pair.client.request(ticket, "rpc/1", b"bug")
    assert caught.value.code == twolane.HANDLER_FAILED and "KeyError" in caplog.text
    with pytest.raises(twolane.UnknownProtocol) as unknown:
        await pair.client.request(ticket, "nothing/1")
    assert unknown.value.may_have_been_handled is False


async def test_a_caller_that_gives_up_cancels_the_handler(pair: Pair) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    @pair.server.serve_requests("slow/1")
    async def slow(request: twolane.Request) -> bytes:
        started.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    asking = asyncio.create_task(pair.client.request(pair.server.ticket, "slow/1"))
    await started.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await cancelled.wait()
    with pytest.raises(twolane.RequestTimeout) as caught:
        await pair.client.request(pair.server.ticket, "slow/1", timeout=0.1)
    assert isinstance(caught.value, TimeoutError) and caught.value.may_have_been_handled


async def test_accepting_one_by_one_until_the_end(pair: Pair) -> None:
    seen = []

    async def serve() -> None:
        async for stream in pair.server.accept("a/1", "b/1"):
            async with stream:
                seen.append((stream.protocol, await stream.read()))

    serving = asyncio.create_task(serve())
    for protocol in ("a/1", "b/1", "a/1"):
        async with pair.client.open_stream(pair.server.ticket, protocol) as stream:
            await stream.write(protocol.encode())
            await stream.finish()
            await stream.read()
    await pair.server.close(5)
    await serving
    assert seen == [("a/1", b"a/1"), ("b/1", b"b/1"), ("a/1", b"a/1")]


async def test_peers_connect_and_disconnect(pair: Pair) -> None:
    events = pair.server.events()
    assert pair.client.peers() == [] and pair.client.peer(pair.server.id) is None
    assert await pair.client.connect(pair.server.ticket) == pair.server.id
    assert await anext(events) == Connected(pair.client.id)
    (peer,) = pair.client.peers()
    assert peer.id == pair.server.id and peer.connections == 1 and peer.owner is None
    again = pair.client.peer(str(pair.server.id))
    assert again is not None and again.id == peer.id
    assert pair.client.disconnect(pair.server.id, "enough")
    assert not pair.client.disconnect(twolane.KeyPair().peer_id)
    async for event in events:
        if isinstance(event, Disconnected):
            break
    assert isinstance(event, Disconnected) and event.peer == pair.client.id
    assert event.reason == "peer_closed" and "enough" in event.cause


async def test_a_peer_is_kept(pair: Pair) -> None:
    events = pair.server.events()
    with pair.client.keep(pair.server.ticket) as keep:
        assert await anext(events) == Connected(pair.client.id)
        pair.server.disconnect(pair.client.id)
        async for event in events:
            if event == Connected(pair.client.id):
                break
        assert keep.state in ("connected", "dialling")
    assert keep.state == "ended"


async def test_rules_are_changed_while_it_runs() -> None:
    access = twolane.AccessList.deny_by_default()
    async with node(access=access) as server, node() as client:
        server.serve_requests("test/1", lambda request: b"yes")
        server.serve_requests("admin/1", lambda request: b"yes")
        with pytest.raises(PermissionError) as caught:
            await client.request(server.ticket, "test/1")
        assert isinstance(caught.value, twolane.Forbidden)
        assert access.allow(client.id) and not access.allow(client.id)
        assert await client.request(server.ticket, "test/1") == b"yes"
        assert access.restrict("admin/*")
        with pytest.raises(twolane.Rejected):
            await client.request(server.ticket, "admin/1")
        assert access.allow_for("admin/*", str(client.id))
        assert await client.request(server.ticket, "admin/1") == b"yes"
        assert access.deny(client.id)
        # The client is disconnected, or refused at once if its request comes before that.
        with pytest.raises((twolane.ConnectionLost, twolane.Rejected)):
            await client.request(server.ticket, "test/1")


async def test_a_function_is_asked_who_may(caplog: pytest.LogCaptureFixture) -> None:
    friend, stranger = twolane.KeyPair(), twolane.KeyPair()
    asked: list[tuple[twolane.PeerId, str | None, bytes]] = []

    def rule(question: twolane.Question) -> bool:
        asked.append((question.peer, question.protocol, question.metadata))
        if question.protocol == "admin/1":
            raise twolane.Refuse("only on Mondays")
        if question.protocol == "bug/1":
            raise ZeroDivisionError
        assert question.owner is None
        return question.peer == friend.peer_id

    async with node(access=rule) as server, node(key=friend) as client, node(key=stranger) as other:
        for protocol in ("test/1", "admin/1", "bug/1"):
            server.serve_requests(protocol, lambda request: b"yes")
        assert await client.request(server.ticket, "test/1") == b"yes"
        with pytest.raises(twolane.Rejected, match="only on Mondays"):
            await client.request(server.ticket, "admin/1")
        with pytest.raises(twolane.Rejected):
            await client.request(server.ticket, "bug/1")
        assert "ZeroDivisionError" in caplog.text
        with pytest.raises(PermissionError):
            await other.request(server.ticket, "test/1")
        streams = server.accept("open/1")
        async with client.open_stream(server.ticket, "open/1", metadata=b"word"):
            async with await anext(streams):
                pass
    assert asked[:2] == [(friend.peer_id, None, b""), (friend.peer_id, "test/1", b"")]
    assert (stranger.peer_id, None, b"") in asked and asked[-1] == (friend.peer_id, "open/1", b"word")


async def test_a_rule_that_takes_its_time_holds_up_nothing_else() -> None:
    asked, decided = asyncio.Event(), asyncio.Event()

    async def rule(question: twolane.Question) -> bool:
        if question.protocol == "slow/1":
            asked.set()
            await decided.wait()
        return question.protocol != "never/1" or await asyncio.Event().wait()

    limits = LIMITS.replace(access_timeout=0.5)
    async with node(access=rule, limits=limits) as server, node() as client:
        for protocol in ("slow/1", "test/1", "never/1"):
            server.serve_requests(protocol, lambda request: b"yes")
        # More requests than the library has threads.
        asking = [asyncio.create_task(client.request(server.ticket, "never/1")) for _ in range(16)]
        waiting = asyncio.create_task(client.request(server.ticket, "slow/1"))
        await asked.wait()
        assert await client.request(server.ticket, "test/1") == b"yes"
        decided.set()
        assert await waiting == b"yes"
        for never in asking:
            with pytest.raises(twolane.Rejected):
                await never


async def test_acting_for_somebody_else() -> None:
    owner, machine = twolane.KeyPair(), twolane.KeyPair()
    delegation = twolane.Delegation.issue(owner, machine.peer_id, scope=["mail/*"], expires=time.time() + 3600)
    assert twolane.Delegation(str(delegation)) == delegation == twolane.Delegation(bytes(delegation))
    assert (delegation.owner, delegation.node, delegation.scope) == (owner.peer_id, machine.peer_id, ["mail/*"])
    assert delegation.permits("mail/1") and not delegation.permits("chat/1")
    access = twolane.AccessList.deny_by_default()
    access.allow(owner.peer_id)
    async with node(access=access) as server, node(key=machine, delegations=[delegation]) as client:
        server.serve_requests("mail/1", lambda request: bytes(request.owner or b""))
        assert await client.request(server.ticket, "mail/1") == bytes(owner.peer_id)
        assert server.revoke(owner.peer_id, delegation.serial)
        with pytest.raises(ConnectionError):
            await client.request(server.ticket, "mail/1")
    with pytest.raises(ValueError):
        twolane.Delegation("delegation0nonsense")
    with pytest.raises(twolane.DelegationError):
        await node(delegations=[delegation]).start()


async def test_status_limits_and_metrics(pair: Pair) -> None:
    status = pair.server.status()
    assert len(status.sockets) == 1 and status.relays == () and not status.local_network
    assert pair.server.limits.connect_timeout == 60 and pair.server.limits.peers == twolane.Limits().peers
    assert not await pair.server.online(0.05)
    await pair.client.connect(pair.server.ticket)
    assert "# EOF" in pair.server.openmetrics()


async def test_a_shutdown_lets_streams_end_and_cuts_those_that_do_not(pair: Pair) -> None:
    forever = asyncio.Event()

    @pair.server.serve("slow/1")
    async def slow(stream: XStream) -> None:
        await stream.write(b"begun")
        await forever.wait()

    stream = await pair.client.open_stream(pair.server.ticket, "slow/1")
    assert await stream.readexactly(5) == b"begun"
    report = await pair.server.close(0.2)
    assert (report.cut, report.streams_cut) == (1, 1)
    with pytest.raises(ConnectionError):
        await stream.read()
    stream.close()
    assert pair.server.closed


def test_keys_and_tickets(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "my.key"
    key = twolane.KeyPair.from_file(path, create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert twolane.KeyPair.from_file(path) == key == twolane.KeyPair.from_bytes(key.to_bytes())
    assert twolane.KeyPair.from_hex(key.to_hex()) == key and key.to_hex() not in repr(key)
    with pytest.raises(FileExistsError):
        twolane.KeyPair().to_file(path)
    path.chmod(0o644)
    with pytest.raises(PermissionError):
        twolane.KeyPair.from_file(path)
    with pytest.raises(FileNotFoundError):
        twolane.KeyPair.from_file(path.with_name("other"))
    signature = key.sign(b"pay 10")
    key.peer_id.verify(b"pay 10", signature)
    with pytest.raises(twolane.InvalidSignature):
        key.peer_id.verify(b"pay 100", signature)

    peer = key.peer_id
    assert twolane.PeerId(str(peer).upper()) == peer == twolane.PeerId(bytes(peer)) == pickle.loads(pickle.dumps(peer))
    assert len(str(peer)) == 52 and hash(peer) == hash(twolane.PeerId(str(peer)))
    keys = [twolane.KeyPair().peer_id for _ in range(10)]
    assert sorted(keys) == sorted(keys, key=str)
    ticket = twolane.Ticket(peer, addrs=["192.0.2.7:1"], relays=["https://relay.example"])
    assert twolane.Ticket(str(ticket)) == ticket == pickle.loads(pickle.dumps(ticket))
    assert (ticket.peer, ticket.addrs, ticket.relays) == (peer, ["192.0.2.7:1"], ["https://relay.example/"])
    assert ticket.relay_only().addrs == []
    with pytest.raises(TypeError):
        pickle.dumps(key)
    for wrong in ("", "x" * 52, b"\0" * 32, b"short"):
        with pytest.raises(ValueError):
            twolane.PeerId(wrong)


async def test_a_node_is_made_and_ended_in_one_way() -> None:
    async with node() as one:
        assert one.ticket.peer == one.id == twolane.PeerId(one.id52)
        assert await one.start() is one
    assert one.closed and await one.close() == await one.close()
    other = await node().start()
    assert (await other.close()).cut == 0 and other.closed
