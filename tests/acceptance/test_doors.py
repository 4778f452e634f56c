"""The doors of a real service: once, in one form, held, released, and no credential in Redis."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from tests.acceptance.client import Client, Response
from tests.acceptance.service import World, world
from tests.acceptance.waiting import wait_until
from tests.doors.fixtures import NAMES, SENT_S, as_sent, fixture
from tests.doors.test_signatures import by_meta

pytestmark = pytest.mark.process

KEY = "k-of-the-doors-and-no-other"
SECRET = "the-app-secret-of-these-tests"
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with world(
        AQ_API_KEYS=f"admin:{KEY}",
        AQ_DOOR_CLOUD_SECRET=SECRET,
        AQ_PAYLOAD="detailed",
        AQ_DEFAULT_TTL="0.3",
        AQ_DEDUP_WINDOW="0.1",
    ) as shared:
        shared.client.key = KEY
        yield shared


def sent_now(name: str, **changes: str) -> bytes:
    """A fixture's event as if it had been sent now, with other texts in place of some."""
    text = as_sent(fixture(name)["body"]).decode()
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    text = text.replace(str(SENT_S), str(int(time.time()))).replace(
        "2025-11-24T16:00:00.000Z", moment
    )
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text.encode()


def send(world: World, platform: str, body: bytes, **headers: str) -> Response:
    shown = headers or {"x_api_key": KEY}
    named = {name.replace("_", "-"): value for name, value in shown.items()}
    return Client(world.client.port).call("POST", f"/in/{platform}", body, named)


def items_of(world: World, user: str) -> list[dict[str, Any]]:
    """All that the receiver got for a user."""
    return [
        item
        for attempt in world.receiver.attempts
        for body in [json.loads(attempt.body)]
        if body["user"] == user
        for item in body["items"]
    ]


def test_each_kind_of_each_platform_arrives_in_the_one_form(running: World) -> None:
    expected: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        if name.endswith(("/duplicate", "base64")):
            continue
        platform = name.partition("/")[0]
        if all("push" not in each for each in fixture(name)["actions"]):
            continue
        assert send(running, platform, sent_now(name)).status == 200
        for each in fixture(name)["actions"]:
            if "push" in each:
                expected[each["push"]["message_id"]] = each["push"]
    users = {each["user"] for each in expected.values()}

    def arrived() -> dict[str, dict[str, Any]]:
        return {item["message_id"]: item for user in users for item in items_of(running, user)}

    wait_until(lambda: arrived().keys() == expected.keys(), "every message at the receiver")
    for message_id, item in arrived().items():
        told = {name: value for name, value in item.items() if name not in ("seq", "received_at")}
        assert told.pop("sent_at", SENT_S) >= SENT_S
        wanted = {n: value for n, value in expected[message_id].items() if n != "sent_at"}
        assert told == wanted


def test_one_event_that_comes_many_times_at_once_and_later_is_one_message(running: World) -> None:
    name, user = "cloud/batch_of_three_users", "200000000000001:5511977770001"
    body = sent_now(name, **{"5511900000001": "5511977770001", "wamid.TEST": "wamid.MANY"})
    signed = {each.replace("-", "_"): value for each, value in by_meta(body, SECRET).items()}
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: send(running, "cloud", body, **signed), range(12)))
    assert {answer.status for answer in answers} == {200}
    assert sum(answer.json()["accepted"] for answer in answers) == 4
    wait_until(lambda: len(items_of(running, user)) == 2, "both messages of the user")
    running.service.kill()
    running.service.start()
    again = send(running, "cloud", body, **signed).json()
    assert (again["accepted"], again["reasons"]) == (0, {"duplicate": 4, "status": 1})
    assert [item["message"] for item in items_of(running, user)] == ["Oi", "Quero saber do pedido"]


def test_events_that_come_out_of_order_are_each_one_message(running: World) -> None:
    bodies = [
        sent_now("telegram/text", **{"700001": "700555", '"message_id": 71': f'"message_id": {n}'})
        for n in range(200, 210)
    ]
    twice = bodies * 2
    random.Random(7).shuffle(twice)
    answers = [send(running, "telegram", body).json() for body in twice]
    assert sum(answer["accepted"] for answer in answers) == 10
    assert sum(answer["ignored"] for answer in answers) == 10
    wait_until(lambda: len(items_of(running, "telegram:700555")) >= 10, "all ten")
    ids = [item["message_id"] for item in items_of(running, "telegram:700555")]
    assert sorted(ids) == [f"telegram:700555:{n}" for n in range(200, 210)]


def test_an_id_is_remembered_for_a_day_whatever_the_window_is(running: World) -> None:
    body = sent_now("waha/text", **{"5511900000001": "5511966660001"})
    assert send(running, "waha", body).json()["accepted"] == 1
    with running.redis.client() as eye:
        [key] = [each for each in eye.scan_iter("*:id:*") if b"5511966660001" in each]
        assert DAY_MS - 60_000 < eye.pttl(key) <= DAY_MS


def test_a_persons_own_message_holds_and_the_help_desk_releases(running: World) -> None:
    text = sent_now("chatwoot/text", **{'"id": 42': '"id": 4711', '"id": 1001': '"id": 88001'})
    assert send(running, "chatwoot", sent_now("chatwoot/from_me", **{"42": "4711"})).json()["held"]
    assert send(running, "chatwoot", text).json()["accepted"] == 1
    assert running.client.state("1:4711") == "held"
    done = sent_now("chatwoot/agent_is_done", **{"42": "4711"})
    assert send(running, "chatwoot", done).json()["released"] == 1
    wait_until(lambda: len(items_of(running, "1:4711")) == 1, "what waited for the release")


def test_an_edit_replaces_what_waits_and_is_a_new_message_after_that(running: World) -> None:
    user, other = "loja:5511922220001@s.whatsapp.net", {"5511900000001": "5511922220001"}
    running.client.user(user, "hold", seconds=60)
    assert send(running, "evolution", sent_now("evolution/text", **other)).json()["accepted"] == 1
    edit = sent_now("evolution/edit", **other)
    assert send(running, "evolution", edit).json()["edited"] == 1
    deeds = running.client.get(f"/api/users/{quote(user, safe='')}?deeds=true").json()["deeds"]
    assert (deeds[0]["deed"], deeds[0]["by"]) == ("edit", "door evolution")
    running.client.user(user, "release")
    wait_until(lambda: len(items_of(running, user)) == 1, "the message")
    assert send(running, "evolution", edit).json()["accepted"] == 1
    assert send(running, "evolution", edit).json()["reasons"] == {"duplicate": 1}
    wait_until(lambda: len(items_of(running, user)) == 2, "the new message")
    first, second = items_of(running, user)
    assert first["message"] == second["message"] == "Oi, tudo certo?"
    assert ("edited" in first, second["edited"]) == (False, True)
    revoke = sent_now("evolution/revoke", **other)
    assert send(running, "evolution", revoke).json()["reasons"] == {"claimed": 1}


def test_who_is_typing_is_waited_for(running: World) -> None:
    phone = {"5511900000001": "5511955550001"}
    assert send(running, "evolution", sent_now("evolution/typing", **phone)).json()["typing"] == 1


def test_no_credential_of_an_event_reaches_redis_or_the_log(running: World) -> None:
    body = sent_now("evolution/text", **{"5511900000001": "5511944440001"})
    assert b"THE-KEY-OF-THE-INSTANCE" in body
    assert send(running, "evolution", body).status == 200
    with running.redis.client() as eye:
        for key in eye.scan_iter("*"):
            assert b"THE-KEY" not in (eye.dump(key) or b"")
    assert "THE-KEY" not in running.service.log()
    assert SECRET not in running.service.log()
    assert KEY not in running.service.log()


def test_an_event_comes_again_while_redis_is_away(running: World) -> None:
    body = sent_now("waha/text", **{"5511900000001": "5511933330001"})
    running.redis.kill()
    try:
        assert send(running, "waha", body).status == 503
    finally:
        running.redis.start()
    wait_until(lambda: send(running, "waha", body).status == 200, "the service takes it again")
    wait_until(
        lambda: len(items_of(running, "default:5511933330001@c.us")) == 1, "it is at the receiver"
    )
