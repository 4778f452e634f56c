"""A conversation is (route, user): on two routes one person has two of everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import trio

from actor_queue.core.conversation import Conversation
from actor_queue.core.history import AttemptFilter
from actor_queue.core.outcome import Delivered, Outcome
from actor_queue.core.routes import Route
from actor_queue.runtime.missing import MissingRoutes
from tests.runtime.harness import FAILED, Sent, Stage, in_turn, message, run, stage

VENDAS = Conversation("vendas", "ana").key


def with_routes(s: Stage, **fields: Any) -> None:
    default = Route.default(s.settings)
    s.routes.replace([default, replace(default, name="vendas", **fields)])


def test_the_same_user_on_two_routes_has_two_timers_and_two_orders() -> None:
    async def main() -> None:
        async with stage() as s:
            with_routes(s)
            a = await s.start("ra")
            start = trio.current_time()
            await a.post("ana", "a1", ttl_s=10)
            await a.post(VENDAS, "v1", ttl_s=4)
            await trio.sleep(3)
            await a.post("ana", "a2", ttl_s=10)
            await trio.sleep(20)
            said = [(sent.batch.route, sent.user, sent.texts, sent.batch.seq) for sent in s.seen]
            assert said == [("vendas", "ana", ["v1"], 1), ("default", "ana", ["a1", "a2"], 1)]
            assert s.times(start) == [4, 13]

    run(main)


def test_a_batch_of_one_route_that_waits_for_its_retry_holds_up_nothing_of_the_other() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(60_000,)) as s:
            with_routes(s)
            s.answer = in_turn(FAILED)
            a = await s.start("ra")
            await a.post(VENDAS, "v1", ttl_s=0)
            await trio.sleep(1)
            await a.post("ana", "a1", ttl_s=1)
            await trio.sleep(2)
            assert [(sent.batch.route, sent.texts) for sent in s.seen] == [
                ("vendas", ["v1"]),
                ("default", ["a1"]),
            ]
            assert (await a.engine.describe(VENDAS)).state == "retrying"
            assert (await a.engine.describe("ana")).state == "idle"

    run(main)


def test_the_same_user_on_two_routes_has_two_histories() -> None:
    async def main() -> None:
        async with stage() as s:
            with_routes(s)
            a = await s.start("ra")
            await a.post(VENDAS, "v1", ttl_s=0)
            await trio.sleep(1)
            assert len((await a.engine.describe(VENDAS)).recent) == 1
            assert (await a.engine.describe("ana")).recent == ()
            page = await a.engine.attempts(AttemptFilter(route="vendas"), 10, None)
            assert [(each.user, each.route) for each in page.attempts] == [("ana", "vendas")]
            assert (
                await a.engine.attempts(AttemptFilter(route="default"), 10, None)
            ).attempts == ()
            await a.post("ana", "a1", ttl_s=50)
            await a.engine.erase("ana", None)
            page = await a.engine.attempts(AttemptFilter(), 10, None)
            assert [(each.user, each.route) for each in page.attempts] == [("ana", "vendas")]
            await a.engine.erase(VENDAS, None)
            assert (await a.engine.attempts(AttemptFilter(), 10, None)).attempts == ()

    run(main)


def test_each_route_closes_its_batches_by_its_own_limits_though_messages_come_together() -> None:
    async def main() -> None:
        async with stage(max_messages=100) as s:
            with_routes(s, max_messages=2)
            a = await s.start("ra")
            both = [message(user, f"{n}", 5) for n in range(5) for user in ("ana", VENDAS)]
            await a.engine.push(both)
            await trio.sleep(20)
            sent = sorted((each.batch.route, each.texts) for each in s.seen)
            assert sent == [
                ("default", ["0", "1", "2", "3", "4"]),
                ("vendas", ["0", "1"]),
                ("vendas", ["2", "3"]),
                ("vendas", ["4"]),
            ]

    run(main)


def test_a_receiver_that_answers_nobody_takes_no_slot_and_no_millisecond_of_another_route() -> None:
    async def main() -> None:
        async with stage(max_deliveries=3, shards=2) as s:
            with_routes(s)

            async def answer(sent: Sent) -> Outcome:
                if sent.batch.route == "vendas":
                    await trio.sleep_forever()
                return Delivered(200)

            s.answer = answer
            a = await s.start("ra")
            for number in range(40):
                await a.post(Conversation("vendas", f"v{number}").key, "v", ttl_s=0)
            await trio.sleep(2)
            start = trio.current_time()
            for number in range(5):
                await a.post(f"ana{number}", "a", ttl_s=1)
            await trio.sleep(10)
            times = [sent.at - start for sent in s.seen if sent.batch.route == "default"]
            assert times == [1.0] * 5
            under_way = [sent for sent in s.seen if sent.until is None]
            assert len(under_way) == 3, "the route has slots of its own, and no more"

    run(main)


def test_a_long_queue_before_one_receiver_keeps_nobody_of_another_route_from_being_found() -> None:
    async def main() -> None:
        async with stage(max_deliveries=2, shards=1, webhook_timeout_ms=5_000) as s:
            with_routes(s)

            async def answer(sent: Sent) -> Outcome:
                if sent.batch.route == "vendas":
                    await trio.sleep_forever()
                return Delivered(200)

            s.answer = answer
            first = await s.start("ra")
            for number in range(450):
                await first.post(Conversation("vendas", f"v{number}").key, "v", ttl_s=1)
            await first.post("ana", "a", ttl_s=1.5)
            await first.crash()
            await s.start("rb")
            await trio.sleep(3)
            assert [sent.texts for sent in s.of("ana")] == [["a"]]

    run(main)


def test_each_route_has_its_own_retry_schedule_and_time_limit() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(1_000,), webhook_timeout_ms=30_000) as s:
            with_routes(s, retry_schedule_ms=(20_000,), timeout_ms=4_000)
            s.answer = in_turn(*[FAILED] * 4)
            a = await s.start("ra")
            await a.post(VENDAS, "v", ttl_s=0)
            await a.post("ana", "a", ttl_s=0)
            await trio.sleep(10)
            attempts = [sent.batch.route for sent in s.seen]
            assert sorted(attempts) == ["default", "default", "vendas"]
            limits = {sent.batch.route: sent.deadline_s for sent in s.seen}
            assert 3.9 < limits["vendas"] <= 4
            assert 29.9 < limits["default"] <= 30
            await trio.sleep(20)
            assert [sent.batch.route for sent in s.seen].count("vendas") == 2

    run(main)


def test_conversations_of_a_route_that_is_not_there_wait_and_cost_nothing_meanwhile() -> None:
    async def main() -> None:
        async with stage() as s:
            default = Route.default(s.settings)
            with_routes(s)
            a = await s.start("ra")
            await a.post(VENDAS, "v", ttl_s=5)
            s.routes.replace([default])
            await trio.sleep(10)
            asked = len(s.calls("claim_v4"))
            await trio.sleep(60)
            assert (s.seen, len(s.calls("claim_v4"))) == ([], asked)
            assert a.store.unrouted() == {"vendas": 1}
            assert a.engine.actors == 0
            await a.post("ana", "a", ttl_s=1)
            await trio.sleep(2)
            assert s.texts() == [["a"]]
            with_routes(s)
            await trio.sleep(2)
            assert [sent.batch.route for sent in s.seen] == ["default", "vendas"]
            await trio.sleep(2)
            assert a.store.unrouted() == {}

    run(main)


def test_the_log_names_a_missing_route_once_a_minute_as_long_as_somebody_waits() -> None:
    said: list[tuple[str, dict[str, object]]] = []
    waiting = {"vendas": 2}

    async def main() -> None:
        missing = MissingRoutes(lambda: waiting, lambda name, **more: said.append((name, more)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(missing.run)
            await trio.sleep(125)
            for _ in range(5):  # a look may miss them
                counts = dict(waiting)
                waiting.clear()
                await trio.sleep(1)
                waiting.update(counts)
                await trio.sleep(1)
            waiting.clear()
            waiting["suporte"] = 1
            await trio.sleep(5)
            nursery.cancel_scope.cancel()

    run(main)
    of_vendas = ("route_missing", {"route": "vendas", "conversations": 2})
    assert said == [of_vendas] * 3 + [("route_missing", {"route": "suporte", "conversations": 1})]


def test_whoever_waits_for_a_route_is_counted_behind_a_crowd_of_another() -> None:
    """A crowd that is due sooner hid the others, and a missing route with them."""

    async def main() -> None:
        async with stage(shards=4) as s:
            with_routes(s)
            a = await s.start("ra")
            crowd = [message(f"user-{number}", "oi", 1_000) for number in range(700)]
            await a.engine.push(crowd)
            await a.post(VENDAS, "v1", ttl_s=2_000)
            await a.post(Conversation("gone", "ana").key, "g1", ttl_s=2_000)
            found = await a.engine.gates.receivers(None)
            counted = [(each.route, each.state, each.waiting) for each in found.reports]
            assert counted == [
                ("default", "closed", 700),
                ("gone", "missing", 1),
                ("vendas", "closed", 1),
            ]
            assert found.complete
            (only,) = (await a.engine.gates.receivers("vendas")).reports
            assert only.waiting == 1

    run(main)


def test_a_count_of_who_waits_ends_at_its_limit_and_says_so() -> None:
    async def main() -> None:
        async with stage(shards=4) as s:
            a = await s.start("ra")
            await a.engine.push([message(f"user-{number}", "oi", 1_000) for number in range(100)])
            counts, complete = await s.replicas[0].store.all_waiting_by_route(50)
            assert (sum(counts.values()) <= 50, complete) == (True, False)
            assert await a.store.all_waiting_by_route(1_000) == ({"default": 100}, True)

    run(main)
