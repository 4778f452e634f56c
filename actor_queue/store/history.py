"""The history of all attempts: one list of the namespace, newest first, that is cut at its end.

It lies in one slot of a cluster, because a list over all shards would cost a question to each
shard for every page. A line is short, so one server has room for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from actor_queue.core.conversation import Conversation, key_to_bytes
from actor_queue.core.history import AttemptFilter, PastAttempt, line_after_time, read_line
from actor_queue.store.base import StoreBase
from actor_queue.store.history_api import LOOKED_AT_MAX, AttemptPage
from actor_queue.transport.reading import READING, listed, number, octets
from actor_queue.transport.runner import Word

KEPT_MS = 30 * 86_400_000
"""After the last attempt; a namespace that nobody uses any more keeps no names for ever."""
PAGE = 250
"""Lines read together: about 50 KB, and less than a millisecond of either side's time."""
NUMBER_DIGITS_MAX = 15


class History(StoreBase):
    """The verbs behind `/api/attempts`."""

    async def attempts_add(self, attempts: Sequence[tuple[int, PastAttempt]]) -> None:
        """See `HistoryStore.attempts_add`."""
        args: list[Word] = [self._now, self._settings.history, KEPT_MS]
        for ago_ms, attempt in attempts:
            args += (
                ago_ms,
                hash_of(self.log_key, Conversation(attempt.route, attempt.user).key),
                attempt.batch_id,
                line_after_time(attempt),
            )
        await self._call("attempts_add_v1", (self._keys.attempts, self._keys.erased), *args)

    async def remembers(self, user: str, message_id: str) -> bool:
        """See `HistoryStore.remembers`."""
        shard, mine = self._user_keys(user)
        said = await self._call("remembered_v1", (shard.named(mine.user, message_id),))
        return number(said) == 1

    async def attempts(self, wanted: AttemptFilter, limit: int, cursor: str | None) -> AttemptPage:
        """See `HistoryStore.attempts`."""
        behind: Word = "" if cursor is None else _number_in(cursor)
        found: list[PastAttempt] = []
        for _ in range(LOOKED_AT_MAX // PAGE):
            reply = listed(
                await self._call("attempts_page_v1", (self._keys.attempts,), behind, PAGE)
            )
            with READING:
                first, lines = number(reply[0]), [octets(line) for line in listed(reply[1])]
            for place, line in enumerate(lines):
                attempt = read_line(line)
                if attempt is not None and wanted.fits(attempt):
                    found.append(attempt)
                    if len(found) == limit:
                        return AttemptPage(tuple(found), str(first - place))
            if len(lines) < PAGE:
                return AttemptPage(tuple(found), None)
            behind = first - len(lines) + 1
        return AttemptPage(tuple(found), str(behind))


def hash_of(key: bytes, user: str) -> str:
    """What stands for a user, the key of a conversation, where the name may not: the same at every
    replica, and of no use to anybody who does not know the namespace's random `key`."""
    return blake2b(key_to_bytes(user), key=key, digest_size=8).hexdigest()


def _number_in(cursor: str) -> int:
    """Raises ValueError. Numbers are below 0 only where somebody else has put lines into the
    list: then all are counted from the first line, and a page still follows the other."""
    digits = cursor.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= NUMBER_DIGITS_MAX):
        raise ValueError("not a cursor of this service")
    return int(cursor)
