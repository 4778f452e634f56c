"""What new messages may take of a server's memory, and when the server is asked again."""

from __future__ import annotations

import pytest

from actor_queue.core.headroom import Headroom, reserve_bytes

MIB = 2**20


@pytest.mark.parametrize(
    ("most", "chosen", "reserve"),
    [
        (0, None, 0),
        (0, 5 * MIB, 0),
        (100 * MIB, None, 10 * MIB),
        (4096 * MIB, None, 32 * MIB),
        (100 * MIB, 0, 0),
        (100 * MIB, 64 * MIB, 64 * MIB),
    ],
)
def test_the_reserve_is_what_was_chosen_or_a_tenth_of_maxmemory_and_at_most_32_mib(
    most: int, chosen: int | None, reserve: int
) -> None:
    assert reserve_bytes(most, chosen) == reserve


def looked(used: int, most: int = 100 * MIB) -> Headroom:
    room = Headroom(10 * MIB)
    room.looked(used, most, room.asking())
    return room


def test_before_the_first_look_and_without_maxmemory_nothing_is_refused() -> None:
    room = Headroom(None)
    room.sent(10**12)
    assert (room.limited, room.wanting, room.sentence()) == (False, False, None)
    room = looked(500 * MIB, most=0)
    room.sent(10**12)
    assert (room.limited, room.wanting, room.sentence()) == (False, False, None)


def test_up_to_the_reserve_messages_are_sent_and_not_beyond_it() -> None:
    assert looked(90 * MIB).sentence() is None
    sentence = looked(90 * MIB + 1).sentence()
    assert sentence is not None
    # What is left reads as less than the reserve also where both are rounded.
    assert "9.9 MiB left" in sentence
    assert "AQ_REDIS_RESERVE keeps 10.0 MiB" in sentence
    almost = looked(100 * MIB - 10 * MIB + 512, most=100 * MIB).sentence()
    assert almost is not None
    assert "9.9 MiB left" in almost


def test_what_is_under_way_is_named_as_the_reason_where_the_reserve_itself_is_untouched() -> None:
    room = looked(89 * MIB)
    room.sent(2 * MIB)
    sentence = room.sentence()
    assert sentence is not None
    assert "of 11.0 MiB left" in sentence
    assert "keeps 10.0 MiB" in sentence
    assert "messages under way may need the rest" in sentence


def test_near_the_reserve_it_is_not_ready_and_unready_in_turn() -> None:
    room = looked(90 * MIB + 1)
    verdicts = []
    for used in (90 * MIB - 1, 90 * MIB + 1, 90 * MIB - 1000, 90 * MIB + 50):
        room.looked(used, 100 * MIB, room.asking())
        verdicts.append(room.sentence() is None)
    assert verdicts == [False] * 4
    sentence = room.sentence()
    assert sentence is not None
    room.looked(90 * MIB - 10 * MIB // 16, 100 * MIB, room.asking())
    assert room.sentence() is None
    # With room again, everything up to the reserve is taken as before.
    room.looked(90 * MIB - 1, 100 * MIB, room.asking())
    assert room.sentence() is None
    room.looked(200 * MIB, 0, room.asking())
    assert room.sentence() is None


def test_what_was_sent_since_the_last_look_counts_and_asks_for_another_look_soon() -> None:
    room = looked(50 * MIB)
    room.sent(10 * MIB)
    assert not room.wanting
    room.sent(1)
    assert room.wanting
    room.sent(30 * MIB - 1)
    assert room.sentence() is None
    room.sent(1)
    assert room.sentence() is not None
    room.settled(40 * MIB + 1)
    room.looked(60 * MIB, 100 * MIB, room.asking())
    assert room.sentence() is None


def test_what_was_under_way_when_the_server_was_asked_goes_on_counting() -> None:
    room = looked(50 * MIB)
    room.sent(30 * MIB)
    before = room.asking()
    room.settled(30 * MIB)
    room.looked(50 * MIB, 100 * MIB, before)
    room.sent(11 * MIB)
    assert room.sentence() is not None
    room.settled(11 * MIB)
    room.looked(50 * MIB, 100 * MIB, room.asking())
    assert room.sentence() is None
