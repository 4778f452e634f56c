"""The road to a primary that sentinels watch: whoever is the primary now.

Sentinels are asked for every new connection, all at once: what most of them say counts, and
without a majority what any of them says. No more is needed, because the server itself must
say that it is a primary, and a stale sentinel names one that is gone or that has been demoted.

They are asked once a second besides. In a failover by hand the old primary goes on taking writes
for some ten seconds, all of which are thrown away when it becomes a replica.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import anyio
import anyio.abc
from coredis.connection import BaseConnection
from coredis.exceptions import StalePrimaryError

from actor_queue.core.headroom import Headroom
from actor_queue.core.settings import Durability
from actor_queue.transport.address import Nodes, Place
from actor_queue.transport.asking import ask
from actor_queue.transport.bounded import BoundedConnection
from actor_queue.transport.errors import StoreUnavailable
from actor_queue.transport.needs import Needs
from actor_queue.transport.pipe import Settle
from actor_queue.transport.reading import number, text
from actor_queue.transport.refusals import WrongSetUp, unavailable
from actor_queue.transport.runner import ScriptError
from actor_queue.transport.server import ServerRunner
from actor_queue.transport.wire import Command

LOOKUP_PAUSE_S = 0.1
"""An answer this young serves all connections, so that an outage floods no sentinel."""
WATCH_INTERVAL_S = 1.0

ROLE = Command(b"ROLE", ())


class SentinelRunner(ServerRunner):
    """A `Runner` on the primary, wherever it is."""

    def __init__(
        self,
        nodes: Nodes,
        needs: Needs,
        durability: Durability = "memory",
        *,
        settle: Settle | None = None,
        headroom: Callable[[], Headroom] | None = None,
    ) -> None:
        self._sentinels = Sentinels(nodes)
        super().__init__(
            self._sentinels.connect,
            needs,
            durability,
            moves=True,
            settle=settle,
            headroom=headroom,
        )

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """See `ServerRunner.serve`."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._sentinels.watch)
            await super().serve(task_status=task_status)


class Sentinels:
    """Who knows where the primary is."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._asking = anyio.Lock()
        self._answer: Place | StoreUnavailable | None = None
        self._answered_at = 0.0
        self._made: list[tuple[Place, BoundedConnection]] = []

    async def connect(self) -> BoundedConnection:
        """To the primary, not connected yet. Raises `StoreUnavailable`."""
        place = await self._primary()
        connection = self._nodes.server(place)
        # Between the look-up and the connection it may have become a replica.
        connection.register_connect_callback(_insist_on_primary)
        self._made = [made for made in self._made if made[1].usable] + [(place, connection)]
        return connection

    async def watch(self) -> None:
        """Give up connections to a server that is not the primary any more. Until cancelled."""
        while True:
            await anyio.sleep(WATCH_INTERVAL_S)
            try:
                primary = await self._primary()
            except StoreUnavailable:
                continue
            for place, connection in self._made:
                if place != primary and connection.usable:
                    connection.invalidate()

    async def _primary(self) -> Place:
        async with self._asking:
            age_s = anyio.current_time() - self._answered_at
            if self._answer is None or age_s > LOOKUP_PAUSE_S:
                try:
                    self._answer = await self._look_up()
                except StoreUnavailable as error:
                    self._answer = error
                self._answered_at = anyio.current_time()
            if isinstance(self._answer, StoreUnavailable):
                raise unavailable(self._answer, executed=False)
            return self._answer

    async def _look_up(self) -> Place:
        named, failures = await self._poll()
        for place, _ in named.most_common():
            try:
                role = await ask(self._nodes.server(place), ROLE)
            except StoreUnavailable as error:
                failures.append(error)
                continue
            if _is_primary(role):
                return place
            demoted = "the server that the sentinels name is no primary at present"
            failures.append(StoreUnavailable(demoted, executed=False))
        wrong = [error for error in failures if isinstance(error, WrongSetUp)]
        raise wrong[0] if wrong and not named else failures[-1]

    async def _poll(self) -> tuple[Counter[Place], list[StoreUnavailable]]:
        """How many sentinels name whom, as soon as most of them name the same."""
        seeds = self._nodes.seeds
        named: Counter[Place] = Counter()
        failures: list[StoreUnavailable] = []

        async def one(sentinel: Place) -> None:
            try:
                place = await self._asked(sentinel)
            except StoreUnavailable as error:
                failures.append(error)
                return
            named[place] += 1
            if named[place] > len(seeds) // 2:
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for seed in seeds:
                tasks.start_soon(one, seed)
        return named, failures

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
                return Place(text(host), number(port))
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
