"""Receivers that answer 202 and say later that they are done, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from actor_queue.core.answers import UNANSWERED, Ticket, opened
from actor_queue.core.batch import Attempt
from actor_queue.core.outcome import Delivered, Outcome
from actor_queue.runtime import answers
from actor_queue.runtime.answers import TooManyWait
from actor_queue.store.api import StoreUnavailable
from tests.runtime.harness import Replica, Sent, Stage, now_ms, run, stage, taken

WITHIN_S = 20.0


def later(**more: Any) -> Any:
    return stage(
        shards=1, answer="later", answer_within_ms=20_000, public_url="http://queue.example", **more
    )


async def with_202(sent: Sent) -> Outcome:
    return Delivered(202)


def ticket(replica: Replica, sent: Sent) -> Ticket:
    assert sent.batch.offer is not None
    assert sent.batch.offer.within_s == WITHIN_S
    address = sent.batch.offer.url
    assert address.startswith("http://queue.example/api/answers/")
    found = replica.engine.answers.ticket(address.rpartition("/")[2])
    assert found is not None
    return found


def test_a_receiver_that_is_done_later_is_called_once_and_what_waited_goes_then() -> None:
    async def main() -> None:
        async with later() as s:
            a = await s.start("ra")
            s.answer = with_202
            await a.post("ana", "a", ttl_s=0)
            await trio.sleep(5)
            await a.post("ana", "b", ttl_s=0)
            await trio.sleep(5)
            assert s.texts() == [["a"]]
            assert (await a.engine.describe("ana")).state == "answering"
            done = await a.engine.answers.done(ticket(a, s.seen[0]), only_latest=False)
            assert done is not None
            assert (done.state, done.newer) == ("done", 1)
            await trio.sleep(1)
            assert s.texts() == [["a"], ["b"]]
            assert a.engine.counters.delivered == 1
            assert a.engine.counters.answering == 2

    run(main)


def test_a_202_is_done_at_once_where_the_route_answers_now() -> None:
    async def main() -> None:
        async with stage(shards=1) as s:
            a = await s.start("ra")
            s.answer = with_202
            await a.post("ana", "a", ttl_s=0)
            await trio.sleep(1)
            assert s.seen[0].batch.offer is None
            assert (await a.engine.describe("ana")).state == "idle"

    run(main)


def test_another_2xx_is_done_at_once_where_the_route_answers_later() -> None:
    async def main() -> None:
        async with later() as s:
            a = await s.start("ra")
            s.answer = taken
            await a.post("ana", "a", ttl_s=0)
            await trio.sleep(1)
            assert (await a.engine.describe("ana")).state == "idle"
            assert a.engine.counters.delivered == 1

    run(main)


def test_a_receiver_that_never_says_a_word_is_called_as_often_as_the_schedule_allows() -> None:
    async def main() -> None:
        async with later(retry_schedule_ms=(1_000, 1_000)) as s:
            a = await s.start("ra")
            s.answer = with_202
            await a.post("ana", "a", ttl_s=0)
            await trio.sleep(200)
            assert s.times(s.seen[0].at) == [0, WITHIN_S, 2 * WITHIN_S]
            assert len({sent.batch.id for sent in s.seen}) == 1
            (letter,) = (await a.engine.dead(10, None)).letters
            assert (letter.attempts, letter.reason, letter.status) == (3, UNANSWERED, 202)

    run(main)


def test_the_replica_that_sent_the_webhook_dies_and_another_one_counts_the_time() -> None:
    async def main() -> None:
        async with later(lease_ttl_ms=2_000) as s:
            a = await s.start("ra")
            s.answer = with_202
            await a.post("ana", "a", ttl_s=0)
            await trio.sleep(1)
            await a.crash()
            b = await s.start("rb")
            await trio.sleep(WITHIN_S - 5)
            assert len(s.seen) == 1
            assert ticket(b, s.seen[0]).replica == "ra", "any replica knows the address"
            await trio.sleep(10)
            first, second = s.seen
            assert (second.replica, second.body) == ("rb", first.body)
            assert await b.engine.answers.done(ticket(b, first), only_latest=False) is None
            assert await b.engine.answers.done(ticket(b, second), only_latest=False) is not None

    run(main)


def test_a_replica_that_took_no_part_ends_an_answer_and_the_owner_goes_on_at_once() -> None:
    async def main() -> None:
        async with later() as s:
            a = await s.start("ra")
            b = await s.start("rb", shards=0)
            s.answer = with_202
            await a.post("ana", "a", ttl_s=0)
            await trio.sleep(2)
            await b.post("ana", "b", ttl_s=1)
            await trio.sleep(2)
            began = trio.current_time()
            back = await b.engine.answers.done(ticket(b, s.seen[0]), only_latest=True)
            assert back is not None
            assert (back.state, back.newer) == ("taken_back", 1)
            await trio.sleep(0.5)
            assert s.texts() == [["a"], ["a", "b"]]
            assert s.seen[1].at - began < 0.1
            assert b.engine.counters.taken_back == 1

    run(main)


def test_a_receiver_that_says_it_failed_is_called_again_on_the_schedule() -> None:
    async def main() -> None:
        async with later(retry_schedule_ms=(4_000,)) as s:
            a = await s.start("ra")
            s.answer = with_202
            await a.post("ana", "a", ttl_s=0)
            await trio.sleep(1)
            began = trio.current_time()
            verbs = a.engine.answers
            failed = await verbs.fail(ticket(a, s.seen[0]), "no model", 9.0, retry=True)
            assert failed is not None
            assert failed.state == "failed"
            await trio.sleep(10)
            assert 9 <= s.seen[1].at - began < 9.5, "Retry-After counts"
            dead = await verbs.fail(ticket(a, s.seen[1]), None, None, retry=False)
            assert dead is not None
            (letter,) = (await a.engine.dead(10, None)).letters
            assert letter.attempts == 2

    run(main)


async def _what_ends(s: Stage, act: Callable[[Replica], Any]) -> tuple[float, str | None]:
    """How long a call for news waits until `act`, and the state that it is told."""
    a = await s.start("ra")
    s.answer = with_202
    await a.post("ana", "a", ttl_s=0)
    await trio.sleep(1)
    began, told = trio.current_time(), None

    async def wait() -> None:
        nonlocal told
        seen = await a.engine.answers.wait(ticket(a, s.seen[0]), 15)
        told = None if seen is None else seen.state

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(5)
        await act(a)
    return trio.current_time() - began, told


def test_a_receiver_that_is_done_before_its_answer_has_ended_is_called_once() -> None:
    async def main() -> None:
        async with later() as s:
            a = await s.start("ra")

            async def done_first(sent: Sent) -> Outcome:
                answer = await a.engine.answers.done(ticket(a, sent), only_latest=False)
                assert answer is not None
                assert answer.state == "done"
                return Delivered(202)

            s.answer = done_first
            await a.post("ana", "a", ttl_s=0)
            await trio.sleep(100)
            assert s.texts() == [["a"]]
            assert (await a.engine.describe("ana")).state == "idle"
            assert a.engine.counters.delivered == 1

    run(main)


def test_a_failure_on_a_route_that_left_the_file_waits_and_does_not_die() -> None:
    async def main() -> None:
        async with later() as s:
            a = await s.start("ra")
            s.answer = with_202
            await a.post("ana", "a", ttl_s=0)
            await trio.sleep(1)
            its = ticket(a, s.seen[0])
            s.routes.replace([])
            await a.engine.answers.fail(its, "no", None, retry=True)
            assert (await a.engine.describe("ana")).state == "retrying"
            assert (await a.engine.dead(10, None)).letters == ()

    run(main)


def test_who_waits_for_news_hears_of_a_newer_message_at_once() -> None:
    async def main() -> None:
        async with later() as s:
            waited, told = await _what_ends(s, lambda a: a.post("ana", "b", ttl_s=30))
            assert (round(waited, 1), told) == (5.0, "answering")

    run(main)


def test_who_waits_for_news_hears_of_the_end_at_once() -> None:
    async def main() -> None:
        async with later() as s:
            waited, told = await _what_ends(
                s, lambda a: a.engine.answers.done(ticket(a, s.seen[0]), only_latest=False)
            )
            assert (round(waited, 1), told) == (5.0, "done")

    run(main)


def test_who_waits_for_news_hears_of_what_another_replica_took_at_once() -> None:
    async def main() -> None:
        async with later() as s:

            async def elsewhere(a: Replica) -> None:
                b = await s.start("rb", shards=0)
                await b.post("ana", "b", ttl_s=30)

            waited, told = await _what_ends(s, elsewhere)
            assert (round(waited, 1), told) == (5.0, "answering")

    run(main)


def test_who_waits_for_news_is_told_what_is_known_when_the_replica_drains() -> None:
    async def main() -> None:
        async with later() as s:

            async def drains(a: Replica) -> None:
                a.engine.refuse_new()

            waited, told = await _what_ends(s, drains)
            assert (round(waited, 1), told) == (5.0, "answering")

    run(main)


def test_so_many_may_wait_for_news_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "WAITING_MAX", 1)

    async def main() -> None:
        async with later() as s:

            async def another(a: Replica) -> None:
                with pytest.raises(TooManyWait):
                    await a.engine.answers.wait(ticket(a, s.seen[0]), 15)

            waited, told = await _what_ends(s, another)
            assert (round(waited, 1), told) == (15.0, "answering")

    run(main)


def test_one_conversation_takes_a_few_of_the_places_of_those_who_wait_and_no_more() -> None:
    async def main() -> None:
        async with later() as s:
            a = await s.start("ra")
            s.answer = with_202
            for user in ("ana", "bia"):
                await a.post(user, "a", ttl_s=0)
            await trio.sleep(1)
            verbs = a.engine.answers
            one, other = (ticket(a, sent) for sent in s.seen)
            async with trio.open_nursery() as nursery:
                for _ in range(answers.WAITING_OF_CONVERSATION_MAX):
                    nursery.start_soon(verbs.wait, one, 15)
                await trio.sleep(1)
                with pytest.raises(TooManyWait):
                    await verbs.wait(one, 15)
                assert await verbs.wait(one, 0) is not None, "who only looks needs no place"
                nursery.start_soon(verbs.wait, other, 15)
                await trio.sleep(1)
                await verbs.done(one, only_latest=False)
                await trio.sleep(1)
                assert not verbs._waiting.get(one.conversation)
                nursery.cancel_scope.cancel()
            assert (verbs._waiters, verbs._waiting) == (0, {})

    run(main)


def test_a_replica_that_is_starting_does_not_say_that_there_is_no_such_address() -> None:
    async def main() -> None:
        async with later() as s:
            a = await s.start("ra")
            s.answer = with_202
            await a.post("ana", "a", ttl_s=0)
            await trio.sleep(5)
            assert s.seen[0].batch.offer is not None
            text = s.seen[0].batch.offer.url.rpartition("/")[2]
            drawn, a.store.answer_key = a.store.answer_key, b""
            with pytest.raises(StoreUnavailable):
                a.engine.answers.ticket(text)
            a.store.answer_key = drawn
            assert a.engine.answers.ticket(text) == ticket(a, s.seen[0])
            assert a.engine.answers.ticket(text[:-1]) is None

    run(main)


def test_an_address_is_one_that_every_replica_that_lives_can_open() -> None:
    async def main() -> None:
        secret = "s" * 32
        async with later(answer_secrets=(secret,)) as s:
            a = await s.start("ra")
            s.answer = with_202
            await a.post("ana", "oi", ttl_s=0)
            await trio.sleep(1)
            attempt = Attempt(s.seen[0].batch, 1, 0, "ra/token")
            for former, pause_s in ((False, 1), (True, 3), (False, 10)):
                if former:
                    # A replica of the release before says nothing of what it can open.
                    keys = (a.store._keys.members,)
                    await a.store._call("heartbeat_v1", keys, now_ms(), "former", 60_000)
                await trio.sleep(pause_s)
                offer = a.engine.answers.offered(attempt)[0].offer
                assert offer is not None
                text = offer.url.rpartition("/")[2]
                assert a.engine.answers.ticket(text) is not None
                its = opened(text, [a.store.answer_key])
                assert (its is not None) == former, "it knows the drawn key alone"

    run(main)
