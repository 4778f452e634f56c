"""How much of a server's memory new messages may still take.

A Redis that has reached its `maxmemory` refuses writes or throws keys away, and then what was
accepted cannot go out either. So new messages stop before that, while the rest still has room. How
full the server is can only be asked from time to time. What was sent since is counted as more than
it will take, and what may not have been carried out when the server was asked counts on, so that a
burst between two looks does not run past the reserve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

RESERVE_BYTES_MAX = 33_554_432
RESERVE_SHARE = 10
"""Unless somebody chose it, the reserve is a tenth of `maxmemory`, at most `RESERVE_BYTES_MAX`."""
MESSAGE_BYTES = 1_024
"""Added to a message's own size: what a new user, a new list and a message id take, and more."""
ROOM_AGAIN = 16
"""Once messages were refused, the reserve divided by this must be free besides the reserve before
others are taken: without that, each batch that goes out would let one message in, and whoever asks
whether the service is ready would hear yes and no in turn."""
SOON = 4
"""The server is asked again when a quarter of what was left has been sent: other replicas send,
too."""


@dataclass(frozen=True, slots=True)
class Memory:
    """One server's, in bytes, as it was last asked."""

    used: int
    most: int
    """`maxmemory`; 0 where there is none."""
    reserve: int
    """As AQ_REDIS_RESERVE means for this server; 0 where there is no `maxmemory`."""

    @property
    def left(self) -> float:
        """Until `maxmemory`; infinite where there is none."""
        return self.most - self.used if self.most else math.inf


def reserve_bytes(most: int, chosen: int | None) -> int:
    """Of a server with `most` bytes of `maxmemory` (0: none), where `chosen` may say how much."""
    if not most:
        return 0
    return min(most // RESERVE_SHARE, RESERVE_BYTES_MAX) if chosen is None else chosen


class Headroom:
    """What is left for new messages on one server. `chosen` is AQ_REDIS_RESERVE, if it is set."""

    def __init__(self, chosen: int | None) -> None:
        self._chosen = chosen
        self.memory: Memory | None = None
        self._left = math.inf
        """For new messages, when the server was last asked."""
        self._sent = self._settled = 0
        """Bytes of all messages so far, and of those of which it is known what came of them."""
        self._counted_from = 0
        self._refusing = False
        """Whether messages were refused and there is not clearly room again."""

    def asking(self) -> int:
        """To be called before the server is asked; `looked` wants what this returns."""
        return self._settled

    def looked(self, used: int, most: int, settled_before: int) -> None:
        """The server has `used` of `most` bytes."""
        reserve = reserve_bytes(most, self._chosen)
        self.memory = Memory(used, most, reserve)
        self._left = self.memory.left - reserve
        self._counted_from = settled_before
        again = reserve / ROOM_AGAIN
        self._refusing = self._over or (self._refusing and self._left - self._taken < again)

    @property
    def limited(self) -> bool:
        """Whether there is anything to count."""
        return self._left != math.inf

    @property
    def _taken(self) -> int:
        return self._sent - self._counted_from

    @property
    def wanting(self) -> bool:
        """Whether enough was sent since the last look to look again at once."""
        return self._taken * SOON > self._left

    @property
    def exhausted(self) -> bool:
        """Whether no new message may be sent."""
        return self._refusing or self._over

    @property
    def _over(self) -> bool:
        return self._left < 0 or self._taken > self._left

    def sent(self, size: int) -> None:
        """Messages of `size` bytes are on their way."""
        self._sent += size
        self._refusing = self._refusing or self._over

    def settled(self, size: int) -> None:
        """What became of them is known, or nothing more will come of them."""
        self._settled += size

    def sentence(self) -> str | None:
        """Why new messages are refused; None when they are not."""
        if self.memory is None or not self.exhausted:
            return None
        reserve = f"{self.memory.reserve / 2**20:.1f} MiB"
        if self._left < 0:
            # Rounded up, what is left may read as enough.
            left = f"{math.floor(max(0.0, self.memory.left) / 2**20 * 10) / 10:.1f} MiB"
            a_little = "a little less than " if left == reserve else ""
            return (
                f"Redis has {a_little}{left} left of its maxmemory, and AQ_REDIS_RESERVE keeps"
                f" {reserve} for what was accepted: raise maxmemory, or let what waits go out"
            )
        return (
            f"Redis is nearly full: of {self.memory.left / 2**20:.1f} MiB left of its maxmemory"
            f" AQ_REDIS_RESERVE keeps {reserve} for what was accepted, and messages under way may"
            " need the rest; new ones are taken again when there is clearly more"
        )
