"""A history, read: who kept which message when, which batches there were, what became of them."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from actor_queue.core.batch import divided_from, supersedes
from tests.simulation.history import Attempted, Executed, History, Lost, name_of
from tests.simulation.plan import Plan

ROUND_S = 0.002
"""The server counts in milliseconds."""
FIRST_USER = 14
"""Where an append's arguments have the first user."""
SPENT = 12
"""Of the arguments of `retry`, the one that says whether the attempt counts."""
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
    order: int
    """As of `Claimed`."""


@dataclass(frozen=True, slots=True)
class Item:
    """A message in a batch, as the server stores it."""

    text: str
    """What it said at first: the message is told apart by it."""
    now: str
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
    limits: list[tuple[float, int]]
    """From when on which one was the attempt's. It moves where its receiver answers later."""
    batch: Batch
    answering_since_ms: int | None = None

    @property
    def limit_ms(self) -> int:
        """Of the POST."""
        return self.limits[0][1]

    @property
    def limit_s(self) -> float:
        """From the claim on, while nobody sets the server's clock."""
        return (self.limit_ms - self.executed.now_ms) / 1000

    def limit_at(self, at: float) -> int:
        """The last one of which the server knew by then."""
        return [limit_ms for since, limit_ms in self.limits if since <= at][-1]


@dataclass(frozen=True, slots=True)
class Settled:
    """A verdict about an attempt, which the server took."""

    script: str
    at: float
    now_ms: int
    replica: str
    token: str
    after_ms: int = 0
    spent: bool = True
    why: str = ""


@dataclass(slots=True, eq=False)
class Batch:
    """By its id."""

    id: str
    user: str
    reason: str
    closed_ms: int
    items: tuple[Item, ...]
    claims: list[Claimed] = field(default_factory=list)
    attempts: list[Attempted] = field(default_factory=list)
    retries: list[Settled] = field(default_factory=list)
    buried: list[Settled] = field(default_factory=list)
    divided: list[Settled] = field(default_factory=list)
    acked: list[Executed] = field(default_factory=list)
    done: list[Executed] = field(default_factory=list)
    """Where its receiver said later that it was done."""
    taken_back: list[Executed] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    """Tokens of claims that made no attempt, because the last one's receiver had never said that it
    was done."""
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
        """Whether by then it was taken by the receiver, taken back, a dead letter, or dropped."""
        if any(a.processed and a.ended is not None and a.ended <= at for a in self.attempts):
            return True
        over = (*self.buried, *self.divided, *self.dropped, *self.done, *self.taken_back)
        return any(each.at <= at for each in over)

    def last_before(self, at: float) -> Attempted | None:
        """The attempt that was begun last by then."""
        return max((a for a in self.attempts if a.at <= at), key=lambda a: a.at, default=None)

    def claim(self, token: str) -> Claimed | None:
        return next((claim for claim in self.claims if claim.token == token), None)


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
        self.expired: set[str] = set()
        """Messages of dead letters that were deleted for their age."""
        self.edited: dict[str, str] = {}
        """What an edited message says now."""
        self.revoked: set[str] = set()
        self.edited_of: set[str] = set()
        self.revoked_of: set[str] = set()
        """Users of whom the server has edited, or taken out, a message."""
        self.stale: list[tuple[str, str]] = []
        """User and text: what was claimed as it was before it was edited, or taken back."""
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
        self.again: defaultdict[str, list[Batch]] = defaultdict(list)
        """By a batch's id: those that were taken back and whose messages came again in it."""
        for user in {batch.user for batch in self.batches.values() if batch.taken_back}:
            self._find_again([b for b in self.batches.values() if b.user == user])
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

    def _find_again(self, batches: list[Batch]) -> None:
        """Nearly always it names them. Where a replay is taken back, too, before they have come
        again, the batch in which both come names the replay."""
        for old in batches:
            for new in batches:
                later = old.taken_back and new.claims[0].executed.at >= old.taken_back[0].at
                if later and not set(old.texts).isdisjoint(new.texts):
                    self.again[new.id].append(old)
                    break

    def superseded(self, batch: Batch) -> Batch | None:
        """The batch that was taken back and whose messages come again in this one."""
        return self.batches.get(supersedes(batch.id) or "")

    def lineage(self, batch: Batch) -> list[Batch]:
        """What the batch is a half of, or supersedes, and so on."""
        found: list[Batch] = []
        ahead = [batch]
        for each in ahead:
            name = divided_from(each.id) or supersedes(each.id) or ""
            whole = [self.batches[name]] if name in self.batches else []
            new = [b for b in (*whole, *self.again[each.id]) if b not in found]
            found += new
            ahead += new
        return found

    def divided_of(self, batch: Batch) -> bool:
        """Whether the batch supersedes another and has messages of one that was divided."""
        return supersedes(batch.id) is not None and any(
            each.divided and not set(each.texts).isdisjoint(batch.texts)
            for each in self.batches.values()
            if each.user == batch.user
        )

    def came_with_others(self, batch: Batch) -> bool:
        """Whether messages that were taken back stand in the batch, or stood in what it was."""
        return any(self.again[each.id] for each in (batch, *self.lineage(batch)))

    def put_to_wait(self, claim: Claimed, at: float) -> bool:
        """Whether by then a claim found the attempt's limit passed, and the user held.

        From then on the batch waits, wherever the server's clock is set afterwards.
        """
        return any(
            e.script == "claim"
            and (e.args[3], _said(e)) == (claim.batch.user, b"wait")
            and e.args[4] != claim.token
            and claim.executed.at <= e.at <= at
            and claim.limit_at(e.at) <= e.now_ms
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
                    _settle(batch, e)
            case "answering" | "extend" | "done" | "answer_fail":
                self._shake(e, e.args[1])
                if batch := self.batches.get(e.args[2]):
                    self._answered(batch, e)
            case "dead_expire":
                self._shake(e, e.args[3])
                if e.reply == 1 and (batch := self.batches.get(e.args[4])):
                    self.expired.update(batch.texts)
            case "edit" | "revoke":
                self._shake(e, e.args[1])
                self._change(e)
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
            self.dropped.update(dropped_texts(e))
            if batch := self.batches.get(e.reply[1].decode()):
                batch.dropped.append(e)

    def _answered(self, batch: Batch, e: Executed) -> None:
        """What a receiver says later, or that it will."""
        claim = batch.claim(e.args[3])
        match e.script, _said(e):
            case "answering", b"ok" if claim is not None and claim.answering_since_ms is None:
                claim.answering_since_ms = e.now_ms
                claim.limits.append((e.at, e.now_ms + int(e.args[4])))
            case "extend", b"answering" if claim is not None:
                since_ms = claim.answering_since_ms
                claim.answering_since_ms = since_ms = e.now_ms if since_ms is None else since_ms
                until_ms = min(e.now_ms + int(e.args[5]), since_ms + self.plan.answer_max_ms)
                claim.limits.append((e.at, max(claim.limits[-1][1], until_ms)))
            case "done", b"done":
                batch.done.append(e)
            case "done", b"taken_back":
                batch.taken_back.append(e)
            case "answer_fail", b"failed" if isinstance(e.reply, list) and e.reply[3] == 0:
                again = e.args[5] != ""
                after_ms = int(e.args[5]) if again else 0
                settled = Settled(e.script, e.at, e.now_ms, e.replica, e.args[3], after_ms)
                (batch.retries if again else batch.buried).append(settled)

    def _change(self, e: Executed) -> None:
        if e.reply != b"ok":
            return
        user = e.args[1]
        if e.script == "edit":
            item = _item(e.args[7].encode())
            self.edited[item.text] = item.now
            self.edited_of.add(user)
        else:
            text = revoked_text(e)
            self.revoked.add(text)
            self.dropped.add(text)
            self.revoked_of.add(user)

    def _shake(self, e: Executed, user: str) -> None:
        if e.wrote and self.lost and self.forgot(e.at):
            self.shaken.add(user)

    def _appended(self, e: Executed) -> None:
        for user in users_of_append(e):
            self._shake(e, user)
        for user, text, payload in appended(e):
            size_max = len(payload.encode()) + STORED_BESIDES_MAX
            kept = Kept(text, user, e.at, e.now_ms, size_max, self.forgot(e.at), self._order)
            self.kept[user].append(kept)

    def _claimed(self, e: Executed) -> None:
        if _said(e) == b"unanswered":
            assert isinstance(e.reply, list)
            self._shake(e, e.args[3])
            if batch := self.batches.get(e.reply[3].decode()):
                batch.unanswered.append(e.args[4])
        if _said(e) != b"attempt":
            return
        assert isinstance(e.reply, list)
        _, number, left_ms, name, _, reason, _, _, _, _, closed, items = e.reply[:12]
        user, token = e.args[3], e.args[4]
        self._shake(e, user)
        batch = self.batches.get(name.decode())
        if batch is None:
            batch = Batch(name.decode(), user, reason.decode(), closed, tuple(map(_item, items)))
            self.batches[batch.id] = batch
            for item in batch.items:
                if item.text in self.revoked or item.now != self.edited.get(item.text, item.text):
                    self.stale.append((user, item.now))
        batch.forgotten |= self.forgot(e.at)
        limits = [(e.at, e.now_ms + left_ms)]
        claim = Claimed(e, self._order, token, number, limits, batch)
        self.granted.append(claim)
        # An attempt that was taken back leaves its number to one that a copy of its claim begins.
        if e.wrote or not any(
            (each.token, each.number) == (token, number) for each in batch.claims
        ):
            batch.claims.append(claim)


def dropped_texts(e: Executed) -> list[str]:
    """What a drop took."""
    return [_item(each).text for each in e.reply[2]] if isinstance(e.reply, list) else []


def revoked_text(e: Executed) -> str:
    """What a revocation took, if it took it."""
    return _item(e.args[3].encode()).text


def _settle(batch: Batch, e: Executed) -> None:
    about = (e.script, e.at, e.now_ms, e.replica, e.args[5])
    match e.script:
        case "retry":
            batch.retries.append(Settled(*about, int(e.args[6]), e.args[SPENT] != "0"))
        case "bury":
            batch.buried.append(Settled(*about, why=e.args[6]))
        case "divide":
            batch.divided.append(Settled(*about))


def users_of_append(e: Executed) -> Iterator[str]:
    """Whose messages an append has, kept or not."""
    place = FIRST_USER
    for _ in range(int(e.args[FIRST_USER - 1]) if isinstance(e.reply, list) else 0):
        yield e.args[place]
        place += 2 + 3 * int(e.args[place + 1])


def appended(e: Executed) -> Iterator[tuple[str, str, str]]:
    """User, text and payload of each message that an append has kept."""
    if not isinstance(e.reply, list):
        return
    place, said = FIRST_USER, e.reply[1:]
    for _ in range(int(e.args[FIRST_USER - 1])):
        user, count = e.args[place], int(e.args[place + 1])
        place += 2
        for _ in range(count):
            payload = e.args[place + 2]
            if said[0] == 0:
                yield user, json.loads(f"[{payload}]")[1]["message"], payload
            place, said = place + 3, said[4:]


def _said(e: Executed) -> object:
    return e.reply[0] if isinstance(e.reply, list) and e.reply else None


def _item(stored: bytes) -> Item:
    _, at_ms, _, original = json.loads(stored)
    text = original["message"]
    return Item(name_of(text), text, at_ms, round(original["ttl"] * 1000), len(stored))
