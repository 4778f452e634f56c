"""What every part of the store stands on: keys, the runner, one way to call and to fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType

from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.api import StoreUnavailable
from actor_queue.store.keys import Keys, ShardKeys, UserKeys
from actor_queue.store.passed_over import PassedOver, SetAside
from actor_queue.store.runner import WRONG_TYPE, Call, Runner, ScriptError, Word
from actor_queue.store.scripts import script

ATTEMPT_MARGIN_MS = 1_000
"""Between the end an attempt gives itself and the moment another replica may start the next."""

UNREADABLE = "Redis answered with something that this release cannot read"
"""All that is said of it: what Redis sent is quoted nowhere."""


class Unreadable(StoreUnavailable):
    """What Redis answered, or what somebody wrote into it, is not what the service keeps there."""

    def __init__(self) -> None:
        super().__init__(UNREADABLE, executed=None)


class Spoilt(StoreUnavailable):
    """Somebody put another kind of value at a key of one user, or of one shard."""


class _Reading:
    """Around whatever takes a reply apart: what does not fit is `Unreadable`, and no crash.

    The first error is not its cause, because its text may quote what Redis sent.
    """

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, _MISFITS):
            raise Unreadable from None


_MISFITS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
READING = _Reading()


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
        self.set_aside = SetAside()
        self._strangers: dict[int, int] = {}
        """By shard, how many entries of its timer index the last look passed over."""
        self._spoilt = PassedOver()

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


def _is_about_data(reply: object) -> bool:
    """Whether a script stumbled over a type: a code that says so, or, before Redis 7, words."""
    return isinstance(reply, ScriptError) and reply.code == WRONG_TYPE


def expect(*conditions: bool) -> None:
    """Of what was read. Raises `Unreadable` unless all are true."""
    if not all(conditions):
        raise Unreadable


def listed(reply: object) -> list[object]:
    """A reply that is a list by the script's header. Raises `Unreadable`."""
    if not isinstance(reply, list):
        raise Unreadable
    return reply


def number(value: object) -> int:
    """A reply element that is a number, or its text. Raises `Unreadable`."""
    if isinstance(value, int):
        return value
    with READING:
        if isinstance(value, bytes | str):
            return int(value)
    raise Unreadable


def text(value: object) -> str:
    """A reply element that is text. Raises `Unreadable` for bytes that are not UTF-8."""
    if isinstance(value, bytes):
        with READING:
            return value.decode()
    return str(value)


def octets(value: object) -> bytes:
    """A reply element that is bytes. Raises `Unreadable`."""
    if not isinstance(value, bytes):
        raise Unreadable
    return value


def shown(value: object) -> str:
    """As `text`, for a name that is only shown: bytes that are not UTF-8 are replaced."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else text(value)
