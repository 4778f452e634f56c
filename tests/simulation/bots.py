"""Receivers that answer 202 and say later that they are done: in time, too late, twice, never."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from actor_queue.core.answers import ACCEPTED, PATH, Ticket, opened
from actor_queue.core.batch import Batch
from actor_queue.runtime.answers import Answers
from actor_queue.store.answers_api import Answered
from actor_queue.store.api import StoreUnavailable
from tests.simulation.history import Told

if TYPE_CHECKING:
    from tests.simulation.world import World

ANSWER_KEY = b"the key of the namespace"
"""A start draws it, or reads it. The replicas here begin behind their start."""
TRIES_MAX = 5
PAUSE_S = 0.2
EXTENSIONS_MAX = 4
WAIT_S = 1.5
"""How long one call waits for news."""
WAYS = (
    "at once",
    "done",
    "latest",
    "latest",
    "latest",
    "twice",
    "extends",
    "waits",
    "fails",
    "gives up",
    "silent",
    "late",
    "late",
    "before",
    "before",
    "anything",
)
HEALED_WAYS = ("at once", "done", "latest")
"""When all faults are over."""
VERBS = ("done", "latest", "extend", "fail", "final", "look")

Do = Callable[[Answers, Ticket], Awaitable[Answered | None]]


@dataclass(frozen=True)
class Work:
    """What a receiver does with one attempt that it may answer later."""

    user: str
    ticket: str
    within_s: float
    way: str
    think_s: float
    chance: random.Random

    @property
    def status(self) -> int:
        """What it answers."""
        return 200 if self.way == "at once" else ACCEPTED

    @property
    def before(self) -> bool:
        """It may have said that it is done before its 202 arrives."""
        return self.way == "before"


class Bots:
    """They are no processes, and no fault strikes them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def take(self, batch: Batch) -> Work | None:
        """None where the batch's receiver is done when it answers."""
        if batch.offer is None:
            return None
        text = batch.offer.url.rpartition(PATH)[2]
        # Whose key signs it is a matter of the service alone: here only the attempt is asked for.
        chance = self._world.dice.stream(f"bot {batch.id} {trio.current_time()}")
        within_s = self._world.plan.route_of(batch.key).answer_within_ms / 1000
        if self._world.chaos:
            way, think_s = chance.choice(WAYS), chance.uniform(0.02, 0.9) * within_s
        else:
            way, think_s = chance.choice(HEALED_WAYS), chance.uniform(0.02, 0.1)
        if way == "before":
            think_s = chance.uniform(0.0, 0.02)
        return Work(batch.key, text, within_s, way, think_s, chance)

    async def work(self, work: Work) -> None:
        """Think, and say what came of it."""
        await trio.sleep(work.think_s)
        match work.way:
            case "done" | "latest":
                await self._say(work, work.way)
            case "before":
                await self._say(work, work.chance.choice(("done", "latest", "latest", "extend")))
                await self._say(work, "latest")
            case "twice":
                await self._say(work, "latest")
                await self._say(work, work.chance.choice(VERBS))
            case "extends":
                await self._extend(work)
            case "waits":
                await self._say(work, "wait")
                await self._say(work, "latest")
            case "fails":
                await self._say(work, "fail")
            case "gives up":
                await self._say(work, "final")
            case "late":
                await trio.sleep(work.within_s + work.chance.uniform(-0.1, 2.5))
                await self._say(work, work.chance.choice(VERBS))
            case "anything":
                for _ in range(4):
                    await self._say(work, work.chance.choice(VERBS))
                    await trio.sleep(work.chance.uniform(0, 0.5) * work.within_s)

    async def _extend(self, work: Work) -> None:
        """Ask for more time again and again, and be done all the same."""
        for _ in range(EXTENSIONS_MAX):
            if await self._say(work, "extend") != "answering":
                return
            await trio.sleep(work.chance.uniform(0.2, 0.9) * work.within_s)
        await self._say(work, "latest")

    async def _say(self, work: Work, verb: str) -> str:
        """What it was told; empty where nobody could be asked."""
        ticket = opened(work.ticket, (ANSWER_KEY,))
        batch_id, token = ("", "") if ticket is None else (ticket.batch_id, ticket.token)
        told = Told(trio.current_time(), verb, work.user, batch_id, token)
        self._world.history.note(told)
        do = _call(verb, work)
        for _ in range(TRIES_MAX):
            try:
                await self._ask(work, do, told)
                break
            except StoreUnavailable:
                await trio.sleep(PAUSE_S)
        return told.said

    async def _ask(self, work: Work, do: Do, told: Told) -> None:
        serving = [replica for replica in self._world.replicas if replica.serving]
        if not serving:
            raise StoreUnavailable("nobody listens", executed=False)
        replica = work.chance.choice(serving)
        ticket = replica.engine.answers.ticket(work.ticket)
        if ticket is None:
            told.said = "unknown"
            return
        answer: Answered | None = await replica.request(lambda engine: do(engine.answers, ticket))
        told.answered = trio.current_time()
        if answer is None:
            told.said = "over"
            return
        told.said, told.newer = answer.state, answer.newer
        told.again, told.known = answer.again, answer.known


def _call(verb: str, work: Work) -> Do:
    for_ms = round(work.chance.uniform(0.3, 2) * work.within_s * 1000)
    after_s = work.chance.choice((None, None, 0.3, 1.5))
    match verb:
        case "done":
            return lambda answers, ticket: answers.done(ticket, only_latest=False)
        case "latest":
            return lambda answers, ticket: answers.done(ticket, only_latest=True)
        case "extend":
            return lambda answers, ticket: answers.extend(ticket, for_ms)
        case "fail":
            return lambda answers, ticket: answers.fail(ticket, "no", after_s, retry=True)
        case "final":
            return lambda answers, ticket: answers.fail(ticket, None, None, retry=False)
        case "wait":
            return lambda answers, ticket: answers.wait(ticket, WAIT_S)
    return lambda answers, ticket: answers.look(ticket)
