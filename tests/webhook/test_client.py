"""What the webhook client sends, and how it takes answers that are good, bad, slow or endless."""

from __future__ import annotations

import gzip
import time
import zlib
from email.utils import formatdate

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from actor_queue.core.outcome import Delivered, Failed, Outcome
from actor_queue.core.payload import render
from actor_queue.core.settings import Settings
from actor_queue.webhook.client import DRAIN_BYTES_MAX, DRAIN_S, WebhookClient
from tests.webhook.attempts import AMPLE_S, SOON_S, attempts, batch, failure, run, stay
from tests.webhook.receiver import Connection, Received, answering, receiving, sending

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


# What is sent


def test_a_batch_arrives_with_its_id_its_signature_and_the_body_as_rendered() -> None:
    received: list[Received] = []

    async def main() -> None:
        async with receiving(answering(200)) as receiver:
            settings = Settings(webhook_url=receiver.url, webhook_secrets=(SECRET,))
            async with WebhookClient.of(settings) as client:
                assert await client.deliver(batch("b42", "olá \U0001f600"), AMPLE_S) == Delivered(
                    200
                )
            received.extend(receiver.received)

    run(main)
    [request] = received
    assert request.line == "POST /hook?token=hidden HTTP/1.1"
    assert request.body == render(batch("b42", "olá \U0001f600"))
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.body))
    assert request.headers["user-agent"].startswith("actor-queue/")
    assert request.headers["webhook-id"] == request.headers["idempotency-key"] == "b42"
    assert "authorization" not in request.headers
    assert "accept-encoding" not in request.headers
    Webhook(SECRET).verify(request.body, request.headers)


def test_the_operators_headers_are_sent_with_every_webhook() -> None:
    received: list[Received] = []
    headers = (("authorization", "Bearer x"), ("user-agent", "bot/1"))

    async def main() -> None:
        async with receiving(answering(200)) as receiver:
            settings = Settings(webhook_url=receiver.url, webhook_headers=headers)
            async with WebhookClient.of(settings) as client:
                for name in "b1", "b2":
                    await client.deliver(batch(name), AMPLE_S)
            received.extend(receiver.received)

    run(main)
    assert [
        (each.headers["authorization"], each.headers["user-agent"], each.headers["webhook-id"])
        for each in received
    ] == [("Bearer x", "bot/1", "b1"), ("Bearer x", "bot/1", "b2")]


def test_every_attempt_has_the_same_body_and_a_signature_of_its_own_time() -> None:
    times = iter([1_000_000_000.9, 1_000_000_060.0])
    received: list[Received] = []

    async def main() -> None:
        async with receiving(answering(200)) as receiver:
            client = WebhookClient(receiver.url, secrets=[SECRET], now=lambda: next(times))
            async with client:
                for _ in range(2):
                    await client.deliver(batch(), AMPLE_S)
            received.extend(receiver.received)

    run(main)
    first, second = received
    assert first.body == second.body
    stamps = [request.headers["webhook-timestamp"] for request in received]
    assert stamps == ["1000000000", "1000000060"]
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_without_a_secret_there_is_no_signature() -> None:
    _, receiver = attempts(answering(200))
    assert "webhook-signature" not in receiver.received[0].headers


def test_a_password_in_the_url_becomes_basic_authorization_and_stays_out_of_the_rest() -> None:
    received: list[Received] = []

    async def main() -> None:
        async with receiving(answering(200)) as receiver:
            url = receiver.url.replace("://", "://us%20er:p%40ss@")
            async with WebhookClient(url) as client:
                await client.deliver(batch(), AMPLE_S)
            received.extend(receiver.received)

    run(main)
    headers = received[0].headers
    assert headers["authorization"] == "Basic dXMgZXI6cEBzcw=="
    assert headers["host"].startswith("127.0.0.1:")


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert attempts(answering(200))[0] == [Delivered(200)]


def test_cookies_are_not_kept() -> None:
    _, receiver = attempts(answering(200, set_cookie="a=1"), times=2)
    assert "cookie" not in receiver.received[1].headers


# What is answered


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_a_complete_2xx_is_delivered(status: int) -> None:
    assert attempts(answering(status))[0] == [Delivered(status)]


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 500, 503])
def test_any_other_answer_failed_and_may_be_tried_again(status: int) -> None:
    assert failure(answering(status, b"SECRET")) == Failed(
        f"answered {status}", status, answer=None if status == 304 else "SECRET"
    )


def test_gone_is_final_and_too_large_is_not() -> None:
    assert failure(answering(410)) == Failed("answered 410", 410, final=True, answer="ok")
    assert failure(answering(413)) == Failed("answered 413", 413, answer="ok")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(status: int) -> None:
    [outcome], receiver = attempts(answering(status, location="/elsewhere"))
    assert isinstance(outcome, Failed)
    assert (outcome.status, outcome.reason) == (
        status,
        f"answered {status} to {receiver.url.partition('/hook')[0]}/elsewhere;"
        " redirects are not followed: put that address in WEBHOOK_URL",
    )
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://new.example/hook", "https://new.example/hook"),
        ("https://us:pw@new.example:8443/h%20k?token=t#x", "https://new.example:8443/h%20k?…"),
        ("//other/" + "x" * 500, "http://other/" + "x" * 187),
    ],
)
def test_where_a_redirect_leads_is_said_without_what_may_be_secret(
    location: str, shown: str
) -> None:
    reason = failure(answering(301, location=location)).reason
    assert reason.startswith(f"answered 301 to {shown}; ")
    assert not any(secret in reason for secret in ("pw", "token"))


def test_a_redirect_to_nowhere_is_any_other_failure() -> None:
    assert failure(answering(301)).reason == "answered 301"
    assert failure(answering(301, location="http://h:x")).reason == "answered 301"
    assert failure(answering(304, location="/x")).reason == "answered 304"


# What a failing receiver says


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"code":404,"message":"the workflow must be active"}', None),
        (b"a\r\n\tb\x1b[31mc\x00\x7f", "a   b\ufffd[31mc\ufffd\ufffd"),
        ("ol\xe1 \U0001f600 \u202eabc".encode(), "ol\xe1 \U0001f600 \ufffdabc"),
        (b"ol\xe1", "ol\ufffd"),
        (("x" * 299 + "\xe1" * 9).encode(), "x" * 299),
        (b"x" * 100_000, "x" * 300),
        (b"", ""),
        (b" \n ", ""),
    ],
)
def test_the_beginning_of_a_failing_answer_is_kept_as_harmless_text(
    body: bytes, told: str | None
) -> None:
    expected = body.decode() if told is None else told
    assert failure(answering(500, body)).answer == (expected or None)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_answer_is_read_and_a_bomb_costs_nothing(coding: str) -> None:
    packed = gzip.compress if coding == "gzip" else zlib.compress
    assert failure(answering(500, packed(b"no such flow"), content_encoding=coding)).answer == (
        "no such flow"
    )
    bomb = failure(answering(500, packed(b"x" * 10_000_000), content_encoding=coding))
    assert bomb.answer == "x" * 300
    assert "not readable" in str(failure(answering(500, b"plain", content_encoding=coding)).answer)
    assert "br" in str(failure(answering(500, b"?", content_encoding="br")).answer)


def test_the_answer_of_a_receiver_that_never_ends_it_is_kept_as_far_as_it_came() -> None:
    head = b"HTTP/1.1 503 Busy\r\ncontent-length: 1000\r\n\r\n"
    assert failure(sending(head, b"try ", b"later", then=stay)).answer == "try later"


def test_a_failure_with_a_short_answer_leaves_its_connection_usable() -> None:
    outcomes, receiver = attempts(answering(500, b"no"), times=3)
    assert [getattr(outcome, "answer", None) for outcome in outcomes] == ["no"] * 3
    assert receiver.connections == 1


def test_no_content_needs_no_length() -> None:
    behaviour = sending(b"HTTP/1.1 204 No Content\r\n\r\n", then=stay)
    assert attempts(behaviour)[0] == [Delivered(204)]


def test_an_old_receiver_ends_its_answer_by_closing() -> None:
    assert attempts(sending(b"HTTP/1.0 200 OK\r\n\r\nok"))[0] == [Delivered(200)]


def test_an_interim_answer_is_not_the_answer() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    final = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
    assert failure(sending(interim, final)) == Failed("answered 500", 500)
    assert failure(sending(interim, then=stay), SOON_S).status is None


def test_a_receivers_wish_to_wait_is_passed_on_in_both_forms() -> None:
    assert failure(answering(429, retry_after="120")).retry_after_s == 120.0
    assert failure(answering(503, retry_after="soon")).retry_after_s is None
    outcomes: list[Outcome] = []

    async def main() -> None:
        date = formatdate(1_000_000_090, usegmt=True)
        async with (
            receiving(answering(503, retry_after=date)) as receiver,
            WebhookClient(receiver.url, now=lambda: 1_000_000_000.0) as client,
        ):
            outcomes.append(await client.deliver(batch(), AMPLE_S))

    run(main)
    assert outcomes == [Failed("answered 503", 503, 90.0, answer="ok")]


# Slow and endless answers


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n"]
)
def test_without_a_complete_head_there_is_no_answer(start: bytes) -> None:
    problem = failure(sending(start, then=stay), SOON_S)
    assert problem == Failed("timed out after 0.2 s waiting for the answer")


def test_a_head_that_drips_is_cut_at_the_deadline() -> None:
    async def drip(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await connection.send(b"x: y\r\n")
            await trio.sleep(0.01)

    assert failure(drip, SOON_S).reason.startswith("timed out after 0.2 s")


def test_a_head_without_end_is_given_up() -> None:
    async def flood(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000)
        await stay(connection)

    assert failure(flood).reason == "the answer is not valid HTTP"


@pytest.mark.parametrize(
    "length", [b"content-length: 1000000", b"transfer-encoding: chunked", b"x: y"]
)
def test_a_status_counts_even_if_the_body_never_ends(length: bytes) -> None:
    async def drip(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n")
        while True:
            await connection.send(b"1\r\nx\r\n")
            await trio.sleep(0.01)

    started = time.monotonic()
    [first, second], receiver = attempts(drip, times=2)
    assert (first, second) == (Delivered(200), Delivered(200))
    assert receiver.connections == 2, "a connection with half an answer must not be used again"
    assert time.monotonic() - started < 2 * DRAIN_S + 2


def test_a_status_that_came_counts_although_the_deadline_passes_during_the_body() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"
    assert attempts(sending(head, then=stay), deadline_s=DRAIN_S / 2)[0] == [Delivered(200)]


def test_a_status_counts_although_the_body_breaks_off() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"
    assert attempts(sending(head, b"half"))[0] == [Delivered(200)]


def test_a_body_of_200_mb_is_not_read() -> None:
    sent_bytes = 0

    async def flood(connection: Connection) -> None:
        nonlocal sent_bytes
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 200000000\r\n\r\n")
        for _ in range(2_000):
            await connection.send(bytes(100_000))
            sent_bytes += 100_000

    assert attempts(flood)[0] == [Delivered(200)]
    # What the kernel buffers on both sides, besides what was read.
    assert sent_bytes < DRAIN_BYTES_MAX + 20_000_000


# Broken answers


def test_closing_without_an_answer_failed_and_is_not_tried_twice_on_a_new_connection() -> None:
    [outcome], receiver = attempts(sending())
    assert outcome == Failed("connection closed before an answer")
    assert len(receiver.received) == 1


def test_half_a_head_is_no_answer() -> None:
    assert failure(sending(b"HTTP/1.1 200 OK\r\nx:")).reason == "connection closed before an answer"


def test_a_reset_is_no_answer() -> None:
    async def reset(connection: Connection) -> None:
        await connection.read_request()
        connection.reset()

    assert failure(reset).reason == "connection closed before an answer"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"\0" * 100 + b"\r\n\r\n",
        b"HTTP/1.1 OK 200\r\n\r\n",
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    ],
)
def test_what_is_not_http_is_no_answer(answer: bytes) -> None:
    assert failure(sending(answer, then=stay)).reason == "the answer is not valid HTTP"


PIECES = [b"HTTP/1.1 200 OK", b"HTTP/1.0 500 No", b"\r\n", b"\r\n\r\n", b": ", b"content-length: 2"]
PIECES += [b"transfer-encoding: chunked", b"0\r\n\r\n", b"2\r\nok\r\n", b"content-length: 9", b" "]


@settings(max_examples=40)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=5), max_size=8).map(b"".join))
def test_any_bytes_are_an_outcome_and_only_a_2xx_is_success(answer: bytes) -> None:
    [outcome], _ = attempts(sending(answer))
    if outcome == Delivered(200):
        assert b"HTTP/1.1 200" in answer
        assert b"\n" in answer
    else:
        assert isinstance(outcome, Failed)
