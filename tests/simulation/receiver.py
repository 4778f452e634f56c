"""The webhook's receiver, and the road to it: the `deliver` function of every replica."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actor_queue.core.answers import ACCEPTED
from actor_queue.core.batch import Batch
from actor_queue.core.conversation import route_of
from actor_queue.core.delivery import outcome_of_status
from actor_queue.core.outcome import Failed, Outcome
from actor_queue.core.payload import render
from actor_queue.store.base import ATTEMPT_MARGIN_MS
from tests.simulation.bots import Bots, Work
from tests.simulation.history import Attempted, name_of

if TYPE_CHECKING:
    from tests.simulation.replica import Replica
    from tests.simulation.world import World

FAILING_SHARE = 0.5
"""Of the attempts that a webhook fault at rate 1 strikes."""
HEIR_SHARE = (0.6, 0.98)
"""Of an attempt's time, for one that an earlier attempt's ack has to overtake."""
ASKED_S = 2.0
"""What a dead receiver asks for that can still say so."""


class Exchange:
    """One POST."""

    def __init__(self, record: Attempted, work: Work | None) -> None:
        self.record = record
        self.work = work
        """Where the receiver may answer later."""
        self.answered = trio.Event()
        self.outcome: Outcome | None = None


class Receiver:
    """Takes batches, and fails as the plan says."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._bots = Bots(world)
        self._chance = world.dice.stream("receiver")
        self._late = world.dice.stream("late acks")

    async def deliver(self, replica: Replica, batch: Batch, deadline_s: float) -> Outcome:
        """One attempt, with a time limit. Failures are values."""
        exchange: Exchange | None = None
        try:
            with trio.move_on_after(deadline_s):
                replica.boundary()
                await trio.sleep(self._chance.uniform(0.0005, 0.003))
                if replica.dead:
                    await trio.sleep_forever()
                if self._dead(batch.key) == "refuses" or self._struck("webhook_refuses"):
                    return Failed("connection refused")
                exchange = self._begin(replica, batch)
                await exchange.answered.wait()
                assert exchange.outcome is not None
                exchange.record.heard = exchange.record.processed and not isinstance(
                    exchange.outcome, Failed
                )
                return exchange.outcome
        finally:
            if exchange is not None and exchange.record.ended is None:
                exchange.record.ended = trio.current_time()
        return Failed(f"timed out after {deadline_s:.3g} s")

    def _begin(self, replica: Replica, batch: Batch) -> Exchange:
        record = Attempted(
            trio.current_time(),
            replica.name,
            batch.key,
            batch.id,
            render(batch),
            tuple(map(name_of, batch.messages)),
            later=batch.offer is not None,
        )
        self.world.history.note(record)
        exchange = Exchange(record, self._bots.take(batch))
        takes_s = self._chance.uniform(0.001, 0.02)
        if self._struck("webhook_slow"):
            takes_s = self._chance.uniform(0.1, 1.3) * self._attempt_s(batch.key)
        takes_s = self._overtaken_s(replica, batch) or takes_s
        hangs = self._dead(batch.key) == "hangs" or self._struck("webhook_hangs")
        if exchange.work is not None and exchange.work.before and not self._dead(batch.key):
            self.world.begin(self._bots.work, exchange.work)
        if not hangs:
            self.world.agenda.after(takes_s, lambda: self._answer(exchange, replica))
        return exchange

    def _overtaken_s(self, replica: Replica, batch: Batch) -> float | None:
        """How long the attempt takes, where the ack of the one before comes in the middle of it."""
        if not self.world.plan.late_ack_share:
            return None
        attempt_s = self._attempt_s(batch.key)
        comes = self.world.nemesis.ack_comes(replica, batch.id, self._late.uniform(0, 0.1))
        return self._late.uniform(*HEIR_SHARE) * attempt_s if comes else None

    def _answer(self, exchange: Exchange, replica: Replica) -> None:
        record = exchange.record
        if record.ended is not None:
            return
        record.ended = trio.current_time()
        exchange.outcome = self._outcome(exchange)
        record.status = exchange.outcome.status
        if not isinstance(exchange.outcome, Failed):
            record.processed = exchange.work is None or record.status != ACCEPTED
            if exchange.work is not None and not (record.processed or exchange.work.before):
                self.world.begin(self._bots.work, exchange.work)
            share = self.world.plan.late_ack_share
            if share and record.processed and self.world.chaos and self._late.random() < share:
                limit_s = self._attempt_s(record.user) + ATTEMPT_MARGIN_MS / 1000
                self.world.nemesis.hold_ack(replica, record.batch_id, limit_s)
            if self._struck("webhook_answer_lost"):
                exchange.outcome = Failed("the connection broke")
        replica.boundary()
        exchange.answered.set()

    def _outcome(self, exchange: Exchange) -> Outcome:
        plan, record = self.world.plan, exchange.record
        match self._dead(record.user):
            case "fails":
                return outcome_of_status(500, None)
            case "asks":
                return outcome_of_status(503, ASKED_S)
        most = plan.receiver_bytes_max(record.user)
        if plan.has("webhook_too_large") and self.world.chaos and len(record.body) > most:
            return outcome_of_status(413, None)
        if self._struck("webhook_gone", 0.3):
            return outcome_of_status(410, None)
        if self._struck("webhook_retry_after"):
            return outcome_of_status(503, self._chance.uniform(0.1, 3))
        if self._struck("webhook_fails"):
            return outcome_of_status(500, None)
        return outcome_of_status(200 if exchange.work is None else exchange.work.status, None)

    def _dead(self, user: str) -> str | None:
        """How the receiver of that conversation's route is dead, if it is."""
        death = self.world.plan.death
        if death is None or death.route != route_of(user) or not self.world.chaos:
            return None
        return death.how if death.start <= trio.current_time() < death.end else None

    def _attempt_s(self, user: str) -> float:
        return self.world.plan.route_of(user).timeout_ms / 1000

    def _struck(self, fault: str, share: float = FAILING_SHARE) -> bool:
        rate = self.world.plan.rates.get(fault)
        return rate is not None and self.world.chaos and self._chance.random() < share * rate
