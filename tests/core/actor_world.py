"""What a machine behind a timer lives in, taken apart: for the adversary in `actor_machine`.

Runs `core/actor.py` as the shells do, but every hand-over between an actor and the rest is a thing
of its own that can wait, be lost, be overtaken or arrive twice: questions, answers, news,
wake-ups, attempts. The store is the oracle. Whatever must hold at each single hand-over is
asserted here: no question without a reason, one verdict per attempt and the right one, no two
attempts at once, the same id with the same bytes.

`take_step` and `fresh_token` are class attributes so that a fault can be planted in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, assert_never

from actor_queue.core import actor as rules
from actor_queue.core.actor import ActorState, Effect, Event, Policy
from actor_queue.core.batch import Attempt, batch_id
from actor_queue.core.outcome import Ack, Bury, Delivered, Divide, Failed, Outcome, Retry, Verdict
from actor_queue.core.payload import render
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store import api
from tests.model.ledger import Ledger, numbers_of
from tests.model.oracle import Oracle

USERS = ("ana", "bia")
REPLICAS = ("r0", "r1")
SHARDS = 2
SCHEDULE_MS = (400, 1_000)
TIMEOUT_MS = 2_000
MARGIN_MS = 1_000
LEASE_TTL_MS = 4_000
TRUST_MS = 3_600
PAUSE_MS = 300
"""Before a store in trouble is asked again."""
NEVER = 10**15

HORIZON_S = 4.0
TICK_S = 1e-7
"""Two readings of the local clock are never the same."""

Step = Callable[[ActorState, Event, Policy], tuple[ActorState, Effect | None]]
Answer = Callable[[float], Event]
"""What the store or the receiver said, once it is known at what time it was heard."""


@dataclass
class Busy:
    """One actor and what is on its way to it."""

    replica: str
    user: str
    state: ActorState
    effect: Effect
    answer: Answer | None = None
    """On its way: the store's to a question asked, or the receiver's."""
    token: str = ""
    deadline_ms: int = NEVER
    """Of the attempt that it carries."""
    carrying: bool = False
    not_before_ms: int = 0
    """Earlier than this there is no reason to ask for a claim."""
    news_ms: int = NEVER
    trouble_ms: int | None = None
    """Set from a question without an answer until the next answer: when to ask again."""
    verdicts: dict[tuple[str, int], Verdict] = field(default_factory=dict)
    outcome: Outcome | None = None

    @property
    def due_ms(self) -> int:
        return NEVER if self.state.due is None else round(min(self.state.due, 1e12) * 1_000)


@dataclass
class News:
    """What a change or a sweep has to say to the actor, on its way."""

    replica: str
    user: str
    at_ms: int
    asked: float


@dataclass
class Receiver:
    """The other end: sees attempts, and remembers."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    open: dict[str, str] = field(default_factory=dict)
    """User → batch under way."""
    first_seen: dict[str, list[int]] = field(default_factory=dict)

    def begin(self, attempt: Attempt) -> None:
        batch = attempt.batch
        assert batch.user not in self.open, "two attempts for one user at the same time"
        self.open[batch.user] = batch.id
        body = b"".join(batch.stored) + repr((batch.seq, batch.closed_at_ms)).encode()
        assert self.bodies.setdefault(batch.id, body) == body, "the same id with other bytes"
        seen = self.first_seen.setdefault(batch.user, [])
        numbers = numbers_of(batch.stored)
        if set(numbers) - set(seen):
            assert not set(numbers) & set(seen), "a message in two batches"
            assert not seen or numbers[0] > max(seen), "out of order"
            seen.extend(numbers)

    def end(self, user: str, *, took_it: bool) -> None:
        name = self.open.pop(user)
        if took_it:
            self.accepted.add(name)


class ActorWorld:
    """Two replicas, their actors, one store, one receiver."""

    take_step: ClassVar[Step] = staticmethod(rules.step)
    fresh_token: ClassVar[bool] = False
    """Planted: every claim has a token of its own, also one that repeats a lost one."""

    oracle: Oracle

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000
        self.ticks = 0
        self.serial = 0
        self.actors: dict[tuple[str, str], Busy] = {}
        self.news: list[News] = []
        self.told: set[str] = set()
        """Users whose next step, as it is now, was said to their owner."""
        self.orphans: set[tuple[str, int]] = set()
        """Attempts whose holder died or lost its shard."""
        self.trust: dict[tuple[str, int], tuple[api.Lease, int]] = {}
        self.nonces = dict.fromkeys(REPLICAS, 0)
        self.cut: set[str] = set()
        self.receiver = Receiver()
        self.ledger = Ledger(ids_are_for_ever=True)
        self.names: list[tuple[str, str]] = []
        self.policy = Policy(SCHEDULE_MS, HORIZON_S)
        self.sound = True

    def open(self, settings: Settings) -> None:
        self.oracle = Oracle(settings, shard)
        for which in range(SHARDS):
            self.acquire("r0", which)

    def tell(
        self, via: str, user: str, next_in_ms: int, asked: float, before_ms: int | None
    ) -> None:
        """News for the actor: from its own engine, or from another replica by way of the store,
        which says only what is sooner than it was."""
        at_ms = self.now + next_in_ms
        if next_in_ms < 0:
            return
        if self.trusted(via, shard(user)) is not None:
            self.told.add(user)
            self.news.append(News(via, user, at_ms, asked))
        elif before_ms is None or at_ms < before_ms:
            owner = self.owner(user)
            if owner is None:
                self.told.discard(user)
            else:
                self.told.add(user)
                self.news.append(News(owner, user, at_ms, -math.inf))

    def local(self) -> float:
        """A replica's clock."""
        self.ticks += 1
        return self.now / 1_000 + self.ticks * TICK_S

    # Whatever can happen next

    def possible(self) -> list[Callable[[str, str], None]]:
        """Everything that could be the next thing to happen."""
        actions: list[Callable[[str, str], None]] = [self.arriving(news) for news in self.news]
        for actor in self.actors.values():
            action = self.next_of(actor)
            if action is not None:
                actions.append(action)
        return actions

    def arriving(self, news: News) -> Callable[[str, str], None]:
        return lambda fate, outcome: self.news_arrives(news)

    def next_of(self, actor: Busy) -> Callable[[str, str], None] | None:
        if actor.answer is not None:
            return lambda fate, outcome: self.answer_arrives(actor)
        match actor.effect:
            case rules.Sleep():
                if actor.due_ms > self.now:
                    return None
                return lambda fate, outcome: self.wake(actor)
            case rules.Claim():
                return lambda fate, outcome: self.ask_claim(actor, fate)
            case rules.Deliver(attempt):
                if actor.carrying:
                    return lambda fate, outcome: self.end_attempt(actor, outcome)
                return lambda fate, outcome: self.begin_attempt(actor, attempt, fate)
            case rules.Settle() as settle:
                if settle.at is not None and round(settle.at * 1_000) > self.now:
                    return None
                return lambda fate, outcome: self.ask_settle(actor, settle, fate)
            case rules.Stop():
                raise AssertionError("an actor that stopped is still there")
            case _:
                assert_never(actor.effect)

    def news_arrives(self, news: News) -> None:
        self.news.remove(news)
        if self.trusted(news.replica, shard(news.user)) is None:
            self.told.discard(news.user)
            return
        actor = self.actors.get((news.replica, news.user))
        heard = self.local()
        if actor is None:
            self.start_actor(news, heard)
            return
        event = rules.Nudged(news.at_ms / 1_000, news.asked, heard)
        actor.state, effect = self.step(actor, event)
        assert effect is None or isinstance(effect, rules.Stop), "news starts nothing"
        actor.news_ms = min(actor.news_ms, news.at_ms)
        actor.not_before_ms = min(actor.not_before_ms, news.at_ms)
        if effect is not None:
            self.go_home(actor)

    def start_actor(self, news: News, heard: float) -> None:
        """As the registry does, for whoever is due within the horizon."""
        if news.at_ms / 1_000 > heard + HORIZON_S:
            self.told.discard(news.user)
            return
        state, effect = rules.started(news.at_ms / 1_000, heard)
        actor = Busy(news.replica, news.user, state, effect, not_before_ms=news.at_ms)
        self.actors[news.replica, news.user] = actor

    def go_home(self, actor: Busy) -> None:
        """The actor is done: nothing waits for its user, or nothing that is due soon."""
        del self.actors[actor.replica, actor.user]
        step = self.oracle.line(actor.user).next_step_ms()
        if step is not None and step > self.now + HORIZON_S * 1_000:
            self.told.discard(actor.user)

    def answer_arrives(self, actor: Busy) -> None:
        answer, actor.answer = actor.answer, None
        assert answer is not None
        self.happen(actor, answer(self.local()))

    def wake(self, actor: Busy) -> None:
        actor.news_ms = NEVER
        self.happen(actor, rules.Woke())

    def happen(self, actor: Busy, event: Event) -> None:
        """Hand `event` to the actor."""
        actor.state, effect = self.step(actor, event)
        assert effect is not None, "nothing to do next"
        actor.effect = effect
        self.expect_after(actor, event)
        if isinstance(effect, rules.Stop):
            self.go_home(actor)

    def step(self, actor: Busy, event: Event) -> tuple[ActorState, Effect | None]:
        return type(self).take_step(actor.state, event, self.policy)

    def expect_after(self, actor: Busy, event: Event) -> None:
        """What the next question's reason is, and what must not follow."""
        trouble, actor.trouble_ms = actor.trouble_ms, None
        match event:
            case rules.Later(at) | rules.Settled(float(at)):
                actor.not_before_ms = min(round(at * 1_000), actor.news_ms)
            case rules.Settled() | rules.Empty():
                actor.not_before_ms = actor.news_ms
            case rules.Vanished():
                actor.not_before_ms = self.now
            case rules.Trouble(at):
                actor.trouble_ms = round(at * 1_000)
                actor.not_before_ms = min(actor.trouble_ms, actor.news_ms)
            case rules.Lost():
                assert isinstance(actor.effect, rules.Stop), "goes on without its shard"
                self.abandon(actor)
            case rules.Woke():
                actor.trouble_ms = trouble
        if isinstance(actor.effect, rules.Deliver | rules.Settle):
            assert isinstance(event, rules.Claimed | rules.Attempted | rules.Trouble), (
                f"{actor.effect} after {event}"
            )

    # The shell's side: claims

    def ask_claim(self, actor: Busy, fate: str) -> None:
        assert self.now >= actor.not_before_ms, "a question without a reason"
        where = shard(actor.user)
        self.perhaps_lapse(actor, fate)
        lease = self.trusted(actor.replica, where)
        if fate == "stale" and (actor.replica, where) in self.trust:
            lease, _ = self.trust[actor.replica, where]
        if lease is None:
            actor.answer = says(rules.Lost())
            return
        actor.not_before_ms = NEVER
        if fate == "down" or actor.replica in self.cut:
            actor.answer = self.trouble()
            return
        self.serial += 1
        if self.fresh_token or not actor.token:
            actor.token = f"t{self.serial}"
        name = batch_id(where, f"{self.serial:020x}")
        claim = self.oracle.claim(self.now, lease, actor.user, actor.token, name)
        if isinstance(claim, Attempt):
            self.ledger.attempted(claim, self.now)
            actor.deadline_ms = self.now + claim.limit_in_ms - MARGIN_MS
        if not isinstance(claim, api.Fenced):
            self.told.add(actor.user)
        if fate == "lost":
            actor.answer = self.trouble()
            return
        actor.token = ""
        match claim:
            case Attempt():
                actor.answer = says(rules.Claimed(claim))
            case api.NotDue(remaining_ms):
                at = (self.now + remaining_ms) / 1_000
                actor.answer = lambda heard: rules.Later(at, heard)
            case api.Nothing():
                actor.answer = says(rules.Empty())
            case api.Fenced():
                self.trust.pop((actor.replica, where), None)
                actor.answer = says(rules.Lost())
            case _:
                assert_never(claim)

    def perhaps_lapse(self, actor: Busy, fate: str) -> None:
        """The process was frozen for so long that it may not trust its lease any more."""
        lease = self.trusted(actor.replica, shard(actor.user))
        if fate == "lapse" and lease is not None:
            self.trust[actor.replica, shard(actor.user)] = (lease, self.now)

    # Attempts

    def begin_attempt(self, actor: Busy, attempt: Attempt, fate: str) -> None:
        self.perhaps_lapse(actor, fate)
        stale = fate == "stale" and self.now < actor.deadline_ms
        if self.trusted(actor.replica, shard(actor.user)) is None and not stale:
            actor.answer = says(rules.Lost())
            return
        render(attempt.batch)
        self.receiver.begin(attempt)
        actor.carrying = True
        if self.now >= actor.deadline_ms:
            self.end_attempt(actor, "timeout")

    def end_attempt(self, actor: Busy, outcome: str) -> None:
        actor.carrying = False
        self.receiver.end(actor.user, took_it=outcome in ("200", "lost 200"))
        results: dict[str, Outcome] = {
            "200": Delivered(200),
            "500": Failed("answered 500", 500),
            "410": Failed("answered 410", 410, final=True),
            "413": Failed("answered 413", 413),
            "later": Failed("answered 503", 503, retry_after_s=1.8),
            "lost 200": Failed("connection lost"),
            "timeout": Failed("timed out"),
        }
        actor.outcome = results[outcome]
        actor.answer = says(rules.Attempted(actor.outcome, 0.5))

    # Verdicts

    def ask_settle(self, actor: Busy, settle: rules.Settle, fate: str) -> None:
        attempt, verdict = settle.attempt, settle.verdict
        self.perhaps_lapse(actor, fate)
        key = (attempt.batch.id, attempt.number)
        self.check_verdict(actor, attempt, verdict)
        assert actor.verdicts.setdefault(key, verdict) == verdict, "another verdict"
        lease = self.trusted(actor.replica, shard(actor.user))
        if lease is None and not isinstance(verdict, Ack):
            actor.answer = says(rules.Lost())
            return
        if fate == "down" or actor.replica in self.cut:
            actor.answer = self.trouble()
            return
        result = self.execute(attempt, verdict, lease)
        if not isinstance(result, api.Fenced):
            self.told.add(actor.user)
        if fate == "lost":
            actor.answer = self.trouble()
            return
        match result:
            case api.Settled(next_in_ms):
                at = None if next_in_ms is None else (self.now + next_in_ms) / 1_000
                actor.answer = lambda heard: rules.Settled(at, heard)
            case api.Gone():
                actor.answer = says(rules.Vanished())
            case api.Fenced():
                actor.answer = says(rules.Lost())

    def check_verdict(self, actor: Busy, attempt: Attempt, verdict: Verdict) -> None:
        outcome = actor.outcome
        assert outcome is not None
        match verdict:
            case Ack():
                assert isinstance(outcome, Delivered), "a failure was acknowledged"
                assert attempt.batch.id in self.receiver.accepted
            case Retry(after_ms):
                assert isinstance(outcome, Failed)
                assert not outcome.final, "tried again in spite of a 410"
                assert attempt.number <= len(SCHEDULE_MS), "tried for ever"
                assert after_ms >= 0.8 * SCHEDULE_MS[attempt.number - 1], "off the schedule"
                assert after_ms >= 1_000 * (outcome.retry_after_s or 0), "Retry-After ignored"
            case Bury():
                assert isinstance(outcome, Failed)
                refused = outcome.final or outcome.status == 413
                assert refused or attempt.number > len(SCHEDULE_MS), "given up too soon"
            case Divide():
                assert outcome.status == 413
                assert len(attempt.batch.stored) > 1, "a single message divided"
            case _:
                assert_never(verdict)

    def execute(
        self, attempt: Attempt, verdict: Verdict, lease: api.Lease | None
    ) -> api.SettleResult:
        user, name, now, oracle = attempt.batch.user, attempt.batch.id, self.now, self.oracle
        if isinstance(verdict, Ack):
            result = oracle.ack(now, attempt, 200)
            return self.taken(result, attempt, lambda: self.ledger.delivered(attempt, now))
        assert lease is not None
        match verdict:
            case Retry(after_ms, reason):
                result = oracle.retry(now, lease, attempt, after_ms, None, reason)
                return self.taken(result, attempt, lambda: self.ledger.waits(user))
            case Divide(reason):
                result = oracle.divide(now, lease, attempt, None, reason)
                return self.taken(result, attempt, lambda: self.ledger.divided(attempt))
            case Bury(reason):
                result = oracle.bury(now, lease, attempt, None, reason)
                return self.taken(result, attempt, lambda: self.ledger.buried(user, name))

    def taken(
        self, result: api.SettleResult, attempt: Attempt, write: Callable[[], None]
    ) -> api.SettleResult:
        """The store took a verdict, which says something unless the batch was delivered before."""
        if isinstance(result, api.Settled):
            self.ledger.turn_over(attempt) if result.known else write()
        return result

    def trouble(self) -> Answer:
        return says(rules.Trouble((self.now + PAUSE_MS) / 1_000))

    # Leases

    def abandon(self, actor: Busy) -> None:
        """The actor is no more, whatever it was doing."""
        self.told.discard(actor.user)
        if actor.carrying:
            self.receiver.end(actor.user, took_it=False)
        flight = self.oracle.line(actor.user).flight
        if flight is not None:
            self.orphans.add((flight.batch.id, flight.number))

    def acquire(self, replica: str, where: int) -> None:
        if replica in self.cut:
            return
        nonce = f"{replica}-{self.nonces[replica]}"
        (answer,) = self.oracle.acquire(self.now, [where], replica, nonce, LEASE_TTL_MS)
        if isinstance(answer, api.Lease) and (replica, where) not in self.trust:
            self.told -= {user for user in USERS if shard(user) == where}
            self.trust[replica, where] = (answer, self.now + TRUST_MS)

    def renew(self) -> None:
        for (replica, where), (lease, _) in list(self.trust.items()):
            if replica in self.cut:
                continue
            if self.oracle.renew(self.now, [lease], LEASE_TTL_MS) == [True]:
                self.trust[replica, where] = (lease, self.now + TRUST_MS)
            else:
                del self.trust[replica, where]

    def trusted(self, replica: str, where: int) -> api.Lease | None:
        lease, until = self.trust.get((replica, where), (None, 0))
        return lease if self.now < until else None

    def owner(self, user: str) -> str | None:
        """The replica that holds the user's shard and may know it."""
        for replica in REPLICAS:
            lease = self.trusted(replica, shard(user))
            if lease and self.oracle._holds(lease, self.now) and replica not in self.cut:
                return replica
        return None


def says(event: Event) -> Answer:
    return lambda heard: event


def shard(user: str) -> int:
    return shard_of(user, SHARDS)
