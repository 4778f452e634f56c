"""What must come of an edit and of a revoke, in words and not from the scripts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from actor_queue.core.batch import Reason
from actor_queue.core.payload import counted_bytes
from actor_queue.core.settings import Settings
from actor_queue.store.changes_api import Changed, Unchanged, WhyUnchanged
from tests.model.state import Item, Line, Sealed, Window

if TYPE_CHECKING:
    from actor_queue.store.api import UserView


class Changes:
    """Two verbs of the `Oracle`."""

    settings: Settings

    if TYPE_CHECKING:

        def line(self, user: str) -> Line: ...

        def describe(self, now_ms: int, user: str) -> UserView: ...

        def _seal(self, line: Line, reason: Reason, now_ms: int) -> None: ...

        def _knows(self, line: Line, message_id: str, now_ms: int) -> bool: ...

    def edit(self, now_ms: int, user: str, message_id: str, text: str) -> Changed | Unchanged:
        line = self.line(user)
        found = _find(line, message_id)
        if found is None or (isinstance(found[0], Sealed) and found[0].whole):
            return Unchanged(self._why_not(line, message_id, now_ms, found is not None))
        home, old = found
        new = replace(old, body=json.dumps({**json.loads(old.body), "message": text}).encode())
        grown = len(new.encoded()) - len(old.encoded())
        if grown > 0 and (limit := self._limit(line, home, new, grown)):
            return Unchanged(limit)
        items = [new if each is old else each for each in home.items]
        _put(line, home, items)
        if isinstance(home, Window):
            home.bytes += counted_bytes(self.settings.payload).times * grown
            if grown > 0 and home.bytes >= self.settings.max_batch_bytes:
                self._seal(line, "max_bytes", max(now_ms, line.clock_ms))
        self._as_typing(line, now_ms)
        return self._changed(now_ms, user, message_id)

    def revoke(self, now_ms: int, user: str, message_id: str) -> Changed | Unchanged:
        line = self.line(user)
        found = _find(line, message_id)
        if found is None or (isinstance(found[0], Sealed) and found[0].whole):
            return Unchanged(self._why_not(line, message_id, now_ms, found is not None))
        home, old = found
        _put(line, home, [each for each in home.items if each is not old])
        if isinstance(home, Window):
            _, times, each_ = counted_bytes(self.settings.payload)
            home.bytes -= times * len(old.encoded()) + each_
            if home.items:
                home.first_at_ms, line.clock_ms = home.items[0].at_ms, home.items[-1].at_ms
        if not self._knows(line, message_id, now_ms):
            line.remembered[message_id] = now_ms + self.settings.dedup_window_ms
        line.revoked[message_id] = line.remembered[message_id]
        return self._changed(now_ms, user, message_id)

    def _why_not(self, line: Line, message_id: str, now_ms: int, is_half: bool) -> WhyUnchanged:
        if is_half:
            return "claimed"
        if self._knows(line, message_id, now_ms):
            until = line.remembered[message_id]
            return "revoked" if line.revoked.get(message_id) == until else "claimed"
        flying = line.flight.batch.stored if line.flight else ()
        return "claimed" if message_id in [json.loads(item)[2] for item in flying] else "unknown"

    def _limit(
        self, line: Line, home: Window | Sealed, new: Item, grown: int
    ) -> WhyUnchanged | None:
        if len(new.body) > self.settings.max_body_bytes:
            return "body"
        frame, times, each = counted_bytes(self.settings.payload)
        size = frame + sum(times * len(item.encoded()) + each for item in home.items)
        if isinstance(home, Window):
            size = home.bytes
        if len(home.items) > 1 and size + times * grown > self.settings.max_batch_bytes:
            return "batch"
        waiting = [item for sealed in line.sealed for item in sealed.items]
        waiting += line.open.items if line.open else ()
        kept = sum(len(item.encoded()) for item in waiting)
        if len(waiting) > 1 and kept + grown > self.settings.max_pending_bytes:
            return "pending"
        return None

    def _as_typing(self, line: Line, now_ms: int) -> None:
        window = line.open
        if window is None or line.flight is not None:
            return
        cap = window.max_wait_deadline_ms or window.first_at_ms + self.settings.max_ttl_ms
        wanted = max(now_ms, line.clock_ms) + window.last_ttl_ms
        window.due_at_ms = max(window.due_at_ms, min(wanted, cap))

    def _changed(self, now_ms: int, user: str, message_id: str) -> Changed:
        view = self.describe(now_ms, user)
        return Changed(user, message_id, view.pending, view.due_in_ms)


def _find(line: Line, message_id: str) -> tuple[Window | Sealed, Item] | None:
    """The newest message of this id that waits, and the batch that it is for."""
    homes: list[Window | Sealed] = [*line.sealed, *([line.open] if line.open else [])]
    for home in reversed(homes):
        for item in reversed(home.items):
            if item.message_id == message_id:
                return home, item
    return None


def _put(line: Line, home: Window | Sealed, items: list[Item]) -> None:
    """`items` in the place of those of `home`; nothing where there are none."""
    if isinstance(home, Window):
        home.items = items
        if not items:
            line.open = None
        return
    place = next(n for n, sealed in enumerate(line.sealed) if sealed is home)
    line.sealed[place : place + 1] = [replace(home, items=tuple(items))] if items else []
