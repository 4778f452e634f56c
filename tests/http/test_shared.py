"""What open pages ask for again and again is read once a second for all of them."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actor_queue.http.shared import AGE, BYTES_MAX, READINGS_MAX, YOUNG_S, Shared
from actor_queue.store.api import StoreUnavailable, UserPage
from actor_queue.store.lists_api import UserFilter
from tests.http.client import ask as send
from tests.http.client import post
from tests.http.conftest import Served

SLOW_S = 0.5


class Reading:
    """Counts how often it was read, and takes its time for it."""

    def __init__(self, size: int = 1) -> None:
        self.times = 0
        self._size = size

    async def __call__(self) -> bytes:
        self.times += 1
        said = str(self.times).encode() * self._size
        await trio.sleep(SLOW_S)
        return said


def test_who_asks_the_same_within_a_second_shares_one_reading_and_hears_its_age() -> None:
    async def main() -> None:
        shared, read, heard = Shared(), Reading(), list[tuple[bytes, float]]()

        async def ask(after_s: float) -> None:
            await trio.sleep(after_s)
            heard.append(await shared.body("/api/users?", read))

        async with trio.open_nursery() as nursery:
            for after_s in (0.0, 0.1, YOUNG_S - 0.1, YOUNG_S + 0.1):
                nursery.start_soon(ask, after_s)
        assert [body for body, _ in heard] == [b"1", b"1", b"1", b"2"]
        assert [age_s for _, age_s in heard] == pytest.approx([0.5, 0.5, YOUNG_S - 0.1, 0.5])
        assert await shared.body("/api/dead?", read) == (b"3", SLOW_S)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_whoever_waits_for_a_reader_that_hangs_up_or_fails_reads_anew() -> None:
    async def main() -> None:
        shared, read, heard = Shared(), Reading(), list[bytes]()

        async def fails() -> bytes:
            await trio.sleep(SLOW_S)
            raise StoreUnavailable("away", executed=False)

        async def hangs_up() -> None:
            with trio.move_on_after(0.1):
                await shared.body("x", read)

        async def ask() -> None:
            await trio.sleep(0.05)
            heard.append((await shared.body("x", read))[0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hangs_up)
            nursery.start_soon(ask)
        assert heard == [b"2"]
        await trio.sleep(1)
        with pytest.raises(StoreUnavailable):
            await shared.body("x", fails)
        assert (await shared.body("x", read))[0] == b"3"

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_what_is_kept_is_bounded() -> None:
    async def main() -> None:
        shared, huge = Shared(), Reading(size=BYTES_MAX + 1)
        async with trio.open_nursery() as nursery:
            for number in range(3 * READINGS_MAX):
                nursery.start_soon(shared.body, str(number), Reading())
        assert len(shared._readings) <= READINGS_MAX
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shared.body, "huge", huge)
            nursery.start_soon(shared.body, "huge", huge)
        assert huge.times == 1
        await shared.body("huge", huge)
        assert huge.times == 2

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_only_who_says_so_gets_an_answer_that_may_be_old(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, asked = server.engine.users, list[int]()

    async def counted(wanted: UserFilter | None, limit: int, cursor: str | None) -> UserPage:
        asked.append(limit)
        return await users(wanted, limit, cursor)

    monkeypatch.setattr(server.engine, "users", counted)
    monkeypatch.setattr("actor_queue.http.shared.YOUNG_S", 60.0)
    young = {"cache-control": "max-age=1"}

    def ask(path: str, headers: dict[str, str]) -> list[str]:
        answer = send(server.address, "GET", path, headers=headers)
        assert answer.status == 200
        assert (AGE in answer.headers) == (headers == young)
        return [line["user"] for line in answer.json["users"]]

    assert ask("/api/users?limit=9", young) == []
    post(server.address, {"user": "ana", "message": "oi"})
    assert ask("/api/users?limit=9", young) == []
    assert asked == [9]
    for anew in ({}, {"cache-control": "no-cache"}, {"cache-control": "max-age=0"}):
        assert ask("/api/users?limit=9", anew) == ["ana"]
    assert ask("/api/users?limit=8", young) == ["ana"]
    assert asked == [9, 9, 9, 9, 8]
