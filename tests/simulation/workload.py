"""Clients: people who write in bursts through any replica, and operators who meddle."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from actor_queue.core.conversation import DEFAULT_ROUTE, conversation_of
from actor_queue.core.message import Accepted, Message
from actor_queue.runtime.engine import Engine
from actor_queue.store.api import DeadPage, StoreUnavailable
from actor_queue.store.replay_api import ReplayJob
from tests.simulation.history import Called, Executed, Listed

if TYPE_CHECKING:
    from tests.simulation.world import World

POST_TRIES_MAX = 6
PAUSE_S = 0.2
HOLD_MS_MAX = 3_000
NAMED_SHARE = 0.7
HOUSE_S = 1.5
"""Between two things that an operator of dead letters does, on average."""
LIST_PAGE = 3
UNPAUSED_S, PAUSED_S_MAX = 3.0, 4.0
"""How long a route goes on, on average, and how long it is paused at the most."""
REVOKED_SHARE = 0.3
"""Of the changes."""
AGAIN_SHARE = 0.08
"""Of the accepted messages that their sender repeats all the same."""


class Clients:
    """One gateway per user."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._numbers = dict.fromkeys(world.users, 0)
        self.finished = False

    def start(self, nursery: trio.Nursery) -> None:
        for user in self.world.users:
            nursery.start_soon(self._write, user)
            nursery.start_soon(self._meddle, user)
            if "changes" in self.world.plan.options:
                nursery.start_soon(self._change, user)
        if {"retention", "jobs"} & self.world.plan.options:
            nursery.start_soon(self._keep_house)
        if "pauses" in self.world.plan.options:
            for route in self.world.plan.routes:
                nursery.start_soon(self._pause_and_resume, route)

    async def finish(self) -> None:
        """No route is paused and no user held any more, and where jobs are, one sends all dead
        letters again."""
        if "pauses" in self.world.plan.options:
            for route in self.world.plan.routes:
                while not await self._ask("resume", "", lambda e, r=route: e.gates.resume(r)):  # type: ignore[misc]
                    await trio.sleep(PAUSE_S)
        if "jobs" in self.world.plan.options:
            await self._send_all_again()
        for user in self.world.users:
            while not await self._ask("release", user, lambda e, u=user: e.unhold(u)):  # type: ignore[misc]
                await trio.sleep(PAUSE_S)
        self.finished = True

    # Writing

    async def _write(self, user: str) -> None:
        chance = self.world.dice.stream(f"writer {user}")
        while True:
            await trio.sleep(chance.expovariate(1 / self.world.plan.pace_s))
            messages = [self._message(user, chance) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
            await self._post(messages, chance)
            if chance.random() < AGAIN_SHARE:
                await self._post([m for m in messages if m.remembered], chance)

    def _message(self, user: str, chance: random.Random) -> Message:
        self._numbers[user] += 1
        text = _text(user, self._numbers[user])
        ttl_ms = chance.choice(self.world.plan.ttls_ms)
        named = chance.random() < NAMED_SHARE
        person = conversation_of(user).user
        body = json.dumps({"user": person, "message": text, "ttl": ttl_ms / 1000}).encode()
        return Message(user, body, ttl_ms, f"m-{text}", named)

    async def _post(self, messages: list[Message], chance: random.Random) -> None:
        """Those that have a name are repeated until they are kept, within reason."""
        for _ in range(POST_TRIES_MAX):
            if not messages:
                return
            rest = await self._try(messages, chance)
            messages = [message for message in rest if message.remembered]
            await trio.sleep(PAUSE_S * chance.random() if messages else 0)

    async def _try(self, messages: list[Message], chance: random.Random) -> list[Message]:
        """The messages that were not kept, as far as the client knows."""
        now = trio.current_time()
        calls = [
            Called(
                now,
                "post",
                message.user,
                json.loads(message.body)["message"],
                message.ttl_ms / 1000,
            )
            for message in messages
        ]
        for call in calls:
            self.world.history.note(call)
        try:
            results = await self._through(lambda engine: engine.push(messages), chance)
        except StoreUnavailable:
            return messages
        rest = []
        for call, message, result in zip(calls, messages, results, strict=True):
            call.answered = trio.current_time()
            call.accepted = isinstance(result, Accepted)
            if not call.accepted:
                rest.append(message)
        return rest

    async def _change(self, user: str) -> None:
        """What was written lately is edited, or taken back, as far as it still waits."""
        chance, edits = self.world.dice.stream(f"editor {user}"), 0
        while True:
            await trio.sleep(chance.expovariate(1 / self.world.plan.pace_s))
            number = max(1, self._numbers[user] - chance.choice((0, 0, 0, 1, 2, 5)))
            text = _text(user, number)
            if chance.random() < REVOKED_SHARE:
                await self._ask("revoke", user, lambda e, t=text: e.revoke(user, f"m-{t}"))  # type: ignore[misc]
                continue
            edits += 1
            new = f"{text}~{edits}{'.' * chance.choice((0, 0, 20, 80))}"
            await self._ask("edit", user, lambda e, t=text, n=new: e.edit(user, f"m-{t}", n))  # type: ignore[misc]

    # Meddling

    async def _meddle(self, user: str) -> None:
        chance = self.world.dice.stream(f"operator {user}")
        while True:
            await trio.sleep(chance.expovariate(1 / (6 * self.world.plan.pace_s)))
            verb = chance.choice(("flush", "typing", "hold", "release", "drop", "replay"))
            match verb:
                case "flush":
                    await self._ask(verb, user, lambda engine: engine.flush(user))
                case "typing":
                    await self._ask(verb, user, lambda engine: engine.typing(user, None))
                case "hold":
                    for_ms = chance.randint(100, HOLD_MS_MAX)
                    await self._ask(verb, user, lambda engine, ms=for_ms: engine.hold(user, ms))  # type: ignore[misc]
                case "release":
                    await self._ask(verb, user, lambda engine: engine.unhold(user))
                case "drop":
                    await self._ask(verb, user, lambda engine: engine.drop(user))
                case "replay":
                    await self._ask(verb, user, lambda engine: self._replay(engine, user))

    async def _replay(self, engine: Engine, user: str) -> None:
        page = await engine.dead(20, None)
        for letter in page.letters:
            if letter.user == user and not letter.queued:
                await engine.dead_replay(letter.id)
                return

    async def _pause_and_resume(self, route: str) -> None:
        chance = self.world.dice.stream(f"operator of {route}")
        while True:
            await trio.sleep(chance.expovariate(1 / UNPAUSED_S))
            await self._ask("pause", "", lambda e: e.gates.pause(route, None, None))
            await trio.sleep(chance.uniform(0.05, PAUSED_S_MAX))
            await self._ask("resume", "", lambda e: e.gates.resume(route))

    # Dead letters

    async def _keep_house(self) -> None:
        chance = self.world.dice.stream("operator of letters")
        verbs: list[Callable[[], Awaitable[Any]]] = [self.list_letters]
        if "jobs" in self.world.plan.options:
            verbs += [
                lambda: self._ask("replay all", "", lambda engine: engine.replay_all()),
                lambda: self._ask("replay all", "", lambda engine: engine.replay_all()),
                lambda: self._ask("stop replay", "", lambda engine: engine.replay_stop()),
            ]
        while True:
            await trio.sleep(chance.expovariate(1 / HOUSE_S))
            await chance.choice(verbs)()

    async def list_letters(self) -> None:
        """Page through all of them."""
        chance, ids = self.world.dice.stream(f"list {trio.current_time()}"), []
        asked, cursor = trio.current_time(), None
        try:
            while True:
                page = await self._through(partial(_dead_page, cursor), chance)
                ids += [letter.id for letter in page.letters]
                cursor = page.cursor
                if cursor is None:
                    break
        except StoreUnavailable:
            return
        self.world.history.note(Listed(asked, trio.current_time(), tuple(ids)))

    async def _send_all_again(self) -> None:
        """Wait for the job that goes on, which somebody takes up if it was abandoned; then until a
        job that is begun from now on has come to its end."""
        chance = self.world.dice.stream("last job")
        goes_on = True
        while goes_on:
            await trio.sleep(PAUSE_S)
            with suppress(StoreUnavailable):
                job = await self._through(lambda engine: engine.replay_job(), chance)
                goes_on = job is not None and job.state in ("running", "stopping", "abandoned")
        begun = trio.current_time()
        ended: ReplayJob | None = None
        while ended is None or ended.state != "done" or ended.id in self._jobs_before(begun):
            with suppress(StoreUnavailable):
                ended = await self._through(lambda engine: engine.replay_all(), chance)
            await trio.sleep(PAUSE_S)

    def _jobs_before(self, at: float) -> set[str]:
        """The ids of the jobs of which the server had heard by then."""
        return {
            e.args[2]
            for e in self.world.history.of(Executed)
            if e.script == "replay_job" and e.at <= at
        }

    async def _ask(self, verb: str, user: str, do: Callable[[Engine], Awaitable[Any]]) -> bool:
        """Whether it was answered."""
        call = Called(trio.current_time(), verb, user)
        self.world.history.note(call)
        try:
            await self._through(do, self.world.dice.stream(f"{verb} {user} {call.at}"))
        except StoreUnavailable:
            return False
        call.answered, call.accepted = trio.current_time(), True
        return True

    async def _through(self, do: Callable[[Engine], Awaitable[Any]], chance: random.Random) -> Any:
        """Through any replica that takes requests."""
        serving = [replica for replica in self.world.replicas if replica.serving]
        if not serving:
            raise StoreUnavailable("nobody listens", executed=False)
        return await chance.choice(serving).request(do)


def _text(user: str, number: int) -> str:
    """What a message says, and no other one."""
    route, person = conversation_of(user)
    return f"{person}/{number}" if route == DEFAULT_ROUTE else f"{person}@{route}/{number}"


async def _dead_page(cursor: str | None, engine: Engine) -> DeadPage:
    return await engine.dead(LIST_PAGE, cursor)
