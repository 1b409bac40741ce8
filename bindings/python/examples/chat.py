#!/usr/bin/env python3
"""A chat room: all guests read what each guest writes. One node is the room, the others join it.

    python chat.py room --offline
    python chat.py join TICKET NAME --offline
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import terminal

from twolane import Fail, Node, TooLarge, XStream

PROTOCOL = "chat-room/1"
LINE = 4096
"""The longest line that is passed on as one, in bytes. A longer one arrives in parts."""


class Room:
    """The guests of the room. A name is in use only once. A guest that does not read does not slow the others
    down."""

    def __init__(self) -> None:
        self.guests: dict[str, asyncio.Queue[str]] = {}

    async def __call__(self, stream: XStream) -> None:
        name = stream.metadata.decode(errors="replace")
        if not name.isprintable() or not name:
            raise Fail(1, "a name is needed")
        if name in self.guests:
            raise Fail(2, f"{name} is here already")
        lines: asyncio.Queue[str] = asyncio.Queue(100)
        self.guests[name] = lines
        self.tell(f"* {name} is here")
        try:
            async with asyncio.TaskGroup() as tasks:
                passing = tasks.create_task(self.pass_on(stream, lines))
                while line := await self.next_line(stream):
                    self.tell(f"{name}: {line.decode(errors='replace').rstrip()}")
                passing.cancel()
        finally:
            del self.guests[name]
            self.tell(f"* {name} has left")

    async def next_line(self, stream: XStream) -> bytes:
        try:
            return await stream.readline(limit=LINE)
        except TooLarge:
            return await stream.read(LINE)

    def tell(self, line: str) -> None:
        for lines in self.guests.values():
            # A guest that is too slow misses some lines.
            if not lines.full():
                lines.put_nowait(line)

    async def pass_on(self, stream: XStream, lines: asyncio.Queue[str]) -> None:
        while True:
            await stream.write((await lines.get()).encode() + b"\n")


async def join(node: Node, ticket: str, name: str) -> int:
    async with node.open_stream(ticket, PROTOCOL, metadata=name.encode()) as stream:

        async def say() -> None:
            async for line in terminal.lines():
                await stream.write(line.encode())
            await stream.finish()

        saying = asyncio.create_task(say())
        try:
            while line := await stream.readline():
                print(terminal.shown(line.decode(errors="replace").rstrip()), flush=True)
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)
    return 0


async def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("room", help="be the room, and print its ticket")
    joining = commands.add_parser("join", help="join a room")
    joining.add_argument("ticket")
    joining.add_argument("name")
    for command in commands.choices.values():
        command.add_argument("--offline", action="store_true", help="no relay and no lookup: on this machine only")
    options = parser.parse_args()
    async with Node(offline=options.offline) as node:
        if options.command == "room":
            node.serve(PROTOCOL, Room())
            print(node.ticket, flush=True)
            await node.serve_forever()
            return 0
        return await join(node, options.ticket, options.name)


if __name__ == "__main__":
    sys.exit(terminal.run(main))
