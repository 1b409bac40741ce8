"""The counting and the evaluation of the benchmark."""

from __future__ import annotations

import collections
import contextlib
import json
import typing

import pytest

import bench
import sides
from sides import BODY, PIECE, Done, Times

WORK = bench.Work("requests", "1/s", 1)


@pytest.mark.parametrize("in_flight", [1, 7, 64])
async def test_every_request_is_counted_and_none_of_the_warm_up(in_flight: int) -> None:
    asked = 0

    async def ask() -> bytes:
        nonlocal asked
        asked += 1
        return BODY

    # Without any time, one request is made for each place in flight.
    done = await sides.many(ask, Times(0, 0), in_flight)
    assert (done.units, asked) == (in_flight, 2 * in_flight)
    done = await sides.many(ask, Times(0, 0.01), in_flight)
    assert done.units == asked - 3 * in_flight
    assert done.seconds >= 0.01


async def test_another_answer_ends_the_measurement() -> None:
    async def ask() -> bytes:
        return b"else"

    with pytest.raises(ExceptionGroup) as raised:
        await sides.many(ask, Times(0, 0), 2)
    assert raised.group_contains(sides.Worthless, match="another answer")


@pytest.mark.parametrize("lost", [0, 1])
async def test_pieces_count_when_all_of_them_have_arrived(lost: int) -> None:
    lanes: list[int] = []

    @contextlib.asynccontextmanager
    async def lane() -> typing.AsyncIterator[sides.Lane]:
        lanes.append(0)

        async def write(data: bytes) -> None:
            lanes[-1] += len(data)

        async def finish() -> int:
            return lanes[-1] - lost

        yield write, finish

    if lost:
        with pytest.raises(sides.Worthless, match="bytes arrived"):
            await sides.pieces(lane, Times(0, 0))
        return
    done = await sides.pieces(lane, Times(0, 0.01))
    assert len(lanes) == 2
    assert lanes == [len(PIECE), done.units * len(PIECE)]


def test_each_side_is_as_often_the_first() -> None:
    sides = ["a", "b", "c"]
    orders = [bench.in_turn(sides, turn) for turn in range(6)]
    assert collections.Counter(order[0] for order in orders) == {"a": 2, "b": 2, "c": 2}
    assert all(sorted(order) == sides for order in orders)


def test_an_advantage_is_the_median_of_the_turns_and_over_1_in_favour_of_twolane() -> None:
    found = bench.row(WORK, "other", [1.0, 3.0, 4.0], [2.0, 6.0, 3.0])
    # The ratio of the medians would be 1.
    assert (found.ours, found.theirs, found.advantage, found.rounds) == (3.0, 3.0, 0.5, 3)
    assert (found.low, found.high) == (None, None)
    assert bench.row(WORK, "other", [2.0], [1.0]).advantage == 2.0


def test_an_interval_holds_the_median_is_the_same_each_time_and_needs_five_turns() -> None:
    values = [0.8, 1.1, 0.9, 1.3, 1.0, 1.2]
    low, high = bench.interval(values)
    assert low is not None and high is not None and 0.8 <= low < 1.05 < high <= 1.3
    assert bench.interval(values) == (low, high)
    assert bench.interval([2.0] * 5) == (2.0, 2.0)
    assert bench.interval([2.0] * 4) == (None, None)


def test_rates_are_of_what_was_done() -> None:
    assert bench.rate(bench.WORKS[0], Done(10, 2.0)) == 5 * len(PIECE) / 1e6
    assert bench.rate(WORK, Done(10, 2.0)) == 5


def test_the_lines_say_the_conditions_every_turn_and_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--json", "--rounds", "1", "--seconds", "0.02", "--only", "64 in"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(line["schema"] == 1 and line["ts"] > 0 for line in lines)
    assert (lines[0]["event"], lines[-1]["event"]) == ("conditions", "summary")
    assert {"date", "commit", "processor", "cores", "rustc", "profile", "versions"} <= lines[0].keys()
    assert sides.available("rust") or lines[0]["rustc"].startswith("rustc ")
    turns = {line["peer"]: line["value"] for line in lines if line["event"] == "turn"}
    rows = {line["peer"]: line for line in lines if line["event"] == "row"}
    measured = {side.title for name, side in sides.SIDES.items() if sides.available(name) is None}
    assert turns.keys() == rows.keys() | {"twolane in Python"} == measured and len(rows) >= 1
    for peer, row in rows.items():
        named = {"name", "unit", "better", "peer", "ours", "theirs", "advantage", "low", "high", "rounds", "void"}
        assert named < row.keys()
        assert row["theirs"] == pytest.approx(turns[peer], abs=0.1) and row["better"] == "higher"
        assert row["advantage"] == pytest.approx(turns["twolane in Python"] / turns[peer], rel=0.01)


@pytest.mark.parametrize("in_flight", [None, 2])
def test_a_measurement_of_something_else_ends_the_program(
    in_flight: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bulk(where: str, times: Times) -> Done:
        sides.check(False, "nothing arrived")
        return Done(1, 1.0)

    async def ask(where: str, times: Times, in_flight: int) -> Done:
        async def other() -> bytes:
            return b"else"

        return await sides.many(other, times, in_flight)

    monkeypatch.setitem(sides.SIDES, "tcp", sides.SIDES["tcp"]._replace(bulk=bulk, ask=ask))
    with pytest.raises(SystemExit, match="TCP in asyncio.* worth nothing: "):
        bench.measure(bench.Work("other", "1/s", in_flight), "tcp", Times(0, 0))


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--seconds", "nan"], ["--seconds", "-1"], ["--only", "nothing"]])
def test_a_command_line_that_makes_no_sense_is_2(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        bench.main(wrong)
    assert raised.value.code == 2
    assert "usage" in capsys.readouterr().err
