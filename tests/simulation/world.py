"""One simulated world: a server, replicas, a receiver, clients, and the eye that sees it all.

`simulate` is the whole story: chaos, then healing, then the judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import trio

from actor_queue.core.ring import assign
from actor_queue.core.shard import shard_of
from actor_queue.runtime.engine import Engine
from actor_queue.store.keys import Keys
from actor_queue.store.runner import Call
from actor_queue.store.scripts import Script
from tests.simulation.checker import Violation, judge
from tests.simulation.faults import Nemesis
from tests.simulation.history import (
    NOBODY,
    Broken,
    Ending,
    Executed,
    Grant,
    History,
    Lost,
    Moved,
    Noted,
    Trouble,
)
from tests.simulation.plan import Plan, draw
from tests.simulation.receiver import Receiver
from tests.simulation.redis_server import Server
from tests.simulation.replica import Replica
from tests.simulation.scheduling import Agenda, Dice, Freezer, run
from tests.simulation.wire import shard_in
from tests.simulation.workload import Clients

EPOCH_MS = 1_700_000_000_000
HEAL_S = 90.0
"""Every run is quiet this long after its faults have ended, or it has failed."""
LOOK_S = 0.25
LAST_S = 0.5
"""After everything is quiet, for what should not come any more."""
UNSEEN = frozenset(
    [
        "due",
        "describe",
        "lease",
        "page",
        "dead_letter",
        "dead_queued",
        "heartbeat",
    ]
)
"""Scripts that the checker has no use for."""


@dataclass(frozen=True)
class Mutation:
    """A mistake to plant: in the scripts, or in Python while a context lasts."""

    source: Callable[[Script], str] = lambda script: script.plain_source
    patched: Callable[[], AbstractContextManager[object]] = nullcontext


UNCHANGED = Mutation()


@dataclass(frozen=True)
class Verdict:
    """What became of a seed."""

    plan: Plan
    violations: tuple[Violation, ...]
    history: History

    @property
    def failed(self) -> bool:
        return bool(self.violations)

    @property
    def digest(self) -> str:
        """The same for two runs exactly if the same happened in them."""
        return self.history.digest()


def simulate(
    seed: int, faults: Collection[str] | None = None, mutation: Mutation = UNCHANGED
) -> Verdict:
    """Run the world of `seed` and judge it. The same seed is the same run, each time.

    `faults` replaces the subset that the seed would draw.
    """
    plan = draw(seed, faults)
    with mutation.patched():

        async def main(agenda: Agenda) -> History:
            world = World(plan, mutation.source, agenda)
            await world.live()
            return world.history

        history = run(main, f"{seed}:scheduler")
    return Verdict(plan, tuple(judge(plan, history)), history)


class World:
    """Everything in a run. What is in here belongs to no process."""

    engine_class = Engine

    def __init__(self, plan: Plan, source: Callable[[Script], str], agenda: Agenda) -> None:
        self.plan = plan
        self.dice = Dice(str(plan.seed))
        self.agenda = agenda
        self.freezer = Freezer()
        self.history = History()
        self.server = Server(self.now_ms, source)
        self.receiver = Receiver(self)
        self.replicas: list[Replica] = []
        self.chaos = True
        self.away = False
        """The server is not there."""
        self.offset_ms = 0
        self.lease_s = plan.settings.lease_ttl_ms / 1000
        self.attempt_s = plan.settings.webhook_timeout_ms / 1000
        self.users = [f"user-{number}" for number in range(plan.users)]
        self._keys = Keys(plan.settings.namespace, plan.settings.shards)
        self._places: dict[str, int | None] = dict.fromkeys(self.users)
        self._started = 0
        self._expected = 0.0
        self._nobody_since: float | None = None
        self._nursery: trio.Nursery
        self._over = False

    # The story

    async def live(self) -> None:
        nemesis, clients = Nemesis(self), Clients(self)
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self.agenda.run)
            for _ in range(self.plan.replicas):
                self.start_replica()
            async with trio.open_nursery() as chaos:
                nemesis.start(chaos)
                clients.start(chaos)
                await trio.sleep(self.plan.chaos_s)
                self.chaos = False
                chaos.cancel_scope.cancel()
            self.history.note(Noted(trio.current_time(), "heal"))
            nemesis.heal()
            await self._quieten(clients)
            self.history.ending = self._ending()
            self._over = True
            for replica in list(self.replicas):
                replica.kill()
            self._nursery.cancel_scope.cancel()

    async def _quieten(self, clients: Clients) -> None:
        with trio.move_on_after(HEAL_S):
            await trio.sleep(self.lease_s)
            await clients.finish()
            await trio.sleep_until(self._expected + LOOK_S)
            while not (self._is_quiet() and self._is_settled()):
                await trio.sleep(LOOK_S)
        await trio.sleep(LAST_S)

    def _is_quiet(self) -> bool:
        return all(place is None for place in self._places.values())

    def _is_settled(self) -> bool:
        """Whether every shard is where the ring wants it, by the leases and by the replicas."""
        living = {replica.name: replica for replica in self.replicas}
        if len(living) < self.plan.replicas or not all(each.serving for each in self.replicas):
            return False
        wanted = assign(list(living), self.plan.settings.shards)
        return self._owners() == dict(enumerate(wanted)) and all(
            set(replica.engine._owner.owned())
            == {shard for shard, owner in enumerate(wanted) if owner == name}
            for name, replica in living.items()
        )

    def _owners(self) -> dict[int, str]:
        grants = {shard: self.grant(shard) for shard in range(self.plan.settings.shards)}
        now = self.now_ms()
        return {shard: grant.owner for shard, grant in grants.items() if grant.until_ms > now}

    def _ending(self) -> Ending:
        dead = {
            text
            for shard in self._keys.shards
            for letter in self.server.scores(shard.dead)
            for text in _texts(self.server.items(shard.letter(letter.decode())[1]))
        }
        return Ending(
            at=trio.current_time(),
            quiet=self._is_quiet(),
            waiting=tuple(user for user, place in self._places.items() if place is not None),
            settled=self._is_settled(),
            owners=self._owners(),
            dead_texts=frozenset(dead),
        )

    # Replicas

    def start_replica(self) -> None:
        self._started += 1
        replica = Replica(self, f"r-{self._started}", self._started)
        self.replicas.append(replica)
        if self._nobody_since is not None:
            start, self._nobody_since = self._nobody_since, None
            end = trio.current_time() + self.lease_s + 1
            self.history.note(Trouble(start, end, "no replica was up"))
        self._nursery.start_soon(replica.live)

    def gone(self, replica: Replica) -> None:
        """Its supervisor starts another one after a while."""
        self.replicas.remove(replica)
        if self._over:
            return
        self.left()
        wait_s = self.dice.stream(f"after {replica.name}").uniform(0, 3) if self.chaos else 0.1
        self.agenda.after(wait_s, self._replace)

    def left(self) -> None:
        """A replica takes nothing more: it is gone, or it finishes what is under way."""
        if self._nobody_since is None and not any(each.up for each in self.replicas):
            self._nobody_since = trio.current_time()

    def _replace(self) -> None:
        if not self._over and len(self.replicas) < self.plan.replicas:
            self.start_replica()

    # The server

    def now_ms(self) -> int:
        """The server's clock."""
        return EPOCH_MS + self.offset_ms + int(trio.current_time() * 1000)

    def execute(self, call: Call, replica: str, *, copy: bool) -> object:
        """The server carries out one script, and the eye sees it."""
        shard = shard_in(call.keys[0])
        lease, writes = self.grant(shard), self.server.writes
        reply = self.server.run(call)
        wrote = self.server.writes != writes
        if call.script.verb not in UNSEEN:
            self.history.note(
                Executed(
                    trio.current_time(),
                    self.now_ms(),
                    call.script.verb,
                    replica,
                    shard,
                    tuple(w.decode() if isinstance(w, bytes) else str(w) for w in call.args),
                    reply,
                    lease,
                    wrote,
                    copy,
                )
            )
        if wrote:
            self._inspect(_users_in(call.keys))
        self._spread_news()
        return reply

    def grant(self, shard: int) -> Grant:
        if shard < 0:
            return NOBODY
        lease = self.server.hash(self._keys.shards[shard].lease)
        if not lease:
            return NOBODY
        return Grant(
            int(lease[b"epoch"]),
            lease[b"nonce"].decode(),
            int(lease[b"until"]),
            lease[b"owner"].decode(),
        )

    def _spread_news(self) -> None:
        for channel, message in self.server.published:
            for replica in self.replicas:
                if channel in replica.wire.channels:
                    replica.wire.publish(message)
        self.server.published.clear()

    def _inspect(self, users: Sequence[str]) -> None:
        """Whether the timer index and the buffers of each user still agree."""
        for user in users:
            shard = self._keys.shards[shard_of(user, self.plan.settings.shards)]
            keys = shard.of(user)
            server = self.server
            pending, line = server.items(keys.pending), server.items(keys.line)
            flight, facts = server.items(keys.flight), server.hash(keys.state)
            score = server.scores(shard.due).get(keys.user)
            place = None if score is None else int(score)
            if place != self._places[user]:
                self.history.note(
                    Moved(trio.current_time(), self.now_ms(), user, self._places[user], place)
                )
                self._places[user] = place
            if (place is not None) != bool(pending or line or flight):
                self._broken("index", f"{user} is due {place}, has {pending + line + flight}")
            soonest, latest = _due(facts)
            if place is not None and not soonest <= place <= latest:
                self._broken("index", f"{user} is due {soonest}, and the index says {place}")
            if bool(flight) != (b"fs" in facts):
                self._broken("index", f"{user}'s batch in flight and its messages disagree")
            closed = sum(int(each.split(b",")[0]) for each in line if each[:1] != b"R")
            if int(facts.get(b"on", 0)) + closed != len(pending):
                self._broken("index", f"{user}'s windows and its messages disagree")

    def _broken(self, rule: str, what: str) -> None:
        self.history.note(Broken(trio.current_time(), rule, what))

    def restart(self, forget_s: float, away_s: float) -> None:
        """The server dies in `forget_s`, having forgotten all since now, and comes back."""
        data, start = self.server.snapshot(), trio.current_time()
        # It may die after everything else has healed.
        self.expect(forget_s + away_s)

        def die() -> None:
            self.away = True
            self.server.restore(data)
            self.history.note(Lost(start, trio.current_time()))
            for replica in self.replicas:
                replica.wire.break_all()
            self.agenda.after(away_s, self.come_back)

        self.agenda.after(forget_s, die)

    def go_away(self) -> None:
        self.away = True
        for replica in self.replicas:
            replica.wire.break_all()

    def come_back(self) -> None:
        self.away = False
        self._inspect(self.users)
        for replica in self.replicas:
            replica.wire.reconnect()

    def expect(self, seconds: float) -> None:
        """So long something is still to come, a call or the server's death: nothing is over before
        it and a lease that follows it."""
        self._expected = max(self._expected, trio.current_time() + seconds + 1.1 * self.lease_s)

    # Excuses

    def trouble(self, seconds: float, what: str) -> None:
        """From now on, and so long, a delay is excused."""
        now = trio.current_time()
        self.history.note(Trouble(now, now + seconds, what))


def _due(facts: dict[bytes, bytes]) -> tuple[int, int]:
    """When a user's next step is due by its own hash, at the soonest and at the latest."""
    number = {name: int(facts.get(name, 0)) for name in (b"fu", b"sn", b"sd", b"od", b"hu")}
    state, held = facts.get(b"fs"), number[b"hu"]
    if state == b"a":
        # A hold counts again once the attempt's limit has passed.
        return number[b"fu"], max(number[b"fu"], held)
    at = number[b"fu"] if state else number[b"sd"] if number[b"sn"] else number[b"od"]
    return max(at, held), max(at, held)


def _users_in(keys: Sequence[bytes]) -> list[str]:
    return [key.partition(b":u:")[2].decode() for key in keys if b"}:u:" in key]


def _texts(items: Sequence[bytes]) -> list[str]:
    import json

    return [json.loads(item)[3]["message"] for item in items]
