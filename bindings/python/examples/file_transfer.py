#!/usr/bin/env python3
"""Files between two machines, with a progress bar: the protocol of the Rust programs `sender` and `receiver`.

    python file_transfer.py receive --dir incoming
    python file_transfer.py send TICKET FILE

Either side may be the Rust program: `cargo receiver -- --dir incoming`, `cargo sender -- TICKET FILE`. The
example needs the package `blake3` (pip install blake3).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import re
import secrets
import sys
import time
import typing

import blake3
import terminal

from twolane import Fail, Node, StreamFailed, TwolaneError, XStream

PROTOCOL = "file/1"
CHUNK = 512 * 1024
HASH = 32

BAD_OFFER, BAD_NAME, EXISTS, STORAGE, WRONG_HASH, WRONG_SIZE = 1, 2, 3, 5, 6, 7
"""The meanings of the receiver's codes; `bindings/cli/src/transfer/reason.rs` has all of them."""


class Progress:
    """A line on a terminal, and nothing on other outputs."""

    def __init__(self, name: str, total: int | None) -> None:
        self.name, self.total = name, total
        self.start = self.shown = time.monotonic()
        self.done = 0

    def add(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if sys.stderr.isatty() and now - self.shown > 0.1:
            self.shown = now
            self.show("\r")

    def show(self, before: str, after: str = "") -> None:
        rate = self.done / max(time.monotonic() - self.start, 1e-6)
        line = f"{self.name}: {self.done / 1e6:,.1f} MB, {rate / 1e6:,.1f} MB/s"
        if self.total:
            share = self.done / self.total
            bar = "#" * int(share * 30)
            line += f" [{bar:30}] {share:.0%}, {(self.total - self.done) / max(rate, 1):,.0f} s left"
        sys.stderr.write(f"{before}{line:100}{after}")
        sys.stderr.flush()

    def end(self) -> None:
        self.show("\r" if sys.stderr.isatty() else "", "\n")


# Sending


async def send(node: Node, ticket: str, path: pathlib.Path, name: str) -> dict[str, typing.Any]:
    """Sends a file, and returns the receipt once the receiver has stored it."""
    # A folder, or a file that cannot be read, is no offer.
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        progress = Progress(name, size)
        offer = json.dumps({"name": name, "size": size}).encode()
        async with node.open_stream(ticket, PROTOCOL, metadata=offer) as stream:
            digest = blake3.blake3()

            async def pump() -> None:
                while chunk := await asyncio.to_thread(file.read, CHUNK):
                    digest.update(chunk)
                    await stream.write(chunk)
                    progress.add(len(chunk))
                await stream.write(digest.digest())
                await stream.finish()

            async def answer() -> dict[str, typing.Any]:
                found = await stream.read_json(limit=4096)
                await stream.read()
                return typing.cast("dict[str, typing.Any]", found)

            # The answer is read from the start, because a refusal has to arrive while the data lane is full.
            pumping, answering = asyncio.ensure_future(pump()), asyncio.ensure_future(answer())
            try:
                await asyncio.wait([pumping, answering], return_when=asyncio.FIRST_EXCEPTION)
                error = pumping.exception() if pumping.done() else None
                if error is not None and not isinstance(error, TwolaneError):
                    # The file cannot be read, and nobody will answer.
                    raise error
                # The receiver's reason says more than a write that it has stopped.
                receipt = await answering
                await pumping
            finally:
                for task in (pumping, answering):
                    task.cancel()
                await asyncio.gather(pumping, answering, return_exceptions=True)
    progress.end()
    if receipt["blake3"] != digest.hexdigest() or receipt["bytes"] != size:
        raise ValueError(f"the receiver stored something else: {receipt}")
    return receipt


# Receiving


def is_name(name: str) -> bool:
    """Returns whether a stranger may choose this name. It stays in the folder on every system, and is none that a
    program obeys when it is there: no `.bashrc`, no option."""
    stem = name.split(".")[0].upper()
    reserved = stem in ("CON", "PRN", "AUX", "NUL") or re.fullmatch(r"(COM|LPT)\d", stem)
    return (
        name.isprintable()
        and 0 < len(name.encode()) <= 255
        and not set(name) & set('/\\<>:"|?*')
        and not name.startswith((".", "-"))
        and not name.endswith((".", " "))
        and not reserved
    )


async def receive(stream: XStream, directory: pathlib.Path) -> None:
    """Receives a file, and stores it completely or not at all. Nothing is overwritten, and nothing leaves the
    directory."""
    try:
        offer = json.loads(stream.metadata)
        name, size = str(offer["name"]), offer.get("size")
    except (ValueError, KeyError, TypeError):
        raise Fail(BAD_OFFER, "the offer cannot be read") from None
    if not is_name(name):
        raise Fail(BAD_NAME, "the file cannot have this name")
    target = directory / name
    if target.exists():
        raise Fail(EXISTS, "there is a file of this name")
    progress = Progress(name, size)
    try:
        digest = await store(stream, target, size, progress)
    except OSError as error:
        # Of the peer and its connection, or of the disk. The path is nothing for strangers.
        if isinstance(error, TwolaneError):
            raise
        raise Fail(STORAGE, error.strerror or "it cannot be stored") from error
    progress.end()
    await stream.write_json({"stored": name, "bytes": progress.done, "blake3": digest})
    await stream.finish()
    await stream.delivered()
    print(json.dumps({"event": "received", "name": name, "bytes": progress.done}), flush=True)


async def store(stream: XStream, target: pathlib.Path, size: int | None, progress: Progress) -> str:
    """Stores what arrives, and returns its hash."""
    digest = blake3.blake3()
    part = target.parent / f".{secrets.token_hex(8)}.part"
    try:
        with part.open("xb") as file:
            # The last 32 bytes are the hash, so that number of bytes is always held back.
            held = bytearray()
            buffer = bytearray(CHUNK)
            while count := await stream.readinto(buffer):
                held += memoryview(buffer)[:count]
                data = bytes(held[:-HASH])
                del held[:-HASH]
                digest.update(data)
                await asyncio.to_thread(file.write, data)
                progress.add(len(data))
                if size is not None and progress.done > size:
                    raise Fail(WRONG_SIZE, f"{size} bytes were offered, and more arrived")
            if size is not None and progress.done != size:
                raise Fail(WRONG_SIZE, f"{size} bytes were offered, and {progress.done} arrived")
            if bytes(held) != digest.digest():
                raise Fail(WRONG_HASH, "what arrived is not what was sent")
            await asyncio.to_thread(settle, file)
        try:
            # Unlike a rename, this does not overwrite a file that was created in the meantime.
            os.link(part, target)
        except FileExistsError:
            raise Fail(EXISTS, "there is a file of this name") from None
    finally:
        part.unlink(missing_ok=True)
    return str(digest.hexdigest())


def settle(file: typing.BinaryIO) -> None:
    """Waits until the file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


async def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    sending = commands.add_parser("send", help="send a file")
    sending.add_argument("ticket")
    sending.add_argument("file", type=pathlib.Path)
    sending.add_argument("--name", help="what the receiver is told that it is called")
    receiving = commands.add_parser("receive", help="print a ticket, and take files until it is interrupted")
    receiving.add_argument("--dir", type=pathlib.Path, default="received", help="where they go (default: received)")
    for command in commands.choices.values():
        command.add_argument("--offline", action="store_true", help="no relay and no lookup: on this machine only")
    options = parser.parse_args()
    async with Node(offline=options.offline) as node:
        if options.command == "receive":
            options.dir.mkdir(exist_ok=True)
            node.serve(PROTOCOL, lambda stream: receive(stream, options.dir))
            if not options.offline:
                await node.online()
            print(node.ticket, flush=True)
            await node.serve_forever()
            return 0
        try:
            receipt = await send(node, options.ticket, options.file, options.name or options.file.name)
        except StreamFailed as error:
            print(f"the receiver did not take it: {error.text!r} (code {error.code})", file=sys.stderr)
            return 4
        except (OSError, TwolaneError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(json.dumps(receipt))
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run(main))
