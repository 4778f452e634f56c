"""What others put at the keys of the history stops nobody, and hides little."""

from __future__ import annotations

import trio

from actor_queue.core.history import AttemptFilter
from actor_queue.store.erase_api import Erased
from tests.runtime.harness import run, stage
from tests.store.conformance_history import MADE


def test_another_kind_of_value_at_the_list_stops_no_delivery_and_is_counted() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            a.runner.client.set(a.store._keys.attempts, "not a list")
            await a.post("ana", "oi", ttl_s=1)
            await trio.sleep(10)
            assert [sent.texts for sent in s.seen] == [["oi"]]
            assert a.engine.counters.history_dropped == 1
            a.runner.client.delete(a.store._keys.attempts)
            await a.post("ana", "de novo", ttl_s=1)
            await trio.sleep(10)
            page = await a.engine.attempts(AttemptFilter(), 10, None)
            assert [each.user for each in page.attempts] == ["ana"]

    run(main)


def test_lines_that_no_attempt_wrote_are_passed_over_page_after_page() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            for _ in range(4):
                await a.store.attempts_add([(0, MADE)] * 100)
                a.runner.client.lpush(a.store._keys.attempts, "\xff", "[]", '["x"]', "[9e99,1]")
            seen, cursor = 0, None
            while True:
                page = await a.engine.attempts(AttemptFilter(), 150, cursor)
                seen, cursor = seen + len(page.attempts), page.cursor
                if cursor is None:
                    break
            assert seen == 400
            erased = await a.engine.erase(MADE.user, None)
            assert isinstance(erased, Erased)
            assert erased.attempts == 400

    run(main)
