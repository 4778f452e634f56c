"""What every part of the store stands on: keys, the runner, one way to call and to fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.keys import Keys, ShardKeys, UserKeys
from actor_queue.store.runner import Call, Runner, ScriptError, Word
from actor_queue.store.scripts import script

ATTEMPT_MARGIN_MS = 1_000
"""Between the end an attempt gives itself and the moment another replica may start the next."""


class StoreBase:
    """`replica` is who calls, so that nobody is told what it does itself.

    `clock` gives the store's time in milliseconds in virtual-time tests; None: the server's.
    """

    def __init__(
        self,
        runner: Runner,
        settings: Settings,
        *,
        replica: str = "",
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._runner = runner
        self._settings = settings
        self._keys = Keys(settings.namespace, settings.shards)
        self.replica = replica
        self._clock = clock
        self.log_key = b""

    @property
    def _now(self) -> Word:
        return "" if self._clock is None else self._clock()

    def _caller(self, shard: ShardKeys) -> tuple[Word, Word, Word]:
        """What a script needs to tell another owner: who asks, where owners listen, which shard."""
        return self.replica, self._keys.channel, shard.shard

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
        replies = await self._runner.run(calls)
        errors = [reply for reply in replies if isinstance(reply, ScriptError)]
        if errors:
            nothing_done = all(
                isinstance(reply, ScriptError) and reply.executed is False for reply in replies
            )
            raise StoreUnavailable(errors[0].text, executed=False if nothing_done else None)
        return replies


def listed(reply: object) -> list[object]:
    """A reply that is a list by the script's header."""
    assert isinstance(reply, list), reply
    return reply


def number(value: object) -> int:
    """A reply element that is a number, or its text."""
    assert isinstance(value, int | bytes | str), value
    return int(value)


def text(value: object) -> str:
    """A reply element that is text."""
    return value.decode() if isinstance(value, bytes) else str(value)
