"""What every store must do, by example: edit a message that waits, or take it out."""

from __future__ import annotations

import json
from typing import Any

from actor_queue.core.batch import Attempt
from actor_queue.core.message import Accepted, Full
from actor_queue.store.api import NotDue, Nothing, Settled
from actor_queue.store.changes_api import Changed, Unchanged
from tests.store.stage import ATTEMPT_MS, Stage, scenario, texts

ODD_ID = 'wamid "ação"/{x}\\?\n🙂,{"message":"no"}'


NAMED = json.dumps(ODD_ID, ensure_ascii=False).encode()


def seqs(attempt: Attempt) -> list[int]:
    return [json.loads(item)[0] for item in attempt.batch.stored]


async def unchanged(s: Stage, verb: str, *args: Any) -> str:
    """Why it was not done; and nothing is changed then."""
    answer = await s.changes_nothing(verb, "ana", *args)
    assert isinstance(answer, Unchanged), answer
    return answer.why


class EditConformance:
    """The verb `edit`."""

    @scenario()
    async def test_an_edit_replaces_the_text_in_its_place_and_nothing_else(self, s: Stage) -> None:
        lease = await s.own()
        for name in ("a", "b", "c"):
            await s.send(name, message_id=f"id-{name}")
            s.now.ms += 10
        kept = (await s.store.waiting("ana")).stored
        answer = await s.store.edit("ana", "id-b", 'outra "coisa" \\ é\n')
        assert answer == Changed("ana", "id-b", 3, 1_000)
        s.now.ms += 1_000
        attempt = await s.attempt(lease)
        assert texts(attempt) == ["a", 'outra "coisa" \\ é\n', "c"]
        assert seqs(attempt) == [1, 2, 3]
        (seq, at, name, body) = json.loads(attempt.batch.stored[1])
        assert [seq, at, name] == json.loads(kept[1])[:3]
        assert attempt.batch.stored[::2] == kept[::2]
        assert body.keys() == {"message"}

    @scenario()
    async def test_an_id_may_be_any_text_and_stands_for_itself_alone(self, s: Stage) -> None:
        await s.send("longer", message_id=ODD_ID + "2")
        await s.send("it", message_id=ODD_ID)
        quoting = s.message("quoting")._replace(body=b'{"x":[%b,1],"message":"quoting"}' % NAMED)
        await s.store.append([quoting])
        await s.send("other", message_id=ODD_ID, user="rui")
        assert isinstance(await s.store.edit("ana", ODD_ID, "new"), Changed)
        assert texts((await s.store.waiting("ana")).stored) == ["longer", "new", "quoting"]
        assert texts((await s.store.waiting("rui")).stored) == ["other"]
        assert isinstance(await s.store.revoke("ana", ODD_ID), Changed)
        assert texts((await s.store.waiting("ana")).stored) == ["longer", "quoting"]

    @scenario()
    async def test_an_id_that_the_service_made_can_be_named_too(self, s: Stage) -> None:
        made = (await s.accepted("a")).message_id
        assert isinstance(await s.store.edit("ana", made, "b"), Changed)
        lease = await s.own()
        s.now.ms += 2_000
        assert texts(await s.attempt(lease)) == ["b"]
        assert await unchanged(s, "edit", made, "c") == "claimed"

    @scenario()
    async def test_one_message_among_thousands_is_found_page_by_page(self, s: Stage) -> None:
        first = (await s.accepted("first")).message_id
        await s.store.append([s.message("between") for _ in range(2_100)])
        await s.send("last")
        assert isinstance(await s.store.edit("ana", first, "found"), Changed)
        assert await unchanged(s, "edit", "nobody's", "x") == "unknown"
        assert texts((await s.store.waiting("ana")).stored)[:2] == ["found", "between"]

    @scenario()
    async def test_an_edit_after_the_claim_never_changes_the_bytes_of_a_batch_under_way(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        await s.send("a", message_id="x", ttl_ms=0)
        first = await s.attempt(lease)
        assert await unchanged(s, "edit", "x", "b") == "claimed"
        assert await unchanged(s, "revoke", "x") == "claimed"
        await s.store.retry(lease, first, 500, 503, "answered 503")
        assert await unchanged(s, "edit", "x", "b") == "claimed"
        assert await unchanged(s, "revoke", "x") == "claimed"
        s.now.ms += 500
        second = await s.attempt(lease)
        assert second.batch == first.batch
        assert await s.store.ack(second, 200) == Settled(None)
        assert await unchanged(s, "edit", "x", "b") == "claimed"
        assert await unchanged(s, "edit", "y", "b") == "unknown"

    @scenario(max_wait_ms=3_000)
    async def test_an_edit_counts_as_typing_and_never_past_the_maximum_wait(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", message_id="x", ttl_ms=2_000)
        s.now.ms += 500
        answer = await s.store.edit("ana", "x", "b")
        assert isinstance(answer, Changed)
        assert answer.due_in_ms == 2_000
        s.now.ms += 1_900
        answer = await s.store.edit("ana", "x", "c")
        assert isinstance(answer, Changed)
        assert answer.due_in_ms == 600
        assert await s.claim(lease) == NotDue(600)

    @scenario()
    async def test_a_message_of_a_closed_batch_is_edited_where_it_is(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("under way", ttl_ms=0)
        under_way = await s.attempt(lease)
        for name in ("a", "b"):
            await s.send(name, message_id=name)
            await s.store.flush("ana")
        await s.send("c", message_id="c", ttl_ms=700)
        s.now.ms += 100
        for name in ("a", "b", "c"):
            assert isinstance(await s.store.edit("ana", name, name * 3), Changed)
        await s.store.ack(under_way, 200)
        for expected in ("aaa", "bbb"):
            attempt = await s.attempt(lease)
            assert (texts(attempt), attempt.batch.reason) == ([expected], "flush")
            await s.store.ack(attempt, 200)
        assert await s.claim(lease) == NotDue(600), "an attempt was under way: no typing"

    @scenario(max_pending_bytes=300, max_body_bytes=200)
    async def test_an_edit_keeps_to_every_limit(self, s: Stage) -> None:
        await s.send("a" * 100, message_id="x")
        await s.send("b", message_id="y")
        assert await unchanged(s, "edit", "x", "x" * 186) == "body"
        assert await unchanged(s, "edit", "y", "y" * 150) == "pending"
        assert isinstance(await s.store.edit("ana", "x", "a"), Changed)
        assert isinstance(await s.store.edit("ana", "y", "y" * 150), Changed)
        assert isinstance(await s.send("c" * 100), Full), "what was edited counts"
        await s.store.edit("ana", "y", "")
        assert isinstance(await s.send("c" * 100), Accepted)

    @scenario(max_batch_bytes=200)
    async def test_no_batch_of_several_messages_grows_over_its_limit(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", message_id="x")
        await s.send("b", message_id="y")
        assert await unchanged(s, "edit", "x", "a" * 150) == "batch"
        await s.store.flush("ana")
        assert await unchanged(s, "edit", "x", "a" * 150) == "batch"
        await s.store.revoke("ana", "y")
        assert isinstance(await s.store.edit("ana", "x", "a" * 300), Changed)
        assert texts(await s.attempt(lease)) == ["a" * 300]

    @scenario(max_batch_bytes=200)
    async def test_a_window_that_an_edit_fills_goes_at_once(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", message_id="x")
        answer = await s.store.edit("ana", "x", "a" * 300)
        assert answer == Changed("ana", "x", 1, 0)
        attempt = await s.attempt(lease)
        assert (texts(attempt), attempt.batch.reason) == (["a" * 300], "max_bytes")


class RevokeConformance:
    """The verb `revoke`."""

    @scenario()
    async def test_a_revoked_message_is_never_sent_and_the_others_keep_order_and_number(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        for name in "abcd":
            await s.send(name, message_id=name)
            s.now.ms += 10
        due = (await s.store.describe("ana")).due_in_ms
        for name, left in (("a", 3), ("d", 2), ("b", 1)):
            answer = await s.store.revoke("ana", name)
            assert answer == Changed("ana", name, left, due), "no timer moves"
        s.now.ms += 1_000
        attempt = await s.attempt(lease)
        kept = json.loads(attempt.batch.stored[0])
        assert (texts(attempt), kept[0]) == (["c"], 3)
        assert (attempt.batch.first_at_ms, attempt.batch.last_at_ms) == (kept[1], kept[1])

    @scenario()
    async def test_a_batch_that_is_empty_after_a_revoke_is_never_sent(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a", message_id="a")
        assert await s.store.revoke("ana", "a") == Changed("ana", "a", 0, None)
        s.now.ms += 10_000
        assert await s.claim(lease) == Nothing()
        await s.send("b", message_id="b")
        await s.store.flush("ana")
        await s.send("c", message_id="c")
        assert await s.store.revoke("ana", "b") == Changed("ana", "b", 1, 1_000)
        assert await s.claim(lease) == NotDue(1_000)
        s.now.ms += 1_000
        attempt = await s.attempt(lease)
        assert (texts(attempt), attempt.batch.reason, attempt.batch.seq) == (["c"], "quiet", 1)

    @scenario()
    async def test_a_closed_batch_loses_a_message_and_its_times_follow(self, s: Stage) -> None:
        lease = await s.own()
        for name in "abcd":
            await s.send(name, message_id=name)
            s.now.ms += 10
        await s.store.flush("ana")
        await s.send("next")
        for name in "ad":
            await s.store.revoke("ana", name)
        attempt = await s.attempt(lease)
        times = [json.loads(item)[1] for item in attempt.batch.stored]
        assert texts(attempt) == ["b", "c"]
        assert [attempt.batch.first_at_ms, attempt.batch.last_at_ms] == times
        await s.store.ack(attempt, 200)
        s.now.ms += 1_000
        assert texts(await s.attempt(lease)) == ["next"]

    @scenario()
    async def test_the_id_of_a_revoked_message_stays_remembered(self, s: Stage) -> None:
        await s.send("a", message_id="x")
        made = (await s.accepted("b")).message_id
        for name in ("x", made):
            await s.store.revoke("ana", name)
            assert await unchanged(s, "revoke", name) == "revoked"
            assert await unchanged(s, "edit", name, "b") == "revoked"
            assert (await s.accepted("again", message_id=name)).duplicate
        assert (await s.store.describe("ana")).state == "idle"

    @scenario(max_pending=2, max_pending_bytes=200)
    async def test_what_is_revoked_makes_room(self, s: Stage) -> None:
        await s.send("a" * 100, message_id="x")
        assert isinstance(await s.send("b" * 100), Full)
        await s.store.revoke("ana", "x")
        assert isinstance(await s.send("b" * 100), Accepted)
        await s.store.revoke("ana", "y")
        assert isinstance(await s.send("c"), Accepted)
        assert isinstance(await s.send("d"), Full)

    @scenario(max_batch_bytes=260, max_pending_bytes=260)
    async def test_one_of_several_gives_back_its_bytes(self, s: Stage) -> None:
        lease = await s.own()
        await s.send("a" * 100, message_id="a")
        await s.send("b", message_id="b")
        await s.store.revoke("ana", "a")
        assert isinstance(await s.send("c" * 100), Accepted)
        s.now.ms += 1_000
        assert texts(await s.attempt(lease)) == ["b", "c" * 100]

    @scenario()
    async def test_a_half_of_a_divided_batch_was_sent_and_stays_as_it_is(self, s: Stage) -> None:
        lease = await s.own()
        await s.store.append([s.message(name, ttl_ms=0, message_id=name) for name in "abc"])
        whole = await s.attempt(lease)
        await s.send("d", message_id="d", ttl_ms=0)
        await s.store.flush("ana")
        await s.store.divide(lease, whole, 413, "answered 413")
        for name in "abc":
            assert await unchanged(s, "revoke", name) == "claimed"
            assert await unchanged(s, "edit", name, "x") == "claimed"
        await s.store.edit("ana", "d", "e")
        for expected in (["a", "b"], ["c"], ["e"]):
            attempt = await s.attempt(lease)
            assert texts(attempt) == expected
            await s.store.ack(attempt, 200)

    @scenario()
    async def test_a_hold_and_a_replay_do_not_stand_in_the_way(self, s: Stage) -> None:
        lease = await s.own()
        letter = await s.bury_one(lease)
        await s.send("a", message_id="a")
        await s.store.flush("ana")
        await s.store.dead_replay(letter)
        await s.send("b", message_id="b")
        await s.store.hold("ana", 60_000)
        assert isinstance(await s.store.edit("ana", "b", "B"), Changed)
        assert isinstance(await s.store.revoke("ana", "a"), Changed)
        await s.store.unhold("ana")
        replayed = await s.attempt(lease)
        assert texts(replayed) == ["bad"]
        await s.store.ack(replayed, 200)
        s.now.ms += ATTEMPT_MS
        assert texts(await s.attempt(lease)) == ["B"]
