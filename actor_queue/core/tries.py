"""How often an address may try to sign in. Nothing here reads a clock; `now` is any monotonic one.

A token bucket for each address, in bounded memory. When more addresses fail than there is room for,
the one that failed longest ago is forgotten; whoever commands so many addresses has that many times
more tries, and a key of 24 random bytes is still beyond them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

TRIES_AT_ONCE: Final = 10
TRY_EVERY_S: Final = 6.0
"""Ten a minute: enough for a person who mistypes."""
ADDRESSES_MAX: Final = 4_096


class Tries:
    """The failures of each address, as the moment from which they are all forgiven."""

    def __init__(
        self,
        at_once: int = TRIES_AT_ONCE,
        every_s: float = TRY_EVERY_S,
        addresses_max: int = ADDRESSES_MAX,
    ) -> None:
        self._window_s = at_once * every_s
        self._every_s = every_s
        self._addresses_max = addresses_max
        self._forgiven_at: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, address: str, now: float) -> int:
        """Whole seconds until this address may try again; 0 when it may."""
        over_s = self._forgiven_at.get(address, now) - now + self._every_s - self._window_s
        # A clock's fractions do not add up: a thousandth of a second is no reason to refuse.
        return max(0, math.ceil(over_s - 0.001))

    def failed(self, address: str, now: float) -> None:
        """One try that was wrong."""
        forgiven_at = max(now, self._forgiven_at.pop(address, now)) + self._every_s
        self._forgiven_at[address] = forgiven_at
        if len(self._forgiven_at) > self._addresses_max:
            self._forgiven_at.popitem(last=False)

    def __len__(self) -> int:
        return len(self._forgiven_at)
