"""The receiver is back: everyone who waits for a retry gets it now, and it is known who said so."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.client import fresh_user
from tests.acceptance.receiver import reply
from tests.acceptance.service import world
from tests.acceptance.waiting import wait_for_attempts, wait_until

pytestmark = pytest.mark.process


def test_everyone_of_a_receiver_that_is_back_is_retried_at_once() -> None:
    with world(AQ_RETRY_SCHEDULE="600") as running:
        client, receiver = running.client, running.receiver
        users = [fresh_user(f"espera{n}") for n in range(5)]
        for user in users:
            receiver.script(user, reply(503))
            client.accepted(user, ttl=0)
        waiting = fresh_user("escrevendo")
        client.accepted(waiting, ttl=600)
        wait_until(
            lambda: all(client.state(user) == "retrying" for user in users),
            "all wait",
        )
        everyone = json.dumps({"state": "retrying", "reason": "the receiver is back"}).encode()
        assert client.call("POST", "/api/users/flush", everyone).status == 200
        for user in users:
            first, second = wait_for_attempts(receiver, user, 2)
            assert first.webhook_id == second.webhook_id
        assert client.state(waiting) == "collecting"
        (deed,) = client.get(f"/api/users/{users[0]}?deeds=true").json()["deeds"]
        assert (deed["deed"], deed["reason"]) == ("flush", "the receiver is back")
