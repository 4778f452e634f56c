"""Events of every replica reach listeners at any of them, and cost nothing while nobody listens."""

from __future__ import annotations

import json

import anyio
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.runtime import relay
from actor_queue.runtime.counters import Counters
from actor_queue.runtime.events import QUEUE_MAX, Event, EventBus, Listener
from actor_queue.runtime.relay import WANTED_S, Relay
from actor_queue.store.telling import news_of
from tests.runtime.harness import Replica, run, stage


def drained(listener: Listener) -> list[Event]:
    heard = []
    try:
        while True:
            heard.append(listener.receive_nowait())
    except anyio.WouldBlock:
        return heard


async def joined(replica: Replica) -> None:
    assert replica.engine.events.joined is not None
    await replica.engine.events.joined.wait()


def of(heard: list[Event], user: str) -> list[str]:
    return [event.name for event in heard if event.data.get("user") == user]


def test_a_listener_hears_what_every_replica_does_in_each_users_order() -> None:
    async def main() -> None:
        async with stage(shards=8) as s:
            a, b = await s.start("ra"), await s.start("rb", shards=0)
            with a.engine.events.listen() as events:
                await joined(a)
                for number in range(20):
                    await b.post(f"u{number}", "oi", ttl_s=0.5)
                await trio.sleep(5)
                heard = drained(events)
            assert {event.data["replica"] for event in heard} == {"ra", "rb"}
            for number in range(20):
                assert sorted(of(heard, f"u{number}")) == ["accepted", "delivered", "fired"]
                mine = [e.name for e in heard if e.data.get("user") == f"u{number}"]
                assert mine.index("fired") < mine.index("delivered")
            assert "oi" not in str(heard)

    run(main)


def test_a_replica_that_comes_while_somebody_listens_is_heard_too() -> None:
    async def main() -> None:
        async with stage(shards=8) as s:
            a = await s.start("ra")
            with a.engine.events.listen() as events:
                await joined(a)
                b = await s.start("rb", shards=0)
                await trio.sleep(3)
                await b.post("late", "oi", ttl_s=0)
                await trio.sleep(1)
                assert "accepted" in of(drained(events), "late")

    run(main)


def test_while_nobody_listens_nothing_is_made_and_nothing_is_sent() -> None:
    async def main() -> None:
        async with stage(shards=8) as s:
            a, b = await s.start("ra"), await s.start("rb", shards=0)
            await b.post("ana", "oi", ttl_s=0)
            await trio.sleep(30)
            assert not s.calls("publish_v1")
            assert not b.engine.events.listened
            with a.engine.events.listen():
                await joined(a)
                await trio.sleep(0.1)
                assert b.engine.events.listened
            # Nobody takes it back: the others stop when they are not told again.
            await trio.sleep(WANTED_S + 1)
            since = trio.current_time()
            await b.post("ana", "oi", ttl_s=0)
            await trio.sleep(30)
            assert not s.calls("publish_v1", since=since)
            assert not b.engine.events.listened
            assert not b.engine.events.outgoing

    run(main)


def test_a_flood_goes_in_few_small_parcels_and_what_did_not_fit_is_told() -> None:
    async def main() -> None:
        async with stage(shards=1) as s:
            a, b = await s.start("ra"), await s.start("rb", shards=0)
            with a.engine.events.listen() as events:
                await joined(a)
                await trio.sleep(0.1)
                since, heard = trio.current_time(), []
                for number in range(10_000):
                    b.engine.events.publish("accepted", user="ana", pending=number)
                for _ in range(200):
                    await trio.sleep(0.01)
                    heard += drained(events)
                b.engine.events.publish("accepted", user="ana", pending=10_000)
                await trio.sleep(1)
                heard += drained(events)
            numbers = [event.data["pending"] for event in heard if event.name == "accepted"]
            lost = sum(int(str(e.data["dropped"])) for e in heard if e.name == "dropped")
            assert numbers == sorted(set(map(int, map(str, numbers))))
            assert numbers[-1] == 10_000
            assert len(numbers) + lost == 10_001
            assert lost > 0
            assert len(s.calls("publish_v1", since=since)) <= 15

    run(main)


def test_a_listener_that_reads_too_slowly_is_told_how_many_it_missed() -> None:
    async def main() -> None:
        bus = EventBus()
        with bus.listen() as slow:
            for number in range(QUEUE_MAX + 500):
                bus.publish("accepted", pending=number)
            heard = drained(slow)
            assert len(heard) == QUEUE_MAX + 1
            assert heard[-1] == Event("dropped", {"dropped": 500})
            bus.publish("accepted", pending=-1)
            assert drained(slow) == [Event("accepted", {"pending": -1})]

    run(main)


def test_what_the_store_did_not_take_is_told_as_dropped() -> None:
    async def main() -> None:
        async with stage(shards=1) as s:
            a, b = await s.start("ra"), await s.start("rb", shards=0)
            with a.engine.events.listen() as events:
                await joined(a)
                await trio.sleep(0.1)
                for lost in (False, True, False):
                    if lost:
                        b.runner.go_down()
                    b.engine.events.publish("accepted", user="ana")
                    await trio.sleep(0.2)
                    b.runner.come_back()
                await trio.sleep(1)
                heard = [event for event in drained(events) if event.data["replica"] == "rb"]
                names = [event.name for event in heard if event.name in ("accepted", "dropped")]
                assert names == ["accepted", "dropped", "accepted"]
                assert heard[names.index("dropped")].data == {"dropped": 1, "replica": "rb"}

    run(main)


class _Nowhere:
    replica = "ra"


def fresh() -> tuple[Relay, EventBus, Counters]:
    bus, counters = EventBus("ra"), Counters()
    return Relay(_Nowhere(), bus, counters), bus, counters  # type: ignore[arg-type]


HEAD = {"v": 1, "replica": "rb", "first": 1, "count": 1}


def parcel(head: object, *events: object) -> bytes:
    return "\n".join(json.dumps(each) for each in (head, *events)).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        parcel(HEAD),
        parcel({**HEAD, "count": 2}, ["fired", {}]),
        parcel({**HEAD, "v": 2}, ["fired", {}]),
        parcel({**HEAD, "first": -1}, ["fired", {}]),
        parcel({**HEAD, "first": 10**30}, ["fired", {}]),
        parcel({**HEAD, "replica": "r" * 1_000}, ["fired", {}]),
        parcel({**HEAD, "replica": None}, ["fired", {}]),
        parcel(HEAD, ["stolen", {}]),
        parcel(HEAD, ["fired", []]),
        parcel(HEAD, ["fired"]),
        parcel(HEAD, {"fired": {}}),
        parcel(HEAD, ["fired", {"late_ms": float("nan")}]),
        b'{"v": 1, "replica": "rb", "first": ' + b"9" * 5_000 + b', "count": 1}\n["fired", {}]',
        parcel(HEAD, ["fired", {"x": "y" * 2_000_000}]),
    ],
)
def test_what_is_no_parcel_is_ignored_and_counted(text: bytes) -> None:
    async def main() -> None:
        one, bus, counters = fresh()
        with bus.listen() as events:
            one.hear(text)
            assert drained(events) == []
            assert counters.events_malformed == 1
            one.hear(parcel(HEAD, ["fired", {"user": "ana"}]))
            assert drained(events) == [Event("fired", {"user": "ana"})]

    trio.run(main)


@given(st.binary(max_size=200))
def test_no_text_that_redis_sends_raises_anything(text: bytes) -> None:
    async def main() -> None:
        one, _, _ = fresh()
        one.hear(text)
        news_of(text)

    trio.run(main)


def test_numbers_without_end_are_read_for_a_second_and_then_counted_as_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "READ_MAX", 10)

    async def main() -> None:
        one, bus, _ = fresh()
        with bus.listen() as events:
            for first in (1, 6, 11):
                one.hear(parcel({**HEAD, "first": first, "count": 5}, *[["fired", {}]] * 5))
            heard = drained(events)
            assert [event.name for event in heard] == ["fired"] * 10 + ["dropped"]
            assert heard[-1].data == {"dropped": 5, "replica": "rb"}

    run(main)


def test_a_nudge_that_means_nothing_ends_nothing_and_is_counted() -> None:
    async def main() -> None:
        async with stage(shards=1) as s:
            a = await s.start("ra")
            client = a.runner.client
            for text in (b"", b"x", b"1:2", b"-1:5:u", b"0:99999999999999999999:u", b"0:5:\xff"):
                client.publish("aq:nudge:ra", text)
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(1)
            assert a.engine.counters.events_malformed == 6
            assert s.texts("ana") == [["oi"]]

    run(main)
