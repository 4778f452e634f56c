"""One person with two names is one conversation, whatever order the platform's events come in.

The rule and its atomicity are in `alias_v1`; here two replicas, each with what it remembers, are
asked about the same person by events that come again, by either name, and cross each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import trio
import trio.testing
from msgspec.structs import replace

from actor_queue.core.batch import Attempt, batch_id
from actor_queue.core.doors import Door
from actor_queue.core.message import Accepted, Message
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.doors.vocabulary import Content, Hold, Push, Sender, Typing
from actor_queue.http.aliases import KNOWN_MAX, KNOWN_S, Aliases
from actor_queue.store.aliases import KEPT_MS
from actor_queue.store.api import Lease, Store
from actor_queue.testing.memory import memory_server, memory_store

LID, PHONE = "loja:1@lid", "loja:55@s.whatsapp.net"
DOOR = Door(name="evolution", kind="evolution")
CLOUD = Door(name="cloud", kind="cloud")
DAY_MS = 86_400_000
SETTINGS = Settings(shards=2)


def now_ms() -> int:
    """Virtual time, for the store as for what a process remembers."""
    return 1_800_000_000_000 + int(trio.current_time() * 1_000)


def played(story: Callable[..., Awaitable[None]], *args: object) -> None:
    trio.run(story, *args, clock=trio.testing.MockClock(autojump_threshold=0))


class Replica:
    """What a door asks of a replica. `asked` counts the questions about names."""

    def __init__(self, kept: Store) -> None:
        self.kept = kept
        self.store = self
        self.asked = 0

    async def whereabouts(self, sightings: Sequence[Any]) -> list[Any]:
        self.asked += 1
        return await self.kept.whereabouts(sightings)

    def __getattr__(self, verb: str) -> Any:
        return getattr(self.kept, verb)


class Person:
    """Two replicas, one Redis, one person, and whatever the receiver got."""

    def __init__(self) -> None:
        server = memory_server(now_ms)
        self.replicas = [
            Replica(memory_store(SETTINGS, now_ms, server=server, replica=f"r{n}"))
            for n in range(2)
        ]
        self.doors: list[Any] = [Aliases(each, trio.current_time) for each in self.replicas]  # type: ignore[arg-type]
        self.store = self.replicas[0].kept
        self.received: dict[str, list[str]] = {LID: [], PHONE: []}
        self.appended: dict[str, list[str]] = {LID: [], PHONE: []}
        self.told = False
        self.serial = itertools.count(1)

    async def place(self, replica: int, message: str, form: str, door: Door = DOOR) -> str:
        self.told |= form == "both"
        pushed = push(message, form)
        (user,) = await self.doors[replica].of_messages([(pushed, message)], door, DAY_MS)
        return str(user)

    async def append(self, user: str, message: str) -> bool:
        """Whether it is new."""
        one = Message(user, b'{"message":"x"}', 1_000, message, True, remember_ms=DAY_MS)
        (said,) = await self.store.append([one])
        assert isinstance(said, Accepted)
        if not said.duplicate:
            self.appended[user].append(message)
        return not said.duplicate

    async def deliver(self, user: str) -> None:
        """Everything that waits there."""
        await trio.sleep(2)
        (lease,) = await self.store.acquire([shard_of(user, 2)], "r0", f"n{next(self.serial)}", 9)
        assert isinstance(lease, Lease)
        name = batch_id(lease.shard, f"{next(self.serial):020x}")
        attempt = await self.store.claim(lease, user, name, name)
        if isinstance(attempt, Attempt):
            self.received[user] += [
                stored.split(b'"')[1].decode() for stored in attempt.batch.stored
            ]
            await self.store.ack(attempt, 200)
        await self.store.release([lease])


def push(message: str, form: str) -> Push:
    return Push(
        user={"alias": LID}.get(form, PHONE),
        alias="" if form == "phone" else LID,
        message_id=message,
        content=Content(kind="text", text="x"),
        provider="evolution",
        instance="loja",
        sender=Sender(id="1"),
    )


STORIES = 70


def test_no_message_is_lost_or_in_two_conversations_and_each_keeps_its_order() -> None:
    for seed in range(STORIES):
        played(_played, Random(seed))


async def _played(random: Random) -> None:
    person = Person()
    seen_ms: dict[str, int] = {}
    for _ in range(random.randint(2, 12)):
        match random.choices(("events", "deliver", "later"), (6, 2, 1)):
            case ["events"]:
                await _events(person, random, seen_ms)
            case ["deliver"]:
                await person.deliver(random.choice((LID, PHONE)))
            case _:
                await trio.sleep(random.choice((1, 700, 43_200)))
    for user in (LID, PHONE):
        await person.deliver(user)
    everything = person.received[LID] + person.received[PHONE]
    assert sorted(everything) == sorted(seen_ms), "each once, in one of the two"
    assert person.received == person.appended
    if person.told:
        for replica in (0, 1):
            assert await person.place(replica, "new", "alias") == PHONE


async def _events(person: Person, random: Random, seen_ms: dict[str, int]) -> None:
    """Up to three at once: all are asked about before any is appended, in any order.

    A message that the platform tells by the phone alone is told so each time: nothing in such an
    event could say that it came by the alias before.
    """
    events = [
        (f"p{random.randrange(2)}", "phone")
        if random.random() < 0.2
        else (f"m{random.randrange(5)}", random.choice(("alias", "both")))
        for _ in range(random.choice((1, 1, 2, 3)))
    ]
    placed = []
    for message, form in events:
        if now_ms() - seen_ms.setdefault(message, now_ms()) < DAY_MS:
            user = await person.place(random.randrange(2), message, form)
            placed.append((user, message))
            if len(events) == 1 and user == PHONE and form == "alias":
                await _require_nothing_overtaken(person, message)
    random.shuffle(placed)
    for user, message in placed:
        await person.append(user, message)


async def _require_nothing_overtaken(person: Person, message: str) -> None:
    """What came by the alias before waits nowhere, unless this message came by the phone before."""
    waiting = (await person.store.describe(LID)).pending
    assert not waiting or message in person.appended[PHONE]


def test_a_person_whose_names_were_told_is_asked_for_once_in_some_minutes() -> None:
    async def main() -> None:
        person, replica = Person(), 0
        await person.place(replica, "a", "both")
        assert person.replicas[replica].asked == 1
        for n in range(5):
            for form in ("alias", "both", "phone"):
                assert await person.place(replica, f"{form}{n}", form) == PHONE
        assert person.replicas[replica].asked == 1
        await trio.sleep(KNOWN_S + 1)
        assert await person.place(replica, "b", "alias") == PHONE
        assert person.replicas[replica].asked == 2

    played(main)


def test_a_phone_of_the_cloud_api_that_leads_nowhere_is_not_asked_for_with_each_message() -> None:
    async def main() -> None:
        person = Person()
        for n in range(5):
            assert await person.place(0, f"m{n}", "alias", CLOUD) == LID
        assert person.replicas[0].asked == 1
        assert await person.place(0, "m9", "both", CLOUD) == PHONE

    played(main)


def test_a_link_is_kept_for_thirty_days_after_an_event_has_told_it() -> None:
    async def main() -> None:
        person = Person()
        assert await person.place(0, "a", "both") == PHONE
        await trio.sleep(29 * 86_400)
        assert await person.place(0, "b", "both") == PHONE
        await trio.sleep(KEPT_MS / 1_000 - 1)
        assert await person.place(1, "c", "alias") == PHONE
        await trio.sleep(2)
        assert await person.place(0, "d", "alias") == LID

    played(main)


def test_what_a_process_remembers_of_names_is_bounded(monkeypatch: Any) -> None:
    async def main() -> None:
        person = Person()
        for n in range(6):
            pushed = push("a", "both")
            other = replace(pushed, alias=f"loja:{n}@lid")
            await person.doors[0].of_messages([(other, "a")], DOOR, DAY_MS)
        assert len(person.doors[0]._known) == 4

    assert KNOWN_MAX > 4
    monkeypatch.setattr("actor_queue.http.aliases.KNOWN_MAX", 4)
    played(main)


def test_a_hold_and_a_typing_signal_reach_the_person_under_the_other_name() -> None:
    async def main() -> None:
        person = Person()
        (only,) = await person.doors[0].of_person(Hold(LID, LID), DOOR)
        assert only == LID
        await person.store.hold(LID, 60_000)
        assert await person.place(0, "a", "both") == PHONE
        assert (await person.store.describe(PHONE)).held_for_ms == 60_000
        assert (await person.store.describe(LID)).held_for_ms is None
        assert await person.doors[1].of_person(Typing(LID, LID), DOOR) == (PHONE,)
        await person.append(LID, "x")
        both = await Aliases(person.replicas[0]).of_person(Hold(LID, LID), DOOR)  # type: ignore[arg-type]
        assert set(both) == {LID, PHONE}

    played(main)
