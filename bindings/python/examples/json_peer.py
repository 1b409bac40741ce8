#!/usr/bin/env python3
"""JSON messages between peers, `await server.send_message(peer, {...})`: one long-lived stream to each.

    python json_peer.py serve --offline
    python json_peer.py talk TICKET '{"kind": "greeting"}' --offline
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import typing
from collections.abc import Awaitable, Callable

import terminal

from twolane import Node, Peer, PeerId, Ticket, TwolaneError, XStream

PROTOCOL = "json/1"

Handler: typing.TypeAlias = Callable[["JsonPeer", PeerId, typing.Any], Awaitable[None]]


class JsonPeer:
    """Sends and receives JSON messages. A stream is opened for the first message, and is used until it ends.
    Both sides use the same stream."""

    def __init__(self, node: Node, handler: Handler) -> None:
        self.node = node
        self.handler = handler
        self.streams: dict[PeerId, XStream] = {}
        self.opening: dict[PeerId, asyncio.Lock] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        node.serve(PROTOCOL, self.receive)

    async def send_message(self, peer: Peer, message: object) -> None:
        """Sends a message. Returns when flow control took it: a peer that does not read slows its sender
        down."""
        key = PeerId(peer) if isinstance(peer, PeerId) else Ticket(peer).peer
        async with self.opening.setdefault(key, asyncio.Lock()):
            stream = self.streams.get(key)
            if stream is None:
                stream = await self.node.open_stream(peer, PROTOCOL)
                task = asyncio.create_task(self.read_until_end(stream))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
                self.streams[key] = stream
        await stream.write_json(message)

    async def receive(self, stream: XStream) -> None:
        """Handles a stream that a peer opened."""
        self.streams.setdefault(stream.peer, stream)
        await self.read(stream)

    async def read_until_end(self, stream: XStream) -> None:
        async with stream:
            await self.read(stream)

    async def read(self, stream: XStream) -> None:
        try:
            async for message in stream.json_messages():
                await self.handler(self, stream.peer, message)
        except TwolaneError as error:
            print(f"{stream.peer}: {error}", file=sys.stderr)
        finally:
            if self.streams.get(stream.peer) is stream:
                del self.streams[stream.peer]

    async def close(self) -> None:
        """Finishes all streams, and waits until they have ended."""
        for stream in list(self.streams.values()):
            await stream.finish()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def serve(node: Node) -> None:
    async def answer(server: JsonPeer, peer: PeerId, message: typing.Any) -> None:
        await server.send_message(peer, {"kind": "answer", "to": message})

    JsonPeer(node, answer)
    print(node.ticket, flush=True)
    await node.serve_forever()


async def talk(node: Node, ticket: str, message: object) -> int:
    answered: asyncio.Future[typing.Any] = asyncio.get_running_loop().create_future()

    async def receive(_: JsonPeer, peer: PeerId, answer: typing.Any) -> None:
        if not answered.done():
            answered.set_result(answer)

    client = JsonPeer(node, receive)
    try:
        await client.send_message(ticket, message)
        async with asyncio.timeout(30):
            print(json.dumps(await answered), flush=True)
    finally:
        await client.close()
    return 0


async def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="print a ticket, and answer every message")
    talking = commands.add_parser("talk", help="send a message, and print the answer")
    talking.add_argument("ticket")
    talking.add_argument("message", type=json.loads)
    for command in commands.choices.values():
        command.add_argument("--offline", action="store_true", help="no relay and no lookup: on this machine only")
    options = parser.parse_args()
    async with Node(offline=options.offline) as node:
        if options.command == "serve":
            await serve(node)
            return 0
        return await talk(node, options.ticket, options.message)


if __name__ == "__main__":
    sys.exit(terminal.run(main))
