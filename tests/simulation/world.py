"""One simulated world: a server, replicas, a receiver, clients, and the eye that sees it all.

`simulate` is the whole story: chaos, then healing, then the judgement.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from unittest import mock

import trio

from actor_queue.core.ring import assign
from actor_queue.core.shard import shard_of
from actor_queue.runtime import replays, upkeep
from actor_queue.runtime.engine import Engine
from actor_queue.store import answers
from actor_queue.store.keys import Keys
from actor_queue.transport.runner import Call, ScriptError
from actor_queue.transport.script import Script
from tests.simulation import limits
from tests.simulation.breaker import TURNS_S
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
    Room,
    Trouble,
    name_of,
)
from tests.simulation.inspection import contradictions, place_of, shut_routes, users_in
from tests.simulation.plan import Plan, draw
from tests.simulation.receiver import Receiver
from tests.simulation.redis_server import Data, Server
from tests.simulation.replica import Replica
from tests.simulation.scheduling import Agenda, Dice, Freezer, inside, run
from tests.simulation.wire import INFO, shard_in
from tests.simulation.workload import Clients

EPOCH_MS = 1_700_000_000_000
HEAL_S = 90.0
"""Every run is quiet this long after its faults have ended, or it has failed."""
LOOK_S = 0.25
COUNT_S = 1.2
"""Between two looks at what the shards hold, where dead letters expire."""
NO_PROCESS = ""
LAST_S = 0.5
"""After everything is quiet, for what should not come any more."""
UNSEEN = frozenset(
    [
        "due",
        "due_beside",
        "describe",
        "lease",
        "message",
        "page",
        "dead_letter",
        "dead_queued",
        "dead_old",
        "sizes",
        "waiting_by_route",
        "heartbeat",
        "routes",
        "answer",
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
    seed: int,
    faults: Collection[str] | None = None,
    mutation: Mutation = UNCHANGED,
    options: Collection[str] | None = None,
) -> Verdict:
    """Run the world of `seed` and judge it. The same seed is the same run, each time.

    `faults` and `options` replace the subsets that the seed would draw.
    """
    plan = draw(seed, faults, options)
    with mutation.patched(), _limits_of(plan):

        async def main(agenda: Agenda) -> History:
            world = World(plan, mutation.source, agenda)
            await world.live()
            return world.history

        history = run(main, f"{seed}:scheduler")
    return Verdict(plan, tuple(judge(plan, history)), history)


@contextmanager
def _limits_of(plan: Plan) -> Iterator[None]:
    """Few letters are enough for several pages, and seconds for the longest answer."""
    with (
        mock.patch.object(replays, "PAGE", plan.page),
        mock.patch.object(upkeep, "PAGE", plan.page),
        mock.patch.object(answers, "ANSWER_MAX_MS", plan.answer_max_ms),
    ):
        yield


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
        self.server.maxmemory = plan.maxmemory
        self.nemesis = Nemesis(self)
        self.receiver = Receiver(self)
        self.replicas: list[Replica] = []
        self.chaos = True
        self.away = False
        self._copies: list[list[Data]] = []
        """Of what the server knew, one for each of its deaths to come."""
        """The server is not there."""
        self.offset_ms = 0
        self.lease_s = plan.settings.lease_ttl_ms / 1000
        self.users = list(plan.conversations)
        self._keys = Keys(plan.settings.namespace, plan.settings.shards)
        self._user_keys = {
            user: self._keys.shards[shard_of(user, plan.settings.shards)].of(user)
            for user in self.users
        }
        self._places: dict[str, int | None] = dict.fromkeys(self.users)
        self._started = 0
        self._expected = 0.0
        self._nobody_since: float | None = None
        self._shut_since: dict[tuple[str, str], float] = {}
        """Routes that are open, or paused."""
        self._nursery: trio.Nursery
        self._over = False

    # The story

    async def live(self) -> None:
        nemesis, clients = self.nemesis, Clients(self)
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
            self.history.ending = await self._end(clients)
            self._over = True
            for replica in list(self.replicas):
                replica.kill()
            self._nursery.cancel_scope.cancel()

    async def _quieten(self, clients: Clients) -> None:
        with trio.move_on_after(HEAL_S):
            await trio.sleep(self.lease_s)
            # A pause that is still on its way must not come after the operators' last word.
            await trio.sleep_until(self._expected)
            await clients.finish()
            await trio.sleep_until(self._expected + LOOK_S)
            while not (self._is_quiet() and self._is_settled()):
                await trio.sleep(LOOK_S)
        if not clients.finished:
            self._broken("stuck", f"operators were not done {HEAL_S:g} s after all faults")
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

    async def _end(self, clients: Clients) -> Ending:
        counted: int | None = None
        if "retention" in self.plan.options:
            # By then every replica has looked at its shards.
            await trio.sleep(COUNT_S)
            known = [sizes for each in self.replicas if (sizes := each.engine.sizes)]
            counted = sum(sizes.dead for sizes in known)
            await clients.list_letters()
        for which, start in self._shut_since.items():
            self._note_shut(which, start, trio.current_time())
        return Ending(
            at=trio.current_time(),
            quiet=self._is_quiet(),
            waiting=tuple(user for user, place in self._places.items() if place is not None),
            settled=self._is_settled(),
            owners=self._owners(),
            dead_texts=self._dead_texts(),
            letters=self._letters(),
            counted=counted,
            horizons=tuple(
                (each.name, each.engine.actors, each.engine.horizon_s) for each in self.replicas
            ),
        )

    def _dead_texts(self) -> frozenset[str]:
        return frozenset(
            text
            for shard in self._keys.shards
            for letter in self.server.scores(shard.dead)
            for text in _texts(self.server.items(shard.letter(letter.decode())[1]))
        )

    def _letters(self) -> dict[str, tuple[bool, bool]]:
        """See `Ending.letters`."""
        found: dict[str, tuple[bool, bool]] = {}
        for shard in self._keys.shards:
            names = [name.decode() for name in self.server.scores(shard.dead)]
            for place in shard.letter(""):
                names += [
                    key.removeprefix(place).decode()
                    for key in self.server.data.values
                    if key.startswith(place)
                ]
            for name in names:
                indexed = name.encode() in self.server.scores(shard.dead)
                found[name] = indexed, all(map(self.server.find, shard.letter(name)))
        return found

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

    def begin(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        """Something outside of every process."""
        with inside(NO_PROCESS):
            self._nursery.start_soon(work, *args)

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

    def execute(self, call: Call, replica: str, *, copy: bool, late: bool) -> object:
        """The server carries out one script, and the eye sees it."""
        if call.script is INFO:
            return b"used_memory:%d\r\nmaxmemory:%d\r\n" % (self.server.used, self.plan.maxmemory)
        shard = shard_in(call.keys[0])
        lease, writes = self.grant(shard), self.server.writes
        reply, seen = self._run(call, late=late), limits.as_many(call)
        wrote = self.server.writes != writes
        if seen.script.verb not in UNSEEN:
            self.history.note(
                Executed(
                    trio.current_time(),
                    self.now_ms(),
                    seen.script.verb,
                    replica,
                    shard,
                    tuple(map(_word, seen.args)),
                    reply,
                    lease,
                    wrote,
                    copy,
                    late,
                )
            )
        if wrote:
            self._inspect(users_in(list(call.keys)))
            for each in self.replicas:
                each.wire.changed(call.keys)
            self._look_at_routes()
        self._spread_news()
        return reply

    def _run(self, call: Call, *, late: bool) -> object:
        seen = limits.as_many(call)
        if seen.script.verb != "append":
            return self.server.run(call)
        most = self.plan.settings.max_pending_bytes
        watched = "pending_bytes" in self.plan.options
        before = limits.waiting(self.server, seen, self._user_keys) if watched else {}
        reply = self.server.run(call)
        # What comes late was counted when there was room, and is not counted any more.
        if isinstance(reply, ScriptError) and not late:
            self._broken("reserve", f"the server ran out of memory: {reply.text}")
        for what in limits.misjudged(seen, reply, before, most) if watched else ():
            self._broken("bytes", what)
        return reply

    def fill(self, left: int | None) -> None:
        """Somebody else's data leave so many bytes until the reserve; None: they are gone."""
        server, reserve = self.server, self.plan.settings.redis_reserve_bytes or 0
        if not server.maxmemory:
            return
        server.foreign = 0
        room = server.maxmemory - reserve - server.used
        if left is not None:
            server.foreign = max(0, room - left)
        self.history.note(Room(trio.current_time(), room - server.foreign))

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
            keys = self._user_keys[user]
            place = place_of(self.server, self._keys.shards[keys.shard], keys)
            if place != self._places[user]:
                self.history.note(
                    Moved(trio.current_time(), self.now_ms(), user, self._places[user], place)
                )
                self._places[user] = place
            for what in contradictions(self.server, user, keys, place):
                self._broken("index", what)

    def _look_at_routes(self) -> None:
        """While a route is open or paused, and while what has waited has its turn, a delay of its
        own users is excused."""
        now, shut = trio.current_time(), shut_routes(self.server.hash(self._keys.routes))
        for gone in self._shut_since.keys() - shut:
            self._note_shut(gone, self._shut_since.pop(gone), now)
        for new in shut - self._shut_since.keys():
            self._shut_since[new] = now

    def _note_shut(self, which: tuple[str, str], start: float, end: float) -> None:
        route, what = which
        self.history.note(Trouble(start, end + TURNS_S, what, route))

    def _broken(self, rule: str, what: str) -> None:
        self.history.note(Broken(trio.current_time(), rule, what))

    def restart(self, forget_s: float, away_s: float) -> None:
        """The server dies in `forget_s`, having forgotten all since now, and comes back.

        Deaths may overlap. A copy that was taken after what this death forgets had begun follows
        when the server comes back with less: what one death took away, no later one brings back.
        """
        copy, start = [self.server.snapshot()], trio.current_time()
        self._copies.append(copy)
        # It may die after everything else has healed.
        self.expect(forget_s + away_s)

        def die() -> None:
            self.away = True
            place = next(i for i, other in enumerate(self._copies) if other is copy)
            self.server.restore(copy[0])
            for other in self._copies[place + 1 :]:
                other[0] = self.server.snapshot()
            del self._copies[place]
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
        self._look_at_routes()
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


def _word(word: bytes | str | int) -> str:
    """An argument, as text: a conversation's key as it is called everywhere."""
    return word.decode("utf-8", "surrogateescape") if isinstance(word, bytes) else str(word)


def _texts(items: Sequence[bytes]) -> list[str]:
    import json

    return [name_of(json.loads(item)[3]["message"]) for item in items]
