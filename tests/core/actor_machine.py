"""The adversary around the machine behind a user's timer.

It posts, orders, reorders, loses and repeats what travels in `actor_world`, kills actors and
replicas, cuts them off, lets leases lapse and move. Two judges look on, besides what the world
asserts at each hand-over:

- the ledger: the contract's guarantees, from what the store granted and took;
- at rest (nothing can happen before time passes): whoever was told about a user's next step has
  an actor that wakes for it in time, and no granted attempt lies about unless its holder died.

In the end the adversary stops, and within a bounded number of turns everything is out and every
actor gone.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actor_queue.core import actor as rules
from actor_queue.core.actor import Phase
from actor_queue.core.message import Accepted, Message
from actor_queue.core.settings import Settings
from tests.core.actor_world import (
    HORIZON_S,
    LEASE_TTL_MS,
    NEVER,
    REPLICAS,
    SCHEDULE_MS,
    SHARDS,
    TIMEOUT_MS,
    USERS,
    ActorWorld,
    Busy,
    News,
    shard,
)
from tests.model.ledger import Kept

WITHIN_MS = 2_500
ACTIONS_AT_REST_MAX = 400
"""Far more than any number of users needs to come to rest."""
DRAIN_TURNS_MAX = 400

Turns = list[tuple[Any, ...]]
FATES = ("ok", "ok", "ok", "ok", "lost", "down", "stale", "lapse")
"""Of a question: answered, answer lost, not executed, asked without trust, trust just lost."""
OUTCOMES = ("200", "500", "410", "413", "later", "lost 200")
BETWEEN: Turns = [
    *(("post", user, ttl) for user in USERS for ttl in (0, 1_000, 5_000)),
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


class ActorMachine(ActorWorld, RuleBasedStateMachine):
    """See the module's docstring."""

    @initialize(max_wait=st.sampled_from([0, 0, 3_000]), cap=st.sampled_from([2, 100]))
    def start(self, max_wait: int, cap: int) -> None:
        self.open(
            Settings(
                shards=SHARDS,
                max_ttl_ms=6_000,
                default_ttl_ms=1_000,
                max_wait_ms=max_wait,
                max_messages=cap,
                retry_schedule_ms=SCHEDULE_MS,
                webhook_timeout_ms=TIMEOUT_MS,
                lease_ttl_ms=LEASE_TTL_MS,
            )
        )

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
                self.ledger.dropped(user, dropped.batch_id, dropped.stored)
                return
        view = self.oracle.describe(self.now, user)
        self.tell(via, user, -1 if view.due_in_ms is None else view.due_in_ms, asked, before)

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
        """Somebody writes while the store's answer is on its way to the actor, and the news is
        quicker; of two messages the later one's."""
        for actor in list(self.actors.values()):
            asks = isinstance(actor.effect, rules.Claim | rules.Settle)
            if asks and actor.answer is None:
                self.something_possible(actor)
            if asks and actor.answer is not None:
                before = len(self.news)
                for ttl in ttls:
                    self.post(actor.user, actor.replica, ttl, lost=False)
                for news in reversed(self.news[before:]):
                    self.news_arrives(news)
                return

    def something_possible(self, actor: Busy) -> None:
        action = self.next_of(actor)
        if action is not None:
            action("ok", "200")

    @rule(turns=turns)
    def more_happens(self, turns: Turns) -> None:
        self.something_happens(turns)

    @rule(turns=turns, outcome=st.sampled_from(OUTCOMES))
    def much_happens_until_all_is_at_rest(self, turns: Turns, outcome: str) -> None:
        self.something_happens(turns)
        self.come_to_rest(outcome)

    @rule()
    def the_receiver_fails_for_long(self) -> None:
        for _ in range(len(SCHEDULE_MS) + 1):
            self.come_to_rest("500")
            self.time_passes(max(SCHEDULE_MS))

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
        # An attempt whose time is over is a batch that waits: a hold counts for it.
        step = max(step, line.hold_until_ms) if step <= self.now else step
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


def pick(things: list[Any], which: int) -> Any:
    return things[which % len(things)]
