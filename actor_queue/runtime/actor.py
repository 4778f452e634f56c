"""The task behind one user: performs what the machine in `core/actor.py` decides.

One task and one cancel scope for each user who is due soon, about 3 KB. A reset is one
assignment to the scope's deadline. No rule lives here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import assert_never

import trio

from actor_queue.core.actor import (
    ActorState,
    Attempted,
    Barred,
    Claim,
    Claimed,
    Deliver,
    Effect,
    Empty,
    Event,
    Later,
    Lost,
    Nudged,
    Phase,
    Policy,
    Settle,
    Settled,
    Sleep,
    Stop,
    Trouble,
    Vanished,
    Woke,
    started,
    step,
)
from actor_queue.core.batch import Attempt, batch_id, claim_token, divided_from
from actor_queue.core.history import PastAttempt, PastOutcome, marks_of
from actor_queue.core.outcome import Ack, AnswersLater, Bury, Divide, Failed, Outcome, Retry
from actor_queue.runtime.world import World
from actor_queue.store import api
from actor_queue.store.api import Lease, StoreUnavailable
from actor_queue.store.base import ATTEMPT_MARGIN_MS, Spoilt

STORE_PAUSE_S = 0.25
"""Before a store that could not be asked is asked again; one to two of these."""

TRUST_PAUSE_S = 0.05
"""Between two looks whether a lease that has lapsed was renewed."""

TOO_LATE = "not made: the claim was answered when half of the attempt's time was over"

WHOLE_SHARE = 0.95
"""An attempt with less of its time than this has failed by the store's slowness where it is over
before its receiver answers."""

SLOW_ANSWER_S = 0.02
"""An answer that took longer may have been long on its way back."""


def _may_be_cancelled(_: object) -> trio.lowlevel.Abort:
    """What `trio.sleep_forever` tells Trio, which would take a frame of its own for it."""
    return trio.lowlevel.Abort.SUCCEEDED


def answered(asked: float) -> float:
    """When the store may have run the script that was asked for at `asked` and answered now.

    After a slow answer the soonest that it can be: a timer that is set from there may cost one
    more question, and one that is set from now would be late.
    """
    heard = trio.current_time()
    return heard if heard - asked <= SLOW_ANSWER_S else asked


def _was_cut_short(outcome: Outcome, took_s: float, left_s: float, whole_s: float) -> bool:
    """Whether the receiver might have answered in the time that was its own, and had less."""
    timed_out = isinstance(outcome, Failed) and outcome.status is None and took_s >= left_s
    return timed_out and left_s < WHOLE_SHARE * whole_s


class Actor:
    """One user's timer."""

    __slots__ = (
        "_claimed_at",
        "_lease",
        "_scope",
        "_slot",
        "_state",
        "_token",
        "_whole_s",
        "_world",
        "shard",
        "user",
    )

    def __init__(self, world: World, user: str, shard: int, due: float) -> None:
        self._world = world
        self.user = user
        self.shard = shard
        self._state: ActorState
        self._state, _ = started(due, trio.current_time())
        self._scope: trio.CancelScope | None = None
        self._slot: trio.Semaphore | None = None
        self._token = ""
        self._whole_s = 0.0
        """What its route gives a receiver."""
        self._lease: Lease | None = None
        self._claimed_at = 0.0

    @property
    def done(self) -> bool:
        """Whether its task only has to end yet; it hears no more news."""
        return self._state.phase is Phase.DONE

    @property
    def sleeping(self) -> bool:
        """Whether it waits for its time."""
        return self._scope is not None

    def nudge(self, at: float, asked: float) -> None:
        """News on the trio clock: the next step is at `at`, the store was asked at `asked`."""
        news = Nudged(at, asked, trio.current_time())
        self._state, _ = step(self._state, news, self._world.policy)
        if self._scope is not None:
            self._scope.deadline = -math.inf if self._state.due is None else self._state.due

    async def run(self, ended: Callable[[Actor], None]) -> None:
        """Until nothing is left to do for this user here; then call `ended`.

        The frames of a sleeping task are most of what a waiting user weighs, so there are two: this
        one and Trio's own.
        """
        effect: Effect = Sleep()
        self._world.stirs(self.user)
        try:
            while True:
                if isinstance(effect, Sleep):
                    self._free_slot()
                    self._world.rests(self.user)
                    assert self._state.due is not None
                    try:
                        with trio.CancelScope(deadline=self._state.due) as self._scope:
                            await trio.lowlevel.wait_task_rescheduled(_may_be_cancelled)
                    finally:
                        self._scope = None
                        self._world.stirs(self.user)
                    if self.done:
                        return
                    event: Event = Woke()
                elif isinstance(effect, Stop):
                    return
                else:
                    event = await self._perform(effect)
                self._state, following = step(self._state, event, self._policy_for(event))
                assert following is not None
                effect = following
        finally:
            self._world.rests(self.user)
            self._free_slot()
            ended(self)

    def _policy_for(self, event: Event) -> Policy:
        """A verdict is by the schedule of the user's route."""
        policy = self._world.policy
        if not isinstance(event, Attempted):
            return policy
        schedule_ms = self._world.lanes.schedule_of(self.user, policy.retry_schedule_ms)
        return replace(policy, retry_schedule_ms=schedule_ms)

    async def _perform(self, effect: Claim | Deliver | Settle) -> Event:
        match effect:
            case Claim():
                return await self._claim()
            case Deliver(attempt):
                return await self._deliver(attempt)
            case Settle():
                return await self._settle(effect)
            case _:
                assert_never(effect)

    # Claim

    async def _claim(self) -> Event:
        # A claim that is repeated may have begun an attempt, which counts unless it is made.
        if not self._token and not await self._has_turn():
            return Barred()
        # The slot comes first: an attempt's time runs from its claim and must not pass in a queue.
        world = self._world
        lane = world.lanes.of(self.user)
        if self._slot is None and lane.route is not None:
            slots = lane.slots
            await slots.acquire()
            self._slot = slots
            if not self._token and world.gates.bars(self.user):
                return Barred()
        route = lane.route
        lease = world.leases.claimable(self.shard)
        if route is None or lease is None:
            # The sweep comes back when the route is there again, or somebody else's does.
            world.gates.not_made(self.user)
            return Lost()
        self._lease = lease
        self._token = self._token or claim_token(world.store.replica, world.entropy())
        self._claimed_at, self._whole_s = trio.current_time(), route.timeout_ms / 1000
        world.counters.claims += 1
        spare_ms, own_id = lane.spare_ms, batch_id(self.shard, world.entropy())
        try:
            claim = await world.store.claim(
                lease, self.user, self._token, own_id, spare_ms=spare_ms
            )
        except Spoilt:
            # Nothing here can put it right; the sweep comes back to the user, seldom.
            world.counters.store_failures += 1
            return Empty()
        except StoreUnavailable:
            return self._trouble()
        if isinstance(claim, Attempt):
            left_s = self._ends_at(claim) - trio.current_time()
            lane.claim_took(self._whole_s + spare_ms / 1000 - left_s)
            if not claim.unanswered and left_s < self._whole_s / 2:
                return await self._give_back(lease, claim)
        self._token = ""
        if not isinstance(claim, Attempt) or claim.unanswered:
            world.gates.not_made(self.user)
        match claim:
            case Attempt():
                return self._claimed(claim)
            case api.NotDue(remaining_ms):
                world.counters.claims_early += 1
                at = answered(self._claimed_at) + remaining_ms / 1000
                return Later(at, trio.current_time())
            case api.Nothing():
                return Empty()
            case api.Fenced():
                return self._fenced()
            case _:
                assert_never(claim)

    def _ends_at(self, attempt: Attempt) -> float:
        """When the attempt must be over, to be over before another one can begin."""
        return self._claimed_at + (attempt.limit_in_ms - ATTEMPT_MARGIN_MS) / 1000

    async def _give_back(self, lease: Lease, attempt: Attempt) -> Event:
        """The store was away or slow while the attempt's time ran. Made in what is left of it, the
        attempt would fail and the receiver, which did nothing, would be taken for dead.

        Nobody makes it, so it is not spent. The next claim has a time of its own, and asks for as
        much more as this one has lost.
        """
        asked = trio.current_time()
        self._world.gates.not_made(self.user)
        try:
            result = await self._world.store.retry(lease, attempt, 0, None, TOO_LATE, spent=False)
        except StoreUnavailable:
            return self._trouble()  # with the claim's token: it is given back again, or is over
        self._token = ""
        match result:
            case api.Settled(next_in_ms):
                if next_in_ms is None:
                    return Empty()
                return Later(answered(asked) + next_in_ms / 1000, trio.current_time())
            case api.Gone():
                return Later(asked, trio.current_time())
            case api.Fenced():
                return self._fenced()
            case _:
                assert_never(result)

    async def _has_turn(self) -> bool:
        """Wait until the user's route lets an attempt through; False where that is not soon."""
        gates = self._world.gates
        if not gates.known.is_set():
            with self._idle():
                await gates.known.wait()
        wait_s = gates.turn(self.user)
        if wait_s:
            with self._idle():
                await trio.sleep(wait_s)
        return wait_s is not None

    @contextmanager
    def _idle(self) -> Iterator[None]:
        """Whoever waits for a turn is not at work, and keeps no other route's users from it."""
        self._free_slot()
        self._world.rests(self.user)
        try:
            yield
        finally:
            self._world.stirs(self.user)

    def _claimed(self, attempt: Attempt) -> Event:
        world, batch = self._world, attempt.batch
        if attempt.unanswered:
            return Claimed(attempt)
        if attempt.number == 1 and divided_from(batch.id) is None:
            world.counters.lateness_s.observe(max(0, batch.closed_at_ms - batch.due_at_ms) / 1000)
        if world.events.listened:
            world.events.publish(
                "fired",
                user=batch.user,
                route=batch.route,
                batch_id=batch.id,
                seq=batch.seq,
                reason=batch.reason,
                messages=len(batch.stored),
                attempt=attempt.number,
                late_ms=max(0, batch.closed_at_ms - batch.due_at_ms),
            )
        return Claimed(attempt)

    # Deliver

    async def _deliver(self, attempt: Attempt) -> Event:
        world = self._world
        ends_at = self._ends_at(attempt)
        if not await self._may_begin(ends_at - self._whole_s / 2):
            world.gates.not_made(self.user)
            return Lost()
        began = trio.current_time()
        left_s = min(max(ends_at - began, 0.001), self._whole_s)
        offered, within_ms = world.answers.offered(attempt)
        outcome = await world.deliver(offered, left_s)
        took_s = trio.current_time() - began
        world.counters.of(attempt.batch.route).attempt_s.observe(took_s)
        if _was_cut_short(outcome, took_s, left_s, self._whole_s):
            world.gates.not_made(self.user)
            spent = False
        else:
            world.journal.attempted(self.user, outcome)
            spent = world.gates.attempted(self.user, outcome)
        took_ms = round(took_s * 1000)
        return Attempted(outcome, world.random.random(), took_ms, spent, within_ms)

    async def _may_begin(self, until: float) -> bool:
        """Whether the attempt is certainly ours to make.

        A process frozen since the claim must not begin what another replica may begin too. But if
        nobody has taken the lease meanwhile, its renewal will say so, and the attempt is still
        ours: without it the user would wait for the limit of an attempt that nobody makes.
        """
        leases = self._world.leases
        while (lease := leases.trusted(self.shard)) is None:
            if leases.held(self.shard) != self._lease or trio.current_time() >= until:
                return False
            await trio.sleep(TRUST_PAUSE_S)
        return lease == self._lease

    # Settle

    async def _settle(self, settle: Settle) -> Event:
        if settle.at is not None:
            await trio.sleep_until(settle.at)
        asked = trio.current_time()
        try:
            result = await self._send(settle)
        except StoreUnavailable:
            return self._trouble()
        if self._world.history.wanted:
            self._world.history.note(self._past(settle, result))
        match result:
            case api.Settled(next_in_ms, known):
                self._count(settle, known=known)
                at = None if next_in_ms is None else answered(asked) + next_in_ms / 1000
                return Settled(at, trio.current_time())
            case api.Gone():
                return Vanished()
            case api.Fenced():
                return self._fenced()
            case None:
                return Lost()
            case _:
                assert_never(result)

    async def _send(self, settle: Settle) -> api.SettleResult | None:
        world, attempt, verdict = self._world, settle.attempt, settle.verdict
        status, said = settle.status, (settle.answer, settle.took_ms)
        if isinstance(verdict, Ack):
            assert status is not None
            return await world.store.ack(attempt, status, settle.took_ms)
        if isinstance(verdict, AnswersLater):
            return await world.store.answering(attempt, verdict.within_ms, settle.took_ms)
        lease = world.leases.trusted(self.shard)
        if lease is None:
            return None
        match verdict:
            case Retry(after_ms, reason, spent):
                return await world.store.retry(
                    lease, attempt, after_ms, status, reason, *said, spent=spent
                )
            case Divide(reason):
                return await world.store.divide(lease, attempt, status, reason, *said)
            case Bury(reason):
                return await world.store.bury(lease, attempt, status, reason, *said)
            case _:
                assert_never(verdict)

    def _past(self, settle: Settle, result: api.SettleResult | None) -> PastAttempt:
        """What the history tells of an attempt; it was made, whether the store took its verdict or
        not."""
        verdict, batch = settle.verdict, settle.attempt.batch
        taken = isinstance(verdict, Ack | AnswersLater)
        outcome: PastOutcome = "delivered" if taken else "failed"
        if isinstance(verdict, Bury):
            # Where the answer to a burial was lost, its repetition finds the batch gone.
            repeated = settle.at is not None and isinstance(result, api.Gone)
            if repeated or (isinstance(result, api.Settled) and not result.known):
                outcome = "dead"
        return PastAttempt(
            batch.user,
            batch.id,
            settle.attempt.number,
            outcome,
            settle.status,
            None if isinstance(verdict, Ack | AnswersLater) else verdict.reason,
            settle.took_ms,
            len(batch.stored),
            sum(map(len, batch.stored)),
            self._world.store.replica,
            marks_of(batch.stored),
            route=batch.route,
        )

    def _count(self, settle: Settle, *, known: bool) -> None:
        events, batch = self._world.events, settle.attempt.batch
        counters = self._world.counters.of(batch.route)
        if known:
            # The ack that came first has said that the batch was delivered.
            counters.failed += not isinstance(settle.verdict, Ack | AnswersLater)
            return
        facts = {
            "user": batch.user,
            "route": batch.route,
            "batch_id": batch.id,
            "attempt": settle.attempt.number,
            "status": settle.status,
            "replica": self._world.store.replica,
            "duration_ms": settle.took_ms,
        }
        match settle.verdict:
            case Ack():
                counters.delivered += 1
                counters.delivered_messages += len(batch.stored)
                events.publish("delivered", **facts, messages=len(batch.stored))
            case AnswersLater():
                counters.answering += 1
            case Retry() as retry:
                counters.failed += 1
                events.publish(
                    "failed",
                    **facts,
                    reason=retry.reason,
                    answer=settle.answer,
                    retry_in=retry.after_ms / 1000,
                )
            case Divide() as divide:
                counters.failed += 1
                counters.divided += 1
                events.publish("divided", **facts, reason=divide.reason, answer=settle.answer)
            case Bury() as bury:
                counters.failed += 1
                counters.dead += 1
                events.publish("dead", **facts, reason=bury.reason, answer=settle.answer)
                self._world.journal.dead_letter(
                    batch.key, batch.id, settle.attempt.number, bury.reason
                )

    # What goes wrong

    def _trouble(self) -> Trouble:
        self._world.counters.store_failures += 1
        return Trouble(trio.current_time() + STORE_PAUSE_S * (1 + self._world.random.random()))

    def _fenced(self) -> Lost:
        self._world.counters.fenced += 1
        self._world.leases.doubt(self.shard)
        return Lost()

    def _free_slot(self) -> None:
        if self._slot is not None:
            self._slot.release()
            self._slot = None
