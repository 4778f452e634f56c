"""A program's own `deliver`: checked when the queue is made; each of its failures is a value.

A failure is logged with the type of the exception and the files, lines and functions it came
through. The text of an exception appears nowhere, because it may quote what people wrote.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import PurePath
from types import CodeType, TracebackType
from typing import Protocol

import trio

from actor_queue.core.batch import Batch
from actor_queue.core.outcome import Delivered, Failed, Outcome, timed_out
from actor_queue.runtime.world import DeliverFunction

FRAMES_MAX = 30
CHAIN_MAX = 5
"""Exceptions of one failure that are told: causes, and the members of a group."""
REASON_CHARACTERS_MAX = 300
REPEAT_S = 60.0
"""The same failure is told once in this time, and then how often it came."""
PLACES_MAX = 100

log = logging.getLogger(__name__)

DeliverCallback = Callable[[Batch], Awaitable[object]]
"""An `async def` that is called with one batch. The batch is delivered when it returns, whatever it
returns but a `Failed`. An exception, a `Failed`, or more time than `webhook_timeout_ms` is a failed
attempt: the same batch comes again on `retry_schedule_ms`, and after the last attempt it is a dead
letter. `Failed(reason, final=True)` makes it one at once; `Failed(reason, status=413)` divides a
batch of several messages in two. A reason is kept, shown and logged: say nothing in it that a user
wrote."""


class Receiver(Protocol):
    """Something that can deliver within a number of seconds, as `webhook.client.WebhookClient`."""

    async def deliver(self, batch: Batch, deadline_s: float) -> Outcome: ...


def checked(deliver: object) -> DeliverCallback | None:
    """`deliver` if it is a function to await with one batch, None if it is a `Receiver`.

    Raises TypeError for everything else, and says what to do.
    """
    # An object may be called too; a class would only be made into one.
    called = None if inspect.isclass(deliver) else inspect.getattr_static(deliver, "__call__", None)
    if _is_coroutine_function(deliver) or _is_coroutine_function(called):
        _require_one_parameter(deliver)
        return deliver  # type: ignore[return-value]
    if not callable(deliver) and _is_coroutine_function(getattr(deliver, "deliver", None)):
        return None
    name = getattr(deliver, "__qualname__", type(deliver).__qualname__)
    if inspect.isclass(deliver):
        raise TypeError(f"deliver is the class {name}: give an instance of it, or an async def")
    if callable(deliver):
        raise TypeError(
            f"deliver is {name}, which is not an async function: define it with `async def`, and"
            " in it run what blocks in a thread (trio.to_thread.run_sync, on asyncio"
            " asyncio.to_thread)"
        )
    raise TypeError(f"deliver must be an `async def` that takes one batch, not {name}")


def _is_coroutine_function(function: object) -> bool:
    return inspect.iscoroutinefunction(function)


def _require_one_parameter(deliver: object) -> None:
    try:
        signature = inspect.signature(deliver)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        # Nothing is known about it: it is built in, or a mock, which some releases of Python
        # take for a function and then fail to read.
        return
    try:
        signature.bind(None)
    except TypeError:
        name = getattr(deliver, "__qualname__", type(deliver).__qualname__)
        raise TypeError(
            f"deliver is called with one argument, the batch; {name} takes {signature}"
        ) from None


def attempts_of(deliver: DeliverCallback | Receiver) -> DeliverFunction:
    """One attempt with a time limit, which raises nothing. Raises TypeError as `checked` does."""
    callback = checked(deliver)
    if callback is None:
        return deliver.deliver  # type: ignore[union-attr]
    complaints = Complaints()

    async def attempt(batch: Batch, deadline_s: float) -> Outcome:
        with trio.move_on_after(deadline_s):
            try:
                return outcome_of(await callback(batch))
            except Exception as error:  # noqa: BLE001  # the callback is not ours; its failure is an outcome
                complaints.about(error, batch)
                return Failed(f"raised {_name(error)}{_place(error)}"[:REASON_CHARACTERS_MAX])
        complaints.about_time(deadline_s, batch)
        return Failed(timed_out(deadline_s))

    return attempt


def outcome_of(returned: object) -> Outcome:
    """What it means that the callback returned this."""
    if isinstance(returned, Failed):
        return Failed(
            str(returned.reason)[:REASON_CHARACTERS_MAX],
            returned.status,
            returned.retry_after_s,
            returned.final,
            returned.answer if isinstance(returned.answer, str) else None,
        )
    return returned if isinstance(returned, Delivered) else Delivered(200)


# What the log says


class Complaints:
    """Logs failures of one `deliver`: each kind once a minute, however often it happens."""

    def __init__(self) -> None:
        self._told: dict[object, float] = {}
        self._untold: dict[object, int] = {}

    def about(self, error: BaseException, batch: Batch) -> None:
        """It raised `error`."""
        frames = list(_frames(error))
        more = self._more((type(error), frames[-1:] and frames[-1]))
        if more is None:
            return
        traced = [line for each in _chain(error) for line in _story(each)]
        log.warning(
            "deliver raised %s%s%s\n%s",
            _name(error),
            _place(error),
            f" (and {more} times more since it was last said)" if more else "",
            "\n".join(f"  {line}" for line in traced),
            extra={"error": _name(error), "at": frames, "batch": batch.id, "repeated": more},
        )

    def about_time(self, deadline_s: float, batch: Batch) -> None:
        """It had not returned after its time."""
        more = self._more("time")
        if more is not None:
            log.warning(
                "deliver had not returned after %.3g s and was cancelled%s",
                deadline_s,
                f" ({more} times more since this was last said)" if more else "",
                extra={"batch": batch.id, "repeated": more},
            )

    def _more(self, kind: object) -> int | None:
        """How often it was not told since it was; None if it is not to be told now either."""
        now = time.monotonic()
        told = self._told.get(kind)
        if told is not None and now - told < REPEAT_S:
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return None
        if len(self._told) >= PLACES_MAX:
            self._told.clear()
            self._untold.clear()
        self._told[kind] = now
        return self._untold.pop(kind, 0)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error`, the members of a group, what caused it: at most `CHAIN_MAX`."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < CHAIN_MAX:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        waiting.append(each.__cause__ or (None if each.__suppress_context__ else each.__context__))


def _story(error: BaseException) -> Iterator[str]:
    yield f"{_name(error)} (its text is not shown, it may quote a message), raised through:"
    for frame in _frames(error):
        yield f"  {frame}"


def _frames(error: BaseException) -> Iterator[str]:
    """`file:line in function`, outermost first, without our own."""
    steps = [
        f"{code.co_filename}:{line} in {code.co_qualname}"
        for code, line in _steps(error.__traceback__)
        if code.co_filename not in OWN_FILES
    ]
    return iter(steps[-FRAMES_MAX:])


def _steps(trace: TracebackType | None) -> Iterator[tuple[CodeType, int]]:
    while trace is not None:
        yield trace.tb_frame.f_code, trace.tb_lineno
        trace = trace.tb_next


def _place(error: BaseException) -> str:
    """` at bot.py:12 in answer`: where it was raised; empty when that is not known."""
    steps = [each for each in _steps(error.__traceback__) if each[0].co_filename not in OWN_FILES]
    if not steps:
        return ""
    code, line = steps[-1]
    return f" at {PurePath(code.co_filename).name}:{line} in {code.co_qualname}"


def _name(error: BaseException) -> str:
    return type(error).__qualname__


OWN_FILES = {__file__}
"""Files whose frames tell nothing about the callback; whoever stands between adds its own."""
