"""The adversary: one state machine that drives the real store and the oracle side by side.

It sends, claims, settles and disturbs: duplicate and stale claims, forged and outdated leases,
verdicts late, twice, out of order or for unknown batches, lost answers (the same call again),
leases that expire and are taken over, a clock that jumps. After every step three judges look:
the oracle (every answer and every trace must be what the semantics say), the ledger (the
contract's guarantees, from the answers alone) and the keys themselves.

Subclasses say on which server.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from actor_queue.core.batch import Attempt, batch_id, claim_token
from actor_queue.core.message import Accepted, Appended, Message
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.api import (
    Dropped,
    Lease,
    Settled,
)
from tests.model.ledger import Kept, Ledger
from tests.model.oracle import Oracle
from tests.servers import fresh_namespace
from tests.store.changing import Changing
from tests.store.driver import Now, Subject
from tests.store.events import LIMITS, divisions, episodes, rounds_at_first
from tests.store.judge import pick

USERS = ("ana", "bia}{:p:ana", "caé\x00 🙂")
REPLICAS = ("r0", "r1", "r2")
SHARDS = 2
ATTEMPT_MS = 3_000
LEASE_TTL_MS = 2_000
"""Shorter than an attempt may take, so that leases are lost while one is under way."""
SAID = '{"olá": "\\n"}'

users = st.sampled_from([USERS[0]] * 4 + [*USERS[1:]])
"""Mostly the same one: what is interesting needs many steps with one user."""
replicas = st.sampled_from(REPLICAS)
ttls = st.sampled_from([0, 100, 1_000, 5_000])
recent = st.integers(0, 5)
"""Which of the things that happened: 0 is the last one."""
lost_answers = st.sampled_from([False, False, True])
verdicts = st.sampled_from(["ack", "ack", "retry", "retry", "bury", "divide"])


class Machine(Changing):
    """See the module's docstring."""

    people = USERS
    ids_expire: ClassVar[bool] = False
    """Whether the server's keys expire by the machine's clock."""

    def subject_for(self, settings: Settings, now: Now) -> Subject:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.sent: list[Message] = []
        self.claims: list[tuple[Lease, str, str, str]] = []
        self.attempts: list[Attempt] = []
        self.letters: list[str] = []
        self.leases: list[Lease] = []
        self.believed: dict[tuple[str, int], Lease] = {}
        self.nonces = dict.fromkeys(REPLICAS, 0)
        self.serial = 0

    @initialize(limits=st.fixed_dictionaries(LIMITS), events=episodes, rounds=rounds_at_first)
    def start(
        self, limits: dict[str, Any], events: list[str], rounds: list[tuple[str, ...]]
    ) -> None:
        self.settings = Settings(
            namespace=fresh_namespace(),
            shards=SHARDS,
            max_ttl_ms=5_000,
            default_ttl_ms=1_000,
            webhook_timeout_ms=ATTEMPT_MS - 1_000,
            lease_ttl_ms=LEASE_TTL_MS,
            retry_schedule_ms=(1_000,),
            dedup_window_ms=20_011 if self.ids_expire else 86_400_000,
            **limits,
        )
        self.subject = self.subject_for(self.settings, self.now)
        self.oracle = Oracle(self.settings, lambda user: shard_of(user, SHARDS))
        self.ledger = Ledger(ids_are_for_ever=not self.ids_expire)
        for shard in range(SHARDS):
            self.take_lease("r0", shard)
        self.episode(USERS[0], events)
        if rounds:
            self.a_receiver_finds_it_too_large(USERS[0], 6, rounds)

    def teardown(self) -> None:
        try:
            if self.sound:
                self.drain()
        finally:
            self.stack.close()

    # Messages in

    @rule(
        user=users,
        ttl=ttls,
        named=st.booleans(),
        size=st.sampled_from([0, 0, 60]),
        again=lost_answers,
    )
    def send(self, user: str, ttl: int, named: bool, size: int, again: bool) -> None:
        message = self.message(user, ttl, named, size)
        self.append([message], lost=again and named)

    @rule(people=st.lists(users, min_size=2, max_size=6), ttl=ttls)
    def send_many(self, people: list[str], ttl: int) -> None:
        self.append([self.message(user, ttl, named=False, size=0) for user in people])

    @rule(which=recent, ttl=ttls, company=st.sampled_from(["alone", "new", "itself"]))
    def send_again(self, which: int, ttl: int, company: str) -> None:
        """The platform repeats a message, perhaps with a new one; or sends a new one twice."""
        if not self.sent or company == "itself":
            self.message(pick(USERS, which), ttl, named=True, size=0)
        old = self.sent[-1] if company == "itself" else pick(self.sent, which)
        messages = [old._replace(ttl_ms=ttl, body=self.body())]
        if company == "new":
            messages.append(self.message(old.user, ttl, named=True, size=0))
        elif company == "itself":
            messages.append(old._replace(body=self.body()))
        self.append(messages, lost=True)

    def message(self, user: str, ttl: int, named: bool, size: int) -> Message:
        body = self.body(size)
        message = Message(user, body, ttl, f'm"é{self.serial}', named)
        if named:
            self.sent.append(message)
        return message

    def body(self, size: int = 0) -> bytes:
        self.serial += 1
        return json.dumps({"n": self.serial, "message": "x" * size}).encode()

    def append(self, messages: Sequence[Message], *, lost: bool = False) -> None:
        answers: list[Appended] = self.ask("append", messages, lost=lost)
        for message, answer in zip(messages, answers, strict=True):
            n = json.loads(message.body)["n"]
            if isinstance(answer, Accepted) and not answer.duplicate:
                kept = Kept(n, message.message_id, message.body, message.ttl_ms)
                self.ledger.accepted(message.user, kept)

    # Claims

    @rule(user=users, replica=replicas, again=lost_answers)
    def claim(self, user: str, replica: str, again: bool) -> None:
        """A replica claims with the lease that it believes it has."""
        lease = self.believed.get((replica, shard_of(user, SHARDS)))
        if lease:
            self.claim_with(lease, user, lost=again)

    def fire(self, user: str, again: bool) -> None:
        """Time passes until the user is due; whoever holds the shard, or takes it, claims."""
        if self.step_of(user) is None:
            self.append([self.message(user, 1_000, named=True, size=0)])
        self.now.ms += max(0, self.step_of(user) or 0)
        self.known = None
        self.claim_with(self.live_lease(user), user, lost=again)

    def fire_and_settle(self, user: str, verdict: str, after: int) -> None:
        self.fire(user, again=False)
        self.settle_properly(verdict, after, again=False)

    def step_of(self, user: str) -> int | None:
        """How far away the user's next step is, as the store's index has it."""
        return {one.user: one.remaining_ms for one in self.everybody_due()}.get(user)

    @precondition(lambda self: self.claims)
    @rule(which=recent)
    def claim_again_late(self, which: int) -> None:
        lease, user, token, name = pick(self.claims, which)
        self.claim_with(lease, user, token, name)

    @rule(user=users, epoch_off=st.sampled_from([-1, 0, 0, 1]), nonce=st.sampled_from(["", "x"]))
    def claim_without_the_right(self, user: str, epoch_off: int, nonce: str) -> None:
        lease = self.live_lease(user)
        forged = Lease(lease.shard, lease.epoch + epoch_off, lease.nonce + nonce)
        self.claim_with(forged, user)

    @rule(user=users, which=recent)
    def claim_with_a_lease_of_old(self, user: str, which: int) -> None:
        self.claim_with(replace(pick(self.leases, which), shard=shard_of(user, SHARDS)), user)

    def claim_with(
        self, lease: Lease, user: str, token: str = "", name: str = "", *, lost: bool = False
    ) -> None:
        self.serial += 1
        token = token or claim_token("r-1", f"{self.serial}")
        name = name or batch_id(lease.shard, f"{self.serial:020x}")
        self.claims.append((lease, user, token, name))
        answer = self.ask("claim", lease, user, token, name, lost=lost)
        if isinstance(answer, Attempt):
            self.ledger.attempted(answer, self.now.ms)
            self.attempts.append(answer)

    # Verdicts

    def settle_properly(self, verdict: str, after: int, again: bool) -> None:
        attempt = self.an_attempt(0)
        self.settle(attempt, verdict, self.live_lease(attempt.batch.user), after, lost=again)

    @precondition(lambda self: self.attempts)
    @rule(
        which=recent,
        old=recent,
        verdict=verdicts,
        after=st.sampled_from([0, 500]),
        again=lost_answers,
    )
    def settle_late(self, which: int, old: int, verdict: str, after: int, again: bool) -> None:
        """Any attempt, any lease, in any order, perhaps for the second time."""
        lease = pick(self.leases, old)
        self.settle(self.an_attempt(which), verdict, lease, after, lost=again)

    @rule(user=users, verdict=verdicts, again=lost_answers)
    def settle_after_losing_the_lease(self, user: str, verdict: str, again: bool) -> None:
        """While an attempt is under way its replica's lease runs out and another one takes over."""
        self.fire(user, again=False)
        lost = self.lose_the_lease(user)
        self.settle(self.an_attempt(0), verdict, lost, 500, lost=again)

    def lose_the_lease(self, user: str) -> Lease:
        lost = self.live_lease(user)
        self.time_passes(LEASE_TTL_MS)
        self.live_lease(user)
        return lost

    @rule(which=recent, number=st.integers(0, 3), known=st.booleans(), verdict=verdicts)
    def settle_wrongly(self, which: int, number: int, known: bool, verdict: str) -> None:
        """For a batch that never was, or for an attempt that never was."""
        real = self.an_attempt(which).batch
        other = replace(real, id=batch_id(shard_of(real.user, SHARDS), "f" * 20))
        attempt = Attempt(real if known else other, number, 1_000, "of no claim")
        self.settle(attempt, verdict, self.live_lease(real.user), 100)

    def hear_late(self, user: str) -> None:
        """The first attempt's ack comes when its time is over and the next one is under way."""
        self.fire(user, again=False)
        self.time_passes(ATTEMPT_MS)
        self.fire(user, again=False)
        self.settle(self.an_attempt(1), "ack", self.live_lease(user), 0, lost=True)

    def an_attempt(self, which: int) -> Attempt:
        while not self.attempts:
            self.fire(USERS[0], again=False)
        found: Attempt = pick(self.attempts, which)
        return found

    def settle(
        self, attempt: Attempt, verdict: str, lease: Lease, after: int, *, lost: bool = False
    ) -> None:
        user, name = attempt.batch.user, attempt.batch.id
        lease = Lease(shard_of(user, SHARDS), lease.epoch, lease.nonce)
        if verdict == "divide" and len(attempt.batch.stored) == 1:
            verdict = "bury"
        if verdict == "ack":
            answer = self.ask("ack", attempt, 204, lost=lost)
        elif verdict == "retry":
            answer = self.ask(
                "retry", lease, attempt, after, 503, "answered 503", SAID, 12, lost=lost
            )
        elif verdict == "divide":
            answer = self.ask("divide", lease, attempt, 413, "answered 413", None, 7, lost=lost)
        else:
            answer = self.ask("bury", lease, attempt, None, "gave up", SAID, lost=lost)
        match verdict, answer:
            case _, Settled(known=True):
                self.ledger.turn_over(attempt)
            case "ack", Settled():
                self.ledger.delivered(attempt, self.now.ms)
            case "retry", Settled():
                self.ledger.waits(user)
            case "divide", Settled():
                self.ledger.divided(attempt)
            case "bury", Settled():
                self.ledger.buried(user, name)
                self.letters.append(name)

    # What anybody may order

    def typing(self, user: str, ttl: int | None) -> None:
        self.ensure_pending(user)
        self.ask("typing", user, ttl, lost=True)

    def hold(self, user: str, for_ms: int, again: bool) -> None:
        if for_ms:
            self.ask("hold", user, for_ms, lost=again)
        else:
            self.ask("unhold", user, lost=again)
        self.ledger.held(user, self.now.ms + for_ms)

    def flush(self, user: str, again: bool) -> None:
        self.ensure_pending(user)
        self.ask("flush", user, lost=again)

    def drop(self, user: str, again: bool) -> None:
        self.ensure_pending(user)
        dropped: Dropped = self.ask("drop", user)
        self.ledger.dropped(user, dropped.batch_id, dropped.stored)
        if again:
            self.ask("drop", user, lost=True)

    def ensure_pending(self, user: str) -> None:
        """A rule must find something to do even where the run has left out the sending rules."""
        if not self.ledger.pending(user):
            self.append([self.message(user, 1_000, named=False, size=0)])

    def replay(self, which: int, again: bool) -> None:
        self.ask("dead_replay", self.a_letter(which), lost=again)

    @rule(which=recent, drop=st.booleans())
    def read_letter(self, which: int, drop: bool) -> None:
        name = self.a_letter(which)
        letter = self.ask("dead_letter", name)
        if drop and self.ask("dead_drop", name):
            self.ledger.letter_dropped(letter.user, name)

    def a_letter(self, which: int) -> str:
        while not self.letters:
            self.fire_and_settle(USERS[0], "bury", 0)
        found: str = pick(self.letters, which)
        return found

    @rule(user=users, count=st.integers(2, 6), rounds=divisions)
    def a_receiver_finds_it_too_large(
        self, user: str, count: int, rounds: list[tuple[str, ...]]
    ) -> None:
        self.append([self.message(user, 1_000, named=False, size=0) for _ in range(count)])
        for step in chain(("fire", "divide"), *rounds):
            if step == "stale":
                lost = self.lose_the_lease(user)
                self.settle(self.an_attempt(0), "divide", lost, 0)
            elif step == "wrong":
                self.settle(self.an_attempt(1), "divide", self.live_lease(user), 0)
            elif step == "limit":
                self.time_passes(ATTEMPT_MS)
            elif step == "late":
                self.hear_late(user)
            else:
                self.happen(step, user)
            self.what_is_kept_is_what_must_be()

    # Many steps with one user

    @rule(user=users, events=episodes)
    def episode(self, user: str, events: list[str]) -> None:
        """What is interesting needs several steps in a row with one user."""
        for event in events:
            self.happen(event, user)
            self.what_is_kept_is_what_must_be()

    def happen(self, event: str, user: str) -> None:
        """An exclamation mark: the answer is lost, and the caller asks again."""
        again = event.endswith("!")
        match event.rstrip("!").split():
            case ["send", ttl]:
                self.send(user, int(ttl), named=True, size=0, again=again)
            case ["repeat"]:
                self.send_again(0, 5_000, "alone")
            case ["repeat", "with", company]:
                self.send_again(0, 5_000, company)
            case ["fire"]:
                self.fire(user, again=again)
            case ["ack" | "retry" | "bury" | "divide" as verdict]:
                self.settle_properly(verdict, 500, again=again)
            case ["replay"]:
                self.replay(0, again=again)
            case ["typing", ttl]:
                self.typing(user, int(ttl))
            case ["hold", ms]:
                self.hold(user, int(ms), again=again)
            case ["flush"]:
                self.flush(user, again=again)
            case ["edit", length]:
                self.edit(0, int(length), again)
            case ["revoke", which]:
                self.revoke(int(which), again)
            case ["drop"]:
                self.drop(user, again=again)
            case ["time", ms]:
                self.time_passes(int(ms))
            case [who, "takes", "over"]:
                self.take_over(who, shard_of(user, SHARDS))
            case _:
                self.go_wrong(event, user)

    def go_wrong(self, event: str, user: str) -> None:
        """Calls that come late, twice, or from somebody who may not."""
        match event:
            case "late claim" if self.claims:
                self.claim_again_late(0)
            case "late verdict":
                self.settle(self.an_attempt(1), "retry", self.live_lease(user), 500)
            case "late ack":
                self.hear_late(user)
            case "wrong number":
                self.settle_wrongly(0, self.an_attempt(0).number + 1, known=True, verdict="retry")
            case "old lease":
                self.settle(self.an_attempt(0), "retry", pick(self.leases, 1), 500)
            case "old renewal":
                self.ask("renew", [pick(self.leases, 1)], LEASE_TTL_MS)
            case "give back":
                self.ask("release", [self.live_lease(user)])

    # Leases and time

    @rule(
        replica=replicas, shard=st.integers(0, SHARDS - 1), dies=st.booleans(), again=lost_answers
    )
    def acquire(self, replica: str, shard: int, dies: bool, again: bool) -> None:
        """Perhaps after the replica died and came back with a new nonce, believing nothing."""
        if dies:
            self.nonces[replica] += 1
            self.believed = {at: one for at, one in self.believed.items() if at[0] != replica}
        self.take_lease(replica, shard, lost=again)

    @rule(which=recent, ttl=st.sampled_from([None, 0, LEASE_TTL_MS]), again=lost_answers)
    def renew_or_release(self, which: int, ttl: int | None, again: bool) -> None:
        lease = pick(self.leases, which)
        if ttl is None:
            self.ask("release", [lease], lost=again)
        else:
            self.ask("renew", [lease], ttl, lost=again)

    def take_over(self, replica: str, shard: int) -> None:
        """The lease runs out, somebody else has it, and the last two who had it want it longer.

        The one before the last may be the same replica, which differs by its lease's epoch alone.
        """
        former = [lease for lease in self.leases if lease.shard == shard][-2:]
        self.time_passes(LEASE_TTL_MS)
        self.take_lease(replica, shard)
        for lease in former:
            self.ask("renew", [lease], LEASE_TTL_MS)

    def time_passes(self, ms: int) -> None:
        self.now.ms += ms
        self.known = None

    def take_lease(self, replica: str, shard: int, *, lost: bool = False) -> None:
        nonce = f"{replica}-{self.nonces[replica]}"
        (answer,) = self.ask("acquire", [shard], replica, nonce, LEASE_TTL_MS, lost=lost)
        if isinstance(answer, Lease):
            self.believed[replica, shard] = answer
            self.leases.append(answer)

    def live_lease(self, user: str) -> Lease:
        """The lease in force; where there is none, another replica takes over first."""
        shard = shard_of(user, SHARDS)
        grant = self.oracle.grants[shard]
        if grant.expires_at_ms > self.now.ms:
            return Lease(shard, grant.epoch, grant.nonce)
        successor = REPLICAS[(REPLICAS.index(grant.owner) + 1) % len(REPLICAS)]
        self.take_lease(successor, shard)
        return self.leases[-1]

    # At the end

    def drain(self) -> None:
        """Everything goes out; then nothing may be left but what is constant or expires."""
        for user in USERS:
            self.hold(user, 0, again=False)
        for name in list(self.oracle.buried):
            self.ask("dead_replay", name)
        for _ in range(1_000):
            due = self.everybody_due()
            if not due:
                break
            self.now.ms += max(0, due[0].remaining_ms)
            self.claim_with(self.live_lease(due[0].user), due[0].user)
            self.settle_properly_now()
        self.ledger.check_drained()
        left = self.subject.dump().keys() - self.subject.constant_keys()
        kept = [name for name in left if not self.subject.expiring(name)]
        assert not kept, f"stays for ever after everything went out: {kept}"

    def settle_properly_now(self) -> None:
        attempt = self.attempts[-1]
        self.settle(attempt, "ack", self.live_lease(attempt.batch.user), 0)
