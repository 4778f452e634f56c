"""One verb for 10,000 users on a real server: in pieces, each user once, a hundred at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest
import trio

from actor_queue.core.message import Message
from actor_queue.core.settings import Settings
from actor_queue.runtime import many
from actor_queue.runtime.many import ACTED_ON_MAX, TOGETHER, Many, ManyVerb, Piece, many_users
from actor_queue.store.api import Dropped, UserView
from actor_queue.store.deeds_api import Deed
from actor_queue.store.keys import Keys
from actor_queue.store.lists_api import EVERYBODY, UserFilter
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport.server import connected
from tests.servers import Server

MANY = 10_000
SHARDS = 16


class Verbs:
    """The store's verbs, counted."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self.met: Counter[str] = Counter()
        self._at_once = 0
        self.most_at_once = 0

    async def _count(self, user: str, done: Callable[[], Awaitable[Any]]) -> Any:
        self.met[user] += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await done()
        finally:
            self._at_once -= 1

    async def flush(self, user: str) -> UserView | Literal["held"]:
        found: UserView | Literal["held"] = await self._count(user, lambda: self._store.flush(user))
        return found

    async def hold(self, user: str, for_ms: int) -> UserView:
        found: UserView = await self._count(user, lambda: self._store.hold(user, for_ms))
        return found

    async def unhold(self, user: str) -> UserView:
        found: UserView = await self._count(user, lambda: self._store.unhold(user))
        return found

    async def drop(self, user: str, bytes_max: int = 0) -> Dropped:
        found: Dropped = await self._count(user, lambda: self._store.drop(user, bytes_max))
        assert found.stored == (), "nobody reads them"
        return found


class Pieces:
    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.verbs = Verbs(store)

    async def all_of(
        self, verb: ManyVerb, wanted: UserFilter = EVERYBODY, *, dry_run: bool = False
    ) -> tuple[int, int, int]:
        """`matched, passed_over, calls` of as many calls as it takes."""
        self.verbs = Verbs(self.store)
        matched = passed_over = calls = 0
        cursor = None
        while True:
            piece = Piece(dry_run, cursor=cursor)
            found: Many = await many_users(self.verbs, self.store, verb, wanted, piece, 3_600_000)
            assert dry_run or found.matched <= ACTED_ON_MAX
            matched += found.matched
            passed_over += found.passed_over
            calls += 1
            assert calls <= 2 * MANY // ACTED_ON_MAX, "it does not end"
            cursor = found.cursor
            if cursor is None:
                assert not dry_run or not self.verbs.met
                assert all(times == 1 for times in self.verbs.met.values())
                assert self.verbs.most_at_once <= TOGETHER
                return matched, passed_over, calls


def test_a_verb_for_10_000_users_meets_each_once_in_pieces(
    valkey_server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "PAUSE_S", 0.0)

    async def story(store: RedisStore) -> None:
        for start in range(0, MANY, 500):
            await store.append([message(f"u{i:05}") for i in range(start, start + 500)])
        pieces = Pieces(store)
        counted, _, calls = await pieces.all_of("hold", dry_run=True)
        assert counted == MANY
        assert calls <= 2, "10,000 are counted at once"
        # A hold moves its user to another place in the list that it is found by.
        assert (await pieces.all_of("hold"))[0] == MANY
        assert len(pieces.verbs.met) == MANY
        some = UserFilter(user="u000")
        assert (await pieces.all_of("flush", some, dry_run=True))[:2] == (0, 100), "on hold"
        assert (await pieces.all_of("release", some))[:2] == (100, 0)
        assert (await pieces.all_of("release", some))[:2] == (0, 100), "there is no hold to end"
        assert (await pieces.all_of("flush", some))[:2] == (100, 0)
        assert set(pieces.verbs.met) == {f"u{i:05}" for i in range(100)}
        held = UserFilter(state="held")
        assert (await pieces.all_of("drop", held))[0] == MANY - 100
        assert (await pieces.all_of("drop", dry_run=True))[0] == 100

    on_valkey(valkey_server, namespace, story)


def test_whom_somebody_else_spoilt_stops_nobody_else(valkey_server: Server, namespace: str) -> None:
    async def story(store: RedisStore) -> None:
        await store.append([message(user) for user in ("ana", "bia", "caio")])

        class Spoilt(Verbs):
            async def hold(self, user: str, for_ms: int) -> UserView:
                if user == "bia":  # after it was found in the list
                    with valkey_server.client() as eye:
                        _, mine = store._user_keys(user)
                        eye.delete(mine.state)
                        eye.set(mine.state, "nonsense")
                return await super().hold(user, for_ms)

        found = await many_users(
            Spoilt(store), store, "hold", EVERYBODY, Piece(dry_run=False), 9_000
        )
        assert (found.matched, found.passed_over, found.cursor) == (2, 1, None)

    on_valkey(valkey_server, namespace, story)


def test_what_was_done_to_many_is_noted_with_each_and_once_for_all(
    valkey_server: Server, namespace: str
) -> None:
    async def story(store: RedisStore) -> None:
        await store.deed_add_to(Deed("hold", "joana", "a call", 60.0), ["ana", "bia"])
        for user in ("ana", "bia"):
            (deed,) = await store.deeds(user, 10)
            assert (deed.name, deed.by, deed.reason) == ("hold", "joana", "a call")
        (deed,) = await store.deeds(None, 10)
        assert (deed.name, deed.reason, deed.user_hash) == ("hold", None, None)

    on_valkey(valkey_server, namespace, story)


def message(user: str) -> Message:
    body = json.dumps({"user": user, "message": "oi"}).encode()
    return Message(user, body, 600_000, f"m-{user}", remembered=False)


def on_valkey(
    server: Server, namespace: str, story: Callable[[RedisStore], Awaitable[None]]
) -> None:
    settings = Settings(redis_url=server.url, namespace=namespace, shards=SHARDS)

    async def main() -> None:
        meta = Keys(namespace, SHARDS).meta
        async with connected(server.url, needs_of(meta, SHARDS, FORMAT)) as runner:
            await runner.prepare()
            await story(RedisStore(runner, settings))

    trio.run(main)
