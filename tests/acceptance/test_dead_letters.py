"""Dead letters through the API: seen, sent again under their old id, dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.acceptance.client import fresh_user
from tests.acceptance.receiver import Attempt, reply
from tests.acceptance.service import World, world
from tests.acceptance.waiting import wait_for_end, wait_until

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True, scope="module")
def the_contract_holds(plain: World) -> Iterator[None]:
    yield
    plain.settle()
    plain.verify()


def a_dead_letter(shared: World, *answers: int) -> Attempt:
    """The attempt that a 410 killed; the next ones are answered with `answers`."""
    user = fresh_user("morto")
    shared.receiver.script(user, reply(410), *[reply(status) for status in answers])
    text = shared.client.accepted(user, ttl=0)
    (attempt,) = wait_for_end(shared.receiver, user)
    wait_until(lambda: attempt.webhook_id in shared.client.dead_ids(), "dead")
    shared.gone.add(text)
    return attempt


def replay(shared: World, webhook_id: str) -> int | None:
    return shared.client.call("POST", f"/api/dead/{webhook_id}/replay").status


def test_a_dead_letter_shows_whose_it_is_why_it_died_and_what_was_sent(plain: World) -> None:
    attempt = a_dead_letter(plain)
    answer = plain.client.get(f"/api/dead/{attempt.webhook_id}")
    assert answer.status == 200
    letter = answer.json()
    assert letter["id"] == attempt.webhook_id
    assert letter["user"] == attempt.user
    assert letter["attempts"] == 1
    assert "410" in letter["reason"]
    assert (letter["status"], letter["answer"]) == (410, "ok")
    assert letter["replica"].startswith("r-")
    assert 0 <= letter["duration_ms"] < 10_000
    (listed,) = [
        each
        for each in plain.client.get("/api/dead").json()["dead"]
        if each["id"] == attempt.webhook_id
    ]
    assert listed == {name: value for name, value in letter.items() if name != "batch"}
    assert letter["messages"] == 1
    assert letter["batch"] == json.loads(attempt.body)
    assert plain.client.state(attempt.user) == "idle"


def test_a_replay_has_the_same_id_and_the_same_bytes(plain: World) -> None:
    dead = a_dead_letter(plain)
    assert replay(plain, dead.webhook_id) in (200, 202)
    first, second = wait_for_end(plain.receiver, dead.user, 2)
    assert (second.webhook_id, second.body) == (first.webhook_id, first.body)
    assert second.status == 200
    wait_until(lambda: dead.webhook_id not in plain.client.dead_ids(), "not dead any more")
    assert replay(plain, dead.webhook_id) == 404


def test_a_replay_that_fails_is_tried_on_the_schedule_and_can_die_again(plain: World) -> None:
    dead = a_dead_letter(plain, 500, 410)
    assert replay(plain, dead.webhook_id) in (200, 202)
    attempts = wait_for_end(plain.receiver, dead.user, 3)
    assert [attempt.status for attempt in attempts] == [410, 500, 410]
    assert {attempt.webhook_id for attempt in attempts} == {dead.webhook_id}
    wait_until(lambda: dead.webhook_id in plain.client.dead_ids(), "dead again")


def test_all_dead_letters_can_be_replayed_together(plain: World) -> None:
    letters = [a_dead_letter(plain) for _ in range(3)]
    waiting = plain.client.dead_ids()
    answer = plain.client.call("POST", "/api/dead/replay")
    assert answer.status in (200, 202)
    assert answer.json()["replayed"] == len(waiting)
    for letter in letters:
        first, second = wait_for_end(plain.receiver, letter.user, 2)
        assert (second.webhook_id, second.status) == (first.webhook_id, 200)
    wait_until(lambda: not plain.client.dead_ids(), "none left")


def test_a_dropped_dead_letter_is_gone_for_ever(plain: World) -> None:
    dead = a_dead_letter(plain)
    path = f"/api/dead/{dead.webhook_id}"
    assert plain.client.call("DELETE", path).status == 200
    assert plain.client.get(path).status == 404
    assert plain.client.call("DELETE", path).status == 404
    assert replay(plain, dead.webhook_id) == 404
    assert dead.webhook_id not in plain.client.dead_ids()


def test_a_replay_goes_before_what_the_user_wrote_meanwhile(plain: World) -> None:
    dead = a_dead_letter(plain)
    assert plain.client.user(dead.user, "hold", seconds=60).status == 200
    later = plain.client.accepted(dead.user, ttl=0)
    assert replay(plain, dead.webhook_id) in (200, 202)
    assert plain.client.user(dead.user, "release").status == 200
    attempts = wait_for_end(plain.receiver, dead.user, 3)
    assert [attempt.texts for attempt in attempts] == [dead.texts, dead.texts, (later,)]


def test_a_dead_letter_is_deleted_when_its_days_are_over_and_counted_until_then() -> None:
    def count(name: str) -> int | None:
        """None while it is not known."""
        text = shared.client.get("/metrics").body.decode()
        _, known, rest = text.partition(f"\nactor_queue_{name} ")
        return int(float(rest.split("\n")[0])) if known else None

    with world(AQ_DEAD_RETENTION="0.00006") as shared:
        dead = a_dead_letter(shared)
        wait_until(lambda: count("dead_letters") == 1, "counted")
        wait_until(lambda: count("dead_expired_total") == 1, "deleted")
        assert shared.client.get(f"/api/dead/{dead.webhook_id}").status == 404
        assert replay(shared, dead.webhook_id) == 404
        assert shared.client.dead_ids() == set()
        wait_until(lambda: count("dead_letters") == 0, "not counted any more")
        wait_until(lambda: '"dead_letters_expired"' in shared.service.log(), "said")
