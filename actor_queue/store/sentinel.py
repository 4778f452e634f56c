"""The road to a primary that sentinels watch: whoever is the primary now.

Sentinels are asked again for every new connection, all of them at once; the first counts whose
primary says itself that it is one. That needs no quorum: a sentinel with old news names a
server that is gone or that answers to be a replica.
"""

from __future__ import annotations

from functools import partial

import anyio
from coredis.connection import BaseConnection
from coredis.exceptions import StalePrimaryError

from actor_queue.core.settings import Durability
from actor_queue.store.address import Nodes, Place
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.asking import ask, first_answer
from actor_queue.store.pipe import Command
from actor_queue.store.refusals import WrongSetUp, unavailable
from actor_queue.store.runner import Call, ScriptError
from actor_queue.store.server import ServerRunner

LOOKUP_PAUSE_S = 0.1
"""An answer this young serves all connections, so that an outage floods no sentinel."""

ROLE = Command(b"ROLE", ())


class SentinelRunner(ServerRunner):
    """A `Runner` on the primary, wherever it is."""

    def __init__(self, nodes: Nodes, probe: Call, durability: Durability = "memory") -> None:
        super().__init__(Sentinels(nodes).connect, probe, durability, moves=True)


class Sentinels:
    """Who knows where the primary is."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._asking = anyio.Lock()
        self._answer: Place | StoreUnavailable | None = None
        self._answered_at = 0.0

    async def connect(self) -> BaseConnection:
        """To the primary, not connected yet. Raises `StoreUnavailable`."""
        connection = self._nodes.server(await self._primary())
        # Between the look-up and the connection it may have become a replica.
        connection.register_connect_callback(_insist_on_primary)
        return connection

    async def _primary(self) -> Place:
        async with self._asking:
            age_s = anyio.current_time() - self._answered_at
            if self._answer is None or age_s > LOOKUP_PAUSE_S:
                questions = [partial(self._named_by, seed) for seed in self._nodes.seeds]
                try:
                    self._answer = await first_answer(questions)
                except StoreUnavailable as error:
                    self._answer = error
                self._answered_at = anyio.current_time()
            if isinstance(self._answer, StoreUnavailable):
                raise unavailable(self._answer, executed=False)
            return self._answer

    async def _named_by(self, sentinel: Place) -> Place:
        """The primary that one sentinel names, if it agrees."""
        place = await self._asked(sentinel)
        role = await ask(self._nodes.server(place), ROLE)
        if not _is_primary(role):
            raise StoreUnavailable("the sentinels name no primary at present", executed=False)
        return place

    async def _asked(self, sentinel: Place) -> Place:
        name = self._nodes.name
        question = Command(b"SENTINEL", ("GET-MASTER-ADDR-BY-NAME", name))
        try:
            said = await ask(self._nodes.sentinel(sentinel), question)
        except WrongSetUp as error:
            hint = "sentinels have the options sentinel_username and sentinel_password"
            raise WrongSetUp(f"{error.detail} ({hint})") from error
        except StoreUnavailable as error:
            sentence = error.detail.replace("Redis", "the sentinel")
            raise StoreUnavailable(sentence, executed=False) from error
        match said:
            case [bytes(host), bytes(port)]:
                return Place(host.decode(), int(port))
            case None:
                raise WrongSetUp(
                    f"the sentinels know no primary called {name!r}: correct the name after the"
                    " last / in REDIS_URL, or make them watch it"
                )
            case ScriptError(code="NOPERM"):
                raise WrongSetUp(f"a sentinel refuses: {said.text}")
            case _:
                raise WrongSetUp("what REDIS_URL names as sentinels are none: name their ports")


async def _insist_on_primary(connection: BaseConnection) -> None:
    if not _is_primary(await connection.create_request(b"ROLE", decode=False)):
        raise StalePrimaryError("a replica by now")


def _is_primary(role: object) -> bool:
    return isinstance(role, list) and bool(role) and role[0] == b"master"
