"""The adversary around one user's machine: many actors, two replicas, one store in words.

The world below runs `core/actor.py` as the shells do, but every hand-over between an actor and
the rest is a thing of its own that can wait, be lost, be overtaken or arrive twice: questions,
answers, news, wake-ups, attempts. The store is the oracle. Three judges look on:

- the ledger and the receiver: the contract's guarantees, from what was granted and received;
- bounds: no question to the store without a reason, one verdict per attempt;
- at rest (nothing can happen before time passes): whoever was told about a user's next step has
  an actor that wakes for it in time, and no granted attempt lies about unless its holder died.

`take_step` and `fresh_token` are class attributes so that a fault can be planted in them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, assert_never

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actor_queue.core import actor as rules
from actor_queue.core.actor import ActorState, Effect, Event, Phase, Policy
from actor_queue.core.batch import Attempt, batch_id
from actor_queue.core.message import Accepted, Message
from actor_queue.core.outcome import Ack, Bury, Delivered, Failed, Outcome, Retry, Verdict
from actor_queue.core.payload import render
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store import api
from tests.model.ledger import Kept, Ledger, numbers_of
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
WITHIN_MS = 2_500
ACTIONS_AT_REST_MAX = 400
"""Far more than any number of users needs to come to rest."""
DRAIN_TURNS_MAX = 400
NEVER = 10**15

HORIZON_S = 4.0
TICK_S = 1e-7
"""Two readings of the local clock are never the same."""

Turns = list[tuple[Any, ...]]
FATES = ("ok", "ok", "ok", "ok", "lost", "down", "stale", "lapse")
"""Of a question: answered, answer lost, not executed, asked without trust, trust just lost."""
OUTCOMES = ("200", "500", "410", "later", "lost 200")
BETWEEN: Turns = [
    *(("post", user, ttl) for user in USERS for ttl in (0, 1_000)),
    *(("wake early", which) for which in range(2)),
    *(("drop", user) for user in USERS),
    *(("crossing", ttls) for ttls in ((0,), (1_000,), (1_000, 0), (0, 1_000))),
]
TURNS: Turns = [
    *(("goes on", which, "ok", outcome) for outcome in OUTCOMES for which in range(4)),
    *(("goes on", which, fate, "200") for fate in FATES for which in range(4)),
    *(2 * BETWEEN),
]
"""Of all that could go on, one (how the store behaves, what the receiver does); or something else
in between."""
turns = st.lists(st.sampled_from(TURNS), min_size=4, max_size=20)

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
        body = b"".join(batch.items) + repr((batch.seq, batch.closed_at_ms)).encode()
        assert self.bodies.setdefault(batch.id, body) == body, "the same id with other bytes"
        seen = self.first_seen.setdefault(batch.user, [])
        numbers = numbers_of(batch.items)
        if set(numbers) - set(seen):
            assert not set(numbers) & set(seen), "a message in two batches"
            assert not seen or numbers[0] > max(seen), "out of order"
            seen.extend(numbers)

    def end(self, user: str, *, took_it: bool) -> None:
        name = self.open.pop(user)
        if took_it:
            self.accepted.add(name)


class ActorMachine(RuleBasedStateMachine):
    """See the module's docstring."""

    take_step: ClassVar[Step] = staticmethod(rules.step)
    fresh_token: ClassVar[bool] = False
    """Planted: every claim has a token of its own, also one that repeats a lost one."""

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

    @initialize(max_wait=st.sampled_from([0, 0, 3_000]), cap=st.sampled_from([2, 100]))
    def start(self, max_wait: int, cap: int) -> None:
        self.oracle = Oracle(
            Settings(
                shards=SHARDS,
                max_ttl_ms=6_000,
                default_ttl_ms=1_000,
                max_wait_ms=max_wait,
                max_messages=cap,
                retry_schedule_ms=SCHEDULE_MS,
                webhook_timeout_ms=TIMEOUT_MS,
                lease_ttl_ms=LEASE_TTL_MS,
            ),
            shard,
        )
        for which in range(SHARDS):
            self.acquire("r0", which)

    # Changes, through either replica

    @rule(
        user=st.sampled_from(USERS),
        via=st.sampled_from(["r0", "r0", "r1"]),
        ttl=st.sampled_from([0, 0, 200, 1_000, 5_000]),
        lost=st.sampled_from([False] * 5 + [True]),
    )
    def post(self, user: str, via: str, ttl: int, lost: bool) -> None:
        self.serial += 1
        name = f"m{self.serial}"
        self.names.append((user, name))
        self.append(user, via, ttl, name, lost=lost)

    def append(self, user: str, via: str, ttl: int, name: str, *, lost: bool) -> None:
        body = json.dumps({"n": self.serial, "message": "oi"}).encode()
        message = Message(user, body, ttl, name, remembered=True)
        asked, before = self.local(), self.oracle.line(user).next_step_ms()
        (answer,) = self.oracle.append(self.now, [message])
        assert isinstance(answer, Accepted)
        if not answer.duplicate:
            self.ledger.accepted(user, Kept(self.serial, name, body, ttl))
        if lost:
            self.told.discard(user)
        else:
            self.tell(via, user, int(answer.next_in_ms), asked, before)

    @rule(
        user=st.sampled_from(USERS),
        via=st.sampled_from(["r0", "r0", "r1"]),
        order=st.sampled_from(["flush", "typing", "hold", "unhold", "drop"]),
    )
    def somebody_orders(self, user: str, via: str, order: str) -> None:
        asked, before = self.local(), self.oracle.line(user).next_step_ms()
        match order:
            case "flush":
                self.oracle.flush(self.now, user)
            case "typing":
                self.oracle.typing(self.now, user, 700)
            case "hold":
                self.oracle.hold(self.now, user, 1_500)
                self.ledger.held(user, self.now + 1_500)
            case "unhold":
                self.oracle.unhold(self.now, user)
                self.ledger.held(user, 0)
            case "drop":
                dropped = self.oracle.drop(self.now, user)
                self.ledger.dropped(user, dropped.batch_id, dropped.items)
                return
        view = self.oracle.describe(self.now, user)
        self.tell(via, user, -1 if view.due_in_ms is None else view.due_in_ms, asked, before)

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

    # Whatever can happen next, in any order

    @rule(turns=turns)
    def something_happens(self, turns: Turns) -> None:
        for turn in turns:
            match turn:
                case "goes on", which, fate, outcome:
                    possible = self.possible()
                    if possible:
                        pick(possible, which)(fate, outcome)
                case "post", user, ttl:
                    self.post(user, "r0", ttl, lost=False)
                case "wake early", which:
                    self.mischief("wake early", which)
                case "drop", user:
                    self.somebody_orders(user, "r0", "drop")
                case "crossing", ttls:
                    self.news_crosses_an_answer(ttls)

    def news_crosses_an_answer(self, ttls: tuple[int, ...]) -> None:
        """Somebody writes while an answer is on its way to the actor, and the news is quicker; of
        two messages the later one's."""
        waiting = [actor for actor in self.actors.values() if actor.answer is not None]
        if waiting:
            before = len(self.news)
            for ttl in ttls:
                self.post(waiting[0].user, waiting[0].replica, ttl, lost=False)
            for news in reversed(self.news[before:]):
                self.news_arrives(news)

    @rule(turns=turns)
    def more_happens(self, turns: Turns) -> None:
        self.something_happens(turns)

    @rule(turns=turns, outcome=st.sampled_from(OUTCOMES))
    def much_happens_until_all_is_at_rest(self, turns: Turns, outcome: str) -> None:
        self.something_happens(turns)
        self.come_to_rest(outcome)

    @rule(outcome=st.sampled_from(OUTCOMES))
    def come_to_rest(self, outcome: str) -> None:
        self.sound = False
        for _ in range(ACTIONS_AT_REST_MAX):
            possible = self.possible()
            if not possible:
                break
            possible[0]("ok", outcome)
        else:
            raise AssertionError("the actors never come to rest")
        self.check_at_rest()
        self.sound = True

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
                assert not outcome.final, "tried again although the receiver never wants it"
                assert attempt.number <= len(SCHEDULE_MS), "tried for ever"
                assert after_ms >= 0.8 * SCHEDULE_MS[attempt.number - 1], "off the schedule"
                assert after_ms >= 1_000 * (outcome.retry_after_s or 0), "Retry-After ignored"
            case Bury():
                assert isinstance(outcome, Failed)
                assert outcome.final or attempt.number > len(SCHEDULE_MS), "given up too soon"
            case _:
                assert_never(verdict)

    def execute(
        self, attempt: Attempt, verdict: Verdict, lease: api.Lease | None
    ) -> api.SettleResult:
        user, name = attempt.batch.user, attempt.batch.id
        if isinstance(verdict, Ack):
            result = self.oracle.ack(self.now, attempt, 200)
            if isinstance(result, api.Settled):
                self.ledger.delivered(user, name)
            return result
        assert lease is not None
        if isinstance(verdict, Retry):
            result = self.oracle.retry(
                self.now, lease, attempt, verdict.after_ms, None, verdict.reason
            )
            if isinstance(result, api.Settled):
                self.ledger.waits(user)
            return result
        result = self.oracle.bury(self.now, lease, attempt, None, verdict.reason)
        if isinstance(result, api.Settled):
            self.ledger.buried(user, name)
        return result

    def trouble(self) -> Answer:
        return says(rules.Trouble((self.now + PAUSE_MS) / 1_000))

    # What the adversary does besides

    @rule(
        what=st.sampled_from(["post again", "news twice", "wake early", "wake early"]),
        which=st.integers(0, 5),
    )
    def mischief(self, what: str, which: int) -> None:
        if what == "post again" and self.names:
            self.post_again(which)
        elif what == "news twice" and self.news:
            self.news.append(pick(self.news, which))
        elif what == "wake early" and self.actors:
            self.wake_too_early(pick(list(self.actors.values()), which))

    def post_again(self, which: int) -> None:
        """The platform repeats itself."""
        user, name = pick(self.names, which)
        self.serial += 1
        self.append(user, "r0", 0, name, lost=False)

    def wake_too_early(self, actor: Busy) -> None:
        if isinstance(actor.effect, rules.Sleep):
            actor.not_before_ms = self.now
            self.wake(actor)

    @rule(
        what=st.sampled_from(["actor dies", "actor dies", "crash", "cut off", "cut off"]),
        which=st.integers(0, 5),
        replica=st.sampled_from(REPLICAS),
    )
    def disaster(self, what: str, which: int, replica: str) -> None:
        if what == "crash":
            self.crash(replica)
        elif what == "cut off":
            self.cut_off(replica)
        elif self.actors:
            self.an_actor_dies(pick(list(self.actors.values()), which))

    def an_actor_dies(self, actor: Busy) -> None:
        del self.actors[actor.replica, actor.user]
        self.abandon(actor)

    def crash(self, replica: str) -> None:
        for actor in [one for one in self.actors.values() if one.replica == replica]:
            del self.actors[replica, actor.user]
            self.abandon(actor)
        self.news = [one for one in self.news if one.replica != replica]
        for where in range(SHARDS):
            if self.trust.pop((replica, where), None):
                self.told -= {user for user in USERS if shard(user) == where}
        self.nonces[replica] += 1
        self.cut.discard(replica)

    def cut_off(self, replica: str) -> None:
        """From the store: no answers, no renewals."""
        self.cut ^= {replica}

    @rule(replica=st.sampled_from(REPLICAS))
    def sweep(self, replica: str) -> None:
        """Rumours for everybody who is due soon."""
        if replica in self.cut:
            return
        asked = self.local()
        owned = [which for which in range(SHARDS) if self.trusted(replica, which)]
        for found in self.oracle.due(self.now, owned, WITHIN_MS, 100):
            for due in found:
                self.told.add(due.user)
                self.news.append(News(replica, due.user, self.now + due.remaining_ms, asked))

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

    @rule(ms=st.sampled_from([1, 100, 300, 1_000, 2_000, 5_000]))
    def time_passes(self, ms: int) -> None:
        until = self.now + ms
        for actor in sorted(self.actors.values(), key=lambda one: one.deadline_ms):
            if actor.carrying and actor.deadline_ms <= until:
                self.now, self.ticks = max(self.now, actor.deadline_ms), 0
                self.end_attempt(actor, "timeout")
        self.now, self.ticks = until, 0
        self.renew()
        for replica in REPLICAS:
            for where in range(SHARDS):
                self.acquire(replica, where)

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

    # Judgement

    @invariant()
    def nothing_is_lost_or_repeated(self) -> None:
        if hasattr(self, "oracle"):
            for user in USERS:
                held = self.oracle.holdings(user)
                self.ledger.check_holdings(user, held["sealed"] + held["open"], held["flight"])

    @invariant()
    def nobody_waits_beyond_the_horizon(self) -> None:
        for actor in self.actors.values():
            if actor.state.phase is Phase.WAITING and actor.due_ms < NEVER:
                assert actor.due_ms <= self.now + HORIZON_S * 1_000

    def check_at_rest(self) -> None:
        for user in self.told:
            owner = self.owner(user)
            if owner is not None:
                self.check_told(owner, user)

    def owner(self, user: str) -> str | None:
        """The replica that holds the user's shard and may know it."""
        for replica in REPLICAS:
            lease = self.trusted(replica, shard(user))
            if lease and self.oracle._holds(lease, self.now) and replica not in self.cut:
                return replica
        return None

    def check_told(self, owner: str, user: str) -> None:
        actor, line = self.actors.get((owner, user)), self.oracle.line(user)
        step = line.next_step_ms()
        if actor is not None and actor.state.phase is Phase.SETTLING:
            return
        if actor is not None and actor.trouble_ms is not None:
            assert actor.due_ms <= actor.trouble_ms, "a repeated question was put off"
            return
        if step is None:
            return
        assert actor is not None, f"{user} has a next step and its owner forgot it"
        assert actor.due_ms <= max(step, self.now), f"{user}: the timer is set too late"
        flight = line.flight
        if flight and flight.retry_at_ms is None and self.now < flight.limit_at_ms:
            held_elsewhere = any(
                one.state.attempt is not None for one in self.actors.values() if one.user == user
            )
            orphan = (flight.batch.id, flight.number) in self.orphans
            assert orphan or held_elsewhere, "an attempt was granted and nobody carries it"

    # The end: the adversary stops, everything goes out, the actors go home

    def teardown(self) -> None:
        if self.sound and hasattr(self, "oracle"):
            self.drain()

    def drain(self) -> None:
        self.cut.clear()
        for user in USERS:
            self.oracle.unhold(self.now, user)
            self.ledger.held(user, 0)
        for _ in range(DRAIN_TURNS_MAX):
            self.sweep("r0")
            self.sweep("r1")
            self.come_to_rest("200")
            following = self.next_moment()
            if following is None:
                break
            self.time_passes(max(100, min(following - self.now, 1_000)))
        else:
            raise AssertionError("the adversary has stopped and something never ends")
        for user, story in self.ledger.stories.items():
            assert not self.ledger.pending(user), "accepted and never handed out"
            assert story.unresolved is None, "handed out and never settled"

    def next_moment(self) -> int | None:
        """When something happens next; None when all is done and every actor is gone."""
        moments = [actor.due_ms for actor in self.actors.values()]
        moments += [self.now] * len(self.news)
        moments += [
            step for user in USERS if (step := self.oracle.line(user).next_step_ms()) is not None
        ]
        return min(moments, default=None)


def says(event: Event) -> Answer:
    return lambda heard: event


def shard(user: str) -> int:
    return shard_of(user, SHARDS)


def pick(things: list[Any], which: int) -> Any:
    return things[which % len(things)]
