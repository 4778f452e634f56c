"""What listeners hear of a flood, and what it costs."""

from __future__ import annotations

import json

import anyio
import pytest
import trio
from trio.testing import MockClock

from actor_queue.runtime.events import (
    FLOODING_BURST,
    FLOODING_PER_S,
    FLOODING_TOGETHER,
    Event,
    EventBus,
    Listener,
)

MANY = FLOODING_BURST + 500


def drained(listener: Listener) -> list[Event]:
    heard: list[Event] = []
    while True:
        try:
            heard.append(listener.receive_nowait())
        except anyio.WouldBlock:
            return heard


def test_of_a_flood_so_much_is_told_as_can_be_paid_for_and_the_rest_is_counted() -> None:
    async def main() -> None:
        bus = EventBus()
        with bus.listen() as one, bus.listen() as two:
            heard: list[Event] = []
            for told_s in (0, 1):
                await trio.sleep(told_s)
                for number in range(MANY):
                    bus.publish("accepted", pending=number)
                    heard += drained(one)
            told = [event for event in heard if event.name == "accepted"]
            lost = sum(int(str(e.data["dropped"])) for e in heard if e.name == "dropped")
            assert len(told) == FLOODING_BURST + FLOODING_PER_S
            assert len(told) + lost == 2 * MANY
            assert drained(two)[-1].name == "dropped"

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_flood_that_lasts_is_told_in_pieces_with_one_loss_between_two() -> None:
    async def main() -> None:
        bus = EventBus()
        with bus.listen() as listener:
            heard: list[Event] = []
            for _ in range(FLOODING_BURST):
                bus.publish("accepted")
            drained(listener)
            for _ in range(30):
                for _ in range(100):
                    await trio.sleep(0.001)
                    bus.publish("accepted")
                heard += drained(listener)
            lost = [event for event in heard if event.name == "dropped"]
            told = len(heard) - len(lost)
            assert told == pytest.approx(3 * FLOODING_PER_S, abs=FLOODING_TOGETHER)
            assert sum(int(str(e.data["dropped"])) for e in lost) == 3_000 - told
            assert len(lost) <= 30 + 3 * FLOODING_PER_S / FLOODING_TOGETHER

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_what_is_rare_is_told_in_a_flood_too() -> None:
    async def main() -> None:
        bus = EventBus()
        with bus.listen() as listener:
            for number in range(MANY):
                bus.publish("delivered", messages=number)
                drained(listener)
            bus.publish("dead", user="ana", reason="answered 410")
            bus.publish("moved", shard=3, owner=None)
            assert [event.name for event in drained(listener)][-2:] == ["dead", "moved"]

    trio.run(main, clock=MockClock())


def test_an_event_is_put_into_words_once_however_many_listen() -> None:
    event = Event("accepted", {"user": "joão"})
    assert event.text is event.text
    name, data, *_ = event.text.split(b"\n")
    assert (name, json.loads(data.removeprefix(b"data: "))) == (
        b"event: accepted",
        {"user": "joão"},
    )
