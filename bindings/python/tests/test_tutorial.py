"""The tutorial's programs do what the tutorial says: the job queue whose workers come and go."""

from __future__ import annotations

import contextlib
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

TUTORIAL = pathlib.Path(__file__).resolve().parent.parent / "docs" / "tutorial.md"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """The files as a reader has them, who has copied each part."""
    parts = re.findall(r'```python title="(\w+\.py)"\n(.*?)```', TUTORIAL.read_text(encoding="utf-8"), re.S)
    assert {name for name, _ in parts} == {"server.py", "worker.py", "submit.py"}
    for name, part in parts:
        with (tmp_path / name).open("a", encoding="utf-8") as file:
            file.write(part)
    return tmp_path


@contextlib.contextmanager
def running(folder: pathlib.Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A program of the tutorial, which is killed at the end unless it has ended."""
    # What a shell starts in the background ignores SIGINT, and so does what that starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        full = [sys.executable, *command, "--offline"]
        started = subprocess.Popen(full, cwd=folder, text=True, **pipes)  # type: ignore[call-overload]
    finally:
        signal.signal(signal.SIGINT, before)
    with started as child:
        try:
            yield child
        finally:
            child.kill()
            child.communicate(timeout=30)


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another thing there")
def test_the_job_queue_of_the_tutorial(folder: pathlib.Path) -> None:
    with running(folder, "server.py") as server:
        ticket = line(server)
        with running(folder, "worker.py", ticket) as worker:
            assert line(worker) == "connected"
            with running(folder, "submit.py", ticket, "hello there") as client:
                assert client.communicate(timeout=60)[0] == "HELLO THERE\n"
            assert line(worker) == "working: hello there"
            with running(folder, "submit.py", ticket, "fail out of paper") as client:
                assert client.communicate(timeout=60)[1] == "the job failed: out of paper\n"
                assert client.returncode == 1
            assert line(worker) == "working: fail out of paper"
            # A worker that is killed in the middle of a job loses no job.
            with running(folder, "submit.py", ticket, "sleep 1") as client:
                assert line(worker) == "working: sleep 1"
                worker.send_signal(signal.SIGINT)
                with running(folder, "worker.py", ticket) as second:
                    assert [line(second), line(second)] == ["connected", "working: sleep 1"]
                    assert client.communicate(timeout=60)[0] == "slept well\n"
        # A job that was given up before a worker came is not worked on.
        with running(folder, "submit.py", ticket, "sleep 60") as client:
            with pytest.raises(subprocess.TimeoutExpired):
                client.communicate(timeout=1)
            client.send_signal(signal.SIGINT)
            client.communicate(timeout=30)
        with running(folder, "submit.py", ticket, "last") as client, running(folder, "worker.py", ticket) as third:
            assert [line(third), line(third)] == ["connected", "working: last"]
            assert client.communicate(timeout=60)[0] == "LAST\n"
        server.send_signal(signal.SIGTERM)
        assert server.communicate(timeout=60)[1] == "" and server.returncode == 0
