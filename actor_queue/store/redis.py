"""The store: every verb of `Store` over one runner."""

from __future__ import annotations

import secrets

from actor_queue.core.headroom import Memory
from actor_queue.store.alert_turns import AlertTurns
from actor_queue.store.answers import Answers
from actor_queue.store.api import StoreInfo, StoreMisconfigured
from actor_queue.store.changes import Changes
from actor_queue.store.claims import Claims
from actor_queue.store.dead import DeadLetters
from actor_queue.store.deeds import Deeds
from actor_queue.store.erase import Erasing
from actor_queue.store.foreign import ForeignEntries
from actor_queue.store.history import History
from actor_queue.store.intake import Intake
from actor_queue.store.leases import Leases
from actor_queue.store.membership import Membership
from actor_queue.store.replay import ReplayJobs
from actor_queue.store.routes import RouteVerbs
from actor_queue.store.signed_out import SignOuts
from actor_queue.store.telling import Telling
from actor_queue.store.upkeep import Upkeep
from actor_queue.store.verdicts import Verdicts
from actor_queue.store.waiting import WaitingMessages
from actor_queue.transport.reading import READING, listed, number, octets

FORMAT = 1
"""Of the data in Redis. A release that reads another one says so instead of guessing."""

VERSION_MIN = (6, 2)

LOG_KEY_BYTES = 16
ANSWER_KEY_BYTES = 32
LOG_KEY_CHARS_MAX = 64
"""No key for BLAKE2b is longer, whatever somebody wrote there."""


class RedisStore(
    Intake,
    Claims,
    Verdicts,
    Leases,
    Membership,
    Telling,
    RouteVerbs,
    Changes,
    Answers,
    ForeignEntries,
    DeadLetters,
    ReplayJobs,
    Upkeep,
    WaitingMessages,
    AlertTurns,
    History,
    Erasing,
    Deeds,
    SignOuts,
):
    """One namespace of one Redis. Safe for concurrent use."""

    async def ping(self) -> None:
        """Raises `StoreUnavailable`."""
        await self._runner.ping()

    async def info(self) -> StoreInfo:
        """What kind of server this is."""
        return await self._runner.info()

    def memory(self) -> Memory | None:
        """See `Store.memory`."""
        return self._runner.memory()

    def trouble(self) -> str | None:
        """Why the store cannot be written to, as far as is known."""
        return self._runner.trouble() or self._nonsense

    async def check(self, *, allow_eviction: bool) -> StoreInfo:
        """Raises `StoreMisconfigured` when this server must not be used as it is."""
        info = await self.info()
        if _version(info.version) < VERSION_MIN and info.server == "redis":
            raise StoreMisconfigured(
                f"Redis {info.version} is too old: 6.2 is the oldest that works"
            )
        if info.maxmemory_policy not in (None, "noeviction") and not allow_eviction:
            raise StoreMisconfigured(
                f"Redis may evict messages (maxmemory-policy is {info.maxmemory_policy}): set it to"
                " noeviction, or accept the loss with AQ_ALLOW_EVICTION=true"
            )
        await self._check_namespace()
        return info

    async def _check_namespace(self) -> None:
        ours = self._settings.shards
        said = listed(await self._call("meta_v1", (self._keys.meta,), ours, FORMAT))
        with READING:
            shards, form = map(number, said)
        if form != FORMAT:
            raise StoreMisconfigured(
                f"the namespace {self._settings.namespace!r} has data of format {form}, and"
                f" this release reads {FORMAT}: use the matching release or another AQ_NAMESPACE"
            )
        if shards != ours:
            raise StoreMisconfigured(
                f"the namespace {self._settings.namespace!r} was first used with"
                f" AQ_SHARDS={shards}, this replica has AQ_SHARDS={ours}: set it to"
                f" {shards}, or use another AQ_NAMESPACE"
            )
        fresh = secrets.token_hex(LOG_KEY_BYTES)
        kept = await self._call("log_key_v1", (self._keys.meta,), fresh)
        self.log_key = octets(kept)[:LOG_KEY_CHARS_MAX]
        fresh = secrets.token_hex(ANSWER_KEY_BYTES)
        self.answer_key = octets(await self._call("answer_key_v1", (self._keys.meta,), fresh))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
