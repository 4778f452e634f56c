"""One replica: messages in, batches out. The verbs that HTTP and the library use.

Owns the order in which the parts start and stop. Holds no rule of its own.
"""

from __future__ import annotations

import itertools
import math
import random
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import trio

from actor_queue.core.actor import Policy
from actor_queue.core.headroom import Memory
from actor_queue.core.horizon import HORIZON_S
from actor_queue.core.message import Accepted, Appended, Full, Message
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.core.upkeep import Sizes
from actor_queue.runtime.actor import DeliverFunction, World, answered
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.events import EventBus
from actor_queue.runtime.journal import Journal, UserNames
from actor_queue.runtime.lines import tell
from actor_queue.runtime.owner import Owner, awake_time
from actor_queue.runtime.recoverer import Recoverer, backlog_max
from actor_queue.runtime.registry import Registry
from actor_queue.runtime.relay import Relay
from actor_queue.runtime.replays import Replays
from actor_queue.runtime.upkeep import Upkeep
from actor_queue.store.api import (
    DeadLetter,
    DeadPage,
    Dropped,
    DueElsewhere,
    Freed,
    LeaseInfo,
    Malformed,
    Missed,
    News,
    Replica,
    Store,
    StoreUnavailable,
    UserPage,
    UserState,
    UserView,
    Wanted,
)
from actor_queue.store.base import ATTEMPT_MARGIN_MS
from actor_queue.store.replay_api import ReplayJob

SETTLE_GRACE_S = 2.0
"""After the last attempt's time limit, for telling the store."""

Phase = Literal["starting", "running", "draining"]


class Engine:
    """Open with `running`. `deliver` carries a batch to its receiver.

    `clock` measures trust in leases; `store_check` must pass before anything is accepted.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        deliver: DeliverFunction,
        *,
        clock: Callable[[], float] = awake_time,
        seed: int | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.events = EventBus(store.replica)
        self.counters = Counters()
        self._relay = Relay(store, self.events, self.counters)
        self.names = UserNames(plain=settings.log_users)
        self.journal = Journal(self.names, tell=tell)
        self.journal.watch("messages_ignored", lambda: self.counters.events_malformed)
        self.journal.watch("entries_set_aside", lambda: store.set_aside.most)
        self.journal.watch("dead_letters_expired", lambda: self.counters.dead_expired)
        self.journal.watch("leases_replaced", lambda: store.set_aside.leases)
        self._random = random.Random(seed)  # noqa: S311  # jitter; what must be unique is not drawn
        self._prefix = secrets.token_hex(6) if seed is None else f"{seed:012x}"
        self._drawn = itertools.count()
        self.replica_id = store.replica
        self._phase: Phase = "starting"
        self.waiting_for: str | None = None
        """What keeps a start from being over, in one sentence."""
        self._owner = Owner(
            store,
            replica=self.replica_id,
            nonce=self.entropy(),
            shards=settings.shards,
            lease_ttl_ms=settings.lease_ttl_ms,
            attempt_s=(settings.webhook_timeout_ms + ATTEMPT_MARGIN_MS) / 1000,
            counters=self.counters,
            events=self.events,
            journal=self.journal,
            clock=clock,
        )
        self._registry = Registry(
            World(
                store=store,
                leases=self._owner,
                deliver=deliver,
                slots=trio.Semaphore(settings.max_deliveries),
                policy=Policy(settings.retry_schedule_ms, HORIZON_S),
                attempt_s=settings.webhook_timeout_ms / 1000,
                counters=self.counters,
                events=self.events,
                journal=self.journal,
                random=self._random,
                entropy=self.entropy,
            ),
            actors_max=settings.max_actors,
            besides=backlog_max(settings.max_deliveries),
        )
        self._recoverer = Recoverer(
            store, self._owner, self._registry, settings.max_deliveries, self.counters
        )
        self._upkeep = Upkeep(store, self._owner, settings.dead_retention_ms, self.counters)
        self._replays = Replays(store, self.entropy, self._requeued)

    # Running

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Accept and deliver until the context ends; then finish what is under way, hand over."""
        self.names.key = self.store.log_key
        async with trio.open_nursery() as nursery:
            await nursery.start(self._registry.run)
            nursery.start_soon(self.journal.run, self.store.trouble, self.store.hold_ran_out)
            nursery.start_soon(self._owner.run)
            nursery.start_soon(self._recoverer.run)
            nursery.start_soon(self.store.listen, self._hear)
            nursery.start_soon(self._relay.run)
            nursery.start_soon(self._upkeep.run)
            nursery.start_soon(self._replays.run)
            self._phase = "running"
            try:
                yield
            finally:
                with trio.CancelScope(shield=True):
                    await self.drain()
                nursery.cancel_scope.cancel()

    def refuse_new(self) -> None:
        """From now on not ready: the first step of a graceful stop."""
        self._phase = "draining"

    async def hand_over(self) -> None:
        """The second step: no new attempts, the shards are the others'.

        It does not wait for the requests and attempts that are under way, because nobody else
        could fire meanwhile. Messages are still kept.
        """
        self.refuse_new()
        await self._owner.leave()

    async def drain(self) -> None:
        """The last step: finish the attempts under way."""
        await self.hand_over()
        await self._registry.finish(self.settings.webhook_timeout_ms / 1000 + SETTLE_GRACE_S)

    def unready(self) -> str | None:
        """Why no message can be accepted now; None when one can."""
        if self._phase == "running":
            return self.store.trouble()
        if self._phase == "starting" and self.waiting_for is not None:
            return f"starting, and waiting: {self.waiting_for}"
        return self._phase

    @property
    def accepting(self) -> bool:
        """False while starting and draining. A store in trouble is asked all the same."""
        return self._phase == "running"

    @property
    def actors(self) -> int:
        """Users with a timer task in this replica."""
        return len(self._registry)

    @property
    def horizon_s(self) -> float:
        """Users who are due later than this get no timer yet."""
        return self._registry.horizon_s

    @property
    def entries_set_aside(self) -> int:
        """See `SetAside.now`."""
        return self.store.set_aside.now

    @property
    def redis_memory(self) -> Memory | None:
        """See `Store.memory`."""
        return self.store.memory()

    @property
    def sizes(self) -> Sizes:
        """What this replica's shards hold, as it was a few seconds ago."""
        return self._upkeep.sizes

    @property
    def shards_owned(self) -> int:
        return len(self._owner.owned())

    def entropy(self) -> str:
        """At least 20 hexadecimal digits that no other replica and no other call draws.

        12 were drawn at random when this replica started, the rest count: one system call for all.
        """
        return f"{self._prefix}{next(self._drawn):08x}"

    def logged_as(self, user: str) -> str:
        """The hash by which the log names a user."""
        return self.names.hashed(user)

    def new_id(self) -> str:
        """An id for a message whose sender gave none."""
        return f"m-{self.entropy()}"

    def _hear(self, news: News) -> None:
        """What another replica says. It may be old, so it can only make a timer sooner."""
        match news:
            case DueElsewhere(shard, user, remaining_ms):
                if shard != shard_of(user, self.settings.shards):
                    # Claiming it under that shard's lease would look like the loss of the lease.
                    self.counters.events_malformed += 1
                elif self._owner.claimable(shard) is not None:
                    at = trio.current_time() + remaining_ms / 1000
                    self._registry.nudge(user, shard, at, asked=-math.inf)
            case Wanted():
                self._relay.wanted()
            case Malformed():
                self.counters.events_malformed += 1
            case Freed():
                self._owner.look_again()
            case Missed():
                self._owner.look_again()
                self._recoverer.look_again()

    # Messages in

    async def push(self, messages: Sequence[Message]) -> list[Appended]:
        """Make `messages` durable, reset their users' timers. Raises `StoreUnavailable`.

        The result has one element per message, in order. What has been handed to the store is
        carried out even if the caller is cancelled.
        """
        if self._phase == "starting":
            raise StoreUnavailable("starting", executed=False)
        asked = trio.current_time()
        results = await self.store.append(messages)
        heard = trio.current_time()
        latest: dict[str, float] = {}
        for result in results:
            if isinstance(result, Full):
                self.counters.refused_full += 1
                continue
            latest[result.user] = result.next_in_ms
            if result.duplicate:
                self.counters.duplicates += 1
                continue
            self.counters.accepted += 1
            if self.events.listened:
                self._publish(result)
        for user, next_in_ms in latest.items():
            self._nudge(user, next_in_ms, asked, heard)
        return results

    def _publish(self, accepted: Accepted) -> None:
        self.events.publish(
            "accepted",
            user=accepted.user,
            message_id=accepted.message_id,
            pending=accepted.pending,
            fires_in=accepted.due_in_ms / 1000,
        )

    def _nudge(self, user: str, next_in_ms: float | None, asked: float, since: float) -> None:
        """Tell the user's actor what the store just said, if the shard is ours."""
        if next_in_ms is None or next_in_ms < 0:
            return
        shard = shard_of(user, self.settings.shards)
        if self._owner.claimable(shard) is not None:
            self._registry.nudge(user, shard, since + next_in_ms / 1000, asked)

    def _nudged(self, view: UserView, asked: float) -> UserView:
        self._nudge(view.user, view.due_in_ms, asked, answered(asked))
        return view

    # Per user

    async def describe(self, user: str) -> UserView:
        return await self.store.describe(user)

    async def users(self, state: UserState | None, limit: int, cursor: str | None) -> UserPage:
        return await self.store.users(state, limit, cursor)

    async def flush(self, user: str) -> UserView | Literal["held"]:
        asked = trio.current_time()
        view = await self.store.flush(user)
        return view if view == "held" else self._nudged(view, asked)

    async def typing(self, user: str, ttl_ms: int | None) -> tuple[bool, UserView]:
        asked = trio.current_time()
        extended, view = await self.store.typing(user, ttl_ms)
        return extended, self._nudged(view, asked)

    async def hold(self, user: str, for_ms: int) -> UserView:
        asked = trio.current_time()
        view = await self.store.hold(user, for_ms)
        self.journal.hold_began(user, for_ms)
        return self._nudged(view, asked)

    async def unhold(self, user: str) -> UserView:
        held = (await self.store.describe(user)).held_for_ms is not None
        asked = trio.current_time()
        view = await self.store.unhold(user)
        if held:
            self.journal.hold_released(user)
        return self._nudged(view, asked)

    async def drop(self, user: str) -> Dropped:
        return await self.store.drop(user)

    # Dead letters

    async def dead(self, limit: int, cursor: str | None) -> DeadPage:
        return await self.store.dead(limit, cursor)

    async def dead_letter(self, batch_id: str) -> DeadLetter | None:
        return await self.store.dead_letter(batch_id)

    async def dead_drop(self, batch_id: str) -> bool:
        return await self.store.dead_drop(batch_id)

    async def dead_replay(self, batch_id: str) -> DeadLetter | None:
        asked = trio.current_time()
        letter = await self.store.dead_replay(batch_id)
        if letter is not None:
            self._nudged(await self.store.describe(letter.user), asked)
        return letter

    async def replay_all(self) -> ReplayJob:
        """Begin to send all dead letters again, or join in what goes on."""
        return await self._replays.begin()

    async def replay_job(self) -> ReplayJob | None:
        return await self.store.replay_look()

    async def replay_stop(self) -> ReplayJob | None:
        return await self.store.replay_stop()

    def _requeued(self, letter: DeadLetter, asked: float) -> None:
        self._nudge(letter.user, 0, asked, answered(asked))

    # Replicas

    async def leases(self) -> list[LeaseInfo]:
        return await self.store.leases()

    async def replicas(self) -> list[Replica]:
        return list(self._owner.members)
