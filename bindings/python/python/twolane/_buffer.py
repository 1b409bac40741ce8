"""The type of data that can be written."""

from __future__ import annotations

import sys
import typing

__all__ = ["Buffer"]

if sys.version_info >= (3, 12):
    from collections.abc import Buffer as Buffer
else:
    import array
    import mmap

    Buffer: typing.TypeAlias = bytes | bytearray | memoryview | mmap.mmap | array.array  # type: ignore[type-arg]
    """Data that can be written: what has the buffer protocol."""


def to_bytes(data: Buffer) -> bytes:
    """Returns the data as bytes. Raises `TypeError` for what is no data: `bytes(5)` would be five zeros."""
    return data if type(data) is bytes else bytes(memoryview(data))
