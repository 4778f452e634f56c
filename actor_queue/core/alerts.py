"""What operators are told by webhook, and when: AQ_ALERT_URL.

Sans-IO, as `core/outage.py`: `now` is seconds on any monotonic clock. Each kind of alert is ripe at
most once a minute, and what happens meanwhile is told together the next time. Something that goes
on is told again after a quarter of an hour, because the first alert may have found nobody awake.
Each route fails for itself: what another one delivers says nothing of it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass
from typing import Final, Literal, get_args

AlertKind = Literal["dead_letter", "receiver_failing", "receiver_recovered", "nothing_delivered"]
KINDS: Final[tuple[AlertKind, ...]] = get_args(AlertKind)

EVERY_S: Final = 60.0
"""Between two alerts of one kind."""
FAILING_S: Final = 60.0
"""For so long every attempt has failed before the receiver counts as failing."""
SILENT_S: Final = 300.0
"""For so long nothing was delivered although something was due."""
AGAIN_S: Final = 900.0
"""Between two alerts about one trouble that goes on."""
LETTERS_NAMED_MAX: Final = 20
"""Dead letters of which one alert says more than that there are some."""
ROUTES_NAMED_MAX: Final = 20
"""Routes of one alert; the others have the next one."""


@dataclass(frozen=True, slots=True)
class Alert:
    kind: AlertKind
    data: dict[str, object]
    """JSON values; no message's text and no secret."""


@dataclass(slots=True)
class _Failing:
    """A route of which every attempt has failed since a moment."""

    since: float
    last: float
    failures: int = 0
    reason: str = ""
    """Of the last failure."""
    told_at: float = -math.inf

    def ripe(self, now: float) -> bool:
        """Whether it is to be told of, for the first time or because it goes on."""
        long = now - self.since >= FAILING_S and self.failures > 1
        return long and self.told_at + AGAIN_S <= now and self.told_at < self.last


class Alerts:
    """What one replica has seen and not told yet."""

    def __init__(self) -> None:
        self._quiet_until: defaultdict[AlertKind, float] = defaultdict(lambda: -math.inf)
        self._letters: list[dict[str, object]] = []
        self._dead = 0
        self._failing: dict[str, _Failing] = {}
        """By route."""
        self._recovered: dict[str, dict[str, object]] = {}
        self._progress_at: float | None = None
        self._silent: dict[str, object] | None = None

    # What happens

    def delivered(self, now: float, route: str) -> None:
        """An attempt succeeded."""
        self._progress_at = now
        self._silent = None
        # The next silence is another one.
        quiet = self._quiet_until["nothing_delivered"]
        self._quiet_until["nothing_delivered"] = min(quiet, now + EVERY_S)
        failing = self._failing.pop(route, None) if self._failing else None
        if failing is not None and failing.told_at > -math.inf:
            after_s = round(now - failing.since, 1)
            facts = {"route": route, "after_s": after_s, "attempts_failed": failing.failures}
            self._recovered[route] = facts

    def failed(self, now: float, route: str, reason: str) -> None:
        """An attempt failed; `reason` is fit to be shown."""
        failing = self._failing.get(route)
        if failing is None:
            failing = self._failing[route] = _Failing(now, now)
        failing.failures += 1
        failing.reason, failing.last = reason, now

    def dead_letter(self, letter: dict[str, object]) -> None:
        """A batch was given up; `letter` says which, and not what was in it."""
        self._dead += 1
        if len(self._letters) < LETTERS_NAMED_MAX:
            self._letters.append(letter)

    def look(
        self,
        now: float,
        waiting: int,
        oldest_due_s: float,
        trouble: str | None,
        routes: Container[str],
    ) -> None:
        """How things are: how many users wait, for how long the oldest of them has been due, and
        why the store cannot be asked, if so. Who is due then is not known; whoever waits may be.
        `routes` are configured; of others nobody is told any more."""
        for gone in [route for route in self._failing if route not in routes]:
            del self._failing[gone]
        due = oldest_due_s > 0 or trouble is not None or bool(self._failing)
        due = due and waiting > 0
        if not due or self._progress_at is None:
            self._progress_at = now
        silent_s = now - self._progress_at
        self._silent = None
        if silent_s >= SILENT_S:
            self._silent = {
                "for_s": round(silent_s, 1),
                "users_waiting": waiting,
                "oldest_due_s": round(oldest_due_s, 1),
                "redis": trouble,
            }

    # What is to be told

    def ripe(self, now: float) -> list[AlertKind]:
        """The kinds that have something to tell and may."""
        return [kind for kind in KINDS if self._quiet_until[kind] <= now and self._has(kind, now)]

    def take(self, kind: AlertKind, now: float) -> Alert:
        """The alert of a ripe kind, told from now on."""
        self._quiet_until[kind] = now + EVERY_S
        match kind:
            case "dead_letter":
                letters, self._letters = self._letters, []
                dead, self._dead = self._dead, 0
                return Alert(kind, {"count": dead, "letters": letters})
            case "receiver_failing":
                return Alert(kind, self._take_failing(now))
            case "receiver_recovered":
                named = self.routes(kind, now)
                ended = [self._recovered.pop(route) for route in named]
                return Alert(kind, {**_first(ended), "routes": ended})
            case "nothing_delivered":
                self._quiet_until[kind] = now + AGAIN_S
                return Alert(kind, self._silent or {})

    def _take_failing(self, now: float) -> dict[str, object]:
        told: list[dict[str, object]] = []
        for route in self.routes("receiver_failing", now):
            failing = self._failing[route]
            failing.told_at = now
            facts = {
                "route": route,
                "for_s": round(now - failing.since, 1),
                "attempts_failed": failing.failures,
                "reason": failing.reason,
            }
            told.append(facts)
        return {**_first(told), "routes": told}

    def routes(self, kind: AlertKind, now: float) -> list[str]:
        """Of which routes the next alert of this kind tells, those first that fail for longest;
        none for a kind that is not about routes."""
        match kind:
            case "receiver_failing":
                failing = [(each.since, route) for route, each in self._failing.items()]
                found = [route for _, route in sorted(failing) if self._failing[route].ripe(now)]
            case "receiver_recovered":
                found = list(self._recovered)
            case _:
                found = []
        return found[:ROUTES_NAMED_MAX]

    def told_elsewhere(self, kind: AlertKind, route: str, now: float) -> None:
        """Another replica has told of this route within the minute."""
        if kind == "receiver_recovered":
            self._recovered.pop(route, None)
        elif route in self._failing:
            self._failing[route].told_at = now

    def put_off(self, kind: AlertKind, now: float) -> None:
        """Another replica has told of this kind within the minute. That nothing is delivered all of
        them see, and it is told then; the other kinds wait."""
        if kind == "nothing_delivered":
            self.take(kind, now)
        else:
            self._quiet_until[kind] = now + EVERY_S / 10

    def _has(self, kind: AlertKind, now: float) -> bool:
        match kind:
            case "dead_letter":
                return self._dead > 0
            case "receiver_failing":
                return any(failing.ripe(now) for failing in self._failing.values())
            case "receiver_recovered":
                return bool(self._recovered)
            case "nothing_delivered":
                return self._silent is not None


def _first(told: list[dict[str, object]]) -> dict[str, object]:
    """The facts of the one that comes first, as they stood there when there was one receiver."""
    return {name: value for name, value in told[0].items() if name != "route"} if told else {}
