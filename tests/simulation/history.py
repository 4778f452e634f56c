"""What happened in a simulated run, as an eye outside of every process saw it.

All moments are virtual seconds; `_ms` values are the server's clock. The records are facts and
carry no judgement: `checker.py` judges. Nobody changes one but where it says so; they are not
frozen, because making a frozen one takes four times as long, and there are thousands in a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar


def name_of(text: str) -> str:
    """What tells a message apart, whatever it says now: an edit puts `~` and more behind it."""
    return text.partition("~")[0]


class Grant(NamedTuple):
    """A shard's lease, as the server has it."""

    epoch: int
    nonce: str
    until_ms: int
    owner: str


NOBODY = Grant(0, "", 0, "")


@dataclass(slots=True)
class Called:
    """A client asked for something and (perhaps) got an answer."""

    at: float
    verb: str
    user: str
    text: str = ""
    """For a post: the message, which is told apart by it."""
    ttl_s: float = 0.0
    answered: float | None = None
    accepted: bool = False


@dataclass(slots=True)
class Sent:
    """A replica sent a call that names a lease, or asks for one."""

    at: float
    replica: str
    script: str
    shard: int
    epoch: int
    nonce: str


@dataclass(slots=True)
class Granted:
    """A replica read that a shard is its own, in answer to what it had sent at `asked`."""

    at: float
    replica: str
    shard: int
    epoch: int
    nonce: str
    asked: float


@dataclass(slots=True)
class Executed:
    """The server carried out a script."""

    at: float
    now_ms: int
    script: str
    """Its name without the version."""
    replica: str
    shard: int
    args: tuple[str, ...]
    reply: object
    lease: Grant
    """Before the call."""
    wrote: bool
    copy: bool
    """A copy of a call that was carried out before."""
    late: bool
    """It arrived long after its sender had given it up."""


@dataclass(slots=True)
class Moved:
    """A user's place in the timer index changed; None: not in it."""

    at: float
    now_ms: int
    user: str
    before_ms: int | None
    after_ms: int | None


@dataclass(slots=True)
class Attempted:
    """A POST reached the receiver."""

    at: float
    replica: str
    user: str
    batch_id: str
    body: bytes
    texts: tuple[str, ...]
    ended: float | None = None
    """When it was answered, or the sender was gone."""
    processed: bool = False
    """The receiver took it and said 2xx."""
    heard: bool = False
    """The sender read a 2xx."""
    status: int | None = None
    """What the receiver answered, whether or not it arrived."""
    later: bool = False
    """It was offered to answer later, so that a 202 does not say yet that it took it."""


@dataclass(slots=True)
class Told:
    """A receiver that had answered 202, or was about to, said something of its batch."""

    at: float
    verb: str
    user: str
    batch_id: str
    token: str
    """Of the attempt that it is about."""
    answered: float | None = None
    said: str = ""
    """What it was told: the state of the batch, `over`, or `unknown` for an address that is none of
    the service's."""
    newer: int = 0
    again: bool = False
    known: bool = False


@dataclass(slots=True)
class Trouble:
    """Within it, a delay is excused."""

    start: float
    end: float
    what: str
    route: str | None = None
    """Of the users of this route; None: of everybody."""


ROUTE_OPEN = "the route was open"
"""What is noted of the time in which a breaker kept the receiver from being asked."""
ROUTE_PAUSED = "the route was paused"


@dataclass(slots=True)
class Stepped:
    """The server's clock was set."""

    at: float
    by_ms: int


@dataclass(slots=True)
class Lost:
    """The server forgot what it did between `start` and `end`."""

    start: float
    end: float


@dataclass(slots=True)
class NoRoom:
    """A replica did not send messages, because the server has no room for them."""

    at: float
    replica: str


@dataclass(slots=True)
class Room:
    """How many bytes the server has left until its reserve, from now on; below 0: none."""

    at: float
    left: int


@dataclass(slots=True)
class Listed:
    """A replica answered with all dead letters, by their ids."""

    asked: float
    at: float
    ids: tuple[str, ...]


@dataclass(slots=True)
class Broken:
    """Something that must not be: a replica died of a bug, data that contradict themselves."""

    at: float
    rule: str
    what: str


@dataclass(slots=True)
class Noted:
    """For people who read the trace."""

    at: float
    what: str


@dataclass(slots=True)
class Ending:
    """How the world looked when the run was over."""

    at: float = 0.0
    quiet: bool = False
    waiting: tuple[str, ...] = ()
    """Users who are still in the timer index."""
    owners: dict[int, str] = field(default_factory=dict)
    """Per shard, by the server's leases."""
    settled: bool = False
    """Every shard is where the ring wants it, by the leases and by the replicas."""
    dead_texts: frozenset[str] = frozenset()
    letters: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    """By the ids that there are in any of a dead letter's three keys: whether it is in the index,
    and whether both of the others are there."""
    counted: int | None = None
    """Dead letters by the counts of all replicas, a moment after the last look; None: not asked."""
    horizons: tuple[tuple[str, int, float], ...] = ()
    """Of each replica: its name, its timers, how far ahead it sets them."""


Record = (
    Called
    | Sent
    | Granted
    | Executed
    | Moved
    | Attempted
    | Told
    | Trouble
    | Stepped
    | Lost
    | NoRoom
    | Room
    | Listed
    | Broken
    | Noted
)
R = TypeVar("R")


class History:
    """In order of happening."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.ending = Ending()

    def note(self, record: Record) -> None:
        self.records.append(record)

    def of(self, kind: type[R]) -> Iterator[R]:
        return (record for record in self.records if isinstance(record, kind))

    def digest(self) -> str:
        """The same for two runs exactly if the same happened."""
        text = "\n".join(map(repr, [*self.records, _plain(self.ending)]))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(ending: Ending) -> tuple[object, ...]:
    dead = sorted(ending.dead_texts)
    kept = (sorted(ending.letters.items()), ending.counted, ending.horizons)
    return (ending.at, ending.quiet, ending.waiting, ending.settled, ending.owners, dead, kept)
