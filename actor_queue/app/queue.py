"""The library: a queue in your own program, without HTTP and without a webhook.

    async with ActorQueue(settings, deliver=my_async_function) as queue:
        await queue.push("joao.silva", "Oi", ttl=15)

The service is its first client.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Protocol, Self

import trio

from actor_queue.core.admission import AdmissionPolicy, admit
from actor_queue.core.batch import Batch
from actor_queue.core.message import Accepted, Full
from actor_queue.core.outcome import Delivered, Failed, Outcome
from actor_queue.core.settings import Settings
from actor_queue.runtime.engine import Engine
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.connect import runner_for
from actor_queue.store.keys import Keys
from actor_queue.store.pipe import Settle
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.store.server import probe_call

START_PAUSE_S = 0.5
"""Between two looks for a Redis that is not there yet."""

log = logging.getLogger(__name__)

DeliverCallback = Callable[[Batch], Awaitable[Outcome | None]]
"""Called with one batch; it is delivered when this returns (None or `Delivered`). An exception, a
`Failed`, or more time than `webhook_timeout_ms` is a failed attempt, retried on the schedule."""


class Receiver(Protocol):
    """Something that can deliver within a number of seconds, as `webhook.client.WebhookClient`."""

    async def deliver(self, batch: Batch, deadline_s: float) -> Outcome: ...


class QueueFull(Exception):
    """`pending` messages of this user wait already, as many as are kept for one user."""

    def __init__(self, full: Full) -> None:
        super().__init__(f"{full.pending} messages wait for this user already")
        self.pending = full.pending
        self.due_in_s = full.due_in_ms / 1000


class ActorQueue:
    """Opening it waits for Redis, as long as it takes; closing it finishes what is under way.

    Raises `StoreMisconfigured` on opening a Redis that must not be used as it is.
    """

    def __init__(
        self,
        settings: Settings,
        deliver: DeliverCallback | Receiver,
        *,
        settle: Settle | None = None,
    ) -> None:
        assert settings.redis_url is not None, "there is no Redis to keep messages in"
        self.settings = settings
        keys = Keys(settings.namespace, settings.shards)
        self._runner = runner_for(
            settings.redis_url,
            probe_call(keys.meta, settings.shards, FORMAT),
            settings.durability,
            settle=settle,
        )
        replica = f"r-{secrets.token_hex(6)}"
        self._store = RedisStore(self._runner, settings, replica=replica)
        self.engine = Engine(settings, self._store, _attempt(deliver))
        self._policy = AdmissionPolicy.of(settings)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._connected())
                await self._start()
                await stack.enter_async_context(self.engine.running())
                self._stack = stack.pop_all()
        except BaseExceptionGroup as group:
            raise _only(group) from None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._stack.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # Raised inside the block: it goes on as it is, not in the groups of our nurseries.
            if _only(group) is not error:
                raise

    async def push(
        self,
        user: str | int,
        message: str,
        *,
        ttl: float | None = None,
        message_id: str | None = None,
        **fields: object,
    ) -> Accepted:
        """Keep `message` durably and reset the user's quiet timer to `ttl` seconds.

        `fields` travel with the message. Raises `core.admission.Refused` for values that cannot
        be kept, `QueueFull`, and `StoreUnavailable` (repeat it with its `message_id`, or
        accept that it may be kept twice).
        """
        body = {**fields, "user": user, "message": message, "ttl": ttl, "message_id": message_id}
        admitted = admit(_as_json(body), self._policy, new_id=self.engine.new_id)
        (result,) = await self.engine.push([admitted])
        if isinstance(result, Full):
            raise QueueFull(result)
        return result

    async def _start(self) -> None:
        while True:
            try:
                await self._runner.prepare()
                await self._store.check(allow_eviction=self.settings.allow_eviction)
            except StoreUnavailable as error:
                if error.detail != self.engine.waiting_for:
                    log.warning("waiting for Redis", extra={"detail": error.detail})
                    self.engine.waiting_for = error.detail
                await trio.sleep(START_PAUSE_S)
            else:
                return

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._runner.serve)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()


def _only(error: BaseException) -> BaseException:
    """The one exception that groups of one were put around; a group of several as it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _attempt(deliver: DeliverCallback | Receiver) -> Callable[[Batch, float], Awaitable[Outcome]]:
    """One attempt with a time limit, whose failure is a value."""
    if not callable(deliver):
        return deliver.deliver

    async def attempt(batch: Batch, deadline_s: float) -> Outcome:
        with trio.move_on_after(deadline_s):
            try:
                return await deliver(batch) or Delivered(200)
            except Exception as error:  # noqa: BLE001  # the callback is not ours; its failure is an outcome
                log.warning("deliver failed", extra={"error": type(error).__name__})
                return Failed(f"raised {type(error).__name__}")
        return Failed(f"timed out after {deadline_s:.3g} s")

    return attempt


def _as_json(body: dict[str, object]) -> bytes:
    """The text that a gateway would have sent. Raises TypeError for values JSON does not have."""
    present = {name: value for name, value in body.items() if value is not None}
    text = json.dumps(present, ensure_ascii=False, allow_nan=False)
    # Python's texts may hold halves of surrogate pairs; what finds no other half is replaced.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
