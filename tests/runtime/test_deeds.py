"""What is done by hand counts, whether it could be noted or not."""

from __future__ import annotations

import json

from actor_queue.store.deeds import TOGETHER, _line
from actor_queue.store.deeds_api import Deed
from tests.runtime.harness import run, stage


def test_a_deed_that_cannot_be_noted_is_counted_and_raises_nothing() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            s.down = True
            await a.engine.note_deed(Deed("hold", "bia"), "ana")
            s.down = False
            assert a.engine.counters.deeds_lost == 1
            assert await a.engine.deeds("ana", 10) == []

    run(main)


def test_the_list_of_all_names_users_as_the_log_does_and_an_erasure_leaves_no_name() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            await a.engine.note_deed(Deed("hold", "bia", "a person took over"), "ana")
            await a.engine.erase("ana", None)
            await a.engine.note_deed(Deed("erase", "bia"), "ana")
            assert await a.engine.deeds("ana", 10) == []
            listed = await a.engine.deeds(None, 10)
            assert [each.name for each in listed] == ["erase", "hold"]
            assert {each.user_hash for each in listed} == {a.engine.logged_as("ana")}
            assert {each.reason for each in listed} == {None}

    run(main)


def test_a_former_release_reads_of_a_pause_what_it_knows() -> None:
    """It takes no line that has another number of values, and only texts for some of them."""
    line = json.loads(f"[1,{_line(Deed('pause', 'bia', route='vendas'))}")
    assert line == [1, "pause", "bia", "vendas", None, None, None]


def test_what_one_request_did_to_many_is_one_line_of_the_list_of_all_however_many() -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            users = [f"u{i}" for i in range(2 * TOGETHER + 1)]
            # What somebody else put at the key of one is the trouble of that one.
            a.runner.client.set(a.store._user_keys(users[0])[1].deeds, "not a list")
            await a.engine.note_deed_to(Deed("hold", "bia", "a call"), users)
            assert [each.name for each in await a.engine.deeds(None, 10)] == ["hold"]
            assert a.engine.counters.deeds_lost == 1
            for user in users[1:]:
                assert [each.reason for each in await a.engine.deeds(user, 10)] == ["a call"]

    run(main)
