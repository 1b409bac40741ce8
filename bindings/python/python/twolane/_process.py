"""What the package does at the end of the process, and in a child that is forked."""

from __future__ import annotations

import atexit
import os

from . import _logs, _native

__all__ = ["watch"]


def watch() -> None:
    """Registers for the end of the interpreter and for forks."""
    # The last registered function is called first: peers are told before the log ends.
    atexit.register(_logs.stop)
    atexit.register(_native.at_exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_native.after_fork_in_child)
