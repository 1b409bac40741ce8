"""Benchmark on this machine: `python bindings/python/bench`.

twolane in Python is compared with the Rust library without Python, with asyncio's TCP streams, and with PyPI
`iroh` if it is installed, between two processes on this machine. All sides are measured in turns, for the
same time and after the same warm-up, and each side is first equally often. An advantage is the median of the
ratios of the turns, with a 95 % interval for the median. A value above 1 is in favour of twolane.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import random
import re
import statistics
import subprocess
import sys
import time
import typing
from collections.abc import Sequence

import twolane
from sides import BODY, PIECE, SIDES, Done, Times, Worthless, available, check
from twolane import _native

HERE: typing.Final = pathlib.Path(__file__).resolve().parent

OURS: typing.Final = "twolane"
FEWEST: typing.Final = 5
"""Minimum number of turns. Fewer turns have no interval of 95 %."""
RESAMPLES: typing.Final = 2_000
SCHEMA: typing.Final = 1

EXAMPLES: typing.Final = """\
examples:
  python bindings/python/bench
  python bindings/python/bench --json --only bulk
  python bindings/python/bench --rounds 15 --seconds 3
"""


class Work(typing.NamedTuple):
    """A measured task. Without `in_flight` it is a bulk transfer."""

    name: str
    unit: str
    in_flight: int | None = None


WORKS: typing.Final = (
    Work("bulk on one stream", "MB/s"),
    Work("requests of 64 bytes, 1 in flight", "1/s", 1),
    Work("requests of 64 bytes, 64 in flight", "1/s", 64),
)


class Row(typing.NamedTuple):
    """One figure for twolane and for another side. In all figures, a larger value is better."""

    name: str
    unit: str
    better: str
    peer: str
    ours: float
    theirs: float
    advantage: float
    low: float | None
    high: float | None
    rounds: int
    void: str | None = None


def row(work: Work, peer: str, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    """Makes a row from the values of both sides, turn by turn."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    low, high = interval(ratios)
    mine, others, advantage = (statistics.median(values) for values in (ours, theirs, ratios))
    return Row(work.name, work.unit, "higher", peer, mine, others, advantage, low, high, len(ratios))


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Returns the 95 % interval for the median of the distribution of the values: the percentile bootstrap.

    The same values always give the same interval.
    """
    if len(values) < FEWEST:
        return None, None
    dice = random.Random(1)
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[RESAMPLES // 40 - 1], medians[-RESAMPLES // 40 - 1]


def in_turn(sides: Sequence[str], turn: int) -> list[str]:
    """Returns the sides in the order of a turn. The first side changes with each turn."""
    first = turn % len(sides)
    return [*sides[first:], *sides[:first]]


def measure(work: Work, who: str, times: Times) -> float:
    """Measures one side in one turn, with a server in its own process. Returns the units per second."""
    command = [sys.executable, "-W", "ignore", str(HERE), "--serve", who]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            where = server.stdout.readline().strip()
            check(where != "", "the server did not start")
            if work.in_flight is None:
                done = asyncio.run(SIDES[who].bulk(where, times))
            else:
                done = asyncio.run(SIDES[who].ask(where, times, work.in_flight))
        except* Worthless as found:
            raise SystemExit(f"the measurement of {SIDES[who].title} is worth nothing: {found.exceptions[0]}") from None
        finally:
            server.stdin.close()
            server.wait(30)
    return rate(work, done)


def rate(work: Work, done: Done) -> float:
    units = done.units * len(PIECE) / 1e6 if work.in_flight is None else done.units
    return units / done.seconds


def conditions(who: Sequence[str], times: Times) -> dict[str, object]:
    """Returns the conditions of a run. The fields are those of the other measuring programs."""
    rustc, profile = built() if (built := getattr(_native, "_bench_built", None)) else (None, None)
    versions = {OURS: twolane.__version__, "python": platform.python_version()}
    if "iroh" in who:
        versions["PyPI iroh"] = importlib.metadata.version("iroh")
    settings = {SIDES[side].title: SIDES[side].settings for side in who}
    settings["all"] = (
        f"{times.measured:g} s after {times.warm_up:g} s of warm-up; bulk in writes of {len(PIECE) >> 20} MiB, "
        f"requests of {len(BODY)} bytes; loopback, two processes"
    )
    changed = git("status", "--porcelain", "--", ":/", ":(top,exclude)*.md", ":(top,exclude)net-test/figures")
    return {
        "program": "python bindings/python/bench",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if changed is None else changed != "",
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system().lower()} {platform.release()}",
        "rustc": rustc,
        "profile": profile,
        "versions": versions,
        "settings": settings,
        # The load that other programs put on this machine is not observed.
        "watched": False,
    }


def git(*arguments: str) -> str | None:
    """Runs git on the checkout in which this is run. Returns None if it is not a checkout of twolane."""
    run = ["git", "-c", "safe.directory=*"]
    try:
        top = subprocess.run([*run, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True)
        if not pathlib.Path(top.stdout.strip(), "bindings/python/pyproject.toml").exists():
            return None
        return subprocess.run([*run, *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str | None:
    try:
        found = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or None


def main(arguments: list[str] | None = None) -> int:
    """Runs the program."""
    parser = argparse.ArgumentParser(
        prog="python bindings/python/bench",
        description="Measures twolane in Python beside the Rust library, TCP, and PyPI iroh where it is installed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, the summary last")
    parser.add_argument("--rounds", type=positive(int), default=8, metavar="N", help="turns of each side (default: 8)")
    parser.add_argument(
        "--seconds",
        type=positive(float),
        default=1.0,
        metavar="S",
        help="of each measurement (default: 1), after half as much of warm-up",
    )
    parser.add_argument("--only", metavar="WORD", help="only work with this word in it, such as bulk or requests")
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        asyncio.run(SIDES[options.serve].serve())
        return 0
    works = [work for work in WORKS if (options.only or "") in work.name]
    if not works:
        parser.error(f"no work has {options.only!r} in its name: {', '.join(work.name for work in WORKS)}")

    who = [side for side in SIDES if available(side) is None]
    say = Speaker(options.json)
    times = Times(options.seconds / 2, options.seconds)
    say.conditions(conditions(who, times))
    for side in SIDES:
        if (missing := available(side)) is not None:
            say.note(SIDES[side].title, f"not measured, since {missing}")
    seen: dict[tuple[str, str], list[float]] = {(work.name, side): [] for work in works for side in who}
    for turn in range(options.rounds):
        for work in works:
            for side in in_turn(who, turn):
                value = measure(work, side, times)
                seen[work.name, side].append(value)
                say.turn(turn, work, side, value)
    for work in works:
        for side in who:
            if side != OURS:
                say.row(row(work, SIDES[side].title, seen[work.name, OURS], seen[work.name, side]))
    say.end(options.rounds)
    return 0


def positive(kind: type[int] | type[float]) -> typing.Callable[[str], float]:
    def parse(text: str) -> float:
        number = kind(text)
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError("a number above 0 is expected")
        return number

    return parse


class Speaker:
    """Writes the output: one JSON object a line for programs, or a table for people."""

    def __init__(self, json: bool) -> None:
        self._json = json

    def conditions(self, found: dict[str, object]) -> None:
        if self._json:
            self._emit("conditions", **found)
            return
        known = typing.cast("dict[str, str]", found["versions"])
        versions = ", ".join(f"{name} {version}" for name, version in known.items())
        print(f"{found['date']}, {found['processor']}, {found['cores']} cores, {found['system']}: {versions}")
        for side, settings in typing.cast(dict[str, str], found["settings"]).items():
            print(f"{side}: {settings}")

    def note(self, peer: str, text: str) -> None:
        if self._json:
            self._emit("note", peer=peer, text=text)
        else:
            print(f"{peer}: {text}")

    def turn(self, turn: int, work: Work, side: str, value: float) -> None:
        if self._json:
            peer = SIDES[side].title
            self._emit("turn", turn=turn, name=work.name, peer=peer, value=round(value, 1), unit=work.unit)

    def row(self, found: Row) -> None:
        if self._json:
            self._emit("row", **{k: round(v, 3) if isinstance(v, float) else v for k, v in found._asdict().items()})
            return
        spread = "" if found.low is None or found.high is None else f" ({found.low:.2f} to {found.high:.2f})"
        print(
            f"{found.name:35}{found.peer:31}{found.ours:>10,.0f} beside {found.theirs:>10,.0f} {found.unit}"
            f"  x {found.advantage:.2f}{spread}"
        )

    def end(self, rounds: int) -> None:
        if self._json:
            self._emit("summary", rounds=rounds)
        else:
            print(f"x: how many times as good twolane in Python is, over 1 is in its favour; {rounds} turns")

    def _emit(self, event: str, **fields: object) -> None:
        line = {"event": event, **fields, "ts": time.time_ns() // 1_000_000, "schema": SCHEMA}
        print(json.dumps(line), flush=True)
