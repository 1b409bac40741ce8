"""The documents agree with the code."""

from __future__ import annotations

import ast
import doctest
import importlib.metadata
import inspect
import pathlib
import re
import textwrap

import pytest

import twolane

HERE = pathlib.Path(__file__).resolve().parent.parent


def blocks(path: pathlib.Path) -> list[str]:
    """Returns the Python code in a document: fenced, or indented by four spaces."""
    text = path.read_text(encoding="utf-8")
    fenced = re.findall(r"```python\n(.*?)```", text, re.S)
    indented = re.findall(r"(?:\n    .*|\n(?=\n    ))+", re.sub(r"```.*?```", "", text, flags=re.S))
    code = [textwrap.dedent(block).strip("\n") for block in indented]
    return fenced + [block for block in code if not re.match(r"(pip|python|bash) ", block)]


@pytest.mark.parametrize("name", ["README.md", "docs/how-to.md", "docs/tutorial.md"])
def test_the_code_in_the_documents_uses_what_exists(name: str) -> None:
    path = HERE / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    seen = blocks(path)
    assert seen
    for block in seen:
        # In a sketch, `..` stands for omitted code.
        code = re.sub(r"(?<!\.)\.\.(?!\.)", "...", block)
        tree = ast.parse("async def sketch():\n" + textwrap.indent(code, "    "))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "twolane":
                for imported in node.names:
                    assert hasattr(twolane, imported.name), imported.name
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner = {"node": twolane.Node, "stream": twolane.XStream, "access": twolane.AccessList}.get(node.value.id)
                assert owner is None or hasattr(owner, node.attr), f"{node.value.id}.{node.attr}"


def test_the_example_of_the_package_gives_what_it_says() -> None:
    parsed = doctest.DocTestParser().get_doctest(twolane.__doc__ or "", {}, "twolane", None, 0)
    # A line with `>>>` alone continues the example.
    for example in parsed.examples:
        example.source = re.sub(r"^>>>$", "", example.source, flags=re.M)
    results = doctest.DocTestRunner().run(parsed)
    assert results.attempted > 0 and results.failed == 0


def test_everything_public_has_a_docstring() -> None:
    """Also what a class inherits within the package, and the members of native classes."""
    for name in twolane.__all__:
        value = getattr(twolane, name)
        if not inspect.isclass(value) or not value.__module__.startswith("twolane"):
            continue
        assert inspect.getdoc(value), name
        for base in value.__mro__:
            if base.__module__.startswith("twolane"):
                for member, what in vars(base).items():
                    if not member.startswith("_") and (callable(what) or inspect.isdatadescriptor(what)):
                        assert inspect.getdoc(what), f"{name}.{member}"


def test_the_package_carries_both_licences() -> None:
    files = importlib.metadata.files("twolane") or []
    licences = {path.name: path.read_text() for path in files if "licenses" in path.parts}
    for name in ["LICENSE-APACHE", "LICENSE-MIT"]:
        assert licences[name] == (HERE / name).read_text(encoding="utf-8")
