"""What is asked and looked at: every answer against the oracle, every trace against all judges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actor_queue.core.message import Accepted
from actor_queue.store.answers_api import Answered
from actor_queue.store.api import DueUser, Fenced, Gone, Nothing, UserView
from actor_queue.store.changes_api import Unchanged
from tests.model.ledger import Ledger
from tests.model.oracle import Oracle
from tests.store.driver import Dump, Now, Subject
from tests.store.slots import slot_of

EVER_MS = 10**12


class Judged(RuleBasedStateMachine):
    """A machine with a store, its oracle and its ledger. Subclasses have the rules."""

    people: ClassVar[Sequence[str]]
    subject: Subject
    oracle: Oracle
    ledger: Ledger

    def __init__(self) -> None:
        super().__init__()
        self.now = Now()
        self.known: Dump | None = None
        """Everything in the store, as far as nothing has changed since it was read."""
        self.sound = False
        """False from a step's first question to its last check: what failed is not drained."""

    # Asking both

    def ask(self, verb: str, *args: object, lost: bool = False, **named: object) -> Any:
        """The store's answer, which must be the oracle's. `lost`: the caller asks once more.

        What is answered with "nothing was changed" must have changed nothing, and so must a
        call repeated after a lost answer. A claim that finds nothing to claim may still have ended
        the attempt at a batch that was acknowledged late; then the oracle has changed, too.
        """
        before_it = self._what_the_oracle_sees() if verb == "claim" else None
        answer = self._ask_once(verb, args, named)
        ended = before_it is not None and before_it != self._what_the_oracle_sees()
        over = answer is None and verb.startswith("answer")
        if (over or _changed_nothing(answer)) and not ended and self.known is not None:
            assert self.subject.dump() == self.known, f"{verb} says {answer} and changed something"
        else:
            self.known = None
        if lost:
            before = self.subject.dump()
            self._ask_once(verb, args, named)
            assert self.subject.dump() == before, f"{verb} repeated changes something"
        return answer

    def _what_the_oracle_sees(self) -> list[UserView]:
        return [self.oracle.describe(self.now.ms, user) for user in self.people]

    def _ask_once(self, verb: str, args: tuple[object, ...], named: dict[str, object]) -> Any:
        self.sound = False
        expected = getattr(self.oracle, verb)(self.now.ms, *args, **named)
        answer = self.subject.call(verb, *args, **named)
        assert answer == expected, f"{verb}{args}: the store says {answer}, must be {expected}"
        return answer

    def everybody_due(self) -> list[DueUser]:
        found = self.subject.call("due", range(self.subject.settings.shards), EVER_MS, 10)
        return [one for shard in found for one in shard]

    def pages(self, verb: str, field: str, *args: object) -> list[Any]:
        """Everything in a list, page by page; no page is empty but the last."""
        seen: list[Any] = []
        cursor = None
        while True:
            page = self.subject.call(verb, *args, cursor)
            seen += getattr(page, field)
            cursor = page.cursor
            if cursor is None:
                return seen
            assert getattr(page, field), "an empty page in the middle"

    # Lists

    @rule(limit=st.integers(1, 3), within=st.sampled_from([-1, 0, 1_000]))
    def look_at_the_lists(self, limit: int, within: int) -> None:
        self.ask("leases")
        views = self.pages("users", "users", None, limit)
        due = [view.due_in_ms for view in views]
        assert due == sorted(due), "not soonest first"
        assert same_elements(views, self.oracle.users(self.now.ms, None))
        letters = self.pages("dead", "letters", limit)
        died = [letter.died_at_ms for letter in letters]
        assert died == sorted(died, reverse=True), "not newest first"
        assert same_elements(letters, self.oracle.dead(self.now.ms))
        everybody = self.subject.call("due", range(self.subject.settings.shards), EVER_MS, 10)
        found = self.subject.call("due", range(self.subject.settings.shards), within, limit)
        for all_of_it, some in zip(everybody, found, strict=True):
            soon = [one for one in all_of_it if one.remaining_ms <= within]
            assert some == soon[:limit]

    # After every step

    @invariant()
    def what_is_kept_is_what_must_be(self) -> None:
        if not hasattr(self, "ledger"):
            return
        dump = self.subject.dump()
        for user in self.people:
            assert self.subject.call("describe", user) == self.oracle.describe(self.now.ms, user)
            pending, flight = self.subject.pending(dump, user), self.subject.flight(dump, user)
            held = self.oracle.holdings(user)
            assert tuple(pending) == held["sealed"] + held["open"]
            assert tuple(flight) == held["flight"]
            self.ledger.check_holdings(user, pending, flight)
            for name, batch in self.ledger.dead(user).items():
                items = self.subject.letter_items(dump, user, name)
                assert tuple(items) == batch.stored, "a dead letter changed"
        self.check_due(dump)
        self.check_remembered(dump)
        self.check_slots(dump)
        self.known, self.sound = dump, True

    def check_due(self, dump: Dump) -> None:
        """Somebody waits ⇔ there is a due time, and it is the right one. Overdue is overdue."""
        for shard in range(self.subject.settings.shards):
            found, expected = self.subject.due(dump, shard), self.oracle.due_index(shard)
            assert found.keys() == expected.keys(), f"due index: {found}, must be {expected}"
            for user, step in expected.items():
                line = self.oracle.lines[user]
                allowed = {max(step, self.now.ms)}
                if line.flight and line.flight.retry_at_ms is None and step <= self.now.ms:
                    # Nobody can say whether the attempt that is over still counts as under way.
                    allowed.add(max(line.hold_until_ms, self.now.ms))
                assert max(found[user], self.now.ms) in allowed, f"{user!r} is due at another time"

    def check_remembered(self, dump: Dump) -> None:
        """The ids of accepted messages, and no others, for their time, and no longer."""
        expected = {
            self.subject.named_key(user, message_id)
            for user, line in self.oracle.lines.items()
            for message_id, until in line.remembered.items()
            if self.now.ms <= until
        }
        assert {name for name in dump if b"}:id:" in name} == expected

    def check_slots(self, dump: Dump) -> None:
        for name in dump.keys() - self.subject.constant_keys():
            shard = name[: name.index(b"}") + 1]
            assert shard in {keys.tag for keys in self.subject.keys.shards}
            assert slot_of(name) == slot_of(shard), f"{name!r} left its shard's slot"


def _changed_nothing(answer: object) -> bool:
    """Whether the answer says so."""
    if isinstance(answer, Answered):
        return answer.again
    if isinstance(answer, list):
        return all(isinstance(one, Accepted) and one.duplicate for one in answer)
    return isinstance(answer, Fenced | Gone | Nothing | Unchanged)


def pick(things: Sequence[Any], which: int) -> Any:
    """The `which`-th last of them, as far as there are so many."""
    return things[max(-len(things), -1 - which)]


def same_elements(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return sorted(map(repr, some)) == sorted(map(repr, others))
