"""What the native half says, in `logging`.

Nothing is collected as long as the level of the logger `twolane` is not set. The level is looked at whenever a node is
started. `iroh::socket` speaks to the logger `twolane.iroh.socket`.
"""

from __future__ import annotations

import logging
import threading
import typing

from . import _native
from ._text import harmless

__all__ = ["collect", "stop"]

_NOTHING: typing.Final = 255
_PATIENCE: typing.Final = 1.0
"""The number of seconds for which the last lines delay the end of the interpreter."""

_logger: typing.Final = logging.getLogger("twolane")
_thread: threading.Thread | None = None


def collect() -> None:
    """Collects from now on what the level of the logger asks for."""
    global _thread
    level = _logger.level
    if _native.log_set(_NOTHING if level == logging.NOTSET else max(5, min(level, 50))):
        # A daemon, which does not hold up the end of the program. `stop` ends it before the interpreter goes.
        _thread = threading.Thread(target=_pass_on, name="twolane-log", daemon=True)
        _thread.start()


def stop() -> None:
    """Passes the last lines on and ends the thread, before the interpreter is finalized."""
    _native.log_stop()
    if _thread is not None and _thread.is_alive():
        _thread.join(_PATIENCE)


def logger_name(target: str) -> str:
    """Returns the name of the logger for what a module of Rust says."""
    parts = target.split("::")
    return ".".join(parts if parts[0] == "twolane" else ["twolane", *parts])


def _pass_on() -> None:
    while (found := _native.log_next()) is not None:
        lines, dropped = found
        for level, target, text in lines:
            logging.getLogger(logger_name(target)).log(level, "%s", harmless(text))
        if dropped:
            _logger.warning("%d lines of the log found no room", dropped)
