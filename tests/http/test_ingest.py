"""`POST /api/message`: what is accepted, and every row of the table of bad input."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio

from actor_queue.core.message import Message
from tests.http.client import ask, post, raw, read_all, read_answer, send_raw, until
from tests.http.conftest import Served

ALL_FIELDS = {
    "id_agente": 1,
    "numero_conectado": "+5511999999999",
    "user": "joao.silva",
    "message": "Sua mensagem aqui",
    "ttl": 30,
}


def pushed(server: Served) -> list[Message]:
    return [message for messages in server.engine.pushes for message in messages]


def test_an_accepted_message_is_answered_202_with_the_documented_fields(server: Served) -> None:
    answer = post(server.address, ALL_FIELDS)
    assert answer.status == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "success": True,
        "user": "joao.silva",
        "message_id": "m-1",
        "pending": 1,
        "fires_in": 30.0,
        "duplicate": False,
    }


def test_the_message_is_pushed_byte_for_byte(server: Served) -> None:
    body = '{"user":7, "message":"ol\\u00e1 \U0001f600","n":1.10,"x":{"y":[1,2]}}'.encode()
    answer = post(server.address, body)
    assert (answer.status, answer.json["user"]) == (202, "7")
    assert [message.body for message in pushed(server)] == [body]


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'\xef\xbb\xbf{"user":"a","message":"b"}', b'{"user":"a","message":"b"}'),
        (b'{"user":"a","message":null}', b'{"user":"a","message":""}'),
        (b'{"user":"a","message":1e3,"n":1e3}', b'{"user":"a","message":"1e3","n":1e3}'),
        (b'{"user":"a","message":"b","ttl":"","message_id":""}', None),
        (
            b'{"user":"a","message":"\\ud800","x":[{"\\udfff":"\\udc00"}]}',
            b'{"user":"a","message":"\\ufffd","x":[{"\\ufffd":"\\ufffd"}]}',
        ),
    ],
)
def test_what_real_senders_write_is_accepted(
    server: Served, body: bytes, kept: bytes | None
) -> None:
    answer = post(server.address, body, idempotency_key="")
    assert (answer.status, answer.json["fires_in"], answer.json["message_id"]) == (202, 15.0, "m-1")
    assert [message.body for message in pushed(server)] == [kept or body]


@pytest.mark.parametrize("user", ['a"b\\c', "\x00\x1f", "\U0001f600" * 128, "ção", "../.."])
def test_an_odd_user_is_answered_as_it_was_sent(server: Served, user: str) -> None:
    answer = post(server.address, {"user": user, "message": "oi", "message_id": user})
    assert (answer.json["user"], answer.json["message_id"]) == (user, user)


def test_a_repeated_message_id_is_answered_202_as_a_duplicate(server: Served) -> None:
    message = {"user": "ana", "message": "oi"}
    first = post(server.address, message, idempotency_key="wamid.1")
    second = post(server.address, {**message, "message_id": "wamid.1"})
    assert (first.json["message_id"], first.json["duplicate"]) == ("wamid.1", False)
    assert (second.status, second.json["duplicate"], second.json["pending"]) == (202, True, 1)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/vnd.api+json", "application/json; charset=utf-8"]
)
def test_json_is_accepted_under_any_label_but_a_form(server: Served, content_type: str) -> None:
    headers = {"content-type": content_type}
    answer = ask(server.address, "POST", "/api/message", json.dumps(ALL_FIELDS), headers)
    assert answer.status == 202


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, None),
        (b"oi", 400, None),
        (b'{"user":"a","message":"b"', 400, None),
        (b'["user","message"]', 400, None),
        (b'{"user":"a","message":"b","x":NaN}', 400, None),
        (b'{"user":"a","message":"b","ttl":Infinity}', 400, None),
        (b'{"user":"a","message":"b","ttl":1e999}', 400, None),
        (b'{"user":"a","user":"b","message":"c"}', 422, "user"),
        (b'{"message":"b"}', 422, "user"),
        (b'{"user":"","message":"b"}', 422, "user"),
        (b'{"user":true,"message":"b"}', 422, "user"),
        (b'{"user":1.5,"message":"b"}', 422, "user"),
        (b'{"user":"%s","message":"b"}' % (b"a" * 513), 422, "user"),
        (b'{"user":"a"}', 422, "message"),
        (b'{"user":"a","message":true}', 422, "message"),
        (b'{"user":"a","message":"b","ttl":-1}', 422, "ttl"),
        (b'{"user":"a","message":"b","ttl":true}', 422, "ttl"),
        (b'{"user":"a","message":"b","ttl":"soon"}', 422, "ttl"),
        (b'{"user":"a","message":"b","ttl":86401}', 422, "ttl"),
        (b'{"user":"a","message":"b","message_id":[]}', 422, "message_id"),
        (b'{"user":"a","message":"\xed\xa0\x80"}', 400, None),
        (b'{"user":"a","message":"\xff"}', 400, None),
        (b"[" * 100_000, 400, None),
        (b'{"user":"a","message":"b","n":%s}' % (b"9" * 5_000), 400, None),
    ],
)
def test_bad_input_is_a_problem_that_names_the_field_and_pushes_nothing(
    server: Served, body: bytes, status: int, field: str | None
) -> None:
    answer = post(server.address, body)
    assert (answer.status, answer.field) == (status, field)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"title", "status", "detail"} <= set(answer.json)
    assert answer.json["status"] == status
    assert pushed(server) == []


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_a_form_is_refused_with_a_word_about_json(server: Served, content_type: str) -> None:
    headers = {"content-type": content_type}
    answer = ask(server.address, "POST", "/api/message", b"user=a&message=b", headers)
    assert answer.status == 415
    assert "JSON" in answer.json["detail"]


def test_json_that_is_called_a_form_is_json_all_the_same(server: Served) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = ask(server.address, "POST", "/api/message", b'{"user": "a", "message": "b"}', headers)
    assert answer.status == 202


def test_a_body_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not(server: Served) -> None:
    limit = server.engine.settings.max_body_bytes
    frame = len(json.dumps({"user": "a", "message": ""}))
    fits = json.dumps({"user": "a", "message": "x" * (limit - frame)}).encode()
    assert post(server.address, fits).status == 202
    assert post(server.address, fits + b" ").status == 413
    assert len(pushed(server)) == 1


def test_a_declared_length_over_the_limit_is_refused_before_the_body_is_read(
    server: Served,
) -> None:
    with raw(server.address) as sock:
        sock.sendall(
            b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999999\r\n"
            b"expect: 100-continue\r\n\r\n"
        )
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


def test_a_chunked_body_is_cut_as_soon_as_it_is_over_the_limit(server: Served) -> None:
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    sent = 0
    with raw(server.address) as sock:
        sock.sendall(
            b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        try:
            while sent < 1_000:
                sock.sendall(chunk)
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            pass
        else:
            pytest.fail("an endless body was read to its end")
    assert server.engine.pushes == []


def test_the_refusal_of_a_large_body_can_be_read_by_a_client_that_sends_it_all(
    server: Served,
) -> None:
    body = b"x" * 2_000_000
    with raw(server.address) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        sock.sendall(
            b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
            % len(body)
        )
        sock.sendall(body)
        assert read_all(sock).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_waits_for_100_continue_gets_it(server: Served) -> None:
    body = json.dumps(ALL_FIELDS).encode()
    head = b"POST /api/message HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n"
    with raw(server.address) as sock:
        sock.sendall(head + b"content-length: %d\r\n\r\n" % len(body))
        assert sock.recv(1_000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body)
        assert read_answer(sock).startswith(b"HTTP/1.1 202 ")


def test_a_full_user_is_answered_429_with_the_time_to_wait(server: Served) -> None:
    server.engine.full.add("ana")
    answer = post(server.address, {"user": "ana", "message": "oi"})
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")
    assert "ana" not in answer.body.decode()


@pytest.mark.parametrize("trouble", ["reason", "away"])
def test_a_service_that_cannot_keep_a_message_answers_503_with_retry_after(
    server: Served, trouble: str
) -> None:
    setattr(server.engine, trouble, "the store is away")
    answer = post(server.address, ALL_FIELDS)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json["detail"] == "the store is away"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused_with_the_allowed_one(server: Served, method: str) -> None:
    answer = ask(server.address, method, "/api/message")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_an_unforeseen_fault_is_a_500_that_tells_nothing(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    server.engine.broken = RuntimeError("the text of a message")
    answer = post(server.address, ALL_FIELDS)
    assert answer.status == 500
    assert b"text of a message" not in answer.body
    assert "RuntimeError at tests.http.memory_engine" in caplog.text
    assert "text of a message" not in caplog.text


def test_a_client_that_goes_away_does_not_stop_its_message(start: Callable[..., Any]) -> None:
    server: Served = start()
    server.engine.pause = server.run(trio.Event)
    body = json.dumps(ALL_FIELDS).encode()
    with raw(server.address) as sock:
        sock.sendall(
            b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
            % len(body)
        )
        sock.sendall(body)
        until(lambda: server.application.traffic.connections_total == 1)
    server.run(server.engine.pause.set)
    until(lambda: len(pushed(server)) == 1)


def test_a_pipelined_request_is_answered_after_the_first(server: Served) -> None:
    body = json.dumps(ALL_FIELDS).encode()
    request = (
        b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
        + body
    )
    last = request.replace(b"host: localhost", b"host: localhost\r\nconnection: close")
    answers = send_raw(server.address, request * 20 + last)
    assert answers.count(b"HTTP/1.1 202 ") == 21
    assert [f'"m-{n}"'.encode() in answers for n in range(1, 22)] == [True] * 21


def test_a_prefix_is_accepted_and_not_required(start: Callable[..., Any]) -> None:
    server: Served = start(root_path="/redis-api")
    body = json.dumps(ALL_FIELDS)
    for path in ("/redis-api/api/message", "/api/message"):
        assert ask(server.address, "POST", path, body).status == 202
    assert ask(server.address, "POST", "/redis-apix/api/message", body).status == 404
    moved = ask(server.address, "GET", "/redis-api")
    assert (moved.status, moved.headers["location"]) == (308, "/redis-api/")
    assert ask(server.address, "GET", "/redis-api/readyz").status == 200
