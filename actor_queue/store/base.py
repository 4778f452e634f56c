"""What every part of the store stands on: keys, the runner, one way to call and to fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import get_args

from actor_queue.core.batch import StoredMode
from actor_queue.core.conversation import key_from_bytes
from actor_queue.core.routes import Route, RouteTable
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.keys import Keys, ShardKeys, UserKeys
from actor_queue.store.passed_over import PassedOver, SetAside
from actor_queue.store.scripts import script
from actor_queue.transport.reading import READING, Unreadable, octets
from actor_queue.transport.runner import WRONG_TYPE, Call, Runner, ScriptError, Word

ATTEMPT_MARGIN_MS = 1_000
"""Between the end an attempt gives itself and the moment another replica may start the next."""


class Spoilt(StoreUnavailable):
    """Somebody put another kind of value at a key of one user, or of one shard."""


class StoreBase:
    """`replica` is who calls, so that nobody is told what it does itself.

    `clock` gives the store's time in milliseconds in virtual-time tests; None: the server's.
    `routes` are looked at at each use; None: the default route alone.
    """

    def __init__(
        self,
        runner: Runner,
        settings: Settings,
        *,
        replica: str = "",
        clock: Callable[[], int] | None = None,
        routes: RouteTable | None = None,
    ) -> None:
        self._runner = runner
        self._settings = settings
        self._routes = RouteTable.of(settings) if routes is None else routes
        self._fallback = Route.default(settings)
        self._keys = Keys(settings.namespace, settings.shards)
        self.replica = replica
        self._clock = clock
        self.log_key = b""
        self.answer_key = b""
        self._modes: Sequence[StoredMode] = get_args(StoredMode)
        """Those that every replica that lives can render, by the last heartbeat."""
        self.all_open_sealed = True
        """See `Store.all_open_sealed`."""
        self.set_aside = SetAside()
        self._strangers: dict[int, int] = {}
        """By shard, how many entries of its timer index the last look passed over."""
        self._spoilt = PassedOver()
        self._unrouted: dict[int, Counter[str]] = {}
        """By shard and route, how many the last look passed over because their route is not
        configured."""

    @property
    def _now(self) -> Word:
        return "" if self._clock is None else self._clock()

    def _caller(self, shard: ShardKeys) -> tuple[Word, Word, Word]:
        """What a script needs to tell another owner: who asks, where owners listen, which shard."""
        return self.replica, self._keys.channel, shard.shard

    def _route(self, name: str) -> Route:
        """The limits of a route. One that has left the configuration since its message was admitted
        has those of the environment."""
        return self._routes.get(name) or self._fallback

    def _shard_keys(self, user: str) -> ShardKeys:
        return self._keys.shards[shard_of(user, self._settings.shards)]

    def _user_keys(self, user: str) -> tuple[ShardKeys, UserKeys]:
        shard = self._shard_keys(user)
        return shard, shard.of(user)

    async def _call(self, name: str, keys: Sequence[bytes], *args: Word) -> object:
        (reply,) = await self._run([Call(script(name), keys, args)])
        return reply

    async def _run(self, calls: Sequence[Call]) -> list[object]:
        """The replies. Raises `StoreUnavailable` if any call was refused."""
        return _all_taken(await self._runner.run(calls))

    async def _run_each(self, calls: Sequence[Call]) -> list[object]:
        """The replies; None for a call that failed over what stands at its own keys.

        Whoever may write to Redis may put a text where a hash should be: that is the trouble of
        one user or of one shard. Raises `StoreUnavailable` for any other refusal.
        """
        replies = await self._runner.run(calls)
        return _all_taken([None if _is_about_data(reply) else reply for reply in replies])


def _all_taken(replies: list[object]) -> list[object]:
    errors = [reply for reply in replies if isinstance(reply, ScriptError)]
    if errors:
        nothing_done = all(
            isinstance(reply, ScriptError) and reply.executed is False for reply in replies
        )
        kind = Spoilt if _is_about_data(errors[0]) else StoreUnavailable
        raise kind(errors[0].text, executed=False if nothing_done else None)
    return replies


def taken(reply: object) -> object:
    """The reply to one call. Raises `StoreUnavailable` if it was refused."""
    return _all_taken([reply])[0] if isinstance(reply, ScriptError) else reply


def _is_about_data(reply: object) -> bool:
    """Whether a script stumbled over a type: a code that says so, or, before Redis 7, words."""
    return isinstance(reply, ScriptError) and reply.code == WRONG_TYPE


def conversation_key(value: object) -> str:
    """A reply element that is a conversation's key. Raises `Unreadable` for what is none."""
    with READING:
        return key_from_bytes(octets(value))
    raise Unreadable
