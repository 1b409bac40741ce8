#!/usr/bin/env python3
"""A node to experiment with: listen, connect, open streams, send, and watch the events.

In one terminal:

    python interactive_node.py --offline

The program prints its ticket. In another terminal:

    python interactive_node.py --offline
    > open <ticket>
    > send hello
    > warn 1 nearly full
    > fail 7 enough

`--self-test` does all of this without a user, with two nodes, and exits with 0 if everything arrived as
expected.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from collections.abc import Awaitable, Callable

import terminal

import twolane
from twolane import KeyPair, Node, XStream

PROTOCOL = "chat/1"

HELP = """\
  ticket                  what the other side needs to reach this node
  connect TICKET          connect (opening a stream does so by itself)
  disconnect PEER         close the connection
  peers                   who is connected, over which path
  status                  how this node stands in the network
  open TICKET [METADATA]  open a stream; it is the current one then
  streams                 which streams are open
  use NUMBER              make another stream the current one
  send TEXT               send a line on it
  finish                  say that our data is complete
  warn CODE TEXT          send a warning on its error lane
  fail CODE TEXT          fail it
  quit"""


class Shell:
    """A node, its streams, and the commands on them."""

    def __init__(self, node: Node, say: Callable[[str], None]) -> None:
        self.node = node
        # A peer may have written a part of it.
        self.say = lambda text: say("\n".join(terminal.shown(line) for line in text.split("\n")))
        self.streams: dict[int, XStream] = {}
        self.current = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.commands: dict[str, Callable[..., Awaitable[None]]] = {
            "ticket": self.ticket,
            "connect": self.connect,
            "disconnect": self.disconnect,
            "peers": self.peers,
            "status": self.status,
            "open": self.open,
            "streams": self.list_streams,
            "use": self.use,
            "send": self.send,
            "finish": self.finish,
            "warn": self.warn,
            "fail": self.fail,
            "help": self.help,
        }

    def start(self) -> None:
        """Shows events, and accepts the streams that peers open."""
        # The subscription starts here, before any command, and not at the first turn of the task.
        self.spawn(self.watch_events(self.node.events()))
        self.spawn(self.watch_streams(self.node.accept(PROTOCOL)))

    async def stop(self) -> None:
        for stream in self.streams.values():
            stream.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def obey(self, line: str) -> None:
        """Executes one line of the user. An error is printed, and does not end the program."""
        try:
            name, *words = shlex.split(line) or [""]
            if not name:
                return
            command = self.commands.get(name)
            if command is None:
                self.say(f"no such command: {name} (try help)")
                return
            await command(*words)
        except twolane.TwolaneError as error:
            again = " (trying again may help)" if error.retryable else ""
            self.say(f"error: {error}{again}")
        except (TypeError, ValueError) as error:
            self.say(f"not understood: {error} (try help)")

    # Events and incoming data

    async def watch_events(self, events: twolane.Events) -> None:
        async for event in events:
            match event:
                case twolane.Connected(peer):
                    self.say(f"* connected: {peer}")
                case twolane.Disconnected(peer, cause):
                    self.say(f"* disconnected: {peer}: {cause}")
                case twolane.PathChanged(peer, path):
                    self.say(f"* {peer} is {path} now")
                case twolane.DialFailed(peer, cause):
                    self.say(f"* {peer} cannot be reached: {cause}")
                case other:
                    self.say(f"* {other}")

    async def watch_streams(self, streams: twolane.Streams) -> None:
        async for stream in streams:
            metadata = f" with {stream.metadata!r}" if stream.metadata else ""
            self.add(stream, f"opened by {stream.peer}{metadata}")

    def add(self, stream: XStream, how: str) -> None:
        number = max(self.streams, default=0) + 1
        self.streams[number] = stream
        self.current = number
        self.say(f"* stream {number}: {how}")
        self.spawn(self.watch_data(number, stream))
        self.spawn(self.watch_errors(number, stream))

    async def watch_data(self, number: int, stream: XStream) -> None:
        try:
            while line := await stream.readline():
                self.say(f"{number}< {line.decode(errors='replace').rstrip()!r}")
            self.say(f"* stream {number}: the peer has finished")
        except twolane.StreamFailed as error:
            self.say(f"* stream {number} was failed: {error.text!r} (code {error.code}) after {error.offset} bytes")
            stream.close()
        except twolane.TwolaneError as error:
            self.say(f"* stream {number}: {error}")
            # No program reads further data on this stream. A stream that stays open would keep the peer from
            # quitting.
            stream.close()
        if stream.closed:
            self.streams.pop(number, None)

    async def watch_errors(self, number: int, stream: XStream) -> None:
        async for report in stream.errors():
            self.say(f"{number}! {report.severity} {report.code}: {report.text!r}")

    def spawn(self, watch: Awaitable[None]) -> None:
        async def run() -> None:
            await watch

        task = asyncio.create_task(run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # The commands

    async def help(self) -> None:
        self.say(HELP)

    async def ticket(self) -> None:
        self.say(str(self.node.ticket))

    async def connect(self, ticket: str) -> None:
        self.say(f"connected to {await self.node.connect(ticket)}")

    async def disconnect(self, peer: str, reason: str = "") -> None:
        self.say("disconnected" if self.node.disconnect(peer, reason) else "that peer is not connected")

    async def peers(self) -> None:
        for peer in self.node.peers():
            rtt = "" if peer.rtt is None else f", {peer.rtt * 1000:.1f} ms"
            self.say(f"{peer.id} {peer.path or 'connecting'}{rtt}, {peer.streams} streams")
        if not self.node.peers():
            self.say("nobody is connected")

    async def status(self) -> None:
        status = self.node.status()
        self.say(f"reach: {status.reach}")
        for obstacle in status.obstacles:
            self.say(obstacle.text)
        self.say(f"sockets {', '.join(status.sockets)}; reachable at {', '.join(status.addrs) or 'nothing known yet'}")
        for relay in status.relays:
            self.say(f"relay {relay.url}: {'connected' if relay.connected else relay.last_error or 'not connected'}")

    async def open(self, ticket: str, metadata: str = "") -> None:
        stream = await self.node.open_stream(ticket, PROTOCOL, metadata=metadata.encode())
        self.add(stream, f"opened to {stream.peer}")

    async def list_streams(self) -> None:
        for number, stream in self.streams.items():
            self.say(f"{'>' if number == self.current else ' '} {number} {stream!r}")

    async def use(self, number: str) -> None:
        if int(number) not in self.streams:
            raise ValueError(f"there is no stream {number}")
        self.current = int(number)

    async def send(self, *words: str) -> None:
        await self.stream().write(" ".join(words).encode() + b"\n")

    async def finish(self) -> None:
        await self.stream().finish()

    async def warn(self, code: str, *words: str) -> None:
        await self.stream().warn(int(code), " ".join(words))

    async def fail(self, code: str, *words: str) -> None:
        stream = self.stream()
        await stream.fail(int(code), " ".join(words))

    def stream(self) -> XStream:
        if self.current not in self.streams:
            raise ValueError("there is no stream: open one")
        return self.streams[self.current]


async def interact(node: Node) -> None:
    shell = Shell(node, lambda text: print(text, flush=True))
    shell.start()
    print(f"this is {node.id}\nticket: {node.ticket}\n{HELP}", flush=True)
    try:
        async for line in terminal.lines():
            if line.strip() in ("quit", "exit"):
                break
            await shell.obey(line)
    finally:
        await shell.stop()


async def self_test() -> None:
    """Does the steps of the text at the top between two nodes, and checks that every part arrives."""
    async with Node(KeyPair.generate(), offline=True) as alice, Node(KeyPair.generate(), offline=True) as bob:
        said: dict[str, list[str]] = {"alice": [], "bob": []}
        news = asyncio.Condition()
        shells = {}
        for name, node in (("alice", alice), ("bob", bob)):

            def say(text: str, name: str = name) -> None:
                print(f"{name}: {text}", flush=True)
                said[name].append(text)

                async def tell() -> None:
                    async with news:
                        news.notify_all()

                telling.add(task := asyncio.ensure_future(tell()))
                task.add_done_callback(telling.discard)

            telling: set[asyncio.Future[None]] = set()
            shells[name] = Shell(node, say)
            shells[name].start()

        async def heard(name: str, words: str) -> None:
            async with asyncio.timeout(30), news:
                await news.wait_for(lambda: any(words in line for line in said[name]))

        await shells["alice"].obey(f"open {bob.ticket} 'a greeting'")
        await heard("bob", "a greeting")
        await heard("bob", f"connected: {alice.id}")
        await shells["alice"].obey("send hello bob")
        await heard("bob", "1< 'hello bob'")
        await shells["bob"].obey("send hello alice")
        await heard("alice", "1< 'hello alice'")
        await shells["bob"].obey("warn 1 nearly full")
        await heard("alice", "warning 1: 'nearly full'")
        await shells["alice"].obey("peers")
        await heard("alice", str(bob.id))
        await shells["alice"].obey("fail 7 'that is enough'")
        await heard("bob", "was failed: 'that is enough' (code 7) after 10 bytes")
        # The shell removes a stream as soon as both directions have ended.
        await shells["bob"].obey("send too late")
        await heard("bob", "not understood: there is no stream")
        await shells["alice"].obey("open endpointnonsense")
        await heard("alice", "error: the ticket is damaged")
        await shells["bob"].obey(f"disconnect {alice.id} bye")
        await heard("alice", f"disconnected: {bob.id}")
        for shell in shells.values():
            await shell.stop()
    print("the self-test held")


async def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        epilog="example: interactive_node.py --offline --key-file me.key",
    )
    parser.add_argument("--key-file", metavar="FILE", help="keep our key in this file, made at the first run")
    parser.add_argument("--offline", action="store_true", help="no relay and no lookup: on this machine only")
    parser.add_argument("--self-test", action="store_true", help="two nodes talk to each other, without a user")
    options = parser.parse_args()
    if options.self_test:
        await self_test()
        return 0
    key = KeyPair.from_file(options.key_file, create=True) if options.key_file else None
    async with Node(key, offline=options.offline) as node:
        await interact(node)
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run(main))
