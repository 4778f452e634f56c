"""What every store must do, by example: keep the two names of one person in one conversation."""

from __future__ import annotations

from typing import Any

from actor_queue.store.aliases import ALIASES_MAX
from actor_queue.store.aliases_api import Sighting, Whereabouts
from tests.store.stage import Stage, scenario

LID, PHONE = "loja:1@lid", "loja:55@s.whatsapp.net"
DAY_MS = 86_400_000


async def where(s: Stage, target: str | None, name: str | None = None) -> Whereabouts:
    sighting = Sighting(LID, target, name, name is not None, DAY_MS)
    (found,) = await s.store.whereabouts([sighting])
    return found


async def comes(s: Stage, text: str, target: str | None) -> Any:
    """A message by the alias alone, or with both names, is appended where it belongs."""
    found = await where(s, target, text)
    return found.user, await s.accepted(text, user=found.user, message_id=text)


def links(s: Stage) -> list[bytes]:
    """The keys of the links' two ends."""
    return [key for key in s.dump() if b":to:" in key or b":of:" in key]


class AliasConformance:
    """The verb `whereabouts`."""

    @scenario()
    async def test_what_tells_the_alias_alone_follows_it_once_both_names_were_told(
        self, s: Stage
    ) -> None:
        assert await where(s, None) == Whereabouts(LID, None, False, 0, False)
        assert await where(s, PHONE, "a") == Whereabouts(PHONE, PHONE, False, 0, True)
        assert await s.changes_nothing("whereabouts", [Sighting(LID, None, "b", True, DAY_MS)]) == [
            Whereabouts(PHONE, PHONE, False, 0, True)
        ]

    @scenario()
    async def test_while_something_waits_under_the_alias_its_messages_go_on_going_there(
        self, s: Stage
    ) -> None:
        assert [(await comes(s, "a", None))[0], (await comes(s, "b", PHONE))[0]] == [LID, PHONE]
        assert (await comes(s, "c", None))[0] == LID
        assert (await where(s, None)).live
        lease = await s.own(user=LID)
        s.now.ms += 1_000
        attempt = await s.attempt(lease, user=LID)
        assert (await comes(s, "d", None))[0] == LID, "the attempt is under way"
        await s.store.ack(attempt, 200)
        s.now.ms += 1_000
        await s.store.ack(await s.attempt(lease, user=LID), 200)
        assert (await comes(s, "e", None))[0] == PHONE

    @scenario()
    async def test_a_message_that_is_in_one_conversation_is_a_duplicate_by_either_name(
        self, s: Stage
    ) -> None:
        await comes(s, "a", None)
        _, again = await comes(s, "a", PHONE)
        assert again.duplicate
        await s.store.drop(LID)
        _, again = await comes(s, "a", PHONE)
        assert again.duplicate
        assert not (await where(s, None)).settled
        s.now.ms += 2 * DAY_MS
        assert (await where(s, None)).settled, "the alias remembers nothing any more"

    @scenario()
    async def test_of_two_decisions_about_one_message_that_cross_one_append_counts(
        self, s: Stage
    ) -> None:
        await comes(s, "a", None)
        here = await where(s, None, "x")
        there = await where(s, PHONE, "x")
        assert (here.user, there.user) == (LID, PHONE)
        assert not (await s.accepted("x", user=PHONE, message_id="x")).duplicate
        assert (await s.accepted("x", user=LID, message_id="x")).duplicate
        assert (await where(s, None, "x")).user == PHONE, "it waits there"

    @scenario()
    async def test_a_hold_of_the_alias_is_told(self, s: Stage) -> None:
        await s.store.hold(LID, 5_000)
        s.now.ms += 1_000
        assert await where(s, PHONE, "a") == Whereabouts(PHONE, PHONE, False, 4_000, False)

    @scenario()
    async def test_a_conversation_has_a_bounded_number_of_aliases(self, s: Stage) -> None:
        for n in range(ALIASES_MAX + 3):
            (found,) = await s.store.whereabouts([Sighting(f"loja:{n}@lid", PHONE)])
            assert found.user == PHONE
            (found,) = await s.store.whereabouts([Sighting(f"loja:{n}@lid", None)])
            assert (found.target is None) == (n >= ALIASES_MAX)

    @scenario()
    async def test_erasing_either_end_forgets_the_link(self, s: Stage) -> None:
        for name in (LID, PHONE):
            await where(s, PHONE)
            assert len(links(s)) == 2
            await s.store.erase(name, None)
            assert links(s) == []
            assert name.encode() not in repr(s.dump()).encode()
            assert (await where(s, None)).target is None
