"""A session that was signed out is over at every replica, also at one that starts later."""

from __future__ import annotations

import trio
import trio.testing

from actor_queue.app.sign_outs import EVERY_S, SharedSignOuts
from actor_queue.core.api_keys import ApiKey
from actor_queue.core.sessions import SESSION_S, issue, signer
from actor_queue.core.settings import Settings
from actor_queue.http.auth import COOKIE, Caller, Keys
from actor_queue.store.redis import RedisStore
from actor_queue.testing.memory import MemoryRunner

KEY = ApiKey("admin", "root-key", "ana")
NOW_S = 1_700_000_000
ENDS_AT_S = NOW_S + SESSION_S
COOKIES = {
    "headers": [(b"cookie", COOKIE + b"=" + issue(signer(KEY.key), ENDS_AT_S, "a" * 16).encode())]
}


class World:
    """Replicas on one store, whose cookies and clock they share."""

    def __init__(self) -> None:
        self.runner = MemoryRunner(lambda: NOW_S * 1_000)
        self.store = RedisStore(self.runner, Settings(namespace="s"), replica="r")

    def replica(self) -> tuple[Keys, SharedSignOuts]:
        keys = Keys([KEY], clock=lambda: NOW_S)
        return keys, SharedSignOuts(self.store, keys)


def caller(keys: Keys) -> Caller | None:
    found = keys.caller(None, COOKIES)
    return found if isinstance(found, Caller) else None


async def sign_out(keys: Keys) -> None:
    who = caller(keys)
    assert who is not None
    await keys.sign_out(who)


def in_virtual_time(main: object) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]


def test_it_is_over_at_the_other_replicas_within_seconds_and_after_a_restart() -> None:
    async def main() -> None:
        world = World()
        (here, ours), (elsewhere, theirs) = world.replica(), world.replica()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.run)
            nursery.start_soon(theirs.run)
            await trio.testing.wait_all_tasks_blocked()
            changed = elsewhere.changed
            await sign_out(here)
            assert caller(here) is None
            await trio.sleep(EVERY_S * 1.5)
            assert caller(elsewhere) is None
            assert changed.is_set()  # so its streams of events end
            nursery.cancel_scope.cancel()
        again, its = world.replica()
        assert caller(again) is not None
        await its.run_once()
        assert caller(again) is None

    in_virtual_time(main)


def test_while_the_store_is_away_it_is_over_here_and_told_when_the_store_is_back() -> None:
    async def main() -> None:
        world = World()
        (here, ours), (elsewhere, theirs) = world.replica(), world.replica()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.run)
            await trio.testing.wait_all_tasks_blocked()
            world.runner.go_down()
            await sign_out(here)
            assert caller(here) is None
            await trio.sleep(EVERY_S * 2)
            world.runner.come_back()
            await trio.sleep(EVERY_S * 2)
            await theirs.run_once()
            assert caller(elsewhere) is None
            nursery.cancel_scope.cancel()

    in_virtual_time(main)
