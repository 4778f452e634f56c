"""What every store must do with the history of all attempts, by example."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actor_queue.core.history import AttemptFilter, PastAttempt, has_mark, mark_of, marks_of
from actor_queue.store.history import KEPT_MS, PAGE
from actor_queue.store.history_api import LOOKED_AT_MAX
from tests.store.stage import Stage, scenario

MADE = PastAttempt(
    "ana", "b0000" + "0" * 20, 1, "failed", 503, "answered 503", 12, 2, 180, "r-1", b"abcdefgh"
)


def numbered(count: int, **fields: Any) -> list[tuple[int, PastAttempt]]:
    return [(0, replace(MADE, number=number, **fields)) for number in range(1, count + 1)]


async def numbers(s: Stage, wanted: AttemptFilter, limit: int) -> list[int]:
    """Of all that fit, page after page."""
    found, cursor = [], None
    while True:
        page = await s.store.attempts(wanted, limit, cursor)
        assert len(page.attempts) <= limit
        found += [attempt.number for attempt in page.attempts]
        cursor = page.cursor
        if cursor is None:
            return found


ALL = AttemptFilter()


class HistoryConformance:
    @scenario()
    async def test_an_attempt_is_remembered_with_when_it_ended(self, s: Stage) -> None:
        plain = replace(MADE, outcome="delivered", status=200, reason=None, marks=b"", user='é"\\')
        lost = replace(MADE, outcome="dead", status=None, took_ms=None, route="vendas")
        await s.store.attempts_add([(1_500, MADE), (0, plain), (0, lost)])
        page = await s.store.attempts(ALL, 10, None)
        assert page.cursor is None
        assert page.attempts == (
            replace(lost, at_ms=s.now.ms),
            replace(plain, at_ms=s.now.ms),
            replace(MADE, at_ms=s.now.ms - 1_500),
        )

    @scenario(history=3)
    async def test_no_more_are_remembered_than_are_set_and_the_oldest_go(self, s: Stage) -> None:
        for number in range(5):
            await s.store.attempts_add([(0, replace(MADE, number=number))])
        assert await numbers(s, ALL, 10) == [4, 3, 2]

    @scenario()
    async def test_pages_show_every_attempt_once_while_others_come(self, s: Stage) -> None:
        await s.store.attempts_add(numbered(10))
        first = await s.store.attempts(ALL, 4, None)
        await s.store.attempts_add([(0, replace(MADE, number=99))])
        second = await s.store.attempts(ALL, 4, first.cursor)
        third = await s.store.attempts(ALL, 4, second.cursor)
        found = [each.number for page in (first, second, third) for each in page.attempts]
        assert found == list(range(10, 0, -1))
        assert third.cursor is None

    @pytest.mark.parametrize(
        ("wanted", "fitting"),
        [
            (AttemptFilter(user="an"), [1, 2, 4]),
            (AttemptFilter(user="ana "), []),
            (AttemptFilter(outcome="dead"), [3]),
            (AttemptFilter(status=503), [1, 2, 4]),
            (AttemptFilter(status=410, user="b"), [3]),
            (AttemptFilter(route="default"), [1, 2, 3]),
            (AttemptFilter(route="vendas"), [4]),
        ],
    )
    def test_a_filter_shows_what_fits_and_nothing_else(
        self, opens: Any, wanted: AttemptFilter, fitting: list[int]
    ) -> None:
        @scenario()
        async def play(case: object, s: Stage) -> None:
            one, two, three, four = (made for _, made in numbered(4))
            dead = replace(three, user="bia", outcome="dead", status=410)
            await s.store.attempts_add([(0, one), (0, two), (0, dead)])
            await s.store.attempts_add([(0, replace(four, route="vendas", user="ana.b"))])
            assert await numbers(s, wanted, 10) == fitting[::-1]

        play(self, opens)

    @scenario()
    async def test_since_is_compared_with_when_the_attempt_ended(self, s: Stage) -> None:
        await s.store.attempts_add([(2_000, MADE), (1_000, replace(MADE, number=2))])
        since = AttemptFilter(since_ms=s.now.ms - 1_000)
        assert await numbers(s, since, 10) == [2]

    @scenario()
    async def test_one_request_looks_through_a_bounded_number_and_says_where_to_go_on(
        self, s: Stage
    ) -> None:
        await s.store.attempts_add([(0, replace(MADE, user="rara"))])
        for _ in range(LOOKED_AT_MAX // 100):
            await s.store.attempts_add(numbered(100))
        wanted = AttemptFilter(user="rara")
        page = await s.store.attempts(wanted, 10, None)
        assert page.attempts == ()
        assert page.cursor is not None
        page = await s.store.attempts(wanted, 10, page.cursor)
        assert [each.user for each in page.attempts] == ["rara"]
        assert page.cursor is None

    @scenario()
    async def test_a_list_that_ends_with_a_whole_page_ends(self, s: Stage) -> None:
        await s.store.attempts_add(numbered(PAGE))
        assert await numbers(s, ALL, PAGE) == list(range(PAGE, 0, -1))
        assert await numbers(s, AttemptFilter(user="x"), 10) == []

    @scenario()
    async def test_a_cursor_of_somebody_else_is_refused_and_an_old_one_is_no_harm(
        self, s: Stage
    ) -> None:
        for cursor in ("x", "-", "--1", "1e3", "9" * 16, "٣"):
            with pytest.raises(ValueError):
                await s.store.attempts(ALL, 10, cursor)
        await s.store.attempts_add(numbered(2))
        assert len((await s.store.attempts(ALL, 10, "9" * 15)).attempts) == 2
        assert (await s.store.attempts(ALL, 10, "0")).attempts == ()

    @scenario()
    async def test_names_are_not_kept_for_ever_where_no_attempt_is_made(self, s: Stage) -> None:
        await s.store.attempts_add(numbered(1))
        s.now.ms += KEPT_MS - 10_000
        assert await numbers(s, ALL, 10) == [1]

    @scenario()
    async def test_a_message_is_found_again_by_its_mark(self, s: Stage) -> None:
        lease = await s.own()
        names = ["wamid.1", 'é"\\\n', *(f"n{n}" for n in range(20))]
        for name in names:
            await s.send("oi", ttl_ms=0, message_id=name)
        marks = marks_of((await s.attempt(lease)).batch.stored)
        await s.store.attempts_add([(0, replace(MADE, marks=marks))])
        (found,) = (await s.store.attempts(ALL, 1, None)).attempts
        assert [has_mark(found, mark_of(name)) for name in names] == [True] * 12 + [False] * 10
