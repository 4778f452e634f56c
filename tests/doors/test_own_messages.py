"""What the bot itself sent holds no conversation, whoever is first: the platform or the bot."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio

from actor_queue.core.answers import Ticket
from actor_queue.core.doors import doors_of
from actor_queue.core.json_text import Refused
from actor_queue.core.settings import Settings
from actor_queue.http.answers import SENT_MAX, _ids
from actor_queue.http.auth import Keys
from actor_queue.http.doors import Doors
from actor_queue.http.origins import Origins
from actor_queue.http.traffic import Traffic
from actor_queue.store.own import MESSAGES_MAX
from actor_queue.testing import MemoryQueue, run
from tests.doors.busy_day import event, posted

USER = "loja:5511@s.whatsapp.net"
HOLD_S = 600


class Stage:
    """A door and an engine; `held` is for how many seconds the conversation is held."""

    def __init__(self, queue: MemoryQueue) -> None:
        self.queue = queue
        settings = queue.settings
        keys = Keys((), Origins(settings).pages)
        self.doors = Doors(queue.engine, keys, Traffic(), clock=lambda: 0.0)
        door = replace(doors_of(settings)["evolution"], hold_ms=HOLD_S * 1_000)
        self.doors.table.replace([door])

    async def echo(self, name: str) -> dict[str, object]:
        key = {"remoteJid": "5511@s.whatsapp.net", "fromMe": True, "id": name}
        said = {"key": key, "message": {"conversation": "pois não"}}
        return await posted(self.doors, event("messages.upsert", said))

    async def done(self, *names: str) -> None:
        await self.queue.engine.answers.sent(Ticket(USER, "b-1", "r-1/t", 0), names)

    async def held(self) -> float:
        view = await self.queue.engine.describe(USER)
        return (view.held_for_ms or 0) / 1_000


def story(play: Callable[[Stage], Awaitable[None]]) -> Callable[[], None]:
    async def main() -> None:
        async with MemoryQueue(Settings(shards=1), deliver=_taken) as queue:
            await play(Stage(queue))

    def test() -> None:
        run(main)

    test.__name__ = play.__name__
    return test


async def _taken(batch: object) -> None: ...


@story
async def test_what_the_bot_has_said_that_it_sent_holds_nothing(s: Stage) -> None:
    await s.done("3EB1")
    answer = await s.echo("3EB1")
    assert (answer["held"], answer["reasons"]) == (0, {"own": 1})
    assert await s.held() == 0
    assert (await s.echo("3EB2"))["held"] == 1


@story
async def test_a_hold_that_the_bots_own_messages_began_ends_with_its_word(s: Stage) -> None:
    for name in ("3EB1", "3EB2"):
        assert (await s.echo(name))["held"] == 1
        await trio.sleep(1)
    await s.done("3EB1")
    assert await s.held() > 0, "the other one may be a human's"
    await s.done("true_5511@c.us_3EB2")
    assert await s.held() == 0


@story
async def test_a_humans_message_holds_whatever_the_bot_says(s: Stage) -> None:
    await s.echo("3EBhuman")
    await s.echo("3EB1")
    await s.done("3EB1")
    assert await s.held() > HOLD_S - 1


@story
async def test_a_hold_that_began_otherwise_does_not_end(s: Stage) -> None:
    await s.queue.engine.hold(USER, 60_000)
    await s.echo("3EB1")
    await s.done("3EB1")
    assert await s.held() > 0


@story
async def test_the_word_ends_no_later_hold_and_is_forgotten_with_the_user(s: Stage) -> None:
    await s.echo("3EB1")
    await trio.sleep(HOLD_S + 1)
    await s.queue.engine.hold(USER, 60_000)
    await s.done("3EB1")
    assert await s.held() > 0
    await s.queue.engine.erase(USER, None)
    assert not [key for key in s.queue.redis.client.keys("*") if b":own:" in key]


@story
async def test_a_bot_that_talks_much_still_ends_the_hold_of_its_own_message(s: Stage) -> None:
    await says(s, MESSAGES_MAX)
    await s.echo("3EB1")
    assert await s.held() > 0
    await s.done("3EB1")
    assert await s.held() == 0


@story
async def test_a_bot_that_talks_much_ends_no_humans_hold(s: Stage) -> None:
    await says(s, MESSAGES_MAX - 1)
    await s.echo("3EBhuman")
    await trio.sleep(1)
    await s.echo("3EB1")
    await s.done("3EB1")
    assert await s.held() > HOLD_S - 1


async def says(s: Stage, messages: int) -> None:
    for first in range(0, messages, SENT_MAX):
        await s.done(*(f"3EBof{each}" for each in range(first, min(first + SENT_MAX, messages))))


@pytest.mark.parametrize("given", ["3EB1", [""], [None], [True], [["a"]], ["x" * 513], ["a"] * 51])
def test_ids_that_are_none_are_refused(given: object) -> None:
    with pytest.raises(Refused):
        _ids(given)
    assert _ids(json.loads('["a", 5]')) == ["a", "5"]
    assert len(_ids(["a"] * SENT_MAX)) == SENT_MAX
