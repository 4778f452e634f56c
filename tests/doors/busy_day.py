"""A day of a busy instance in virtual time: what arrives at the receiver is what people wrote.

    python -m tests.doors.busy_day [CONVERSATIONS] [SEED]

One Evolution instance has 5,000 conversations. People write bursts; the platform names them by
phone, by `@lid`, or by both; it repeats webhooks, in parallel, out of order and hours later; it
tells who is online and who types, of deliveries, and of what the bot itself sent. People change
their minds; humans answer from the bot's phone; and at noon the phone comes back and brings old
messages. Everything goes through the real door, engine and scripts, with a Redis in this process.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import trio

from actor_queue.core.batch import Batch
from actor_queue.core.doors import doors_of
from actor_queue.core.settings import Settings
from actor_queue.http.aliases import Aliases
from actor_queue.http.auth import Keys
from actor_queue.http.doors import DOOR_IN_SCOPE, Doors
from actor_queue.http.origins import Origins
from actor_queue.http.traffic import Traffic
from actor_queue.testing import MemoryQueue, run
from actor_queue.testing.queues import START_MS

CONVERSATIONS = 5_000
DAY_S = 86_400.0
QUIET_MS = 8_000
HOLDS_A_DAY = 24
HOUR_S = 3_600
SETTINGS = Settings(
    shards=1, default_ttl_ms=QUIET_MS, lease_ttl_ms=600_000, history=0, dedup_window_ms=1_000
)


@dataclass
class Person:
    """What one person wrote, and how the platform calls the person."""

    number: int
    tells: str
    """Which names its events have: `phone`, `both`, `mixed` (the `@lid` alone or both)."""
    wrote: dict[str, str] = field(default_factory=dict)
    """Text by message id, in order of the first time that the door took it."""
    edited: dict[str, str] = field(default_factory=dict)
    """Edits that came too late for their place, by the id of what they change."""
    revoked: set[str] = field(default_factory=set)

    @property
    def phone(self) -> str:
        return f"55119{self.number:08d}@s.whatsapp.net"

    @property
    def lid(self) -> str:
        return f"9{self.number:013d}@lid"

    @property
    def users(self) -> tuple[str, str]:
        return f"loja:{self.phone}", f"loja:{self.lid}"


@dataclass(order=True)
class Event:
    at_s: float
    serial: int
    person: Person = field(compare=False)
    what: str = field(compare=False)
    body: bytes = field(compare=False)
    message_id: str = field(compare=False, default="")
    text: str = field(compare=False, default="")


# The day as it is planned


class Plan:
    """Everything that the platform will send, in the order of time."""

    def __init__(self, conversations: int, seed: int, day_s: float) -> None:
        self._random = random.Random(seed)
        self._day_s = day_s
        self._serial = itertools.count(1)
        self.people = [
            Person(number, self._random.choice(("phone", "both", "mixed")))
            for number in range(conversations)
        ]
        self.events: list[Event] = []
        for person in self.people:
            for _ in range(self._random.randint(1, 2)):
                self._burst(person, self._random.uniform(0, day_s * 0.9))
            if self._random.random() < 0.2:
                self._add(day_s / 2, person, "old", self._message(person, -HOUR_S, "antiga"))
        heapq.heapify(self.events)

    def _burst(self, person: Person, at_s: float) -> None:
        chance = self._random.random
        for _ in range(self._random.randint(1, 4)):
            text = f"texto {next(self._serial)}"
            name, body = self._written(person, at_s, text)
            self._add(at_s, person, "message", body, name, text)
            for _ in range(self._random.choice((0, 0, 1, 3))):
                # Again: beside itself, out of order, or when everything is over.
                later = self._random.choice((0.0, 0.3, 5.0, 400.0))
                self._add(at_s + later, person, "message", body, name, text)
            if chance() < 0.1:
                key = {"remoteJid": person.phone, "fromMe": False, "id": name}
                new = {"key": key, "type": 14, "editedMessage": {"conversation": f"{text}!"}}
                moment_s = at_s + self._random.choice((1.0, 60.0))
                body = event("messages.edited", self._told(person, new))
                self._add(moment_s, person, "edit", body, name, f"{text}!")
            elif chance() < 0.05:
                gone = self._told(person, {"key": {"id": name, "fromMe": False}})
                self._add(at_s + 0.5, person, "revoke", event("messages.delete", gone["key"]), name)
            if chance() < 0.3:
                self._add(at_s + 0.5, person, "typing", self._presence(person, "composing"))
            at_s += self._random.uniform(0.5, 7.0)
        self._add(at_s, person, "nothing", self._presence(person, "available"))
        self._add(at_s, person, "nothing", event("messages.update", {"status": "READ"}))
        answer = self._message(
            person, at_s, "resposta", fromMe=True, id=f"BAE5{next(self._serial)}"
        )
        self._add(at_s + 15.0, person, "nothing", answer)
        if chance() < 0.1:
            own = self._message(person, at_s, "aqui é a Bia", fromMe=True)
            self._add(at_s + 20.0, person, "human", own)
            text = f"e aí, Bia? {next(self._serial)}"
            name, body = self._written(person, at_s, text)
            self._add(at_s + 21.0, person, "message", body, name, text)

    def _add(
        self, at_s: float, person: Person, what: str, body: bytes, name: str = "", text: str = ""
    ) -> None:
        self.events.append(Event(at_s, next(self._serial), person, what, body, name, text))

    def _written(self, person: Person, at_s: float, text: str) -> tuple[str, bytes]:
        name = f"3EB{next(self._serial):09d}"
        return name, self._message(person, at_s, text, id=name)

    def _message(self, person: Person, at_s: float, text: str, **key: object) -> bytes:
        named = {"fromMe": False, "id": f"3EB{next(self._serial):09d}"} | key
        data = {
            "key": named,
            "pushName": "Alguém",
            "message": {"conversation": text},
            "messageTimestamp": START_MS // 1_000 + int(at_s),
        }
        return event("messages.upsert", self._told(person, data))

    def _told(self, person: Person, data: dict[str, Any]) -> dict[str, Any]:
        """The event with the names that the platform happens to tell."""
        key = data["key"]
        if person.tells == "phone":
            key["remoteJid"] = person.phone
        else:
            key["remoteJid"] = person.lid
            if person.tells == "both" or self._random.random() < 0.5:
                key["remoteJidAlt"] = person.phone
        return data

    def _presence(self, person: Person, what: str) -> bytes:
        jid = person.phone if person.tells == "phone" else person.lid
        presences = {jid: {"lastKnownPresence": what}}
        return event("presence.update", {"id": jid, "presences": presences})


def event(name: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"event": name, "instance": "loja", "data": data}).encode()


# The day as it goes


class Day:
    def __init__(self, plan: Plan, day_s: float) -> None:
        self.plan = plan
        self.hold_s = day_s / HOLDS_A_DAY
        self.got: defaultdict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        """By user, each message's id and object, in the order of delivery."""
        self.batches = 0
        self.answers: Counter[str] = Counter()
        self.held_until_s: dict[str, float] = {}
        """By user, until when a human answers in the bot's place."""
        self.spoken_over: list[str] = []

    async def deliver(self, batch: Batch) -> None:
        self.batches += 1
        if trio.current_time() < self.held_until_s.get(batch.user, 0.0):
            self.spoken_over.append(batch.user)
        for item in batch.items:
            self.got[batch.user].append((item.message_id, item.original))

    async def live(self) -> None:
        async with MemoryQueue(SETTINGS, deliver=self.deliver) as queue:
            doors = Doors(
                queue.engine,
                Keys((), Origins(SETTINGS).pages),
                Traffic(),
                clock=lambda: START_MS / 1_000 + trio.current_time(),
            )
            doors.aliases = Aliases(queue.engine, trio.current_time)
            door = replace(doors_of(SETTINGS)["evolution"], hold_ms=int(self.hold_s * 1_000))
            doors.table.replace([door])
            begin = trio.current_time()
            async with trio.open_nursery() as nursery:
                while self.plan.events:
                    next_one = heapq.heappop(self.plan.events)
                    await trio.sleep_until(begin + next_one.at_s)
                    # Each is a request of its own: what comes together crosses.
                    nursery.start_soon(self._comes, doors, next_one)
            await trio.sleep(self.hold_s + 2 * QUIET_MS / 1_000)

    async def _comes(self, doors: Doors, one: Event) -> None:
        person, answer = one.person, await posted(doors, one.body)
        for name, count in answer["reasons"].items():
            self.answers[name] += count
        match one.what:
            case "message" if answer["accepted"]:
                assert one.message_id not in person.wrote, f"twice: {one.text}"
                person.wrote[one.message_id] = one.text
            case "edit" if answer["edited"]:
                person.wrote[one.message_id] = one.text
            case "edit" if answer["accepted"]:
                person.edited[one.message_id] = one.text
            case "revoke" if answer["edited"]:
                person.revoked.add(one.message_id)
            case "human":
                assert answer["held"] == 1
                for name in person.users:
                    self.held_until_s[name] = trio.current_time() + self.hold_s - 1.0
            case "nothing" | "old":
                assert answer["accepted"] == answer["held"] == 0, answer
            case _:
                pass

    def judge(self) -> None:
        """All that people wrote, each message once, in its conversation's order; nothing else."""
        for person in self.plan.people:
            both = [self.got.pop(name, []) for name in person.users]
            found = {id: said for each in both for id, said in each if "edited" not in said}
            wanted = {f"loja:{i}": t for i, t in person.wrote.items() if i not in person.revoked}
            assert {i: said["message"] for i, said in found.items()} == wanted, person
            assert sum(map(len, both)) == len(wanted) + len(person.edited), "each once"
            late = [said for each in both for _, said in each if "edited" in said]
            told = {said["edit_of"]: said["message"] for said in late}
            assert told == {f"loja:{i}": text for i, text in person.edited.items()}
            for each in both:
                _require_order([id for id, said in each if "edited" not in said], list(wanted))
            if person.tells != "mixed":
                assert both[1] == [], "who is told with a phone is known by it"
        assert not self.got, "nobody else is told of"
        assert not self.spoken_over, "the bot was told while a human answered"


def _require_order(found: list[str], written: list[str]) -> None:
    # What came at the same moment may be appended in either order.
    places = [written.index(name) for name in found]
    assert sorted(places) == places or _nearly(places), (found, written)


def _nearly(places: list[int]) -> bool:
    return all(abs(a - b) <= 1 for a, b in zip(sorted(places), places, strict=True))


async def posted(doors: Doors, body: bytes) -> dict[str, Any]:
    """The door's 200 to a webhook."""
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "headers": [(b"content-length", str(len(body)).encode())],
        "query_string": b"",
        DOOR_IN_SCOPE: b"evolution",
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await doors(cast(Any, scope), receive, send)
    assert sent[0]["status"] == 200, sent
    answer: dict[str, Any] = json.loads(sent[1]["body"])
    return answer


def lived(conversations: int, seed: int, day_s: float = DAY_S) -> Day:
    day = Day(Plan(conversations, seed, day_s), day_s)
    run(day.live)
    day.judge()
    return day


def main(arguments: list[str]) -> Iterator[str]:
    conversations, seed = (*map(int, arguments), *(CONVERSATIONS, 1)[len(arguments) :])[:2]
    day = lived(conversations, seed)
    written = sum(len(person.wrote) for person in day.plan.people)
    yield f"{written} messages of {conversations} people arrived in {day.batches} batches"
    yield f"ignored: {dict(day.answers)}"


if __name__ == "__main__":
    for line in main(sys.argv[1:]):
        print(line)
