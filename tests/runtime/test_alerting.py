"""Alerts of engines under virtual time: told once for all replicas, kept short, in nobody's way."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import trio

from actor_queue.core import alerts
from actor_queue.core.alerts import EVERY_S
from actor_queue.core.conversation import Conversation
from actor_queue.core.outcome import Delivered, Failed, Outcome
from actor_queue.core.routes import Route
from actor_queue.runtime import alerting
from actor_queue.runtime.alerting import Alerting
from tests.runtime.harness import FAILED, GONE, Replica, in_turn, stage, users_of_shards
from tests.runtime.harness import run as run_for_days

STORY_S = 1_000


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        with trio.fail_after(STORY_S):
            await main()

    run_for_days(limited)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await trio.sleep(1)


class Told:
    """The receiver of alerts."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.heard: list[tuple[str, dict[str, Any]]] = []

    async def post(self, name: str, body: bytes, within_s: float) -> Outcome:
        await trio.lowlevel.checkpoint()
        self.heard.append((name, json.loads(body)))
        return self.outcomes.pop(0) if self.outcomes else Delivered(200)

    @property
    def kinds(self) -> list[str]:
        return [said["type"] for _, said in self.heard]


def watch(nursery: trio.Nursery, told: Told, *replicas: Replica) -> None:
    for replica in replicas:
        nursery.start_soon(Alerting(replica.engine, told.post).run)


def test_a_dead_letter_is_told_of_with_its_id_and_without_its_user_or_text() -> None:
    async def main() -> None:
        told = Told()
        async with stage() as s, trio.open_nursery() as nursery:
            a = await s.start("ra")
            watch(nursery, told, a)
            s.answer = in_turn(GONE)
            await a.post("joao", "segredo", ttl_s=0)
            await until(lambda: told.heard)
            ((name, said),) = told.heard
            assert name.startswith("alert-")
            assert said.keys() == {"type", "timestamp", "namespace", "replica", "data"}
            (letter,) = said["data"]["letters"]
            assert letter["id"] == s.seen[0].batch.id
            assert letter["user"] == a.engine.names.hashed("joao")
            assert "segredo" not in json.dumps(said)
            assert "joao" not in json.dumps(said)
            nursery.cancel_scope.cancel()

    run(main)


def test_of_a_receiver_that_all_replicas_see_fail_one_tells_and_of_its_return_too() -> None:
    async def main() -> None:
        told = Told()
        schedule = tuple([20_000] * 100)
        async with stage(shards=4, retry_schedule_ms=schedule) as s, trio.open_nursery() as nursery:
            a, b = await s.start("ra"), await s.start("rb", shards=0)
            watch(nursery, told, a, b)
            s.answer = in_turn(*[FAILED] * 10_000)
            await until(lambda: b.engine.shards_owned == 2)
            for user in users_of_shards(4):
                await a.post(user, "oi", ttl_s=0)
            await until(lambda: a.engine.counters.failed and b.engine.counters.failed)
            await trio.sleep(100)
            assert told.kinds == ["receiver_failing"]
            s.answer = in_turn()
            await until(lambda: a.engine.counters.delivered and b.engine.counters.delivered)
            await trio.sleep(30)
            assert told.kinds == ["receiver_failing", "receiver_recovered"]
            assert told.heard[1][1]["data"]["after_s"] > 100
            nursery.cancel_scope.cancel()

    run(main)


def test_what_is_due_and_not_delivered_is_told_of_also_while_redis_is_away() -> None:
    async def main() -> None:
        told = Told()
        async with stage() as s, trio.open_nursery() as nursery:
            a = await s.start("ra")
            watch(nursery, told, a)
            await a.post("ana", "oi", ttl_s=20)
            await trio.sleep(10)
            s.down = True
            a.store.trouble = lambda: "Redis is away"  # type: ignore[method-assign]
            await until(lambda: told.heard)
            assert told.kinds == ["nothing_delivered"]
            assert 300 <= trio.current_time() < 400
            assert told.heard[0][1]["data"]["redis"] == "Redis is away"
            nursery.cancel_scope.cancel()

    run(main)


def test_a_trouble_that_ends_while_redis_is_asked_whose_turn_it_is_is_not_told_of() -> None:
    async def main() -> None:
        told = Told()
        schedule = tuple([20_000] * 100)
        async with stage(retry_schedule_ms=schedule) as s, trio.open_nursery() as nursery:
            a = await s.start("ra")
            turn, asked = a.store.alert_turn, list[str]()

            async def delivered_meanwhile(kind: str, for_ms: int) -> bool:
                asked.append(kind)
                a.engine.journal.attempted("bia", Delivered(200))
                return await turn(kind, for_ms)

            a.store.alert_turn = delivered_meanwhile  # type: ignore[method-assign]
            watch(nursery, told, a)
            s.answer = in_turn(*[FAILED] * 10_000)
            await a.post("ana", "oi", ttl_s=0)
            await until(lambda: asked)
            await trio.sleep(EVERY_S / 2)
            assert asked == ["receiver_failing:default"]
            assert told.kinds == []
            nursery.cancel_scope.cancel()

    run(main)


def test_an_alert_is_repeated_under_its_id_and_then_given_up() -> None:
    async def main() -> None:
        refused = Failed("answered 500", status=500)
        told = Told(refused, refused)
        async with stage() as s, trio.open_nursery() as nursery:
            a = await s.start("ra")
            watch(nursery, told, a)
            s.answer = in_turn(GONE, GONE, GONE)
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(EVERY_S / 2)
            assert [name for name, _ in told.heard] == [told.heard[0][0]] * 3
            told.outcomes = [refused] * 100
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(2 * EVERY_S)
            assert told.kinds.count("dead_letter") == 3 + 1 + len(alerting.PAUSES_S)
            nursery.cancel_scope.cancel()

    run(main)


def test_of_two_routes_that_two_replicas_see_fail_each_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither replica has a user of the other one's failing route, and a third route is well."""
    every_s = 4.0
    monkeypatch.setattr(alerts, "FAILING_S", every_s)
    monkeypatch.setattr(alerts, "EVERY_S", every_s)
    monkeypatch.setattr(alerting, "EVERY_S", every_s)

    async def main() -> None:
        told = Told()
        async with stage(shards=1) as s, trio.open_nursery() as nursery:
            default = Route.default(s.settings)
            s.routes.replace([replace(default, name=name) for name in ("one", "two", "well")])
            a, b = await s.start("ra"), await s.start("rb", shards=0)
            watch(nursery, told, a, b)
            for _ in range(round(3 * every_s)):
                for replica, seen in ((a, ("one", FAILED)), (b, ("two", FAILED)), (b, WELL)):
                    user = Conversation(seen[0], "ana").key
                    replica.engine.journal.attempted(user, seen[1])
                await trio.sleep(1)
            assert set(told.kinds) == {"receiver_failing"}
            named = [[each["route"] for each in said["data"]["routes"]] for _, said in told.heard]
            assert sorted(named) == [["one"], ["two"]]
            nursery.cancel_scope.cancel()

    run(main)


WELL = ("well", Delivered(200))
