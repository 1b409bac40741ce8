"""The node."""

from __future__ import annotations

from ._calls import Calls
from ._serving import Serving

__all__ = ["Node"]


class Node(Calls, Serving):
    """A local endpoint: one key, one connection to each peer, and any number of streams on it.

    >>> async with Node(KeyPair.from_file("my.key", create=True)) as node:
    ...     @node.serve("echo/1")
    ...     async def echo(stream):
    ...         async for chunk in stream:
    ...             await stream.write(chunk)
    ...     print("reachable as", node.ticket)
    ...     await node.serve_forever()

    `async with` starts the node, which takes milliseconds in any network, and closes it. Where a block does not
    fit, as in a notebook, `await node.start()` and `await node.close()` do the same. The event loop needs no setup.
    Handlers run on the loop that was running when they were given, or when the node was started. The other
    operations work on any loop of any thread.

    By default the node uses iroh's public relays, DNS and the local network to find peers and to be found.
    """
