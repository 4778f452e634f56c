"""One replica: messages in, batches out. The verbs that HTTP and the library use.

Owns the order in which the parts start and stop. Holds no rule of its own.
"""

from __future__ import annotations

import itertools
import math
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Literal

import trio

from actor_queue.core.actor import Policy
from actor_queue.core.headroom import Memory
from actor_queue.core.history import AttemptFilter
from actor_queue.core.horizon import HORIZON_S
from actor_queue.core.message import Appended, Full, Message
from actor_queue.core.routes import RouteTable
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.core.upkeep import Sizes
from actor_queue.runtime import many
from actor_queue.runtime.actor import answered
from actor_queue.runtime.answers import Answers
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.events import EventBus
from actor_queue.runtime.history import History
from actor_queue.runtime.journal import Journal, UserNames
from actor_queue.runtime.lanes import SPARE_MAX_S, Lanes
from actor_queue.runtime.lines import tell
from actor_queue.runtime.many import Many, ManyVerb, Piece
from actor_queue.runtime.missing import MissingRoutes
from actor_queue.runtime.owner import Owner, awake_time
from actor_queue.runtime.recoverer import Recoverer
from actor_queue.runtime.registry import Registry
from actor_queue.runtime.relay import Relay
from actor_queue.runtime.replays import Replays
from actor_queue.runtime.routes import Gates
from actor_queue.runtime.upkeep import Upkeep
from actor_queue.runtime.world import DeliverFunction, World
from actor_queue.store.api import (
    DROPPED_BYTES_MAX,
    DeadLetter,
    DeadPage,
    Dropped,
    LeaseInfo,
    Replica,
    Store,
    StoreUnavailable,
    UserPage,
    UserView,
)
from actor_queue.store.base import ATTEMPT_MARGIN_MS
from actor_queue.store.changes_api import Changed, Unchanged
from actor_queue.store.deeds_api import Deed
from actor_queue.store.erase_api import Erased
from actor_queue.store.history_api import AttemptPage
from actor_queue.store.lists_api import EVERY_LETTER, DeadFilter, UserFilter
from actor_queue.store.news import (
    DueElsewhere,
    Freed,
    Malformed,
    Missed,
    News,
    RoutesChanged,
    Wanted,
)
from actor_queue.store.replay_api import PER_SECOND_MAX, ReplayJob
from actor_queue.store.waiting_api import Waiting

SETTLE_GRACE_S = 2.0
"""After the last attempt's time limit, for telling the store."""

Phase = Literal["starting", "running", "draining"]


class Engine:
    """Open with `running`. `deliver` carries a batch to its receiver.

    `clock` measures trust in leases. `routes` are those of `store`; None: the default route alone.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        deliver: DeliverFunction,
        *,
        clock: Callable[[], float] = awake_time,
        seed: int | None = None,
        routes: RouteTable | None = None,
    ) -> None:
        self.settings = settings
        self.routes = RouteTable.of(settings) if routes is None else routes
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
            attempt_s=lambda: (self.routes.timeout_max_ms + ATTEMPT_MARGIN_MS) / 1000 + SPARE_MAX_S,
            counters=self.counters,
            events=self.events,
            journal=self.journal,
            clock=clock,
        )
        self._history = History(store, settings.history, self.counters)
        members = lambda: self._owner.members  # noqa: E731
        self.gates = Gates(store, self.journal, self.counters, members, self.routes)
        told = (self.counters, self.events, self.journal, self._random, self._history)
        self.answers = Answers(store, settings, self.routes, self._nudge, *told)
        self._registry = Registry(
            World(
                store=store,
                leases=self._owner,
                deliver=deliver,
                lanes=Lanes(self.routes),
                policy=Policy(settings.retry_schedule_ms, HORIZON_S),
                counters=self.counters,
                events=self.events,
                journal=self.journal,
                history=self._history,
                gates=self.gates,
                answers=self.answers,
                random=self._random,
                entropy=self.entropy,
            ),
            actors_max=settings.max_actors,
        )
        self._recoverer = Recoverer(store, self._owner, self._registry, self.gates, self.counters)
        self.gates.serve(self._recoverer, self._probe_with)
        kept_ms = settings.dead_retention_ms
        self._upkeep = Upkeep(store, self._owner, kept_ms, self.routes, self.counters)
        self._one_for_many = trio.Lock()
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
            nursery.start_soon(MissingRoutes(self.store.unrouted, tell).run)
            nursery.start_soon(self._recoverer.run)
            nursery.start_soon(self.gates.run)
            nursery.start_soon(self.store.listen, self._hear)
            nursery.start_soon(self._relay.run)
            nursery.start_soon(self._upkeep.run)
            nursery.start_soon(self._replays.run)
            nursery.start_soon(self._history.run)
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
        self.answers.drain()

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
        await self._registry.finish(self.routes.timeout_max_ms / 1000 + SETTLE_GRACE_S)
        await self._history.finish()

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
    def sizes(self) -> Sizes | None:
        """What this replica's shards hold, as it was at most a few seconds ago; None where that is
        not known."""
        return self._upkeep.sizes

    @property
    def waiting_by_route(self) -> Mapping[str, int] | None:
        """See `Upkeep.waiting`."""
        return self._upkeep.waiting

    @property
    def oldest_due_s(self) -> float:
        """See `Recoverer.oldest_due_s`."""
        return self._recoverer.oldest_due_s

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
            case RoutesChanged():
                self.gates.look_again()
            case Missed():
                self.gates.look_again()
                self._owner.look_again()
                self._recoverer.look_again()

    def _probe_with(self, user: str, shard: int) -> None:
        now = trio.current_time()
        self._registry.nudge(user, shard, now, asked=now)

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
        self._take_note(results, asked)
        return results

    async def push_each(self, messages: Sequence[Message]) -> list[Appended | StoreUnavailable]:
        """As `push`, for messages that have nothing to do with each other: what became of one is
        no matter of another's, and nothing is raised."""
        if self._phase == "starting":
            return [StoreUnavailable("starting", executed=False)] * len(messages)
        asked = trio.current_time()
        results = await self.store.append_each(messages)
        self._take_note(results, asked)
        return results

    def _take_note(self, results: Sequence[Appended | StoreUnavailable], asked: float) -> None:
        """Count what was accepted, tell who listens, set timers."""
        heard = trio.current_time()
        latest: dict[str, float] = {}
        for result in results:
            if isinstance(result, StoreUnavailable):
                continue
            if isinstance(result, Full):
                self.counters.refused_full += 1
                continue
            latest[result.user] = result.next_in_ms
            if result.duplicate:
                self.counters.duplicates += 1
                continue
            self.counters.accepted += 1
            if self.events.listened:
                self.events.accepted(result)
        for user, next_in_ms in latest.items():
            self._nudge(user, next_in_ms, asked, heard)
            self.answers.heard_of(user)

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

    async def waiting(self, user: str) -> Waiting:
        return await self.store.waiting(user)

    async def users(self, wanted: UserFilter | None, limit: int, cursor: str | None) -> UserPage:
        return await self.store.users(wanted, limit, cursor)

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

    async def edit(self, user: str, message_id: str, text: str) -> Changed | Unchanged:
        asked = trio.current_time()
        outcome = await self.store.edit(user, message_id, text)
        if isinstance(outcome, Changed):
            self._nudge(user, outcome.due_in_ms, asked, answered(asked))
        return outcome

    async def revoke(self, user: str, message_id: str) -> Changed | Unchanged:
        return await self.store.revoke(user, message_id)

    async def drop(self, user: str, bytes_max: int = DROPPED_BYTES_MAX) -> Dropped:
        return await self.store.drop(user, bytes_max)

    async def do_for_many(
        self, verb: ManyVerb, wanted: UserFilter, piece: Piece, for_ms: int
    ) -> Many:
        """See `many.many_users`. One such call goes on at a time, the next one waits."""
        async with self._one_for_many:
            return await many.many_users(self, self.store, verb, wanted, piece, for_ms)

    async def erase(self, user: str, cursor: str | None) -> Erased:
        """See `EraseStore.erase`."""
        return await self.store.erase(user, cursor)

    async def note_deed(self, deed: Deed, user: str | None) -> None:
        """Note what was done by hand. It was done, so nothing is raised if it cannot be noted."""
        named = deed if user is None else replace(deed, user_hash=self.logged_as(user))
        try:
            # What is erased must not be named again with the user.
            await self.store.deed_add(named, None if deed.name == "erase" else user)
        except StoreUnavailable:
            self.counters.deeds_lost += 1

    async def note_with_user(self, deed: Deed, user: str) -> None:
        """As `note_deed`, of what no person did."""
        try:
            await self.store.deed_add_with_user(deed, user)
        except StoreUnavailable:
            self.counters.deeds_lost += 1

    async def note_deed_to(self, deed: Deed, users: Sequence[str]) -> None:
        """As `note_deed`, of what was done to many."""
        try:
            await self.store.deed_add_to(deed, users)
        except StoreUnavailable:
            self.counters.deeds_lost += 1

    async def deeds(self, user: str | None, limit: int) -> list[Deed]:
        return await self.store.deeds(user, limit)

    async def remembers(self, user: str, message_id: str) -> bool:
        return await self.store.remembers(user, message_id)

    async def attempts(self, wanted: AttemptFilter, limit: int, cursor: str | None) -> AttemptPage:
        return await self.store.attempts(wanted, limit, cursor)

    # Dead letters

    async def dead(
        self, limit: int, cursor: str | None, wanted: DeadFilter | None = None
    ) -> DeadPage:
        return await self.store.dead(limit, cursor, wanted)

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

    async def replay_all(
        self, wanted: DeadFilter = EVERY_LETTER, per_second: int = PER_SECOND_MAX
    ) -> ReplayJob:
        """Begin to send dead letters again. While a job goes on, that one, whatever it is about."""
        return await self._replays.begin(wanted, per_second)

    async def replay_count(self, wanted: DeadFilter, cursor: str | None) -> Many:
        """How many `replay_all` would queue, see `many`."""
        return await many.count_replays(self.store, wanted, cursor)

    async def drop_many_dead(self, wanted: DeadFilter, piece: Piece) -> Many:
        """See `many.many_dead`."""
        async with self._one_for_many:
            return await many.many_dead(self.store, wanted, piece)

    async def replay_job(self) -> ReplayJob | None:
        return await self.store.replay_look()

    async def replay_stop(self, job_id: str = "") -> ReplayJob | None:
        return await self.store.replay_stop(job_id)

    def _requeued(self, letter: DeadLetter, asked: float) -> None:
        self._nudge(letter.user, 0, asked, answered(asked))

    # Replicas

    async def leases(self) -> list[LeaseInfo]:
        return await self.store.leases()

    async def replicas(self) -> list[Replica]:
        return list(self._owner.members)
