#!/usr/bin/env python3
"""Echo: a server that sends back the data that it receives, in three ways that a stream can end.

    python echo.py serve --offline
    python echo.py ask TICKET hello --offline
    python echo.py ask TICKET "fail please" --offline
"""

from __future__ import annotations

import argparse
import sys

import terminal

from twolane import Fail, Node, StreamFailed, XStream


async def echo(stream: XStream) -> None:
    """Sends back the received data. The end of the handler is the end of the data."""
    async for chunk in stream:
        await stream.write(chunk)
        if b"fail" in chunk:
            # The caller reads the data that was echoed so far, and then this error.
            raise Fail(42, "you asked for it")


async def serve(node: Node) -> None:
    node.serve("echo/1", echo)
    print(node.ticket, flush=True)
    await node.serve_forever()


async def ask(node: Node, ticket: str, text: str) -> int:
    async with node.open_stream(ticket, "echo/1") as stream:
        await stream.write(text.encode())
        await stream.finish()
        try:
            async for chunk in stream:
                print(terminal.shown(chunk.decode(errors="replace")), flush=True)
        except StreamFailed as error:
            words = terminal.shown(error.text)
            print(f"the server failed after {error.offset} bytes: {words} (code {error.code})", file=sys.stderr)
            return 1
    return 0


async def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--offline", action="store_true", help="no relay and no lookup: on this machine only")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="print a ticket, and serve")
    asking = commands.add_parser("ask", help="send a text, and print what comes back")
    asking.add_argument("ticket")
    asking.add_argument("text")
    # The option is also accepted after the command, where users expect it.
    for command in commands.choices.values():
        command.add_argument("--offline", action="store_true", default=argparse.SUPPRESS)
    options = parser.parse_args()
    async with Node(offline=options.offline) as node:
        if options.command == "serve":
            await serve(node)
            return 0
        return await ask(node, options.ticket, options.text)


if __name__ == "__main__":
    sys.exit(terminal.run(main))
