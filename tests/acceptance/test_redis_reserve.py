"""`AQ_REDIS_RESERVE`: new messages stop before Redis is full, and everything else goes on."""

from __future__ import annotations

import json
import re
import threading

import pytest

from tests.acceptance.client import fresh_text, fresh_user
from tests.acceptance.receiver import reply
from tests.acceptance.service import World, world
from tests.acceptance.waiting import wait_until

pytestmark = pytest.mark.process

MIB = 2**20
RESERVE_MIB = 6
ROOM_MIB = 16
NOTICED_S = 4.0
LONG_S = 300


def used_bytes(shared: World) -> int:
    with shared.redis.client() as eye:
        return int(eye.info("memory")["used_memory"])


def give_room(shared: World) -> int:
    """A limit that leaves `ROOM_MIB` besides the reserve; the limit in bytes."""
    most = used_bytes(shared) + (ROOM_MIB + RESERVE_MIB) * MIB
    shared.redis.configure(maxmemory=most)
    wait_until(lambda: metric(shared, "left_bytes") is not None, "it knows", NOTICED_S)
    return most


def metric(shared: World, name: str) -> float | None:
    text = shared.client.get("/metrics").body.decode()
    found = re.search(rf"^actor_queue_redis_memory_{name} (\S+)$", text, re.MULTILINE)
    return None if found is None else float(found[1])


def pour(shared: World, message: str, results: set[int], most: int) -> None:
    """Many messages in a request, as fast as they are taken, until there is no more room."""
    while most - used_bytes(shared) > (RESERVE_MIB + 0.3) * MIB:
        messages = [
            {"user": fresh_user("cheio"), "message": message + fresh_text(), "ttl": LONG_S}
            for _ in range(2_000 if len(message) < 1_000 else 20)
        ]
        answer = shared.client.call("POST", "/api/messages", json.dumps(messages).encode())
        if answer.status == 200:
            results.update(each.get("status", 202) for each in answer.json())
        elif answer.status is not None:
            results.add(answer.status)
        # Else it was still sending two seconds after it was refused: the machine is that busy.


def exhausted(shared: World) -> bool:
    """Whether one more message is refused; if not, there is less room for the next one."""
    message = {"user": fresh_user("mais"), "message": "x" * 100_000, "ttl": LONG_S}
    return shared.client.call("POST", "/api/message", json.dumps(message).encode()).status == 503


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_burst_stops_at_the_reserve_while_what_was_accepted_is_claimed_delivered_and_buried(
    size: int,
) -> None:
    with world(AQ_REDIS_RESERVE=f"{RESERVE_MIB} MiB") as shared:
        waiting = [fresh_user("antes") for _ in range(20)]
        shared.receiver.script(waiting[0], reply(410))
        most = give_room(shared)
        for user in waiting:
            shared.client.accepted(user, ttl=6)
        shared.gone.add(shared.client.journal.posts[0].text)

        statuses: list[set[int]] = [set() for _ in range(4)]
        text = "x" * size
        threads = [
            threading.Thread(target=pour, args=(shared, text, each, most)) for each in statuses
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set().union(*statuses) <= {202, 503}
        left = most - used_bytes(shared)
        assert left > (RESERVE_MIB - 1) * MIB, "the burst ran past the reserve"

        wait_until(lambda: exhausted(shared), "no room")
        wait_until(lambda: not shared.service.ready, "not ready", NOTICED_S)
        problem = shared.client.get("/readyz").json()
        assert "AQ_REDIS_RESERVE" in problem["detail"]
        answer = shared.client.post(fresh_user("nao"))
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert metric(shared, "reserve_bytes") == RESERVE_MIB * MIB
        # Whatever was accepted goes out, and Redis has refused nothing meanwhile.
        shared.settle()
        wait_until(lambda: all(shared.client.state(each) == "idle" for each in waiting), "idle")
        assert len(shared.client.dead_ids()) == 1
        with shared.redis.client() as eye:
            assert "errorstat_OOM" not in eye.info("errorstats")

        shared.redis.configure(maxmemory=most + 64 * MIB)
        wait_until(lambda: shared.service.ready, "ready again", NOTICED_S)
        shared.client.accepted(fresh_user("sim"), ttl=0)
        shared.settle()
        said = [json.loads(line) for line in shared.service.log().splitlines()]
        reasons = [each.get("why") for each in said if each["event"] == "redis_refusing"]
        assert reasons
        assert set(reasons) == {"nearly_full"}
        wait_until(lambda: '"redis_back"' in shared.service.log(), "it says that it is over")


def test_with_a_reserve_of_nothing_and_without_maxmemory_nobody_is_refused() -> None:
    with world(AQ_REDIS_RESERVE="0") as shared:
        shared.redis.configure(maxmemory=used_bytes(shared) + MIB)
        shared.client.accepted(fresh_user("sim"), ttl=0)
        shared.settle()
        assert shared.service.ready
    with world() as shared:
        shared.client.accepted(fresh_user("sim"), ttl=0)
        shared.settle()
        wait_until(lambda: metric(shared, "used_bytes") is not None, "it knows", NOTICED_S)
        assert metric(shared, "left_bytes") is None
