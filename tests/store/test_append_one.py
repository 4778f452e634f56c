"""The script for one message does what the script for many does with one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actor_queue.core.batch import batch_id
from actor_queue.core.message import Message
from actor_queue.core.settings import Settings
from actor_queue.transport.runner import ScriptError
from tests.store.driver import MemorySubject, Now, finished

SETTINGS = Settings(
    shards=1,
    max_messages=4,
    max_batch_bytes=600,
    max_body_bytes=200,
    max_pending=7,
    max_wait_ms=900,
)
USERS = ("ana", "bia")

posts = st.tuples(
    st.just("post"),
    st.sampled_from(USERS),
    st.sampled_from([0, 1, 300, 5_000]),
    st.sampled_from([None, "x", "y"]),
    st.integers(0, 150),
)
others = st.tuples(
    st.sampled_from(["wait", "claim", "hold", "unhold", "flush", "retry", "lapse", "stranger"]),
    st.sampled_from(USERS),
)
steps = st.lists(posts | posts | others, min_size=1, max_size=30)


class Side:
    """A Redis of its own, and one of the two ways to keep a message."""

    def __init__(self, name: str) -> None:
        self.now = Now(1_700_000_000_000)
        self.subject = MemorySubject(SETTINGS, self.now)
        self.by_one = name == "one"
        self.serial = 0
        self.attempts: dict[str, Any] = {}
        self.told = self.subject.client.pubsub(ignore_subscribe_messages=True)
        self.told.psubscribe("aq:nudge:*")
        (self.lease,) = self.subject.call("acquire", [0], "r1", "nonce", 10**7)

    def step(self, step: tuple[Any, ...]) -> object:
        verb, user, *rest = step
        self.serial += 1
        match verb:
            case "post":
                return self.post(user, *rest)
            case "wait":
                self.now.ms += 400
            case "lapse":
                self.now.ms += 40_000
            case "claim":
                name = batch_id(0, f"{self.serial:020x}")
                claimed = self.subject.call("claim", self.lease, user, f"t{self.serial}", name)
                if hasattr(claimed, "batch"):
                    self.attempts[user] = claimed
                return repr(claimed)
            case "retry" if user in self.attempts:
                attempt = self.attempts.pop(user)
                return self.subject.call("retry", self.lease, attempt, 700, 500, "answered 500")
            case "hold":
                return repr(self.subject.call("hold", user, 2_000))
            case "unhold" | "flush":
                return repr(self.subject.call(verb, user))
            case "stranger":
                # From now on another replica owns the shard, and is told.
                self.subject.client.hset("{aq:0}:lease", "owner", "r2")
        return None

    def post(self, user: str, ttl_ms: int, named: str | None, length: int) -> object:
        body = b'{"message": "%b"}' % (b"x" * length)
        identity = named or f"m{self.serial}"
        message = Message(user, body, ttl_ms, identity, remembered=named is not None)
        store = self.subject.store
        shard = store._shard_keys(user)
        call = (
            store._call_of_one(shard, message)
            if self.by_one
            else store._append_call(shard, "default", {user: [(0, message)]})
        )
        (reply,) = finished(store._runner.run([call]))
        return reply

    def everything(self) -> dict[bytes, object]:
        """All of Redis; and of each key whether it expires."""
        dump = self.subject.dump()
        return {name: (value, self.subject.expiring(name)) for name, value in dump.items()}

    def heard(self) -> list[object]:
        """What other replicas were told since the last look."""
        return [message["data"] for message in iter(self.told.get_message, None)]


@settings(max_examples=120, deadline=None)
@given(steps)
def test_one_message_is_kept_alike_by_both_scripts(steps: list[tuple[Any, ...]]) -> None:
    one, many = Side("one"), Side("many")
    for step in steps:
        assert one.step(step) == many.step(step), step
        assert one.everything() == many.everything(), step
        assert one.heard() == many.heard(), step


@pytest.mark.parametrize("key", ["due", "u:ana", "p:ana"])
def test_a_value_of_a_wrong_type_leaves_everything_as_it_was(key: str) -> None:
    side = Side("one")
    side.subject.client.set(f"{{aq:0}}:{key}", "not ours")
    before = side.everything()
    assert isinstance(side.step(("post", "ana", 0, "x", 10)), ScriptError)
    assert side.everything() == before


def test_a_line_of_a_wrong_type_leaves_everything_as_it_was() -> None:
    side = Side("one")
    for _ in range(SETTINGS.max_messages - 1):
        side.step(("post", "ana", 5_000, None, 1))
    side.subject.client.set("{aq:0}:s:ana", "not ours")
    before = side.everything()
    assert isinstance(side.step(("post", "ana", 5_000, None, 1)), ScriptError)
    assert side.everything() == before


def test_what_an_older_release_claimed_does_not_count_against_the_limit_of_bytes() -> None:
    side = Side("one")
    side.subject.client.hset("{aq:0}:u:ana", "pb", SETTINGS.max_pending_bytes)
    side.step(("post", "ana", 0, None, 10))
    stored = side.subject.client.hget("{aq:0}:u:ana", "pb")
    (kept,) = side.subject.client.lrange("{aq:0}:p:ana", 0, -1)
    assert int(stored) == len(kept)
