"""A receiver that is down for everybody: nothing is attempted, nothing is spent, nothing dies, and
what has waited goes at a growing pace."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import trio

from actor_queue.core.breaker import FIRST_PACE, FIRST_PROBE_MS, WINDOW
from actor_queue.core.conversation import Conversation
from actor_queue.core.outcome import Delivered, Failed, Outcome
from actor_queue.core.routes import Route
from actor_queue.runtime.routes import LOOK_S
from actor_queue.store.redis import RedisStore
from actor_queue.testing.memory import MemoryRunner
from tests.runtime.harness import Sent, Stage, message, now_ms, run, stage, until

DOWN = Failed("connection refused")
FIRST_PROBE_S = FIRST_PROBE_MS / 1000


class Receiver:
    """Takes everything, or nothing."""

    def __init__(self, s: Stage) -> None:
        self.up = False
        s.answer = self.answer

    async def answer(self, sent: Sent) -> Outcome:
        await trio.sleep(0.01)
        return Delivered(200) if self.up else DOWN


async def trip(s: Stage, users: int = WINDOW) -> Receiver:
    """So many users post; back when the route is open."""
    receiver = Receiver(s)
    await post_all(s, users)
    await until(lambda: len(s.seen) >= WINDOW)
    await trio.sleep(0.1)
    return receiver


async def post_all(s: Stage, users: int) -> None:
    posts = [message(f"user-{n}", "oi", 0.5) for n in range(users)]
    await s.replicas[0].engine.push(posts)


def test_an_open_route_is_probed_after_5_s_and_then_after_twice_as_long_up_to_a_minute() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(200,)) as s:
            await s.start("ra")
            await trip(s)
            opened = s.seen[WINDOW - 1].at
            await trio.sleep(250)
            probes = [sent.at for sent in s.seen[WINDOW:]]
            gaps = [b - a for a, b in pairwise([opened, *probes])]
            assert [round(gap) for gap in gaps] == [5, 10, 20, 40, 60, 60]

    run(main)


def test_no_retry_is_spent_and_nothing_dies_while_a_route_is_open() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(200,)) as s:
            a = await s.start("ra")
            receiver = await trip(s, users=3 * WINDOW)
            await trio.sleep(40)
            assert a.engine.counters.dead == 0
            assert a.engine.actors == 0, "whoever cannot go keeps no timer"
            receiver.up = True
            await until(lambda: a.engine.counters.delivered == 3 * WINDOW)
            s.check({f"user-{n}": ["oi"] for n in range(3 * WINDOW)})

    run(main)


def test_what_has_waited_goes_at_most_twice_as_fast_every_second_from_5() -> None:
    users = 120

    async def main() -> None:
        async with stage(shards=2) as s:
            for name in ("ra", "rb"):
                await s.start(name, shards=0)
            await until(lambda: all(r.engine.shards_owned for r in s.replicas))
            receiver = await trip(s, users)
            before = len(s.seen)
            receiver.up = True
            await until(lambda: sum(r.engine.counters.delivered for r in s.replicas) == users)
            begin = s.seen[before].until
            assert begin is not None
            pace = Counter(int(sent.at - begin) for sent in s.seen[before + 1 :])
            for second, attempts in pace.items():
                # A replica hears of the closing a moment after the one that probed.
                assert attempts <= FIRST_PACE * 2**second + 3, pace
            assert max(pace) <= 6, "it does grow"

    run(main)


def test_one_replica_of_many_probes_and_a_dead_one_keeps_nobody_from_it() -> None:
    async def main() -> None:
        async with stage(shards=4, webhook_timeout_ms=3_000) as s:
            for name in ("ra", "rb", "rc"):
                await s.start(name, shards=0)
            await until(lambda: all(r.engine.shards_owned for r in s.replicas))
            await trip(s, users=60)
            before = len(s.seen)
            await until(lambda: len(s.seen) > before)
            await trio.sleep(1)
            assert len(s.seen) == before + 1
            prober = s.seen[before].replica
            await next(r for r in s.replicas if r.name == prober).crash()
            await until(lambda: len(s.seen) > before + 1)
            assert s.seen[before + 1].at - s.seen[before].at < 4 * FIRST_PROBE_S

    run(main)


def test_a_replica_that_alone_does_not_reach_the_receiver_opens_the_route_for_nobody() -> None:
    async def main() -> None:
        async with stage(shards=4, retry_schedule_ms=(500,) * 99) as s:
            for name in ("ra", "rb"):
                await s.start(name, shards=0)
            a, b = s.replicas
            await until(lambda: all(r.engine.shards_owned for r in s.replicas))

            async def answer(sent: Sent) -> Outcome:
                return DOWN if sent.replica == "ra" and apart else Delivered(200)

            s.answer, apart = answer, True
            for n in range(80):
                await b.engine.push([message(f"user-{n}", "oi", 0.1)])
                await trio.sleep(0.1)
                assert b.engine.gates.blocked("default") is None
            assert a.engine.counters.failed > 2 * WINDOW
            apart = False
            await until(lambda: a.engine.counters.delivered + b.engine.counters.delivered == 80)
            assert (await b.engine.store.routes()).routes == {}

    run(main)


def test_a_pause_holds_on_every_replica_also_on_one_that_hears_no_news() -> None:
    async def main() -> None:
        async with stage(shards=4) as s:
            a = await s.start("ra", shards=0)
            b = await s.start("rb", shards=0)
            await until(lambda: all(r.engine.shards_owned for r in s.replicas))
            b.runner.deaf = True
            assert await a.engine.gates.pause("default", "ops", "deploying")
            await trio.sleep(LOOK_S + 0.1)
            await post_all(s, 40)
            await trio.sleep(20)
            assert s.seen == []
            assert {r.engine.gates.blocked("default") for r in s.replicas} == {"paused"}
            assert a.engine.gates.blocked("gone") == "missing"
            assert await a.engine.gates.resume("default") == (True, False)
            await until(lambda: len(s.seen) == 40)
            s.check({f"user-{n}": ["oi"] for n in range(40)})
            assert a.engine.gates.blocked("default") is None

    run(main)


def test_a_probe_that_is_not_made_is_given_to_somebody_else_and_none_goes_on_a_paused_route() -> (
    None
):
    async def main() -> None:
        async with stage(shards=2) as s:
            a = await s.start("ra")
            await trip(s, users=40)
            gates, before = a.engine.gates, len(s.seen)
            gate = gates._apart["default"]
            await until(lambda: gate.candidate is not None)
            first = str(gate.candidate)
            assert gates.turn(first) == 0.0
            gates.not_made(first)
            assert gates.turn(first) is None
            await until(lambda: len(s.seen) > before)

            await until(lambda: gate.candidate is None)
            await until(lambda: gate.candidate is not None)
            assert await gates.pause("default", None, None)
            await trio.sleep(LOOK_S + 0.1)
            paused_at = len(s.seen)
            gate.candidate = "user-0"
            assert gates.bars("user-0")
            assert gates.turn("user-0") is None
            await trio.sleep(200)
            assert len(s.seen) == paused_at

    run(main)


def test_2000_who_wait_for_a_dead_route_have_no_timers_and_hide_nobody() -> None:
    async def main() -> None:
        async with stage(shards=2) as s:
            a = await s.start("ra")
            await trip(s, users=2_000)
            await trio.sleep(3)
            assert a.engine.actors == 0
            calls = len(s.calls("claim_v4"))
            await trio.sleep(1.5)
            assert len(s.calls("claim_v4")) == calls, "nobody is asked for in vain"

    run(main)


def test_an_answer_that_is_no_server_error_opens_nothing() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(200,)) as s:
            a = await s.start("ra")

            async def refuses(sent: Sent) -> Outcome:
                return Failed("answered 400", 400)

            s.answer = refuses
            await post_all(s, 2 * WINDOW)
            await until(lambda: a.engine.counters.dead == 2 * WINDOW)

    run(main)


def test_a_dead_route_with_thousands_waiting_makes_no_other_route_late() -> None:
    users = 100

    async def main() -> None:
        async with stage(shards=2) as s:
            default = Route.default(s.settings)
            s.routes.replace([default, replace(default, name="viva")])
            a = await s.start("ra")
            receiver = Receiver(s)

            async def answer(sent: Sent) -> Outcome:
                live = sent.batch.route == "viva"
                return Delivered(200) if live else await receiver.answer(sent)

            s.answer = answer
            await post_all(s, 3_000)
            await until(lambda: len(s.seen) >= WINDOW)
            await trio.sleep(3)
            # Straight into the store, and no engine is told: the sweep has to find them among
            # those who wait for the dead route.
            store = RedisStore(
                MemoryRunner(now_ms, server=s.server), s.settings, clock=now_ms, routes=s.routes
            )
            began = trio.current_time()
            keys = [Conversation("viva", f"v-{n}").key for n in range(users)]
            await store.append([message(key, "oi", 4 + n / 20) for n, key in enumerate(keys)])
            await trio.sleep(15)
            live = [sent for sent in s.seen if sent.batch.route == "viva"]
            late = [sent.at - began - 4 - int(sent.user[2:]) / 20 for sent in live]
            assert len(late) == users
            assert max(late) < 0.01
            assert a.engine.actors == 0

    run(main)
