"""`DELETE /api/users/{user}?everything=true`, proven by reading everything in Redis afterwards."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import redis

from tests.acceptance.client import MARK, fresh_user
from tests.acceptance.receiver import held, reply
from tests.acceptance.service import World, world
from tests.acceptance.waiting import wait_for_attempts, wait_until

pytestmark = pytest.mark.process


def everything_in(url: str) -> bytes:
    """Each key as the server would put it into a file, where a text that was taken out of a list
    and still lay in its memory would be found, too; and as it answers."""
    with redis.Redis.from_url(url) as eye:
        ours: Any = eye
        parts = []
        for key in ours.scan_iter(count=1_000):
            parts += [key, ours.dump(key) or b""]
            match ours.type(key):
                case b"list":
                    parts += ours.lrange(key, 0, -1)
                case b"hash":
                    parts += [part for pair in ours.hgetall(key).items() for part in pair]
                case b"zset":
                    parts += ours.zrange(key, 0, -1)
                case b"string":
                    parts.append(ours.get(key) or b"")
        return b"\n".join(parts)


def erase(shared: World, user: str) -> dict[str, Any]:
    answer = shared.client.call("DELETE", f"/api/users/{user}?everything=true")
    assert answer.status == 200, (answer.body, shared.service.log()[-3000:])
    erased: dict[str, Any] = answer.json()
    assert erased["complete"]
    return erased


def test_of_a_user_who_is_erased_nothing_is_left_in_redis() -> None:
    with world(AQ_RETRY_SCHEDULE="600") as shared:
        client, receiver = shared.client, shared.receiver
        user, other = fresh_user("apagada"), fresh_user("outra")
        # A dead letter, a delivery, a batch that waits for its retry, and one that waits behind.
        receiver.script(user, reply(410), reply(200), reply(503))
        for number in range(3):
            client.accepted(user, ttl=0, message_id=f"wamid.{number}")
            wait_until(lambda: client.state(user) != "delivering", "the attempt ends")
            wait_for_attempts(receiver, user, number + 1)
        wait_until(lambda: client.state(user) == "retrying", "a batch that waits for its retry")
        client.accepted(user, ttl=600)
        client.user(user, "hold", seconds=600)
        client.accepted(other, ttl=600)
        wait_until(
            lambda: len(client.get(f"/api/attempts?user={user}").json()["attempts"]) == 3,
            "the history has three attempts",
        )
        before = everything_in(shared.redis.url)
        assert user.encode() in before
        assert MARK.encode() in before
        erased = erase(shared, user)
        assert (erased["dropped"], erased["dead"], erased["attempts"]) == (2, 1, 3)
        assert erased["ids"] >= 3
        after = everything_in(shared.redis.url)
        assert user.encode() not in after
        assert other.encode() in after
        assert client.get(f"/api/attempts?user={user}").json()["attempts"] == []
        assert client.user(user).json()["recent"] == []
        assert erase(shared, user)["dropped"] == 0


@pytest.mark.parametrize("status", [200, 503])
def test_a_batch_under_way_is_gone_after_its_attempt_and_is_never_sent_again(status: int) -> None:
    with world(AQ_RETRY_SCHEDULE="0.1,0.1,0.1") as shared:
        client, receiver = shared.client, shared.receiver
        user, gate = fresh_user("a caminho").replace(" ", "-"), threading.Event()
        receiver.script(user, held(gate, status))
        client.accepted(user, ttl=0, message_id="wamid.1")
        (attempt,) = wait_for_attempts(receiver, user)
        erased = erase(shared, user)
        assert erased["under_way"] == attempt.webhook_id
        assert client.state(user) == "delivering"
        gate.set()
        wait_until(lambda: user.encode() not in everything_in(shared.redis.url), "nothing is left")
        assert client.dead_ids() == set()
        assert len(wait_for_attempts(receiver, user)) == 1
