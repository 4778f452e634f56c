"""Replicas of two releases on one Redis: a fleet under load is rolled from the one to the other,
back, and forth again. Nothing is lost, nothing is in two batches, and each attempt at a batch sends
the same bytes, whichever release makes it.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

import pytest
import trio

from actor_queue.core.batch import divided_from
from actor_queue.core.outcome import Delivered, Failed, Outcome
from tests.runtime.harness import REFUSED, Replica, Sent, Stage, now_ms, run, stage
from tests.store.former import FormerStore

REPLICAS = 3
USERS = [f"user-{number}" for number in range(6)]
STEP_S = 3.5
"""Between two replicas that are replaced: the shards have moved, and attempts are under way."""
LEASE_S = 3.0
"""Every replica has seen within this time who came."""


class Former(Replica):
    """A replica of the release before: it has no breaker."""

    store_class = FormerStore

    def __init__(self, s: Stage, name: str, seed: int) -> None:
        super().__init__(s, name, seed)
        self.engine.gates.attempted = lambda user, outcome: True  # type: ignore[method-assign]


class Fleet:
    """Three replicas, clients, and a receiver that fails now and then."""

    def __init__(self, s: Stage, seed: int) -> None:
        self.s = s
        self.chance = random.Random(seed)
        self.living: list[Replica] = []
        self.accepted: dict[str, list[str]] = defaultdict(list)
        self.posting = True
        self.refused: tuple[str, ...] = ()
        """Users whose batches the receiver does not take now."""
        self._serial = itertools.count()
        s.answer = self.receive

    async def receive(self, sent: Sent) -> Outcome:
        """Most attempts succeed, some after a while; some fail, and some are answered by nobody.

        It is alive: an open route would keep everybody from being seen.
        """
        what = self.chance.random()
        if what < 0.06:
            await trio.sleep_forever()
        await trio.sleep(self.chance.uniform(0, 1.5))
        if sent.user in self.refused:
            return REFUSED
        if what < 0.2 and len(sent.texts) > 1:
            return Failed("answered 413", status=413)
        return REFUSED if what < 0.35 else Delivered(200)

    async def post(self, user: str) -> None:
        """One after the other, each until it is taken, by whichever replica."""
        while self.posting:
            await trio.sleep(self.chance.expovariate(1 / 1.5))
            text = f"{user} {next(self._serial)}"
            replica = self.chance.choice(self.living)
            await replica.post_surely(user, text, self.chance.choice((0, 0.3, 1, 2)), text)
            self.accepted[user].append(text)

    async def start(self, kind: type[Replica]) -> None:
        name = f"{'former' if kind is Former else 'newer'}-{len(self.s.replicas)}"
        self.living.append(await self.s.start(name, shards=0, kind=kind))

    async def roll(self, kind: type[Replica], *, gently: bool = True) -> float:
        """Replace one replica after the other. When the last of the others began to go."""
        gone = 0.0
        for _ in range(REPLICAS):
            leaver, gone = self.living.pop(0), trio.current_time()
            if gently:
                await leaver.stop()
            else:
                await leaver.crash()
            await self.start(kind)
            await trio.sleep(STEP_S)
        return gone

    def unreadable(self) -> int:
        """How many claims of the former release found a mode that it does not know."""
        stores = [each.store for each in self.s.replicas]
        return sum(each.unreadable for each in stores if isinstance(each, FormerStore))

    def modes(self, since: float, until: float) -> set[str]:
        """Of the batches that were closed then. A half has the mode of its whole."""
        return {
            each.batch.mode
            for each in self.s.seen
            if now_ms(since) < each.batch.closed_at_ms < now_ms(until)
            and divided_from(each.batch.id) is None
        }


@pytest.mark.parametrize(
    ("payload", "newest", "seed"),
    [("classic", "classic", 1), ("detailed", "detailed_v2", 2)],
)
def test_a_fleet_rolled_forth_back_and_forth_again_loses_and_doubles_nothing(
    payload: str, newest: str, seed: int
) -> None:
    async def main() -> None:
        settings = {"retry_schedule_ms": (600,) * 100, "webhook_timeout_ms": 2_000}
        async with stage(
            shards=4, payload=payload, lease_ttl_ms=round(LEASE_S * 1000), **settings
        ) as s:
            fleet = Fleet(s, seed)
            for _ in range(REPLICAS):
                await fleet.start(Former)
            async with trio.open_nursery() as clients:
                for user in USERS:
                    clients.start_soon(fleet.post, user)
                await trio.sleep(STEP_S)
                all_newer = await fleet.roll(Replica)
                assert fleet.unreadable() == 0
                assert fleet.modes(0.0, all_newer) == {payload}, "what the former release can read"
                await trio.sleep(2 * LEASE_S)
                fleet.refused = tuple(USERS[:2])
                await trio.sleep(STEP_S)
                back = trio.current_time()
                await fleet.roll(Former)
                assert fleet.modes(all_newer + LEASE_S, back) == {newest}
                assert fleet.modes(back + LEASE_S, trio.current_time()) == {payload}
                assert (fleet.unreadable() > 0) == (newest != payload), "left to the newer release"
                fleet.refused = ()
                await fleet.roll(Replica, gently=False)
                fleet.posting = False
            with trio.fail_after(300):
                while await waiting(s):
                    await trio.sleep(1)
            check(fleet)

    run(main)


async def waiting(s: Stage) -> int:
    """How many users have something that is not done."""
    return sum(each.waiting for each in await s.replicas[-1].store.leases())


def check(fleet: Fleet) -> None:
    """What was accepted was delivered, in order, and in one answered batch."""
    for user, texts in fleet.accepted.items():
        sent = fleet.s.of(user)
        delivered = {
            each.batch.id: each.texts for each in sent if isinstance(each.outcome, Delivered)
        }
        assert [text for texts_of in delivered.values() for text in texts_of] == texts
        bodies = {each.batch.id: each.body for each in sent}
        assert all(each.body == bodies[each.batch.id] for each in sent)
        for earlier, later in itertools.pairwise(sent):
            assert earlier.until is not None
            assert earlier.until <= later.at, "two attempts of one user overlap"
