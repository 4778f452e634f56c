"""From POST to webhook when nothing goes wrong: the seed's body, timers, order."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.client import fresh_text, fresh_user
from tests.acceptance.service import World
from tests.acceptance.waiting import BUSY_S, wait_for_attempts

pytestmark = pytest.mark.process

SEED = {
    "id_agente": 1,
    "numero_conectado": "+5511999999999",
    "foto": "https://example.com/photo.jpg",
    "phone": "+5511888888888",
    "sender_name": "João Silva",
    "user": "joao.silva",
    "chave": "chave123",
    "instance_id": "inst_123",
    "servidor": "srv1",
    "token": "token123",
    "token_seguranca": "sec_token123",
    "modo": "chat",
    "plataforma_ia": 1,
    "server_url": "https://api.example.com",
    "provider": 1,
    "id_instancia": 1,
    "message": "Sua mensagem aqui",
    "ttl": 30,
}


@pytest.fixture(autouse=True, scope="module")
def the_contract_holds(plain: World) -> Iterator[None]:
    """At the end, over all that these tests did together."""
    yield
    plain.settle()
    plain.verify(late_s=BUSY_S)


def test_the_seeds_curl_with_all_its_fields_arrives_as_the_seeds_body(plain: World) -> None:
    answer = plain.client.call(
        "POST", "/api/message", json.dumps({**SEED, "ttl": 0.3}, ensure_ascii=False).encode()
    )
    assert answer.status == 202
    told = answer.json()
    assert set(told) == {"success", "user", "message_id", "pending", "fires_in", "duplicate"}
    assert told["success"] is True
    assert told["user"] == "joao.silva"
    assert told["pending"] == 1
    assert told["fires_in"] == pytest.approx(0.3, abs=0.002)
    assert told["duplicate"] is False

    for text in ("e a segunda", "e a terceira"):
        more = {"user": "joao.silva", "message": text, "ttl": 0.3, "modo": "voz"}
        assert plain.client.call("POST", "/api/message", json.dumps(more).encode()).status == 202
    wait_for_attempts(plain.receiver, "joao.silva", 1)

    (attempt,) = plain.receiver.of("joao.silva")
    body = json.loads(attempt.body)
    moment = body.pop("processed_at")
    passed = {k: v for k, v in SEED.items() if k not in ("message", "ttl", "message_id")}
    assert body == {
        **passed,
        "modo": "voz",
        "user_id": "joao.silva",
        "messages": ["Sua mensagem aqui", "e a segunda", "e a terceira"],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", moment)
    closed = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - closed) < timedelta(seconds=5)
    assert attempt.line.startswith("POST /hook?token=")
    assert attempt.headers["content-type"] == "application/json"
    assert attempt.headers["idempotency-key"] == attempt.headers["webhook-id"]
    assert abs(int(attempt.headers["webhook-timestamp"]) - time.time()) < 5
    # These were not posted through the journal.
    plain.receiver.attempts.remove(attempt)


def test_each_message_resets_the_timer_and_all_go_in_one_webhook_in_order(plain: World) -> None:
    user = fresh_user("rajada")
    texts = []
    for _ in range(8):
        texts.append(plain.client.accepted(user, ttl=0.9))
        time.sleep(0.15)  # as people type; together longer than the ttl
    (attempt,) = wait_for_attempts(plain.receiver, user)
    assert list(attempt.texts) == texts


def test_the_last_messages_ttl_decides_also_when_it_is_shorter(plain: World) -> None:
    shorter, longer = fresh_user("menor"), fresh_user("maior")
    began = time.monotonic()
    for user, ttls in ((shorter, (60, 0.3)), (longer, (0.6, 1.2))):
        for ttl in ttls:
            plain.client.accepted(user, ttl=ttl)
    wait_for_attempts(plain.receiver, shorter)
    wait_for_attempts(plain.receiver, longer)
    assert len(plain.receiver.of(shorter)[0].texts) == 2
    assert plain.receiver.of(longer)[0].started - began >= 1.2


def test_ttl_0_goes_at_once(plain: World) -> None:
    user = fresh_user("ja")
    answer = plain.client.post(user, ttl=0)
    assert answer.json()["fires_in"] == 0
    wait_for_attempts(plain.receiver, user)
    assert plain.receiver.of(user)[0].started - answer.returned < BUSY_S


@pytest.mark.parametrize("ttl", ["0.3", " 0.30 ", "0", 0.3, 1e-3])
def test_a_ttl_may_be_a_number_or_a_numeric_string(plain: World, ttl: object) -> None:
    user = fresh_user("texto")
    answer = plain.client.post(user, ttl=ttl)
    assert answer.status == 202
    assert answer.json()["fires_in"] == pytest.approx(float(str(ttl)), abs=0.002)


def test_no_ttl_and_null_mean_the_default(plain: World) -> None:
    users = [fresh_user("padrao"), fresh_user("nulo")]
    answers = [
        plain.client.post(users[0], ttl=None),
        plain.client.call(
            "POST",
            "/api/message",
            json.dumps({"user": users[1], "message": "oi", "ttl": None}).encode(),
        ),
    ]
    assert [answer.json()["fires_in"] for answer in answers] == [15, 15]
    # Nobody waits for them: shorter messages take them along.
    plain.closed_early.update(users)
    plain.client.accepted(users[0], ttl=0)
    assert plain.client.drop(users[1]).status == 200


def test_a_repeated_message_id_adds_nothing_and_moves_no_timer(plain: World) -> None:
    user, text = fresh_user("repetida"), fresh_text()
    first = plain.client.post(user, text, 1.0, message_id="wamid.1")
    again = plain.client.post(user, text, 1.0, message_id="wamid.1")
    by_header = plain.client.call(
        "POST",
        "/api/message",
        json.dumps({"user": user, "message": "outra", "ttl": 60}).encode(),
        {"idempotency-key": "wamid.1"},
    )
    for answer in (again, by_header):
        assert answer.status == 202
        assert answer.json()["duplicate"] is True
        assert answer.json()["message_id"] == "wamid.1"
        assert answer.json()["pending"] == 1
        assert answer.json()["fires_in"] <= first.json()["fires_in"]
    (attempt,) = wait_for_attempts(plain.receiver, user)
    assert attempt.texts == (text,)
    # The timer ran from the first one.
    assert attempt.started <= first.returned + 1.0 + BUSY_S
    assert plain.client.post(user, text, 1.0, message_id="wamid.1").json()["duplicate"] is True


def test_an_integer_user_and_its_text_are_one_user(plain: World) -> None:
    number = 5_511_000_000 + time.monotonic_ns() % 1_000_000
    text = fresh_text()
    answer = plain.client.call(
        "POST", "/api/message", json.dumps({"user": number, "message": text, "ttl": 0.3}).encode()
    )
    assert answer.json()["user"] == str(number)
    assert plain.client.state(str(number)) == "collecting"
    assert plain.client.drop(str(number)).status == 200


@pytest.mark.parametrize("lines", [False, True], ids=["array", "ndjson"])
def test_many_messages_in_one_request_keep_each_users_order(plain: World, lines: bool) -> None:
    users = [fresh_user("lote") for _ in range(5)]
    messages = [{"user": users[i % 5], "message": fresh_text(), "ttl": 0.5} for i in range(400)]
    results = plain.client.bulk(messages, lines=lines)
    assert all(result["success"] for result in results)
    assert [result["user"] for result in results] == [each["user"] for each in messages]
    for user in users:
        wait_for_attempts(plain.receiver, user, 1)
        sent = [each["message"] for each in messages if each["user"] == user]
        assert list(plain.receiver.of(user)[0].texts) == sent


@pytest.mark.parametrize("lines", [False, True], ids=["array", "ndjson"])
def test_one_bad_message_does_not_spoil_the_others(plain: World, lines: bool) -> None:
    user = fresh_user("misto")
    messages = [
        {"user": user, "message": fresh_text(), "ttl": 0.3},
        {"user": user, "message": fresh_text(), "ttl": -1},
        {"user": user, "message": fresh_text(), "ttl": 0.3},
    ]
    results = plain.client.bulk(messages, lines=lines)
    assert [result.get("success", False) for result in results] == [True, False, True]
    assert results[1]["status"] in (400, 422)
    assert results[1]["field"] == "ttl"
    wait_for_attempts(plain.receiver, user, 1)
    sent = [messages[0]["message"], messages[2]["message"]]
    assert list(plain.receiver.of(user)[0].texts) == sent


def test_users_whose_names_are_hard_to_write_are_users_like_all_others(plain: World) -> None:
    names = ["a/b", "..", "%2F", "{x}", "olá 👋", "a b", "\x00\x01", "u" * 512, "é" * 256, "?a=1#x"]
    for name in names:
        plain.client.accepted(name, ttl=0.4)
        assert plain.client.user(name).json()["user"] == name
    for name in names:
        wait_for_attempts(plain.receiver, name, 1)
        assert len(plain.receiver.of(name)) == 1


def test_compressed_lines_arrive_as_they_were_written(plain: World) -> None:
    user, texts = fresh_user("zip"), [fresh_text() for _ in range(20)]
    messages = [{"user": user, "message": text, "ttl": 0.3} for text in texts]
    results = plain.client.bulk(messages, lines=True, packed=True)
    assert [result["pending"] for result in results] == list(range(1, 21))
    (attempt,) = wait_for_attempts(plain.receiver, user, 1)
    assert list(attempt.texts) == texts


def test_a_page_of_the_internet_reaches_nothing(plain: World) -> None:
    user = fresh_user("alvo")
    text = plain.client.accepted(user, ttl=0.5)
    for foreign in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        for method, path in (("GET", f"/api/users/{user}"), ("DELETE", f"/api/users/{user}")):
            answer = plain.client.call(method, path, None, foreign)
            assert answer.status == 403
    answer = plain.client.call("POST", "/api/dead/replay?user=ana", b"")
    assert (answer.status, answer.json()["field"]) == (400, "user")
    (attempt,) = wait_for_attempts(plain.receiver, user, 1)
    assert list(attempt.texts) == [text]
