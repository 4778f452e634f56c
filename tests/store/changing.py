"""Rules of the adversary: a sender edits a message, or takes it back, whatever has become of it."""

from __future__ import annotations

import json

from hypothesis import strategies as st
from hypothesis.stateful import rule

from actor_queue.store.changes_api import Changed
from tests.store.judge import Judged, pick

lengths = st.sampled_from([0, 1, 10, 60, 200])


class Changing(Judged):
    """A machine whose messages are changed."""

    @rule(which=st.integers(0, 8), length=lengths, again=st.booleans(), known=st.booleans())
    def edit(self, which: int, length: int, again: bool, known: bool = True) -> None:
        user = self.people[0]
        message_id = self.message_id_of(user, which) if known else "nobody's"
        text = "y" * length
        if isinstance(self.ask("edit", user, message_id, text, lost=again), Changed):
            self.ledger.edited(user, message_id, text)

    @rule(which=st.integers(0, 8), again=st.booleans())
    def revoke(self, which: int, again: bool) -> None:
        user = self.people[0]
        message_id = self.message_id_of(user, which)
        if isinstance(self.ask("revoke", user, message_id, lost=again), Changed):
            self.ledger.revoked(user, message_id)

    def message_id_of(self, user: str, which: int) -> str:
        """Of a message that was accepted lately, wherever it is now."""
        accepted = self.ledger.story(user).accepted
        found: str = pick(accepted, which).message_id if accepted else json.dumps("none")
        return found
