"""The queue for programs on asyncio: FastAPI, aiogram, python-telegram-bot.

    from actor_queue.aio import ActorQueue

    async with ActorQueue(settings, deliver=answer) as queue:
        await queue.push("joao.silva", "Oi", ttl=15)

It has the methods of `actor_queue.ActorQueue`, and `deliver` runs on your event loop. The engine
runs on Trio in a thread of its own, so leases are renewed also while a handler blocks the loop, as
handlers of bots do; Trio inside the loop (its guest mode) would stop with the loop.

Measured beside the Trio front with 64 callers (`benchmarks/fronts.py`, two busy cores): a push
takes 0.6 times its CPU, because calls that come together travel together, and one push alone takes
1.2 times as long. For the guest mode it was 0.8 and 3.3 times.

Messages go to the engine in the order of the calls, and those that come while a group is on its way
go together in the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import trio

from actor_queue.app.deliver import OWN_FILES, DeliverCallback, checked
from actor_queue.app.queue import START_TIMEOUT_S, table_of
from actor_queue.app.queue import ActorQueue as TrioQueue
from actor_queue.app.verbs import Verbs
from actor_queue.core.admission import AdmissionPolicy
from actor_queue.core.batch import Batch
from actor_queue.core.message import Appended, Message
from actor_queue.core.outcome import Failed
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.runtime.engine import Engine
from actor_queue.store.api import StoreUnavailable

GROUP_MAX = 1_000
"""Messages handed to the store together; those after them wait for the next group."""
CALLS_GRACE_S = 5.0
"""How long closing waits for calls under way: the store says within this whether it is away."""
CANCEL_GRACE_S = 0.5
"""How long an attempt whose time is over waits for `deliver` to end after it was cancelled."""

__all__ = ["ActorQueue"]

T = TypeVar("T")

OWN_FILES.add(__file__)


class ActorQueue(Verbs):
    """A queue for asyncio, open inside `async with`. It is opened once.

    `settings`, `deliver`, `start_timeout_s`, `routes`, guarantees and errors are those of
    `actor_queue.ActorQueue`. Besides:

    - `deliver` is awaited on the loop that opened the queue, each batch in a task of its own. When
      its time is over its task is cancelled.
    - The methods may be awaited on any loop of the process. A call that is cancelled may have been
      carried out.
    - If the engine fails, the task that opened the queue is cancelled and `async with` raises the
      engine's error; calls under way raise `StoreUnavailable`.
    - Closing waits until the attempts under way have ended. A cancellation meanwhile cancels them;
      their batches come again. A program that ends without closing loses no message either: the
      next one goes on after `lease_ttl_ms`.
    """

    def __init__(
        self,
        settings: Settings,
        deliver: DeliverCallback,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        routes: Iterable[str] = (),
    ) -> None:
        if checked(deliver) is None:
            raise TypeError("deliver must be an `async def` that takes one batch")
        self.settings = settings
        self._deliver = deliver
        self._routes = table_of(settings, routes)
        self._policy = AdmissionPolicy.of(settings, self._routes)
        # In a thread without a loop: its events must not become events of asyncio.
        with ThreadPoolExecutor(1) as thread:
            self._queue = thread.submit(self._engine_room, start_timeout_s).result()
        self._calls = _Calls()
        self._phase: Literal["new", "opening", "open", "closing", "closed"] = "new"
        self._stop = trio.Event()
        self._scope = trio.CancelScope()
        self._tasks: set[asyncio.Task[object]] = set()
        self._error: BaseException | None = None
        self._cancelled_owner = False
        self._abandoned = False
        self._taking = False

    def _engine_room(self, start_timeout_s: float) -> TrioQueue:
        return TrioQueue(
            self.settings, self._on_loop, start_timeout_s=start_timeout_s, routes=self._routes
        )

    def _clock(self) -> trio.abc.Clock | None:
        """The thread's; None: real time."""
        return None

    # Opening and closing, on the loop

    async def __aenter__(self) -> Self:
        if self._phase != "new":
            raise RuntimeError(f"this queue is {self._phase} already: make a new ActorQueue")
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "actor_queue.aio.ActorQueue is for asyncio, and no loop of asyncio runs here:"
                " under Trio use actor_queue.ActorQueue"
            ) from None
        self._phase = "opening"
        self._owner = asyncio.current_task()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        # A daemon: a program that ends without closing must not hang, and loses nothing.
        self._thread = threading.Thread(target=self._run, name="actor-queue", daemon=True)
        self._thread.start()
        try:
            await asyncio.shield(self._ready)
        except asyncio.CancelledError:
            self._ready.cancel()
            self._abandoned = True
            self._tell(self._scope.cancel)
            await asyncio.shield(self._ended)
            raise
        finally:
            if self._phase == "opening":
                self._phase = "closed"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("a queue is closed on the loop that opened it")
        if self._phase == "open":
            self._phase = "closing"
        self._tell(self._stop.set)
        try:
            await asyncio.shield(self._ended)
        except asyncio.CancelledError:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.shield(self._ended)
            raise
        finally:
            self._phase = "closed"
        if self._error is not None:
            if self._cancelled_owner and self._owner is not None:
                self._owner.uncancel()
            raise self._error

    def _require_open(self) -> None:
        if self._phase == "closed":
            why = self._error
            raise RuntimeError("this queue is closed: make a new ActorQueue") from why
        if self._phase in ("new", "opening"):
            raise RuntimeError("this queue is not open: use it inside `async with`")

    def _new_id(self) -> str:
        return self._queue.engine.new_id()

    # Calls

    async def _append(self, message: Message) -> Appended:
        result: Appended = await self._call(message)
        return result

    async def _ask(self, question: Callable[[Engine], Awaitable[T]]) -> T:
        result: T = await self._call(lambda: question(self._queue.engine))
        return result

    async def _call(self, what: Message | Callable[[], Awaitable[Any]]) -> Any:
        self._require_open()
        loop = asyncio.get_running_loop()
        call = _Call(loop, loop.create_future(), what)
        if self._calls.add(call):
            self._tell(self._take)
        try:
            return await call.future
        except asyncio.CancelledError:
            self._tell(call.scope.cancel)
            raise

    def _tell(self, what: Callable[[], object]) -> None:
        """Have the thread do `what` soon, if it still lives."""
        with contextlib.suppress(trio.RunFinishedError, AttributeError):
            self._token.run_sync_soon(what)

    # The thread

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            trio.run(self._main, clock=self._clock())
        except BaseException as raised:  # noqa: BLE001  # it goes to the loop
            error = raised
            while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                error = error.exceptions[0]
        for call in self._calls.close():
            call.fail(StoreUnavailable("the queue was closed meanwhile"))
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to hear
            self._loop.call_soon_threadsafe(self._over, error)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._more = trio.Event()
        self._waiting: deque[_Call] = deque()
        with self._scope:
            if self._abandoned:
                return
            async with trio.open_nursery() as self._nursery:
                try:
                    async with self._queue:
                        self._nursery.start_soon(self._pump)
                        self._taking = True
                        self._loop.call_soon_threadsafe(self._opened)
                        await self._stop.wait()
                        await self._answer_all()
                    # Until here `deliver` may call the queue.
                finally:
                    self._taking = False
                    self._nursery.cancel_scope.cancel()

    async def _answer_all(self) -> None:
        """Wait for the calls that were under way when the queue was told to close."""
        asked = self._calls.unanswered()
        with trio.move_on_after(CALLS_GRACE_S):
            while asked & self._calls.unanswered():  # noqa: ASYNC110  # once in a program's life
                await trio.sleep(0.001)

    def _opened(self) -> None:
        self._phase = "open"
        if not self._ready.done():
            self._ready.set_result(None)

    def _over(self, error: BaseException | None) -> None:
        """On the loop, the last thing that the thread has asked for."""
        self._thread.join()
        if not self._ready.done():
            self._ready.set_exception(error or RuntimeError("it was closed while it opened"))
        elif error is not None:
            self._error = error
            if self._phase == "open" and self._owner is not None and not self._owner.done():
                self._cancelled_owner = self._owner.cancel()
        self._phase = "closed"
        if not self._ended.done():
            self._ended.set_result(None)

    # Calls, in the thread

    def _take(self) -> None:
        """Whatever was asked meanwhile, in order."""
        for call in self._calls.take() if self._taking else ():
            if isinstance(call.what, Message):
                self._waiting.append(call)
                self._more.set()
            else:
                self._nursery.start_soon(self._carry_out, call)

    async def _pump(self) -> None:
        """One group of messages after the other, so that their order is that of the calls."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            while self._waiting:
                count = min(len(self._waiting), GROUP_MAX)
                group = [self._waiting.popleft() for _ in range(count)]
                # A call that was cancelled before it was begun is not carried out.
                parts = self._by_server([c for c in group if not c.scope.cancel_called])
                if len(parts) == 1:
                    await self._push(parts[0])
                else:
                    async with trio.open_nursery() as nursery:
                        for part in parts:
                            nursery.start_soon(self._push, part)
                self._calls.done(group)

    def _by_server(self, group: list[_Call]) -> list[list[_Call]]:
        """One server of a cluster may be away when the others are not."""
        engine = self._queue.engine
        shards = {shard_of(call.what.user, self.settings.shards) for call in group}
        servers = engine.store.by_server(sorted(shards)) if shards else []
        if len(servers) < 2:
            return [group] if group else []
        at = {shard: number for number, found in enumerate(servers) for shard in found}
        parts: list[list[_Call]] = [[] for _ in servers]
        for call in group:
            parts[at[shard_of(call.what.user, self.settings.shards)]].append(call)
        return parts

    async def _push(self, group: list[_Call]) -> None:
        try:
            results = await self._queue.engine.push([call.what for call in group])
        except StoreUnavailable as error:
            for call in group:
                call.fail(StoreUnavailable(error.detail, executed=error.executed))
        else:
            _answer(group, results)

    async def _carry_out(self, call: _Call) -> None:
        try:
            with call.scope:
                try:
                    result = await call.what()
                except Exception as error:  # noqa: BLE001  # it is the caller's
                    call.fail(error)
                else:
                    _answer([call], [result])
        finally:
            self._calls.done([call])

    # Attempts, from the thread to the loop and back

    async def _on_loop(self, batch: Batch) -> object:
        ended = trio.Event()
        attempt: list[asyncio.Task[object]] = []

        def start() -> None:
            task = self._loop.create_task(_awaited(self._deliver, batch))
            attempt.append(task)
            self._tasks.add(task)
            task.add_done_callback(done)

        def done(task: asyncio.Task[object]) -> None:
            self._tasks.discard(task)
            self._tell(ended.set)

        def cancel() -> None:
            for task in attempt:
                task.cancel()

        if not self._schedule(start):
            return Failed("the event loop is closed")
        try:
            await ended.wait()
        except trio.Cancelled:
            self._schedule(cancel)
            with trio.move_on_after(CANCEL_GRACE_S, shield=True):
                await ended.wait()
            raise
        return _outcome(attempt[0])

    def _schedule(self, what: Callable[[], None]) -> bool:
        """Have the loop do `what` soon. If it is closed, nobody can be answered: then stop."""
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            self._stop.set()
            return False
        return True


class _Call:
    """Something asked of the thread."""

    __slots__ = ("future", "loop", "scope", "what")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], what: Any
    ) -> None:
        self.loop = loop
        self.future = future
        self.what = what
        self.scope = trio.CancelScope()

    def fail(self, error: BaseException) -> None:
        """From the thread."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._fail, error)

    def _fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Calls:
    """Calls between the loops and the thread. Knows all that have no answer yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: list[_Call] = []
        self._open: dict[int, _Call] = {}
        self._closed = False

    def add(self, call: _Call) -> bool:
        """Whether the thread has to be told. Raises RuntimeError when it has ended."""
        with self._lock:
            if self._closed:
                raise RuntimeError("this queue is closed: make a new ActorQueue")
            self._open[id(call)] = call
            self._new.append(call)
            return len(self._new) == 1

    def take(self) -> list[_Call]:
        with self._lock:
            taken, self._new = self._new, []
            return taken

    def done(self, calls: list[_Call]) -> None:
        with self._lock:
            for call in calls:
                self._open.pop(id(call), None)

    def unanswered(self) -> set[int]:
        with self._lock:
            return set(self._open)

    def close(self) -> list[_Call]:
        """Take no more; those without an answer."""
        with self._lock:
            self._closed = True
            return list(self._open.values())


def _answer(calls: list[_Call], results: list[Any]) -> None:
    """Wake each loop once for all of its calls."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for call, result in zip(calls, results, strict=True):
        by_loop.setdefault(call.loop, []).append((call.future, result))
    for loop, pairs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # closed: nobody waits there
            loop.call_soon_threadsafe(_set_results, pairs)


def _set_results(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in pairs:
        if not future.done():
            future.set_result(result)


async def _awaited(deliver: DeliverCallback, batch: Batch) -> object:
    return await deliver(batch)


def _outcome(task: asyncio.Task[object]) -> object:
    """What a task that has ended returned. Raises what it raised, if that is an `Exception`."""
    if task.cancelled():
        return Failed("cancelled")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, Exception):
        raise error
    # It ends the loop, and with it the program.
    return Failed(f"raised {type(error).__qualname__}")
