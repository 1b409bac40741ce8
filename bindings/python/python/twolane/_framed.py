"""Messages and JSON on a stream."""

from __future__ import annotations

import json
import typing
from collections.abc import AsyncIterator

from ._buffer import Buffer, to_bytes
from ._reading import MAX_LINE, Reading
from ._writing import Writing
from .exceptions import IncompleteReadError, TooLarge

__all__ = ["Framed"]

MAX_MESSAGE: typing.Final = 16 * 1024 * 1024
_HEADER: typing.Final = 4


class Framed(Reading, Writing):
    """Whole messages, and values as lines of JSON.

    **A message is written completely or not at all.** If a call is cancelled once a part of it was taken, the rest
    follows in the background, before anything else that is written to the stream. So the next message never begins
    inside of it.
    """

    __slots__ = ()

    async def write_json(self, value: object) -> None:
        """Writes a value as one line of JSON, like `send_json` of the Rust crate.

        Raises the exceptions of `write`, and those of `json.dumps`: a `ValueError` also for NaN and the infinities,
        which JSON does not have.

        If the call is cancelled, the line is written completely or not at all.
        """
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        await self._write_whole(text.encode() + b"\n")

    async def read_json(self, *, limit: int = MAX_LINE) -> typing.Any:
        """Returns the value in the next line, as `write_json` writes it.

        Raises the exceptions of `readline`, `IncompleteReadError` (an `EOFError`) at the end of the data, and
        `ValueError` if the line is not JSON. Cancel-safe.
        """
        line = await self.readline(limit=limit)
        if not line.endswith(b"\n"):
            raise IncompleteReadError("the data ended where a line of JSON was expected", partial=line)
        return json.loads(line)

    async def write_message(self, data: Buffer) -> None:
        """Writes a message: its length in 4 bytes, big-endian, and its bytes.

        Raises the exceptions of `write`, and `TooLarge` for 4 GiB and more. If the call is cancelled, the message is
        written completely or not at all.
        """
        body = to_bytes(data)
        if len(body) >= 2**32:
            raise TooLarge(f"the message has {len(body)} bytes, and the limit is {2**32 - 1}")
        await self._write_whole(len(body).to_bytes(_HEADER, "big") + body)

    async def read_message(self, *, limit: int = MAX_MESSAGE) -> bytes:
        """Returns the next message, as `write_message` writes it.

        Raises the exceptions of `read`, `IncompleteReadError` (an `EOFError`) at the end of the data, and
        `TooLarge` for a message of more than `limit` bytes, of which nothing is taken. Cancel-safe: a message
        is taken whole or not at all.
        """
        return typing.cast("bytes", await self._take(self._native.read_message, limit))

    async def messages(self, *, limit: int = MAX_MESSAGE) -> AsyncIterator[bytes]:
        """Iterates over the messages until the peer has finished. Raises the exceptions of `read_message`
        otherwise."""
        while True:
            try:
                message = await self.read_message(limit=limit)
            except IncompleteReadError as end:
                if end.partial:
                    raise
                return
            yield message

    async def json_messages(self, *, limit: int = MAX_LINE) -> AsyncIterator[typing.Any]:
        """Iterates over the values in the lines until the peer has finished. Raises the exceptions of
        `read_json` otherwise."""
        while True:
            try:
                value = await self.read_json(limit=limit)
            except IncompleteReadError as end:
                if end.partial:
                    raise
                return
            yield value
