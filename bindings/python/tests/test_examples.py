"""Runs the examples as users run them: in separate processes, in which any warning is an error."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

HERE = pathlib.Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
PYTHON = [sys.executable, "-X", "dev", "-W", "error"]
BINARIES = pathlib.Path(os.environ.get("TWOLANE_BINARIES", HERE.parents[2] / "target" / "release"))
"""The directory of the Rust programs."""


def program(name: str) -> str:
    path = BINARIES / name
    if not path.exists():
        # If the variable is set, the programs must exist.
        if os.environ.get("TWOLANE_BINARIES"):
            pytest.fail(f"{path} is not there")
        pytest.skip(f"{path} is not there: cargo build --release -p twolane-test")
    return str(path)


def ask(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [*PYTHON, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


@contextlib.contextmanager
def serving(*command: str, first_line: bool = True) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Runs a program that prints its ticket first, and that runs until it is stopped."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child, child.stdout.readline().strip() if first_line else ""
        finally:
            child.terminate()
            child.communicate(timeout=30)


def test_the_interactive_node_tests_itself() -> None:
    done = ask(str(EXAMPLES / "interactive_node.py"), "--self-test")
    assert done.returncode == 0 and done.stdout.endswith("the self-test held\n"), done
    assert done.stderr == ""


def test_the_interactive_node_in_two_terminals() -> None:
    node = [*PYTHON, str(EXAMPLES / "interactive_node.py"), "--offline"]
    with subprocess.Popen(node, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdin is not None and one.stdout is not None
        one.stdout.readline()
        ticket = one.stdout.readline().split()[-1]
        with subprocess.Popen(node, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdin is not None and other.stdout is not None
            other.stdin.write(f"open {ticket} hi\nsend from the other terminal\n")
            other.stdin.flush()
            for line in one.stdout:
                if "from the other terminal" in line:
                    break
            else:
                pytest.fail("the line did not arrive")
            other.communicate("quit\n", timeout=30)
        one.communicate("quit\n", timeout=30)
    assert (one.returncode, other.returncode) == (0, 0)


def test_echo() -> None:
    echo = str(EXAMPLES / "echo.py")
    with serving(*PYTHON, echo, "serve", "--offline") as (_, ticket):
        done = ask(echo, "ask", ticket, "hello", "--offline")
        assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
        done = ask(echo, "ask", ticket, "fail please", "--offline")
        assert (done.returncode, done.stdout) == (1, "fail please\n")
        assert done.stderr == "the server failed after 11 bytes: you asked for it (code 42)\n"


def test_chat() -> None:
    chat = str(EXAMPLES / "chat.py")
    with serving(*PYTHON, chat, "room", "--offline") as (_, ticket):
        join = [*PYTHON, chat, "join", ticket, "ann", "--offline"]
        with subprocess.Popen(join, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as ann:
            assert ann.stdin is not None and ann.stdout is not None
            assert ann.stdout.readline() == "* ann is here\n"
            taken = ask(chat, "join", ticket, "ann", "--offline")
            assert taken.returncode == 1 and "ann is here already" in taken.stderr
            bob = ask(chat, "join", ticket, "bob", "--offline", stdin="hello from bob\n")
            assert bob.returncode == 0, bob
            assert ann.stdout.readline() == "* bob is here\n"
            assert ann.stdout.readline() == "bob: hello from bob\n"
            assert ann.stdout.readline() == "* bob has left\n"
            ann.communicate(timeout=30)
        assert ann.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another thing there")
@pytest.mark.parametrize("name", ["interactive_node", "chat"])
def test_an_interrupt_ends_a_program_that_waits_for_its_user(name: str) -> None:
    chat = str(EXAMPLES / "chat.py")
    with contextlib.ExitStack() as stack:
        command = [*PYTHON, str(EXAMPLES / "interactive_node.py"), "--offline"]
        if name == "chat":
            _, ticket = stack.enter_context(serving(*PYTHON, chat, "room", "--offline"))
            command = [*PYTHON, chat, "join", ticket, "ann", "--offline"]
        # A process that ignores SIGINT, such as a background process of a shell, passes that on to its
        # children.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            child = stack.enter_context(subprocess.Popen(command, text=True, **pipes))  # type: ignore[call-overload]
        finally:
            signal.signal(signal.SIGINT, before)
        # The program prints this just before it waits for input, or while it already waits.
        last_words = "quit" if name == "interactive_node" else "ann is here"
        while last_words not in (line := child.stdout.readline()):
            assert line, "it ended"
        child.send_signal(signal.SIGINT)
        # It ends without a key press, while standard input is still open.
        assert child.wait(timeout=30) == 130
        assert child.stderr.read() == ""


def test_rpc() -> None:
    rpc = str(EXAMPLES / "rpc.py")
    with serving(*PYTHON, rpc, "serve", "--offline") as (_, ticket):
        done = ask(rpc, "call", ticket, "add", "1", "2", "--offline")
        assert (done.returncode, done.stdout) == (0, "3.0\n"), done
        done = ask(rpc, "call", ticket, "divide", "1", "0", "--offline")
        assert done.returncode == 1 and "division" in done.stderr
        done = ask(rpc, "call", ticket, "nothing", "--offline")
        assert done.returncode == 1 and "there is no function nothing" in done.stderr


def test_json() -> None:
    peer = str(EXAMPLES / "json_peer.py")
    with serving(*PYTHON, peer, "serve", "--offline") as (_, ticket):
        done = ask(peer, "talk", ticket, '{"kind": "greeting"}', "--offline")
        assert done.returncode == 0, done
        assert json.loads(done.stdout) == {"kind": "answer", "to": {"kind": "greeting"}}


@pytest.fixture
def photo(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "photo.bin"
    path.write_bytes(random.Random(1).randbytes(5_000_003))
    return path


def test_a_file_from_python_to_python(tmp_path: pathlib.Path, photo: pathlib.Path) -> None:
    transfer = str(EXAMPLES / "file_transfer.py")
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    with serving(*PYTHON, transfer, "receive", "--dir", str(incoming), "--offline") as (_, ticket):
        done = ask(transfer, "send", ticket, str(photo), "--offline")
        assert done.returncode == 0, done
        again = ask(transfer, "send", ticket, str(photo), "--offline")
        assert again.returncode == 4 and "code 3" in again.stderr
        outside = ask(transfer, "send", ticket, str(photo), "--name", "../outside", "--offline")
        assert outside.returncode == 4 and "code 2" in outside.stderr
    assert (incoming / "photo.bin").read_bytes() == photo.read_bytes()
    assert [path.name for path in incoming.iterdir()] == ["photo.bin"]


def test_a_file_from_python_to_rust(tmp_path: pathlib.Path, photo: pathlib.Path) -> None:
    transfer = str(EXAMPLES / "file_transfer.py")
    incoming = tmp_path / "incoming"
    command = [program("receiver"), "--anyone", "--dir", str(incoming), "--offline", "--json"]
    with serving(*command) as (_, line):
        ticket = json.loads(line)["ticket"]
        # The second time it is there already, which is a success.
        for _ in range(2):
            done = ask(transfer, "send", ticket, str(photo), "--offline")
            assert done.returncode == 0, done
        other = tmp_path / "other"
        other.write_bytes(b"another photo")
        another = ask(transfer, "send", ticket, str(other), "--name", "photo.bin", "--offline")
        assert another.returncode == 4 and "code 3" in another.stderr
    assert (incoming / "photo.bin").read_bytes() == photo.read_bytes()


def test_a_file_from_rust_to_python(tmp_path: pathlib.Path, photo: pathlib.Path) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    transfer = str(EXAMPLES / "file_transfer.py")
    with serving(*PYTHON, transfer, "receive", "--dir", str(incoming), "--offline") as (_, ticket):
        command = [program("sender"), ticket, str(photo), "--offline", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done
        again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert again.returncode != 0 and "there is a file of this name" in again.stderr + again.stdout
    assert (incoming / "photo.bin").read_bytes() == photo.read_bytes()
