"""A history, read: who kept which message when, which batches there were, what became of them."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field

from actor_queue.core.batch import divided_from
from tests.simulation.history import Attempted, Executed, History, Lost
from tests.simulation.plan import Plan

ROUND_S = 0.002
"""The server counts in milliseconds."""
ITEMS = 11
"""Where a claim's reply has the messages."""
STORED_BESIDES_MAX = len("[9999,1700000000000,]")
"""What the server stores around a message."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that the server took; one that it took twice is there twice."""

    text: str
    user: str
    at: float
    now_ms: int
    size_max: int
    """Bytes as it is stored, which depend on a number that is not known here."""
    forgotten: bool
    """The server forgot it again, in a restart."""


@dataclass(frozen=True, slots=True)
class Item:
    """A message in a batch, as the server stores it."""

    text: str
    at_ms: int
    ttl_ms: int
    size: int


@dataclass(slots=True)
class Claimed:
    """One attempt that the server granted."""

    executed: Executed
    order: int
    """Counts what the server carried out: some of it in one moment."""
    token: str
    number: int
    limit_ms: int
    batch: Batch

    @property
    def limit_s(self) -> float:
        """From the claim on, while nobody sets the server's clock."""
        return (self.limit_ms - self.executed.now_ms) / 1000


@dataclass(slots=True)
class Batch:
    """By its id."""

    id: str
    user: str
    reason: str
    closed_ms: int
    items: tuple[Item, ...]
    claims: list[Claimed] = field(default_factory=list)
    attempts: list[Attempted] = field(default_factory=list)
    retries: list[Executed] = field(default_factory=list)
    buried: list[Executed] = field(default_factory=list)
    divided: list[Executed] = field(default_factory=list)
    acked: list[Executed] = field(default_factory=list)
    dropped: list[Executed] = field(default_factory=list)
    forgotten: bool = False
    """The server forgot a claim of it, in a restart."""

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(item.text for item in self.items)

    def number(self, token: str) -> int:
        """Of the attempt that was granted to the claim of this token; 0 if none was."""
        return next((claim.number for claim in self.claims if claim.token == token), 0)

    def resolved_by(self, at: float) -> bool:
        """Whether by then it was taken by the receiver, a dead letter, or dropped."""
        return any(
            a.processed and a.ended is not None and a.ended <= at for a in self.attempts
        ) or any(each.at <= at for each in (*self.buried, *self.divided, *self.dropped))

    def verdicts(self, script: str) -> list[Executed]:
        return {"retry": self.retries, "bury": self.buried, "divide": self.divided}[script]


class Story:
    """What the rules look at."""

    def __init__(self, plan: Plan, history: History) -> None:
        self.plan = plan
        self.history = history
        self.lost = list(history.of(Lost))
        self.kept: defaultdict[str, list[Kept]] = defaultdict(list)
        """By user, in the server's order."""
        self.batches: dict[str, Batch] = {}
        """In the order of their first claims."""
        self.dropped: set[str] = set()
        self.flushed: defaultdict[str, list[Executed]] = defaultdict(list)
        self.holds: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        """By user: in which order a hold was set, and until when on the server's clock."""
        self.shaken: set[str] = set()
        """Users of whom the server forgot something."""
        self.granted: list[Claimed] = []
        """Every grant, repetitions included."""
        self.strange: list[str] = []
        """Attempts at batches that no claim granted."""
        for self._order, executed in enumerate(history.of(Executed)):
            self._read(executed)
        for attempt in history.of(Attempted):
            if attempt.batch_id in self.batches:
                self.batches[attempt.batch_id].attempts.append(attempt)
            else:
                self.strange.append(attempt.batch_id)

    def claim_of(self, attempt: Attempted) -> Claimed | None:
        """Its replica's last claim of the batch; None where there was none."""
        batch = self.batches.get(attempt.batch_id)
        for claim in reversed(batch.claims if batch else []):
            if claim.executed.replica == attempt.replica and claim.executed.at <= attempt.at:
                return claim
        return None

    def outlived(self, attempt: Attempted, at: float) -> bool:
        """Whether others were allowed to start the next attempt by then."""
        claim = self.claim_of(attempt)
        return claim is None or claim.executed.at + claim.limit_s <= at + ROUND_S

    def batches_by_user(self) -> dict[str, list[Batch]]:
        grouped: defaultdict[str, list[Batch]] = defaultdict(list)
        for batch in self.batches.values():
            grouped[batch.user].append(batch)
        return grouped

    def wholes(self, batch: Batch) -> list[Batch]:
        """What the batch is a part of: the batch that it is a half of, and so on."""
        found = []
        name = divided_from(batch.id)
        while name in self.batches:
            found.append(self.batches[name])
            name = divided_from(name)
        return found

    def put_to_wait(self, claim: Claimed, at: float) -> bool:
        """Whether by then a claim found the attempt's limit passed, and the user held.

        From then on the batch waits, wherever the server's clock is set afterwards.
        """
        return any(
            e.script == "claim"
            and (e.args[3], _said(e)) == (claim.batch.user, b"wait")
            and e.args[4] != claim.token
            and claim.executed.at <= e.at <= at
            and claim.limit_ms <= e.now_ms
            for e in self.history.of(Executed)
        )

    def forgot(self, at: float, by: float = math.inf) -> bool:
        """Whether the server lost what it did at `at`, and had lost it before `by`."""
        return any(each.start <= at <= each.end <= by for each in self.lost)

    def _read(self, e: Executed) -> None:
        match e.script:
            case "append":
                self._appended(e)
            case "claim" | "claim_replay":
                self._claimed(e)
            case "retry" | "bury" | "divide":
                self._shake(e, e.args[3])
                if _said(e) == b"ok" and (batch := self.batches.get(e.args[4])):
                    batch.verdicts(e.script).append(e)
            case "ack" | "flush" | "hold" | "drop" | "typing" | "dead_replay":
                self._ordered(e)

    def _ordered(self, e: Executed) -> None:
        user = e.args[1]
        self._shake(e, user)
        if e.script == "ack":
            if _said(e) == b"ok" and (batch := self.batches.get(e.args[2])):
                batch.acked.append(e)
        elif e.script == "flush":
            self.flushed[user].append(e)
        elif e.script == "hold":
            for_ms = int(e.args[5])
            self.holds[user].append((self._order, e.now_ms + for_ms if for_ms else 0))
        elif e.script == "drop" and isinstance(e.reply, list):
            self.dropped.update(item.text for item in map(_item, e.reply[2]))
            if batch := self.batches.get(e.reply[1].decode()):
                batch.dropped.append(e)

    def _shake(self, e: Executed, user: str) -> None:
        if e.wrote and self.lost and self.forgot(e.at):
            self.shaken.add(user)

    def _appended(self, e: Executed) -> None:
        if not isinstance(e.reply, list):
            return
        place, said = 14, e.reply[1:]
        for _ in range(int(e.args[13])):
            user, count = e.args[place], int(e.args[place + 1])
            self._shake(e, user)
            place += 2
            for _ in range(count):
                payload = e.args[place + 2]
                text = json.loads(f"[{payload}]")[1]["message"]
                if said[0] == 0:
                    size_max = len(payload.encode()) + STORED_BESIDES_MAX
                    kept = Kept(text, user, e.at, e.now_ms, size_max, self.forgot(e.at))
                    self.kept[user].append(kept)
                place, said = place + 3, said[4:]

    def _claimed(self, e: Executed) -> None:
        if _said(e) != b"attempt":
            return
        assert isinstance(e.reply, list)
        _, number, left_ms, name, _, reason, _, _, _, _, closed, items = e.reply
        user, token = e.args[3], e.args[4]
        self._shake(e, user)
        batch = self.batches.get(name.decode())
        if batch is None:
            batch = Batch(name.decode(), user, reason.decode(), closed, tuple(map(_item, items)))
            self.batches[batch.id] = batch
        batch.forgotten |= self.forgot(e.at)
        claim = Claimed(e, self._order, token, number, e.now_ms + left_ms, batch)
        self.granted.append(claim)
        if not any((each.token, each.number) == (token, number) for each in batch.claims):
            batch.claims.append(claim)


def _said(e: Executed) -> object:
    return e.reply[0] if isinstance(e.reply, list) and e.reply else None


def _item(stored: bytes) -> Item:
    _, at_ms, _, original = json.loads(stored)
    return Item(original["message"], at_ms, round(original["ttl"] * 1000), len(stored))
