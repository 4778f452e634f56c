"""The sweep beside open routes: however many wait for one, whoever waits behind them is found."""

from __future__ import annotations

from dataclasses import replace

from actor_queue.core.conversation import Conversation, key_to_bytes
from actor_queue.core.routes import Route
from actor_queue.core.settings import Settings
from actor_queue.store.routes import LOOKS_MAX
from tests.store.driver import MemorySubject, Now

LIVE = Conversation("viva", "ana").key


def test_who_waits_behind_thousands_of_a_shut_route_is_found_by_going_on() -> None:
    now = Now()
    settings = Settings(shards=1)
    subject = MemorySubject(settings, now)
    default = Route.default(settings)
    subject.store._routes.replace([default, replace(default, name="viva")])
    overdue = {f"u{n:05}": now.ms - 90_000 + n for n in range(2 * LOOKS_MAX + 100)}
    subject.client.zadd("{aq:0}:due", overdue)
    subject.client.zadd("{aq:0}:due", {key_to_bytes(LIVE): now.ms - 1})
    after, found, looks = "", [], 0
    while True:
        (part,) = subject.call("due_beside", [0], 0, 10, ["default"], [after])
        found += [each.user for each in part.users]
        after, looks = part.after, looks + 1
        if not after:
            break
        assert looks < 10
    assert (found, looks) == ([LIVE], 3)
