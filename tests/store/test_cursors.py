"""Every cursor that is handed out is taken, whatever stands in the sets that are paged through."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.message import USER_BYTES_MAX, Message
from actor_queue.core.settings import Settings
from actor_queue.http import inputs, models
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.paging import Place, decode_cursor, encode_cursor
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.transport.server import connected
from tests.servers import Server

SHARDS = 3
CHARACTERS = ("\U0001f600", "ç", "\x00", '"', "\\", "a")
"""One of each kind that JSON, UTF-8 or base64 writes longer than it is."""


def widest(character: str) -> str:
    return character * (USER_BYTES_MAX // len(character.encode()))


@given(
    st.builds(
        Place,
        st.integers(-(2**63), 2**63) | st.sampled_from([math.inf, -math.inf]),
        st.integers(0, 4_095),
        st.binary(max_size=USER_BYTES_MAX),
    )
)
def test_a_cursor_is_short_enough_and_says_where_it_was(place: Place) -> None:
    made = encode_cursor(place)
    assert inputs.read(models.ListUsers, {"cursor": made}).cursor == made
    assert decode_cursor(made) == place


def test_a_cursor_of_the_release_before_is_still_one() -> None:
    packed = json.dumps([1_700_000_000_000, 2, "ana \U0001f600"]).encode()
    made = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    assert decode_cursor(made) == Place(1_700_000_000_000, 2, "ana \U0001f600".encode())


HUGE = b"1" * 400
"""Digits of a number that no float holds, in a cursor that is not too long to be read."""


@pytest.mark.parametrize(
    "packed",
    [
        b"", b"1", b"1 2", b"x 2 a", b"1 x a", b"[1]", b"nan 1 a",
        HUGE + b" 0 a", b"-" + HUGE + b" 0 a", b"0 " + HUGE + b" a", b"[" + HUGE + b',0,"a"]',
    ],
)  # fmt: skip
def test_anything_else_is_none(packed: bytes) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        decode_cursor(base64.urlsafe_b64encode(packed).decode())


def test_whoever_has_the_longest_name_is_listed_and_whoever_comes_behind_too(
    valkey_server: Server, namespace: str
) -> None:
    users = [widest(character) for character in CHARACTERS] + ["zoe"]
    assert paged(valkey_server, namespace, users, {}) == sorted(users)


def test_what_somebody_else_put_into_the_index_hides_nobody_in_the_list(
    valkey_server: Server, namespace: str
) -> None:
    """Not UTF-8, longer than any user, with times that are none: first, between, and last."""
    users = ["ana", "bia", "caio"]
    strangers = {
        shard: {
            b"\xff\xfe": -math.inf,
            b"\xfe" * 5_000: 1.0,
            b"\xfe" * 5_001: 1.5e300,
            b"": math.inf,
            b"\xfd": math.inf,
        }
        for shard in range(SHARDS)
    }
    assert paged(valkey_server, namespace, users, strangers) == sorted(users)


def paged(
    server: Server,
    namespace: str,
    users: Iterable[str],
    strangers: dict[int, dict[bytes, float]],
) -> list[str]:
    """All users that the pages of one list, each with the cursor of the page before."""
    settings, keys = Settings(namespace=namespace, shards=SHARDS), Keys(namespace, SHARDS)
    with server.client() as eye:
        for shard, members in strangers.items():
            eye.zadd(keys.shards[shard].due, members)

    async def main() -> list[str]:
        found: list[str] = []
        async with connected(server.url, needs_of(keys.meta, SHARDS, FORMAT)) as runner:
            await runner.prepare()
            store = RedisStore(runner, settings, replica="r-1")
            for user in users:
                body = json.dumps({"user": user, "message": "oi"}).encode()
                await store.append([Message(user, body, 60_000, "m", remembered=False)])
            after = None
            for _ in range(100):
                page = await store.users(None, 1, after)
                found += [view.user for view in page.users]
                after = inputs.read(models.ListUsers, {"cursor": page.cursor}).cursor
                if after is None:
                    return sorted(found)
        raise AssertionError("the list does not end")

    return trio.run(main)
