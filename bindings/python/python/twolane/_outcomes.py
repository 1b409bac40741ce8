"""Outcomes of handlers and rules. The peer is told the outcome; faults of the handler go to the log."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import typing
from collections.abc import Awaitable, Callable, Coroutine

from . import exceptions
from ._native import Question, Request
from .stream import Buffer, XStream

logger = logging.getLogger("twolane")

StreamHandler: typing.TypeAlias = Callable[[XStream], Coroutine[typing.Any, typing.Any, object]]
"""A coroutine function that is called with every stream of a protocol."""

RequestHandler: typing.TypeAlias = Callable[[Request], Awaitable[Buffer] | Buffer]
"""A function, or a coroutine function, that is called with every request and returns the response."""

Rule: typing.TypeAlias = Callable[[Question], Awaitable[bool] | bool]
"""A function, or a coroutine function, that decides whether a peer may connect, or may open a stream."""

HANDLER_FAILED: typing.Final = 2**61 + 2
"""The error code for the peer if a handler raises an exception other than `StreamFailure`."""


async def serve(handler: StreamHandler, stream: XStream) -> None:
    try:
        await handler(stream)
        await stream.finish()
    except exceptions.StreamFailure as failure:
        await tell(stream.fail(failure.code or 0, failure.text or "", failure.details))
    except (exceptions.StreamError, exceptions.ConnectionLost) as error:
        # The peer has ended the stream, or is gone. It does not need to be told, and the handler has seen the
        # exception.
        logger.debug("a stream of %s ended: %s", stream.protocol, error)
    except Exception:
        logger.exception("the handler of %s failed", stream.protocol)
        await tell(stream.abort(HANDLER_FAILED, "the handler of the stream failed"))
    finally:
        stream.close()


def cancel(
    loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[typing.Any]]
) -> concurrent.futures.Future[None] | None:
    """Cancels tasks of an event loop that may run in another thread. The returned future completes when the
    tasks have ended. Returns None if that loop is closed."""
    ended: concurrent.futures.Future[None] = concurrent.futures.Future()
    left = set(tasks)

    def forget(task: asyncio.Task[typing.Any]) -> None:
        left.discard(task)
        if not left and not ended.done():
            ended.set_result(None)

    def cancel_all() -> None:
        for task in tasks:
            task.add_done_callback(forget)
            task.cancel()

    try:
        loop.call_soon_threadsafe(cancel_all)
    except RuntimeError:
        return None
    return ended


async def tell(telling: Coroutine[typing.Any, typing.Any, None]) -> None:
    try:
        await telling
    except exceptions.TwolaneError as error:
        logger.debug("the peer could not be told: %s", error)


async def respond_later(request: Request, response: Awaitable[Buffer]) -> None:
    try:
        respond(request, await response)
    except Exception as error:
        explain(request, error)


def respond(request: Request, response: Buffer) -> None:
    try:
        request._answer(response)
    except Exception as error:
        explain(request, error)


def explain(request: Request, error: Exception) -> None:
    if isinstance(error, exceptions.StreamFailure):
        request._fail(error.code or 0, error.text or "", error.details)
    else:
        logger.error("the handler of %s failed", request.protocol, exc_info=error)
        request._broke()


async def judge_later(question: Question, verdict: Awaitable[bool]) -> None:
    try:
        judge(question, await verdict)
    except Exception as error:
        refuse(question, error)


def judge(question: Question, verdict: bool) -> None:
    question._answer(None if verdict is True else "the rules here do not allow it")


def refuse(question: Question, error: Exception) -> None:
    if isinstance(error, PermissionError):
        question._answer(str(error))
    else:
        logger.error("the access rule failed, which is a refusal", exc_info=error)
        question._answer("the rules here could not be asked")
