"""Handlers of streams and of requests, access rules and hooks: how they are called, and what follows from their
ends."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
import typing
from collections.abc import Awaitable, Callable, Coroutine

from . import _native, _outcomes
from ._buffer import Buffer
from ._native import Question, Request
from ._tasks import Tasks
from .exceptions import TwolaneError
from .stream import XStream

__all__ = [
    "HANDLER_FAILED",
    "RequestHandler",
    "Rule",
    "Served",
    "StreamHandler",
    "answer",
    "ask",
    "checked",
    "decide",
    "take",
]

logger: typing.Final = logging.getLogger("twolane")

StreamHandler: typing.TypeAlias = Callable[[XStream], Coroutine[typing.Any, typing.Any, object]]
"""A coroutine function that is called with every stream of a protocol."""

RequestHandler: typing.TypeAlias = Callable[[Request], Awaitable[Buffer] | Buffer]
"""A function, or a coroutine function, that is called with every request and returns the response."""

Rule: typing.TypeAlias = Callable[[Question], Awaitable[bool] | bool]
"""A function, or a coroutine function, that decides whether a peer may connect, or may open a stream."""

HANDLER_FAILED: typing.Final = _native.HANDLER_FAILED
"""The error code for the peer if a handler raises an exception other than `Fail`."""

_H = typing.TypeVar("_H")


class Served(typing.NamedTuple):
    """A protocol that has a handler."""

    handler: typing.Any
    context: contextvars.Context
    """The context of the call that registered it: each of its calls runs in a copy."""
    install: Callable[[_native.Endpoint], None]
    """Gives it to the native half."""
    cancel: bool
    """Whether the tasks of streams are cancelled when their peers are gone."""


def checked(what: str, function: _H) -> _H:
    """Returns the function, if it can be one."""
    if not callable(function):
        raise TypeError(f"{what} is a function, and not {type(function).__name__}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{what} returns its result: one that yields is called by nobody")
    return function


# Streams


def take(
    tasks: Tasks, handler: StreamHandler, context: contextvars.Context, stream: XStream, *, cancel: bool
) -> None:
    """Serves a stream in a task of its own. With `cancel`, the task is cancelled when the peer is gone and the handler
    does not use the stream at that moment."""
    task = tasks.spawn(_serve(handler, stream), context.copy())
    if task.done():
        return
    # A task that is cancelled before its first turn has not even begun to serve.
    task.add_done_callback(lambda _: _let_go(stream))
    if not cancel:
        return
    leaving = stream._native.left()

    def left(future: asyncio.Future[bool]) -> None:
        if not future.cancelled() and future.exception() is None and future.result() and not stream._is_told():
            logger.debug("the peer of a stream of %s is gone: its handler is cancelled", stream.protocol)
            task.cancel("the peer of the stream is gone")

    leaving.future.add_done_callback(left)
    # This also keeps the operation alive.
    task.add_done_callback(lambda _: leaving.cancel())


async def _serve(handler: StreamHandler, stream: XStream) -> None:
    try:
        result: object = handler(stream)
        if not inspect.isawaitable(result):
            raise TypeError(f"the handler of {stream.protocol} is no coroutine function: it returned {result!r}")
        await result
        await stream.finish()
    except Exception as error:
        await _tell(stream, error)
    finally:
        _let_go(stream)


def _let_go(stream: XStream) -> None:
    stream.close()
    stream._native.release()


async def _tell(stream: XStream, error: Exception) -> None:
    def is_end(leaf: BaseException) -> bool:
        return isinstance(leaf, _outcomes.ENDS) and stream._has_raised(leaf)

    failure, is_fault = _outcomes.judged(error, is_end)
    if is_fault:
        logger.error("the handler of %s failed", stream.protocol, exc_info=error)
    try:
        if failure is not None:
            await stream.fail(failure.code, failure.text, failure.details)
        elif is_fault:
            await stream.abort(HANDLER_FAILED, "the handler of the stream failed")
        else:
            logger.debug("a stream of %s was ended by its peer: %s", stream.protocol, error)
    except TwolaneError as untold:
        logger.debug("the peer could not be told: %s", untold)


# Requests


def answer(tasks: Tasks, handler: RequestHandler, context: contextvars.Context, request: Request) -> None:
    """Answers a request, at once or in a task, which is cancelled when the caller gives up."""
    context = context.copy()
    try:
        response = context.run(handler, request)
    except Exception as error:
        _explain(request, error)
        return
    if not inspect.isawaitable(response):
        _respond(request, response)
        return
    task = tasks.spawn(_answer_later(request, response), context, inner=response)
    if not task.done() and not request._when_given_up(lambda _: task.cancel("the caller has given up")):
        task.cancel("the caller has given up")


async def _answer_later(request: Request, response: Awaitable[Buffer]) -> None:
    try:
        _respond(request, await response)
    except asyncio.CancelledError:
        # A caller that still waits gets an answer. To one that has given up, this says nothing.
        request._broke()
        raise
    except Exception as error:
        _explain(request, error)


def _respond(request: Request, response: Buffer) -> None:
    try:
        request._answer(response)
    except Exception as error:
        _explain(request, error)


def _explain(request: Request, error: Exception) -> None:
    failure, is_fault = _outcomes.judged(error, lambda _: False)
    if is_fault:
        logger.error("the handler of %s failed", request.protocol, exc_info=error)
    if failure is not None:
        request._fail(failure.code, failure.text, failure.details)
    else:
        request._broke()


# Rules and hooks


class _Asked(typing.Protocol):
    """A question of the native half."""

    def __call__(self, refusal: str | None, /) -> None: ...


def decide(
    tasks: Tasks,
    context: contextvars.Context,
    what: str,
    asked: _Asked,
    when_given_up: Callable[[Callable[[None], object]], bool],
    decision: Callable[[], Awaitable[object] | object],
) -> None:
    """Calls a rule or a hook, and gives its decision as the answer. A task for it is cancelled when nobody waits for
    the answer any more."""
    context = context.copy()
    try:
        verdict = context.run(decision)
    except Exception as error:
        _refuse(what, asked, error)
        return
    if not inspect.isawaitable(verdict):
        _judge(what, asked, verdict)
        return
    task = tasks.spawn(_decide_later(what, asked, verdict), context, inner=verdict)
    if not task.done() and not when_given_up(lambda _: task.cancel("nobody waits for the answer")):
        task.cancel("nobody waits for the answer")


async def _decide_later(what: str, asked: _Asked, verdict: Awaitable[object]) -> None:
    try:
        _judge(what, asked, await verdict)
    except Exception as error:
        _refuse(what, asked, error)


def _judge(what: str, asked: _Asked, verdict: object) -> None:
    if not isinstance(verdict, bool):
        logger.error("%s returned %r, which is a refusal: it returns True or False", what, verdict)
    asked(None if verdict is True else "the rules here do not allow it")


def _refuse(what: str, asked: _Asked, error: Exception) -> None:
    known = _outcomes.reason(error)
    if known is None:
        logger.error("%s failed, which is a refusal", what, exc_info=error)
    asked("the rules here could not be asked" if known is None else known)


def ask(tasks: Tasks, rule: Rule, context: contextvars.Context, question: Question) -> None:
    """Asks an access rule."""
    decision = functools.partial(rule, question)
    decide(tasks, context, "the access rule", question._answer, question._when_given_up, decision)

