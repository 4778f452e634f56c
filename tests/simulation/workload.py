"""Clients: people who write in bursts through any replica, and operators who meddle."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from actor_queue.core.message import Accepted, Message
from actor_queue.runtime.engine import Engine
from actor_queue.store.api import StoreUnavailable
from tests.simulation.history import Called

if TYPE_CHECKING:
    from tests.simulation.world import World

POST_TRIES_MAX = 6
PAUSE_S = 0.2
HOLD_MS_MAX = 3_000
NAMED_SHARE = 0.7
AGAIN_SHARE = 0.08
"""Of the accepted messages that their sender repeats all the same."""


class Clients:
    """One gateway per user."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._numbers = dict.fromkeys(world.users, 0)

    def start(self, nursery: trio.Nursery) -> None:
        for user in self.world.users:
            nursery.start_soon(self._write, user)
            nursery.start_soon(self._meddle, user)

    async def finish(self) -> None:
        """No user is held any more."""
        for user in self.world.users:
            while not await self._ask("release", user, lambda e, u=user: e.unhold(u)):  # type: ignore[misc]
                await trio.sleep(PAUSE_S)

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
        text = f"{user}/{self._numbers[user]}"
        ttl_ms = chance.choice(self.world.plan.ttls_ms)
        named = chance.random() < NAMED_SHARE
        body = json.dumps({"user": user, "message": text, "ttl": ttl_ms / 1000}).encode()
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
