"""Short questions to a server, on a connection that lives as long as the question.

For finding out where the servers are: who answers first is believed, so that one silent
server delays nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio
from coredis.connection import BaseConnection
from coredis.exceptions import RedisError

from actor_queue.transport.errors import StoreUnavailable
from actor_queue.transport.pipe import is_trouble, request_batch, run_connection
from actor_queue.transport.refusals import WrongSetUp, answered, unavailable
from actor_queue.transport.wire import Command

ANSWER_TIMEOUT_S = 1.5

T = TypeVar("T")


async def ask(connection: BaseConnection, command: Command) -> object:
    """The reply, a `ScriptError` for a refusal. Raises `StoreUnavailable`."""
    reply: object = None
    async with anyio.create_task_group() as tasks:
        error: RedisError | None = await tasks.start(run_connection, connection)
        if error is None:
            commands: list[Any] = [command]
            try:
                (reply,) = await request_batch(connection, commands, ANSWER_TIMEOUT_S)
            except RedisError as ended:
                reply = ended
        tasks.cancel_scope.cancel()
    if error is not None or is_trouble(reply):
        raise unavailable(error or reply, executed=False)
    return answered(reply) if isinstance(reply, RedisError) else reply


async def first_answer(questions: Sequence[Callable[[], Awaitable[T]]]) -> T:
    """Ask all at once; the first that does not raise `StoreUnavailable`.

    If all do, one of theirs is raised, rather one that says what to do.
    """
    assert questions, "nobody to ask"
    found: list[T] = []
    failures: list[StoreUnavailable] = []

    async def one(question: Callable[[], Awaitable[T]], everybody: anyio.CancelScope) -> None:
        try:
            found.append(await question())
        except StoreUnavailable as error:
            failures.append(error)
        else:
            everybody.cancel()

    async with anyio.create_task_group() as tasks:
        for question in questions:
            tasks.start_soon(one, question, tasks.cancel_scope)
    if found:
        return found[0]
    raise next((error for error in failures if isinstance(error, WrongSetUp)), failures[-1])
