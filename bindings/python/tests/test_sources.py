"""No circle among the files of the package: each can be read with what it uses already known."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest

HERE = pathlib.Path(__file__).resolve().parent.parent
LONGEST = 500
"""Maximum number of lines of a file. `exceptions.py`, a list of classes, is the longest."""


def python() -> dict[str, set[str]]:
    """Returns which modules of the package each of its modules imports. What only type checkers import counts too."""
    folder = HERE / "python" / "twolane"
    uses: dict[str, set[str]] = {}
    for path in [*folder.glob("*.py"), *folder.glob("*.pyi")]:
        found = uses.setdefault(path.stem, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return {name: {other for other in found if other in uses} for name, found in uses.items()}


def rust() -> dict[str, set[str]]:
    """Returns which files of the native half each of them names. A `mod.rs` that has modules alone names none."""
    folder = HERE / "src"
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.rs")}
    uses: dict[str, set[str]] = {}
    for name, path in files.items():
        code = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
        found = {word for block in re.findall(r"use crate::(\{.*?\};|[^;]*;)", code, re.S) for word in firsts(block)}
        found |= set(re.findall(r"(?<!use )crate::(\w+)", code))
        if "/" in name:
            parent = name.split("/")[0]
            inner = re.findall(r"use super::(\{.*?\};|[^;]*;)", code, re.S)
            found |= {f"{parent}/{word}" for block in inner for word in firsts(block)}
        uses[name] = found
    modules = {name: f"{name}/mod" if f"{name}/mod" in files else name for name in {n.split("/")[0] for n in files}}
    return {name: {modules.get(other, other) for other in found} & files.keys() for name, found in uses.items()}


def firsts(block: str) -> list[str]:
    """Returns the first words of what a `use` names: `{a::{b, c}, d}` names a and d."""
    flat, depth = "", 0
    for char in block.strip("{};\n "):
        depth += (char == "{") - (char == "}")
        flat += char if depth == 0 and char != "}" else ""
    return [part.strip().split("::")[0].split(" ")[0] for part in flat.split(",") if part.strip()]


def circle(uses: dict[str, set[str]]) -> list[str] | None:
    """Returns the files of a circle, if there is one."""
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str] | None:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return None
        for other in sorted(uses[name]):
            if found := visit(other, [*way, name]):
                return found
        done.add(name)
        return None

    return next((found for name in sorted(uses) if (found := visit(name, []))), None)


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None
    assert firsts("{a::{b, c::d}, e, f::g};") == ["a", "e", "f"]
    assert firsts("a::b;") == ["a"]


@pytest.mark.parametrize("half", ["python", "rust"])
def test_no_file_uses_itself_through_others(half: str) -> None:
    if not (HERE / "src").exists():
        pytest.skip("the sources are not there")
    uses = {"python": python, "rust": rust}[half]()
    # So that an empty answer is no good one.
    assert len(uses) > 20 and sum(map(len, uses.values())) > 60
    assert circle(uses) is None


def test_files_have_one_idea_each() -> None:
    for path in [*(HERE / "src").rglob("*.rs"), *(HERE / "python").rglob("*.py"), *(HERE / "tests").glob("*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST, path
