"""The acceptor for all cases of the Rust program `stream-tester`, in Python: for its `run --against`.

The opener sends a script of steps for a stream, and then asks for a report of the result.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import typing

import blake3

import twolane
from twolane import Fail, Limits, Node, Request, XStream

PROTOCOL, REQUESTS, NOBODY = "stream-tester/1", "stream-tester-request/1", "stream-tester-nobody/1"
TAKES = 1024 * 1024
"""Maximum number of bytes that are accepted as a request, and returned as a response."""
LIMITS = Limits(peers=16, accept_timeout=0.3, request_bytes=TAKES)
NO_ROLE, NO_REPORT = 1, 2

PERIOD, STRIDE = 1_048_573, 7_919
BASE = blake3.blake3(b"stream-tester/1").digest(length=PERIOD)
MOST = 128 << 20
"""Maximum number of bytes of one step."""
PIECE = 64 * 1024
FULL = 2_080_000
"""Minimum number of unread bytes from which a waiting write certainly waits for its reader."""
CUT = 8_000_000


def pattern(seed: int, length: int) -> bytes:
    """Returns the test data of the program, which both sides can compute from a number."""
    return b"".join(pieces(seed, 0, length))


def pieces(seed: int, at: int, end: int, most: int = PERIOD) -> collections.abc.Iterator[bytes]:
    """Returns the same data from the offset `at` on, in pieces."""
    while at < end:
        start = (at + seed % PERIOD * STRIDE) % PERIOD
        yield (piece := BASE[start : start + min(most, end - at)])
        at += len(piece)


def words(parts: dict[str, int]) -> tuple[int, str, bytes]:
    """Returns the code, text and details of an error record, computed from the numbers that stand for it."""
    code, length = parts["code"], parts["text"]
    text = (f"fehlgeschlagen für {code}, " * (length // 16 + 1)).encode()[:length].decode(errors="ignore")
    return code, text + "." * (length - len(text.encode())), pattern(code, parts["details"])


def line(n: int) -> str:
    return f"{n} {'äb' * (n % 50)}"


def item(n: int) -> object:
    return {"n": n, "text": line(n), "list": [n, None, True, '\n\0"']}


def hashed(data: bytes) -> dict[str, object]:
    return {"bytes": len(data), "blake3": blake3.blake3(data).hexdigest()}


def told(said: twolane.StreamFailed | twolane.StreamFailedIncomplete | twolane.Report) -> dict[str, object]:
    return {"code": said.code, "text": said.text, "details": hashed(said.details), "offset": said.offset}


def ending(error: Exception, *, reading: bool) -> object:
    """Returns the end of a lane, in the words of the program."""
    match error:
        case twolane.StreamAborted() if reading:
            return {"aborted": told(error)}
        case twolane.StreamFailed():
            return {"failed": told(error)}
        case twolane.StreamReset(code=code):
            return {"reset": code}
        case twolane.StreamStopped(code=code):
            return {"stopped": code}
        case twolane.StreamEnded():
            return "ended_here"
        case UnicodeDecodeError():
            return "not_text"
        case json.JSONDecodeError():
            return "not_json"
        case other:
            return {"other": str(other)}


class Lane:
    """One direction: its bytes, and its end."""

    def __init__(self) -> None:
        self.count = 0
        self.hasher = blake3.blake3()
        self.end: object = "open"

    def took(self, data: bytes) -> None:
        self.count += len(data)
        self.hasher.update(data)

    def becomes(self, end: object) -> None:
        if self.end in ("open", "end"):
            self.end = end


class Player:
    """Executes the steps of a script on a stream, one after the other, and records the results."""

    def __init__(self, stream: XStream, seed: int) -> None:
        self.stream = stream
        self.seed = seed
        self.read, self.written, self.said = Lane(), Lane(), Lane()
        self.errors = stream.errors()
        self.reports: list[twolane.Report] = []

    async def play(self, steps: list[object]) -> dict[str, object]:
        for step in steps:
            name, argument = next(iter(step.items())) if isinstance(step, dict) else (step, None)
            await getattr(self, f"do_{name}")(*(() if argument is None else (argument,)))
        await self.hear_the_rest()
        self.stream.close()
        return {
            "finished": True,
            "metadata": hashed(self.stream.metadata),
            "read": {"sum": {"bytes": self.read.count, "blake3": self.read.hasher.hexdigest()}, "end": self.read.end},
            "written": {"sum": {"bytes": self.stream.bytes_written, "blake3": ""}, "end": self.written.end},
            "said": self.said.end,
            "reports": [
                {"severity": report.severity, "told": told(report), "missed": report.missed}
                for report in self.reports
            ],
        }

    @contextlib.asynccontextmanager
    async def noting(self, lane: Lane) -> typing.AsyncIterator[None]:
        """Records an error as the end of this lane."""
        try:
            yield
        except (twolane.TwolaneError, ValueError) as error:
            lane.becomes(ending(error, reading=lane is self.read))

    # Writing

    def rest(self, length: int, piece: int = PIECE) -> collections.abc.Iterator[bytes]:
        """Yields pieces of the data from the writer's position on. Each piece is computed on demand, because
        a write may take only part of a piece."""
        end = self.stream.bytes_written + length
        while (at := self.stream.bytes_written) < end:
            yield next(pieces(self.seed, at, end, piece))

    async def do_write(self, how: dict[str, int]) -> None:
        async with self.noting(self.written):
            for piece in self.rest(how["len"], how["piece"]):
                await self.stream.write(piece)

    async def do_write_dropping(self, how: dict[str, int]) -> None:
        """Cancels every write that has to wait once, and repeats it from the position that it reached."""
        async with self.noting(self.written):
            for n, piece in enumerate(self.rest(how["len"])):
                async with contextlib.AsyncExitStack() as patience:
                    if n % 2 == 0:
                        patience.enter_context(contextlib.suppress(TimeoutError))
                        await patience.enter_async_context(asyncio.timeout(0))
                    await self.stream.write(piece)

    async def do_write_on(self) -> None:
        await self.do_write({"len": MOST, "piece": PIECE})

    async def do_fill(self, parts: dict[str, int]) -> None:
        """Writes until the peer takes no more, reports that, and continues."""
        start = self.stream.bytes_written
        async with self.noting(self.written):
            for piece in self.rest(MOST):
                try:
                    async with asyncio.timeout(0.02):
                        await self.stream.write(piece)
                except TimeoutError:
                    if self.stream.bytes_written - start >= FULL:
                        break
            else:
                return
        if self.written.end == "open":
            await self.do_warn({"words": parts, "count": 1})
            await self.do_write_on()

    async def do_cut_write(self) -> None:
        async with self.noting(self.written):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await self.stream.write(pattern(self.seed, CUT))

    async def do_raw(self, data: list[int]) -> None:
        async with self.noting(self.written):
            await self.stream.write(bytes(data))

    async def do_write_lines(self, count: int) -> None:
        async with self.noting(self.written):
            for n in range(count):
                await self.stream.write(line(n).encode() + b"\n")

    async def do_write_items(self, count: int) -> None:
        async with self.noting(self.written):
            for n in range(count):
                await self.stream.write_json(item(n))

    async def do_finish(self) -> None:
        async with self.noting(self.written):
            await self.stream.finish()
            self.written.becomes("end")

    async def do_delivered(self) -> None:
        async with self.noting(self.written):
            await self.stream.delivered()

    # Reading

    async def do_read(self, length: int) -> None:
        async with self.noting(self.read):
            end = self.read.count + length
            while self.read.count < end:
                if not await self.piece(end - self.read.count):
                    break

    async def piece(self, most: int = PIECE, *, dropping: bool = False) -> bytes:
        data: bytes | None = None
        if dropping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    data = await self.stream.read(most)
        if data is None:
            data = await self.stream.read(most)
        self.read.took(data)
        if not data:
            self.read.becomes("end")
        return data

    async def do_read_end(self, *, dropping: bool = False) -> None:
        async with self.noting(self.read):
            while await self.piece(dropping=dropping):
                pass

    async def do_read_end_dropping(self) -> None:
        await self.do_read_end(dropping=True)

    async def do_read_lines(self, count: int, *, items: bool = False) -> None:
        for _ in range(count):
            async with self.noting(self.read):
                data = await self.stream.readline()
                if not data.endswith(b"\n"):
                    self.read.becomes({"cut": len(data)})
                    continue
                text = data.decode()
                if items:
                    json.loads(text)
                self.read.took(data)

    async def do_read_items(self, count: int) -> None:
        await self.do_read_lines(count, items=True)

    # Both

    async def do_exchange(self, how: dict[str, int]) -> None:
        async def write() -> None:
            await self.do_write({"len": how["len"], "piece": PIECE})
            if self.written.end == "open":
                await self.do_finish()

        await asyncio.gather(write(), self.do_read_end())

    async def do_echo(self) -> None:
        async with self.noting(self.read):
            while data := await self.piece():
                async with self.noting(self.written):
                    await self.stream.write(data)
                if self.written.end != "open":
                    return
            await self.do_finish()

    # The error lane

    async def do_hear(self, count: int) -> None:
        while len(self.reports) < count:
            try:
                self.reports.append(await anext(self.errors))
            except StopAsyncIteration:
                return

    async def do_warn(self, how: dict[str, typing.Any]) -> None:
        async with self.noting(self.said):
            for n in range(how["count"]):
                await self.stream.warn(*words(how["words"] | {"code": how["words"]["code"] + n}))

    async def do_fail(self, parts: dict[str, int]) -> None:
        async with self.noting(self.said):
            await self.stream.fail(*words(parts))

    do_fail_reading = do_fail

    async def do_abort(self, parts: dict[str, int]) -> None:
        async with self.noting(self.said):
            await self.stream.abort(*words(parts))

    async def hear_the_rest(self) -> None:
        """Reads the reports that no step has waited for. The error that ended the stream has arrived, or is
        about to arrive."""
        failed = any(isinstance(end, dict) and {"failed", "aborted"} & end.keys() for end in self.ends())
        with contextlib.suppress(TimeoutError, StopAsyncIteration):
            async with asyncio.timeout(5 if failed else 0):
                while True:
                    self.reports.append(await anext(self.errors))

    def ends(self) -> list[object]:
        return [self.read.end, self.written.end, self.said.end]

    # Halves

    async def do_drop_send(self) -> None:
        self.stream.close_writing()

    async def do_drop_recv(self) -> None:
        self.stream.close_reading()


class Acceptor:
    """Serves all cases on a node with `LIMITS`."""

    def __init__(self, node: Node) -> None:
        self.seen: dict[tuple[object, int], list[dict[str, object]]] = collections.defaultdict(list)
        self.news = asyncio.Condition()
        # A script is played to its end, whoever leaves.
        node.serve(PROTOCOL, self.take, cancel=False)
        node.serve_requests(REQUESTS, self.answer)
        # The protocol is known from now on, but its streams are not accepted.
        node.accept(NOBODY).close()

    async def take(self, stream: XStream) -> None:
        try:
            role = json.loads(stream.metadata)
            kind, part = next(iter(role.items()))
            steps = part["steps"] if kind == "play" else []
            if any(step.get("write", {}).get("piece") == 0 for step in steps if isinstance(step, dict)):
                raise ValueError("a step of the role is over its bounds")
        except (ValueError, KeyError, StopIteration) as error:
            raise Fail(NO_ROLE, f"the role cannot be read: {error!r}") from None
        if kind == "report":
            await self.report(stream, part["id"])
            return
        seen = await Player(stream, part["id"] * 2 + 1).play(steps)
        if part["report"]:
            await self.keep(stream.peer, part["id"], seen)

    async def report(self, stream: XStream, number: int) -> None:
        key = stream.peer, number
        try:
            async with asyncio.timeout(30), self.news:
                await self.news.wait_for(lambda: self.seen[key])
        except TimeoutError:
            raise Fail(NO_REPORT, f"stream {number} has not ended in time") from None
        await stream.write_json(self.seen[key].pop(0))

    async def keep(self, peer: twolane.PeerId, number: int, seen: dict[str, object]) -> None:
        async with self.news:
            self.seen[peer, number].append(seen)
            self.news.notify_all()

    async def answer(self, request: Request) -> bytes:
        head, _, body = request.body.partition(b"\n")
        match json.loads(head):
            case "echo":
                return body
            case {"fail": parts}:
                raise Fail(*words(parts))
            case {"size": length}:
                # One byte more than the limit is enough to be refused.
                return pattern(0, min(length, TAKES + 1))
            case {"never": number}:
                nothing = {"sum": {"bytes": 0, "blake3": ""}, "end": "open"}
                seen = {"metadata": nothing["sum"], "read": nothing, "written": nothing, "said": "open", "reports": []}
                await self.keep(request.peer, number, seen | {"finished": False})
                try:
                    await asyncio.Event().wait()
                finally:
                    await self.keep(request.peer, number, seen | {"finished": True})
        raise Fail(NO_ROLE, "this is not what stream-tester asks for")
