"""Hold, flush, typing and drop through the engine; what listeners hear; the order of a stop."""

from __future__ import annotations

from contextlib import ExitStack

import anyio
import pytest
import trio

from actor_queue.runtime.events import LISTENERS_MAX, LISTENERS_OF_ONE_MAX, QUEUE_MAX, EventBus
from actor_queue.store.api import StoreUnavailable
from tests.runtime.harness import FAILED, GONE, after, in_turn, run, stage


def test_a_hold_keeps_everything_back_and_its_end_lets_it_go_at_once() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            start = trio.current_time()
            await a.post("ana", "before", ttl_s=1)
            await a.engine.hold("ana", 10_000)
            await a.post("ana", "during", ttl_s=0)
            await trio.sleep(9.999)
            assert s.seen == []
            await trio.sleep(1)
            assert s.texts() == [["before", "during"]]
            assert s.times(start) == [10]

    run(main)


def test_a_hold_that_is_lifted_lets_go_at_once_also_a_retry() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(1_000,)) as s:
            a = await s.start("ra")
            s.answer = in_turn(FAILED)
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(0.1)
            await a.engine.hold("ana", 90_000)
            await trio.sleep(30)
            assert len(s.seen) == 1
            lifted = trio.current_time()
            await a.engine.unhold("ana")
            await trio.sleep(5)
            assert s.times(lifted)[1:] == [0]

    run(main)


def test_a_longer_hold_replaces_a_shorter_one_and_a_shorter_one_a_longer() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            start = trio.current_time()
            for user, spans_ms in (("ana", (5_000, 9_000)), ("bea", (90_000, 3_000))):
                await a.post(user, "oi", ttl_s=1)
                for for_ms in spans_ms:
                    await a.engine.hold(user, for_ms)
            await trio.sleep(20)
            assert [(sent.user, round(sent.at - start, 6)) for sent in s.seen] == [
                ("bea", 3),
                ("ana", 9),
            ]

    run(main)


def test_a_flush_sends_at_once_what_waits_and_a_retry_too() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(60_000,)) as s:
            a = await s.start("ra")
            s.answer = in_turn(FAILED)
            start = trio.current_time()
            await a.post("ana", "oi", ttl_s=30)
            await trio.sleep(2)
            await a.engine.flush("ana")
            await trio.sleep(2)
            await a.post("ana", "more", ttl_s=1)
            await a.engine.flush("ana")
            await trio.sleep(1)
            assert s.times(start) == [2, 4, 4]
            assert s.texts() == [["oi"], ["oi"], ["more"]]
            assert {sent.batch.reason for sent in s.seen} == {"flush"}

    run(main)


def test_a_flush_during_a_hold_is_refused_and_changes_nothing() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            start = trio.current_time()
            await a.post("ana", "oi", ttl_s=1)
            await a.engine.hold("ana", 5_000)
            assert await a.engine.flush("ana") == "held"
            await trio.sleep(10)
            assert s.times(start) == [5]

    run(main)


def test_typing_puts_the_end_of_the_quiet_off_and_never_forward() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            start = trio.current_time()
            await a.post("ana", "oi", ttl_s=5)
            await trio.sleep(4)
            extended, _ = await a.engine.typing("ana", None)
            assert extended
            await trio.sleep(4)
            await a.engine.typing("ana", 100)
            await trio.sleep(10)
            assert s.times(start) == [9]
            assert (await a.engine.typing("ana", None))[0] is False

    run(main)


def test_what_was_dropped_is_not_sent_and_the_next_message_is() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            await a.post("ana", "gone", ttl_s=1)
            assert (await a.engine.drop("ana")).messages == 1
            await a.post("ana", "stays", ttl_s=2)
            await trio.sleep(10)
            assert s.texts() == [["stays"]]

    run(main)


def test_a_repeated_message_adds_nothing_and_moves_no_timer() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            start = trio.current_time()
            await a.post("ana", "oi", 3, "id-1")
            await trio.sleep(2)
            assert (await a.post("ana", "oi", 3, "id-1")).duplicate
            await trio.sleep(5)
            assert s.texts() == [["oi"]]
            assert s.times(start) == [3]
            assert a.engine.counters.duplicates == 1

    run(main)


def test_the_verbs_reach_an_owner_elsewhere_at_once() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            b = await s.start("rb", shards=0)
            await trio.sleep(12)
            owner, other = (a, b) if a.engine.shards_owned else (b, a)
            await owner.post("ana", "oi", ttl_s=60)
            await owner.post("bea", "oi", ttl_s=0.1)
            await owner.engine.hold("bea", 60_000)
            await trio.sleep(1)
            start = trio.current_time()
            await other.engine.flush("ana")
            await other.engine.unhold("bea")
            await trio.sleep(5)
            assert s.times(start) == pytest.approx([0, 0], abs=0.001)

    run(main)


def test_a_listener_hears_what_happens_without_a_word_of_the_messages() -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(1_000,)) as s:
            a = await s.start("ra")
            s.answer = in_turn(FAILED, GONE)
            with a.engine.events.listen() as events:
                await a.post("ana", "a secret", ttl_s=0)
                await trio.sleep(5)
                await a.post("ana", "a secret", ttl_s=0)
                await trio.sleep(5)
                heard = []
                while True:
                    try:
                        heard.append(events.receive_nowait())
                    except anyio.WouldBlock:
                        break
            assert [event.name for event in heard] == [
                *("accepted", "fired", "failed", "fired", "dead"),
                *("accepted", "fired", "delivered"),
            ]
            assert "secret" not in repr(heard)

    run(main)


def test_a_slow_listener_loses_events_and_nobody_waits_for_it() -> None:
    async def main() -> None:
        bus = EventBus()
        with bus.listen() as slow, bus.listen() as quick:
            for number in range(QUEUE_MAX + 50):
                bus.publish("accepted", number=number)
                assert quick.receive_nowait().data == {"number": number}
            assert slow.receive_nowait().data == {"number": 0}
            bus.publish("accepted", number=-1)
            told = [slow.receive_nowait() for _ in range(QUEUE_MAX + 1)]
            assert [event.data for event in told[-2:]] == [{"dropped": 50}, {"number": -1}]

    run(main)


def test_a_listener_that_went_away_disturbs_nobody_and_the_number_of_listeners_is_limited() -> None:
    async def main() -> None:
        bus = EventBus()
        with bus.listen() as gone:
            bus.publish("accepted")
        assert not bus.listened
        bus.publish("accepted")
        gone.receive_nowait()
        with pytest.raises(anyio.WouldBlock):
            gone.receive_nowait()
        with ExitStack() as listening:
            before = [listening.enter_context(bus.listen()) for _ in range(LISTENERS_MAX)]
            listening.enter_context(bus.listen())
            assert [each.put_out for each in before] == [True] + [False] * (LISTENERS_MAX - 1)
            with pytest.raises(anyio.EndOfStream):
                await before[0].receive()

    run(main)


def test_of_one_party_with_too_many_listeners_the_furthest_behind_goes() -> None:
    async def main() -> None:
        bus = EventBus()
        with ExitStack() as listening:
            other = listening.enter_context(bus.listen("other"))
            own = [listening.enter_context(bus.listen("own")) for _ in range(LISTENERS_OF_ONE_MAX)]
            bus.publish("accepted")
            for each in (*own[:7], *own[8:]):
                each.receive_nowait()
            last = listening.enter_context(bus.listen("own"))
            assert [place for place, each in enumerate(own) if each.put_out] == [7]
            assert not other.put_out
            bus.publish("accepted")
            assert last.receive_nowait().name == "accepted"

    run(main)


def test_where_too_many_listen_in_all_the_party_with_the_most_gives_way() -> None:
    async def main() -> None:
        bus = EventBus()
        with ExitStack() as listening:
            few = listening.enter_context(bus.listen("few"))
            many = [
                listening.enter_context(bus.listen(f"many-{number % 9}"))
                for number in range(LISTENERS_MAX - 1)
            ]
            listening.enter_context(bus.listen("new"))
            assert [each.put_out for each in many] == [True] + [False] * (LISTENERS_MAX - 2)
            assert not few.put_out

    run(main)


def test_while_stopping_nothing_new_is_claimed_but_messages_under_way_are_kept() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            s.answer = after(2)
            await a.post("ana", "under way", ttl_s=0)
            await a.post("bea", "waits", ttl_s=0.5)
            await trio.sleep(0.1)
            assert a.engine.unready() is None
            await a.engine.hand_over()
            assert a.engine.unready() == "draining"
            await a.post("bea", "late", ttl_s=0)
            await trio.sleep(1)
            assert s.texts() == [["under way"]]
            await a.stop()
            b = await s.start("rb")
            await trio.sleep(5)
            assert s.texts() == [["under way"], ["waits", "late"]]
            assert b.engine.counters.delivered == 1

    run(main)


def test_before_it_runs_an_engine_takes_nothing() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            a.engine._phase = "starting"
            with pytest.raises(StoreUnavailable) as refused:
                await a.post("ana", "oi")
            assert refused.value.executed is False
            assert s.calls("append_v2") == s.calls("append_one_v1") == []

    run(main)
