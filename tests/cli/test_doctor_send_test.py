"""`doctor --send-test`: one signed test, and what each answer means."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from actor_queue.app.doctor.send_test import judge, send_test
from actor_queue.core.outcome import Delivered, Failed
from actor_queue.core.settings import Settings, parse
from actor_queue.webhook.signing import new_secret
from tests.cli.conftest import Run, Scripted

CERTIFICATE = Path(__file__).parent.parent / "webhook" / "localhost.pem"


def settings_for(url: str, **values: str) -> Settings:
    return parse({"WEBHOOK_URL": url, "AQ_WEBHOOK_TIMEOUT": "5", **values})


@pytest.mark.parametrize("payload", ["classic", "detailed"])
def test_one_signed_test_in_the_shape_of_every_batch_is_posted(
    run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch, payload: str
) -> None:
    secret = new_secret()
    monkeypatch.setenv("WEBHOOK_URL", f"{scripted.url}/hook?token=1")
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    monkeypatch.setenv("AQ_PAYLOAD", payload)
    scripted.answers["/hook?token=1"] = (200, {"thanks": True})
    findings = json.loads(run("doctor", "--send-test", "--json").out)["findings"]
    (found,) = [each for each in findings if each["check"] == "test"]
    assert found["level"] == "ok"
    assert found["text"].startswith("answered 200 after ")

    (request,) = scripted.requests
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == request.headers["idempotency-key"]
    assert "." not in request.headers["webhook-id"]
    assert Webhook(secret).verify(request.content, request.headers) == request.body
    assert request.body["test"] is True
    assert request.body["user"] == request.body["user_id"] == "actor-queue-doctor"
    assert len(request.body["messages"]) == 1
    assert "processed_at" in request.body
    assert ("batch" in request.body) == (payload == "detailed")


def test_without_being_asked_nothing_is_posted(
    run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_URL", scripted.url)
    run("doctor")
    assert scripted.requests == []


def test_each_test_has_an_id_of_its_own_and_none_is_tried_again(scripted: Scripted) -> None:
    scripted.answers["/"] = (500, {})
    for _ in range(3):
        assert send_test(settings_for(f"{scripted.url}/")).level == "fail"
    assert len({request.headers["webhook-id"] for request in scripted.requests}) == 3
    assert len(scripted.requests) == 3


def test_a_test_without_an_address_fails(run: Run) -> None:
    said = run("doctor", "--send-test")
    assert said.status == 1
    assert "nowhere to send a test" in said.out


N8N_INACTIVE = {
    "code": 404,
    "message": 'The requested webhook "POST abc" is not registered.',
    "hint": "The workflow must be active for a production URL to run successfully.",
}
N8N_METHOD = {
    "code": 404,
    "message": "This webhook is not registered for POST requests. Did you mean a GET?",
}


@pytest.mark.parametrize(
    ("path", "status", "answer", "words"),
    [
        ("/webhook/abc", 404, N8N_INACTIVE, "activate (publish) the workflow"),
        ("/webhook-test/abc", 404, N8N_INACTIVE, "only while its editor waits"),
        ("/webhook/abc", 404, b"", "activate (publish) the workflow"),
        ("/hook", 404, b"nothing", "compare WEBHOOK_URL with the receiver's address"),
        ("/hook", 400, b"", "AQ_PAYLOAD"),
        ("/hook", 401, b"", "write them into WEBHOOK_HEADERS"),
        ("/hook", 401, b"", "https://user:password@host/"),
        ("/hook", 403, b"", "WEBHOOK_SECRET must be set"),
        ("/hook", 405, b"", "set its method to POST"),
        ("/hook", 410, b"", "wants no more webhooks"),
        ("/hook", 413, b"", "raise its limit"),
        ("/hook", 418, b"", "look at what the receiver expects"),
        ("/hook", 429, b"", "AQ_MAX_DELIVERIES"),
        ("/hook", 500, b"", "look at the receiver's log"),
        ("/hook", 502, b"", "does not reach it"),
        ("/hook", 504, b"", "answer at once and work afterwards"),
    ],
)
def test_what_an_answer_means_is_said_with_what_to_do(
    scripted: Scripted, path: str, status: int, answer: Any, words: str
) -> None:
    scripted.answers[path] = (status, answer)
    found = send_test(settings_for(f"{scripted.url}{path}"))
    assert found.level == "fail"
    assert words in found.text
    assert str(status) in found.text
    assert "\n" not in found.text


@pytest.mark.parametrize("status", [401, 403])
def test_an_authorization_that_was_sent_is_named_as_what_was_refused(
    scripted: Scripted, status: int
) -> None:
    scripted.answers["/hook"] = (status, b"")
    headers = {"WEBHOOK_HEADERS": '{"authorization": "Bearer s3cret"}'}
    found = send_test(settings_for(f"{scripted.url}/hook", **headers))
    assert "refused the authorization of WEBHOOK_HEADERS" in found.text
    assert "s3cret" not in found.text


def test_the_receivers_own_words_are_repeated_without_what_steers_a_terminal(
    scripted: Scripted,
) -> None:
    scripted.answers["/webhook/abc"] = (404, N8N_INACTIVE)
    found = send_test(settings_for(f"{scripted.url}/webhook/abc"))
    assert "; it said: " in found.text
    assert "The workflow must be active for a production URL" in found.text
    scripted.answers["/"] = (500, b"\x1b[2Jdatabase\nis gone")
    words = send_test(settings_for(f"{scripted.url}/")).text
    assert "database" in words
    assert "\x1b" not in words


def test_n8n_that_has_the_webhook_for_another_method_is_understood(scripted: Scripted) -> None:
    scripted.answers["/webhook/abc"] = (404, N8N_METHOD)
    found = send_test(settings_for(f"{scripted.url}/webhook/abc"))
    assert "set the Webhook node's HTTP method to POST" in found.text


def test_a_wrong_signature_is_thought_of_where_one_is_sent(scripted: Scripted) -> None:
    scripted.answers["/"] = (401, b"")
    found = send_test(settings_for(f"{scripted.url}/", WEBHOOK_SECRET=new_secret()))
    assert "another secret than WEBHOOK_SECRET" in found.text


def test_a_redirect_is_not_followed(scripted: Scripted) -> None:
    scripted.answers["/"] = (308, b"")
    scripted.headers["location"] = f"{scripted.url}/elsewhere"
    found = send_test(settings_for(f"{scripted.url}/"))
    assert found.text == (
        f"answered 308 to {scripted.url}/elsewhere; redirects are not followed: put that address"
        " in WEBHOOK_URL"
    )
    assert len(scripted.requests) == 1


def test_who_answers_later_than_a_third_of_the_limit_is_warned() -> None:
    settings = settings_for("http://bot/")
    assert judge(Delivered(204), 1.6, settings).level == "ok"
    slow = judge(Delivered(204), 1.7, settings)
    assert slow.level == "warn"
    assert "answered 204 after 1.7 s" in slow.text
    assert "answer at once and work afterwards" in slow.text


@contextlib.contextmanager
def listening(answer: bytes, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """One connection is read from, answered and closed; an empty answer is silence."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                if tls is not None:
                    with tls.wrap_socket(connection, server_side=True) as secured:
                        secured.recv(65_536)
                        return
                connection.recv(65_536)
                connection.sendall(answer)
                if not answer:
                    over.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            with contextlib.suppress(OSError):
                socket.create_connection(listener.getsockname(), 1).close()
            thread.join()


def test_an_address_that_nobody_listens_at_or_that_has_no_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    refused = send_test(settings_for(f"http://127.0.0.1:{port}/"))
    assert refused.text.startswith("connection refused: nobody listens there")
    nameless = send_test(settings_for("http://receiver.invalid/"))
    assert nameless.text.startswith(("name not found: correct the host", "name lookup failed"))


def test_a_certificate_that_is_not_trusted_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    with listening(b"", tls) as port:
        found = send_test(settings_for(f"https://localhost:{port}/"))
    assert found.text.startswith("TLS certificate not trusted")
    assert "SSL_CERT_FILE" in found.text
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with listening(b"", tls) as port:
        trusted = send_test(settings_for(f"https://localhost:{port}/"))
    assert trusted.text.startswith("connection closed before an answer")


@pytest.mark.parametrize(
    ("scheme", "answer", "words"),
    [
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS at this port"),
        ("http", b"220 mail.example ESMTP\r\n\r\n", "no HTTP server listens there"),
    ],
)
def test_a_server_of_another_kind_is_said(scheme: str, answer: bytes, words: str) -> None:
    with listening(answer) as port:
        assert words in send_test(settings_for(f"{scheme}://127.0.0.1:{port}/")).text


def test_a_receiver_that_never_answers_is_left_after_the_time_limit() -> None:
    with listening(b"") as port:
        settings = settings_for(f"http://127.0.0.1:{port}/", AQ_WEBHOOK_TIMEOUT="0.3")
        found = send_test(settings)
    assert found.text.startswith("timed out after 0.3 s waiting for the answer: let the receiver")
    unanswered = Failed("timed out after 5 s while connecting")
    assert "firewall" in judge(unanswered, 5, settings).text
