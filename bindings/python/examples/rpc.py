#!/usr/bin/env python3
"""Remote procedure calls: functions of a server, called by name, each in one round trip.

    python rpc.py serve --offline
    python rpc.py call TICKET add 1 2 --offline
"""

from __future__ import annotations

import argparse
import json
import sys
import typing
from collections.abc import Awaitable, Callable

import terminal

from twolane import Fail, Node, Peer, Request, StreamFailed

PROTOCOL = "json-rpc/1"
NO_SUCH_FUNCTION, WRONG_ARGUMENTS = 1, 2


class Server:
    """Functions that peers may call."""

    def __init__(self, node: Node) -> None:
        self.functions: dict[str, Callable[..., Awaitable[object]]] = {}
        node.serve_requests(PROTOCOL, self.answer)

    def function(self, function: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        self.functions[function.__name__] = function
        return function

    async def answer(self, request: Request) -> bytes:
        try:
            name, arguments = json.loads(request.body)
            function = self.functions[name]
        except KeyError:
            raise Fail(NO_SUCH_FUNCTION, f"there is no function {name}") from None
        except (ValueError, TypeError):
            raise Fail(WRONG_ARGUMENTS, "this is no call") from None
        try:
            return json.dumps(await function(*arguments)).encode()
        except (TypeError, ValueError, ArithmeticError) as error:
            raise Fail(WRONG_ARGUMENTS, str(error)) from error


async def call(node: Node, peer: Peer, name: str, *arguments: object, timeout: float = 10) -> typing.Any:
    """Returns the result of the remote function. Its errors are raised as `twolane.StreamFailed`."""
    return json.loads(
        await node.request(peer, PROTOCOL, json.dumps([name, arguments]).encode(), timeout=timeout)
    )


def serve(node: Node) -> Server:
    server = Server(node)

    @server.function
    async def add(one: float, other: float) -> float:
        return one + other

    @server.function
    async def divide(one: float, other: float) -> float:
        return one / other

    return server


async def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="print a ticket, and serve add and divide")
    calling = commands.add_parser("call", help="call a function with numbers, and print the result")
    calling.add_argument("ticket")
    calling.add_argument("name")
    calling.add_argument("arguments", nargs="*", type=float)
    for command in commands.choices.values():
        command.add_argument("--offline", action="store_true", help="no relay and no lookup: on this machine only")
    options = parser.parse_args()
    async with Node(offline=options.offline) as node:
        if options.command == "serve":
            serve(node)
            print(node.ticket, flush=True)
            await node.serve_forever()
            return 0
        try:
            print(await call(node, options.ticket, options.name, *options.arguments))
        except StreamFailed as error:
            print(f"the server says: {terminal.shown(error.text)} (code {error.code})", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run(main))
