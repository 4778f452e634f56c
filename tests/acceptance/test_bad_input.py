"""Every row of the table of bad input, against the real service."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.client import Client, Response, fresh_text, fresh_user
from tests.acceptance.service import World, world
from tests.acceptance.waiting import wait_for_end, wait_until

pytestmark = pytest.mark.process

MAX_BODY = 3_000
MAX_PENDING = 5
KEYS = {scope: f"segredo-{scope}-1" for scope in ("ingest", "read", "admin")}
VICTIM = "ninguem"
"""The user of all that must be refused."""

DEEP = b"[" * 1_400 + b"]" * 1_400

MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"user=x&message=y",
    "cut off": b'{"user": "ninguem", "message": "oi"',
    "two values": b'{"user": "ninguem", "message": "oi"} {}',
    "an array": b'[{"user": "ninguem", "message": "oi"}]',
    "a string": b'"ninguem"',
    "null": b"null",
    "NaN": b'{"user": "ninguem", "message": "oi", "x": NaN}',
    "Infinity": b'{"user": "ninguem", "message": "oi", "x": -Infinity}',
    "NaN as ttl": b'{"user": "ninguem", "message": "oi", "ttl": NaN}',
    "1e999": b'{"user": "ninguem", "message": "oi", "x": 1e999}',
    "5,000 digits": b'{"user": "ninguem", "message": "oi", "x": ' + b"1" * 2_000 + b"}",
    "deep": b'{"user": "ninguem", "message": "oi", "x": ' + DEEP + b"}",
    "not UTF-8": b'{"user": "ninguem", "message": "\xff"}',
    "UTF-16": '{"user": "ninguem", "message": "oi"}'.encode("utf-16"),
}
"""Refused as a whole."""

WRONG_FIELD: dict[str, tuple[bytes, str]] = {
    "no user": (b'{"message": "oi"}', "user"),
    "null user": (b'{"user": null, "message": "oi"}', "user"),
    "empty user": (b'{"user": "", "message": "oi"}', "user"),
    "long user": (b'{"user": "' + b"u" * 513 + b'", "message": "oi"}', "user"),
    "boolean user": (b'{"user": true, "message": "oi"}', "user"),
    "fraction as user": (b'{"user": 1.5, "message": "oi"}', "user"),
    "list as user": (b'{"user": ["ninguem"], "message": "oi"}', "user"),
    "no message": (b'{"user": "ninguem"}', "message"),
    "boolean as message": (b'{"user": "ninguem", "message": false}', "message"),
    "list as message": (b'{"user": "ninguem", "message": ["oi"]}', "message"),
    "object as message": (b'{"user": "ninguem", "message": {}}', "message"),
    "repeated user": (b'{"user": "a", "message": "oi", "user": "ninguem"}', "user"),
    "repeated other": (b'{"user": "ninguem", "message": "oi", "x": 1, "x": 2}', "x"),
    "negative ttl": (b'{"user": "ninguem", "message": "oi", "ttl": -1}', "ttl"),
    "negative text ttl": (b'{"user": "ninguem", "message": "oi", "ttl": "-0.5"}', "ttl"),
    "ttl over the maximum": (b'{"user": "ninguem", "message": "oi", "ttl": 86401}', "ttl"),
    "huge ttl": (b'{"user": "ninguem", "message": "oi", "ttl": 1e300}', "ttl"),
    "boolean ttl": (b'{"user": "ninguem", "message": "oi", "ttl": true}', "ttl"),
    "false ttl": (b'{"user": "ninguem", "message": "oi", "ttl": false}', "ttl"),
    "words as ttl": (b'{"user": "ninguem", "message": "oi", "ttl": "soon"}', "ttl"),
    "NaN text ttl": (b'{"user": "ninguem", "message": "oi", "ttl": "NaN"}', "ttl"),
    "list as ttl": (b'{"user": "ninguem", "message": "oi", "ttl": [1]}', "ttl"),
    "boolean id": (b'{"user": "ninguem", "message": "oi", "message_id": true}', "message_id"),
    "object as id": (b'{"user": "ninguem", "message": "oi", "message_id": {}}', "message_id"),
}
"""Refused with the field's name."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[World]:
    """A service with keys and small limits."""
    with world(
        AQ_API_KEYS=",".join(f"{scope}:{key}" for scope, key in KEYS.items()),
        AQ_MAX_BODY=str(MAX_BODY),
        AQ_MAX_PENDING=str(MAX_PENDING),
    ) as shared:
        shared.client.key = KEYS["admin"]
        yield shared
        # A process that answered all of this still works, and kept nothing of what it refused.
        assert shared.client.user(VICTIM).json()["state"] == "idle"
        assert not shared.receiver.of(VICTIM)
        shared.client.accepted(fresh_user("depois"), ttl=0)
        shared.settle()
        shared.verify()


def post(shared: World, body: bytes) -> Response:
    return shared.client.call("POST", "/api/message", body)


def assert_problem(answer: Response, *statuses: int) -> None:
    assert answer.status in statuses, (answer.status, answer.body)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status
    assert problem["title"]
    assert problem["detail"]


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_body_is_400_and_keeps_nothing(guarded: World, name: str) -> None:
    assert_problem(post(guarded, MALFORMED[name]), 400, 422)


@pytest.mark.parametrize("name", WRONG_FIELD)
def test_a_wrong_field_is_named(guarded: World, name: str) -> None:
    body, field = WRONG_FIELD[name]
    answer = post(guarded, body)
    assert_problem(answer, 400, 422)
    assert answer.json()["field"] == field


def test_what_gateways_send_for_a_text_is_delivered_as_one(guarded: World) -> None:
    user = fresh_user("portal")
    sent = {
        "": None,
        "12345678901234567890": 12345678901234567890,
        "-1.5": -1.5,
        "a\ufffd": "a\ud800",
    }
    for text, message in sent.items():
        fields: dict[str, Any] = {"message": message, "k\udfff": ["\udc00"], "message_id": ""}
        guarded.client.accepted(user, text, ttl="0.3" if message is None else 0.3, **fields)
    (attempt,) = wait_for_end(guarded.receiver, user)
    assert list(attempt.texts) == list(sent)


def test_two_different_ids_in_one_request_are_refused(guarded: World) -> None:
    body = json.dumps({"user": VICTIM, "message": "oi", "message_id": "a"}).encode()
    answer = guarded.client.call("POST", "/api/message", body, {"idempotency-key": "b"})
    assert_problem(answer, 400, 422)


def test_a_body_of_exactly_the_limit_is_accepted_and_a_byte_more_is_413(guarded: World) -> None:
    user, text = fresh_user("limite"), fresh_text()
    guarded.gone.add(text)
    empty = json.dumps({"user": user, "message": text, "ttl": 30, "x": ""}).encode()
    exact = empty.replace(b'"x": ""', b'"x": "' + b"x" * (MAX_BODY - len(empty)) + b'"')
    assert len(exact) == MAX_BODY
    assert_problem(post(guarded, exact[:-1] + b" }"), 413)
    assert post(guarded, exact).status == 202
    assert guarded.client.drop(user).json()["dropped"] == 1


def test_a_body_that_announces_too_much_is_413_without_being_read(guarded: World) -> None:
    head = "POST /api/message HTTP/1.1\r\nhost: localhost\r\n"
    head += f"authorization: Bearer {KEYS['ingest']}\r\n"
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", guarded.service.port), timeout=5) as connection:
        connection.sendall(f"{head}content-length: 100000000\r\n\r\n".encode())
        assert connection.recv(65_536).split()[1] == b"413"
    # Chunked, it announces nothing: it is refused as soon as it is over, and not at its end.
    with socket.create_connection(("127.0.0.1", guarded.service.port), timeout=5) as connection:
        connection.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        connection.sendall(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
        assert connection.recv(65_536).split()[1] == b"413"
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("key", "path", "status"),
    [
        (None, "POST /api/message", 401),
        (None, "POST /api/messages", 401),
        (None, "GET /api/users", 401),
        (None, "GET /api/dead", 401),
        ("wrong", "POST /api/message", 401),
        ("wrong", "GET /api/shards", 401),
        (KEYS["ingest"], "GET /api/users", 403),
        (KEYS["ingest"], "GET /api/users/ninguem", 403),
        (KEYS["ingest"], "DELETE /api/users/ninguem", 403),
        (KEYS["ingest"], "GET /api/events", 403),
        (KEYS["read"], "POST /api/message", 403),
        (KEYS["read"], "POST /api/messages", 403),
        (KEYS["read"], "POST /api/users/ninguem/flush", 403),
        (KEYS["read"], "POST /api/users/ninguem/hold", 403),
        (KEYS["read"], "DELETE /api/users/ninguem", 403),
        (KEYS["read"], "POST /api/dead/replay", 403),
        (KEYS["read"], "GET /api/users", 200),
        (KEYS["read"], "GET /api/shards", 200),
        (KEYS["admin"], "GET /api/users", 200),
        (None, "GET /healthz", 200),
        (None, "GET /readyz", 200),
    ],
)
def test_a_key_opens_what_its_scope_allows(
    guarded: World, key: str | None, path: str, status: int
) -> None:
    method, _, where = path.partition(" ")
    body = json.dumps({"user": VICTIM, "message": "oi"}).encode() if method == "POST" else None
    answer = Client(guarded.service.port, key=key).call(method, where, body)
    assert answer.status == status
    if status in (401, 403):
        assert_problem(answer, status)


def test_a_user_over_the_most_pending_gets_429_with_retry_after_and_loses_nothing(
    guarded: World,
) -> None:
    user = fresh_user("lotado")
    texts = [guarded.client.accepted(user, ttl=1.0) for _ in range(MAX_PENDING)]
    answer = guarded.client.post(user, ttl=1.0)
    assert_problem(answer, 429)
    assert int(answer.headers["retry-after"]) >= 1
    # Others are not concerned, and neither is this one once its batch has gone.
    guarded.client.accepted(fresh_user("vazio"), ttl=0)
    (attempt,) = wait_for_end(guarded.receiver, user)
    assert list(attempt.texts) == texts
    wait_until(lambda: guarded.client.post(user, ttl=0).status == 202, "accepted again")


def test_a_user_over_the_most_pending_bytes_gets_429_and_one_large_message_is_taken() -> None:
    with world(AQ_MAX_PENDING_BYTES="2000", AQ_MAX_BODY="8 KiB") as shared:
        user = fresh_user("pesado")
        texts = [shared.client.accepted(user, fresh_text() + "x" * 4_000, ttl=1.0)]
        answer = shared.client.post(user, ttl=1.0)
        assert_problem(answer, 429)
        assert int(answer.headers["retry-after"]) >= 1
        assert "bytes" in answer.json()["detail"]
        (attempt,) = wait_for_end(shared.receiver, user)
        assert list(attempt.texts) == texts
        wait_until(lambda: shared.client.post(user, ttl=0).status == 202, "accepted again")


def test_in_a_bulk_request_each_bad_message_gets_its_own_answer(guarded: World) -> None:
    user = fresh_user("lote")
    too_large: dict[str, Any] = {"user": VICTIM, "message": "x" * MAX_BODY}
    messages: list[dict[str, Any]] = [
        {"user": user, "message": fresh_text(), "ttl": 0.3},
        too_large,
        *({"user": user, "message": fresh_text(), "ttl": 0.3} for _ in range(MAX_PENDING)),
    ]
    for lines in (False, True):
        results = guarded.client.bulk(messages, lines=lines)
        assert results[1]["status"] == 413
        wanted = [True] * MAX_PENDING + [False]
        assert [r.get("success", False) for r in (results[0], *results[2:])] == wanted
        assert results[-1]["status"] == 429
        guarded.settle()
        messages = [{**message, "message": fresh_text()} for message in messages]
        messages[1] = too_large


def test_what_is_not_there_is_404_and_a_wrong_method_405(guarded: World) -> None:
    assert_problem(guarded.client.get("/api/nothing"), 404)
    assert_problem(guarded.client.get("/api/message"), 405)
    assert_problem(guarded.client.get("/api/dead/nothing"), 404)
    assert_problem(guarded.client.call("POST", "/api/users/ninguem/nothing", b""), 404)
    assert_problem(guarded.client.get("/api/users/%zz"), 400)


def test_the_signals_check_their_input_too(guarded: World) -> None:
    for verb, body in (
        ("hold", b'{"seconds": -1}'),
        ("hold", b'{"seconds": true}'),
        ("hold", b'{"seconds": "x"}'),
        ("hold", b"[]"),
        ("typing", b'{"ttl": -1}'),
        ("typing", b'{"ttl": 1e999}'),
        ("typing", b"{"),
    ):
        answer = guarded.client.call("POST", f"/api/users/{VICTIM}/{verb}", body)
        assert_problem(answer, 400, 422)
    assert_problem(guarded.client.get("/api/users?limit=0"), 400, 422)
    assert_problem(guarded.client.get("/api/users?state=asleep"), 400, 422)
    assert_problem(guarded.client.get("/api/users?cursor=x"), 400, 422)
