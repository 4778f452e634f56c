"""Erasing a user leaves nothing of the user in the store, proven by reading all of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actor_queue.core.batch import Attempt
from actor_queue.core.conversation import Conversation
from actor_queue.core.history import AttemptFilter
from actor_queue.store import erase as erasing
from actor_queue.store.api import Gone, Lease, Settled
from actor_queue.store.deeds_api import DEEDS_MAX, USER_DEEDS_MAX, Deed
from tests.store.conformance_history import MADE, numbered
from tests.store.stage import ATTEMPT_MS, Stage, scenario

USER = "ana*[é]"
"""With letters that a pattern reads in another way."""
NEAR = "ana*[é]2"
VENDAS = Conversation("vendas", "ana").key
TEXT = "segredo"
ANSWER = f"no such flow for {TEXT}"


def traces(s: Stage) -> list[tuple[bytes, object]]:
    """Every key that has the user's name, or something that was written, in it or in its name."""
    words = (USER.encode(), b"ana*[\\u00e9]", TEXT.encode())
    found = []
    for key, value in s.dump().items():
        texts = repr(value).encode("unicode_escape").decode().encode("latin-1", "replace")
        raw = b" ".join(_octets(value))
        if any(word in key or word in raw or word in texts for word in words):
            found.append((key, value))
    return found


def _octets(value: Any) -> list[bytes]:
    if isinstance(value, bytes):
        return [value]
    if isinstance(value, dict):
        return [each for pair in value.items() for part in pair for each in _octets(part)]
    if isinstance(value, list | tuple | set):
        return [each for part in value for each in _octets(part)]
    return []


async def lived(s: Stage) -> Lease:
    """A user with something of every kind: attempts, dead letters, ids, a hold; and a neighbour."""
    lease = await s.own(user=USER)
    for name in ("wamid.1", "wamid*?"):
        await s.send(TEXT, user=USER, ttl_ms=0, message_id=name)
    attempt = await s.attempt(lease, user=USER)
    await s.store.retry(lease, attempt, 0, 503, "answered 503", ANSWER, 5)
    await s.store.bury(lease, await s.attempt(lease, user=USER), 410, "answered 410", ANSWER, 5)
    await s.send(TEXT, user=USER, ttl_ms=0)
    await s.store.ack(await s.attempt(lease, user=USER), 200, 5)
    await s.store.attempts_add(numbered(3, user=USER) + numbered(2, user=NEAR))
    await s.store.hold(USER, 5_000)
    await s.store.deed_add(Deed("hold", "bia", TEXT, 5.0, None, "u-1"), USER)
    await s.send("dela", user=NEAR, message_id="wamid.1")
    return lease


def gone(s: Stage) -> None:
    assert traces(s) == [], "something is left"


class EraseConformance:
    @scenario()
    async def test_what_was_done_by_hand_is_kept_with_the_user_and_in_all_without_the_name(
        self, s: Stage
    ) -> None:
        first = Deed("hold", "bia", "a person took over", 60.0, None, "u-1")
        await s.store.deed_add(first, USER)
        s.now.ms += 5
        await s.store.deed_add(Deed("replay_all", None), None)
        assert await s.store.deeds(USER, 10) == [replace(first, user_hash=None, at_ms=s.now.ms - 5)]
        assert await s.store.deeds(None, 10) == [
            Deed("replay_all", None, at_ms=s.now.ms),
            replace(first, reason=None, at_ms=s.now.ms - 5),
        ]
        assert await s.store.deeds("bia", 10) == []

    @scenario()
    async def test_a_pause_and_a_resume_are_kept_with_their_route(self, s: Stage) -> None:
        paused, resumed = Deed("pause", "bia", route="vendas"), Deed("resume", None, route="b")
        for deed in (paused, resumed, Deed("pause", None)):
            await s.store.deed_add(deed, None)
        assert await s.store.deeds(None, 10) == [
            Deed("pause", None, at_ms=s.now.ms),
            replace(resumed, at_ms=s.now.ms),
            replace(paused, at_ms=s.now.ms),
        ]

    @scenario()
    async def test_of_what_was_done_by_hand_a_bounded_number_is_kept(self, s: Stage) -> None:
        for n in range(DEEDS_MAX + 5):
            await s.store.deed_add(Deed("flush", str(n)), USER)
        assert [deed.by for deed in await s.store.deeds(USER, DEEDS_MAX)] == [
            str(n) for n in range(DEEDS_MAX + 4, DEEDS_MAX + 4 - USER_DEEDS_MAX, -1)
        ]
        assert len(await s.store.deeds(None, 2 * DEEDS_MAX)) == DEEDS_MAX

    @scenario(shards=1)
    async def test_nothing_is_left_of_a_user_and_nothing_is_missing_of_another(
        self, s: Stage
    ) -> None:
        await lived(s)
        await s.send(TEXT, user=USER, message_id="wamid.2")
        assert traces(s) != []
        erased = await s.store.erase(USER, None)
        assert (erased.messages, erased.dead, erased.attempts, erased.ids) == (1, 1, 3, 3)
        assert (erased.batch_id, erased.under_way, erased.cursor) == (None, None, None)
        gone_but_near(s)
        assert (await s.store.describe(NEAR)).pending == 1
        page = await s.store.attempts(AttemptFilter(), 10, None)
        assert [each.user for each in page.attempts] == [NEAR, NEAR]
        assert (await s.accepted("x", user=NEAR, message_id="wamid.1")).duplicate
        again = await s.store.erase(USER, None)
        assert (again.messages, again.dead, again.attempts, again.ids) == (0, 0, 0, 0)

    @scenario(shards=1)
    async def test_a_batch_that_waits_for_its_retry_goes_too(self, s: Stage) -> None:
        lease = await s.own(user=USER)
        await s.send(TEXT, user=USER, ttl_ms=0)
        attempt = await s.attempt(lease, user=USER)
        await s.store.retry(lease, attempt, 60_000, 503, "answered 503", ANSWER, 5)
        erased = await s.store.erase(USER, None)
        assert (erased.messages, erased.batch_id) == (1, attempt.batch.id)
        gone(s)

    @pytest.mark.parametrize("verdict", ["ack", "retry", "bury", "divide", "silence"])
    def test_a_batch_under_way_goes_after_its_attempt_whatever_comes_of_it(
        self, opens: Any, verdict: str
    ) -> None:
        @scenario(shards=1)
        async def play(case: object, s: Stage) -> None:
            lease = await s.own(user=USER)
            for _ in range(2):
                await s.send(TEXT, user=USER, ttl_ms=0)
            attempt = await s.attempt(lease, user=USER)
            await s.send(TEXT, user=USER, ttl_ms=0)
            erased = await s.store.erase(USER, None)
            assert (erased.messages, erased.under_way) == (1, attempt.batch.id)
            assert await s.store.erase_rest([0]) == 0
            assert (await s.store.describe(USER)).state == "delivering"
            await end(s, lease, attempt, verdict)
            await s.store.attempts_add([(0, _made_at(attempt))])
            assert await s.store.erase_rest([0]) == 1
            gone(s)

        play(self, opens)

    @scenario(shards=1)
    async def test_what_a_user_writes_while_the_last_attempt_is_under_way_is_kept(
        self, s: Stage
    ) -> None:
        lease = await s.own(user=USER)
        await s.send(TEXT, user=USER, ttl_ms=0)
        attempt = await s.attempt(lease, user=USER)
        await s.store.erase(USER, None)
        await s.send("nova", user=USER, ttl_ms=0)
        await s.store.retry(lease, attempt, 0, 503, "answered 503", ANSWER, 5)
        assert await s.store.erase_rest([0]) == 1
        second = await s.attempt(lease, user=USER)
        assert second.batch.messages == ["nova"]
        assert isinstance(await s.store.ack(second, 200), Settled)
        view = await s.store.describe(USER)
        assert [each.batch_id for each in view.recent] == [second.batch.id]
        assert TEXT.encode() not in b" ".join(_octets(s.dump()))

    @scenario(shards=1)
    async def test_a_replica_that_tells_of_an_attempt_later_tells_it_to_nobody(
        self, s: Stage
    ) -> None:
        await s.send(TEXT, user=USER)
        s.now.ms += 1_000
        await s.store.erase(USER, None)
        s.now.ms += 1_000
        (_, made), *_ = numbered(1, user=USER)
        await s.store.attempts_add([(1_500, made)])
        gone(s)
        await s.store.attempts_add([(500, made)])
        page = await s.store.attempts(AttemptFilter(), 10, None)
        assert [each.user for each in page.attempts] == [USER], "an attempt at newer messages"

    @scenario(shards=1)
    async def test_a_queued_replay_goes_with_its_dead_letter(self, s: Stage) -> None:
        lease = await lived(s)
        (letter,) = (await s.store.dead(10, None)).letters
        await s.store.dead_replay(letter.id)
        erased = await s.store.erase(USER, None)
        assert erased.dead == 1
        gone_but_near(s)
        assert not isinstance(await s.claim(lease, user=USER), Attempt)

    @scenario(shards=1)
    async def test_one_call_looks_at_a_bounded_number_and_the_next_goes_on(self, s: Stage) -> None:
        lease = await lived(s)
        for n in range(12):
            await s.send("outra", user=f"u{n}", ttl_ms=0)
            attempt = await s.attempt(lease, user=f"u{n}")
            await s.store.bury(lease, attempt, 410, "answered 410")
        for n in range(60):
            await s.send(TEXT, user=USER, message_id=f"mais {n}")
        limits = {"LETTERS_PAGE": 2, "LETTER_PAGES_MAX": 2, "KEYS_PAGE": 2, "KEY_PAGES_MAX": 3}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in limits.items():
                patch.setattr(erasing, name, value)
            total = await s.store.erase(USER, None)
            dead, ids, calls, cursor = total.dead, total.ids, 1, total.cursor
            assert total.messages == 60
            while cursor is not None:
                more = await s.store.erase(USER, cursor)
                dead, ids, calls, cursor = dead + more.dead, ids + more.ids, calls + 1, more.cursor
        assert (dead, ids) == (1, 62)
        assert calls > 4
        gone_but_near(s)
        assert len((await s.store.dead(20, None)).letters) == 12

    @scenario(shards=1)
    async def test_what_a_user_writes_between_two_calls_is_kept(self, s: Stage) -> None:
        await lived(s)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(erasing, "KEYS_PAGE", 1)
            patch.setattr(erasing, "KEY_PAGES_MAX", 1)
            cursor = (await s.store.erase(USER, None)).cursor
            assert cursor is not None
            s.now.ms += 1
            await s.send("nova", user=USER)
            await s.store.attempts_add(numbered(1, user=USER))
            while cursor is not None:
                more = await s.store.erase(USER, cursor)
                assert (more.messages, more.attempts) == (0, 0)
                cursor = more.cursor
        assert (await s.store.describe(USER)).pending == 1

    @scenario()
    async def test_a_cursor_of_somebody_else_erases_nothing(self, s: Stage) -> None:
        await s.send(TEXT, user=USER)
        for cursor in ("x", "d", "i", "i-1", "dx", "i1e3"):
            with pytest.raises(ValueError):
                await s.store.erase(USER, cursor)
        assert (await s.store.describe(USER)).pending == 1

    @scenario()
    async def test_a_user_that_nobody_knows_is_erased_without_a_trace(self, s: Stage) -> None:
        erased = await s.store.erase(USER, None)
        assert (erased.messages, erased.under_way, erased.cursor) == (0, None, None)
        gone(s)


def _made_at(attempt: Attempt) -> Any:
    return replace(MADE, user=USER, batch_id=attempt.batch.id)


async def end(s: Stage, lease: Lease, attempt: Attempt, verdict: str) -> None:
    said = (503, "answered 503", ANSWER, 5)
    match verdict:
        case "ack":
            await s.store.ack(attempt, 200, 5)
        case "retry":
            await s.store.retry(lease, attempt, 0, *said)
        case "bury":
            await s.store.bury(lease, attempt, *said)
        case "divide":
            assert not isinstance(await s.store.divide(lease, attempt, *said), Gone)
        case "silence":
            s.now.ms += ATTEMPT_MS
            assert not isinstance(await s.claim(lease, user=USER), Attempt)


def gone_but_near(s: Stage) -> None:
    """Nothing is left but what has the neighbour's longer name in it."""
    near = NEAR.encode()
    for key, value in traces(s):
        rest = key.replace(near, b"") + b" ".join(_octets(value)).replace(near, b"")
        assert USER.encode() not in rest, key
        assert TEXT.encode() not in rest, key

    @scenario()
    async def test_erasing_a_user_of_one_route_leaves_the_other_routes_attempts(
        self, s: Stage
    ) -> None:
        reasons = (None, "vendas", 'a "\\", [b', "answered 503", 'x","vendas')
        for reason in reasons:
            of_default = numbered(2, user="ana", reason=reason)
            of_vendas = numbered(3, user="ana", reason=reason, route="vendas")
            await s.store.attempts_add(of_default + of_vendas)
            erased = await s.store.erase("ana", None)
            left = (await s.store.attempts(AttemptFilter(), 10, None)).attempts
            assert (erased.attempts, [each.route for each in left]) == (2, ["vendas"] * 3)
            s.now.ms += erasing.ERASED_MS + ATTEMPT_MS + 1
            erased = await s.store.erase(VENDAS, None)
            assert erased.attempts == 3
            assert (await s.store.attempts(AttemptFilter(), 10, None)).attempts == ()
            s.now.ms += erasing.ERASED_MS + ATTEMPT_MS + 1
