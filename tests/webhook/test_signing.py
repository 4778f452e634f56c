"""Signatures that any Standard Webhooks library accepts."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from actor_queue.webhook.signing import Signer, parse_secret, sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(bytes(range(64))).decode()


def signed_headers(signature: str, timestamp_s: int) -> dict[str, str]:
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": signature,
    }


def test_the_specifications_vector_is_met() -> None:
    body = b'{"test": 2432232314}'
    assert Signer([SECRET]).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_while_rotating_receivers_with_either_secret_accept() -> None:
    now_s = int(time.time())
    signature = Signer([SECRET, OTHER]).sign("msg_1", now_s, b'{"a": "\xc3\xa3"}')
    assert signature is not None
    assert signature.count("v1,") == 2
    for secret in (SECRET, OTHER):
        Webhook(secret).verify('{"a": "ã"}', signed_headers(signature, now_s))


@pytest.mark.parametrize("change", ["id", "time", "body", "secret"])
def test_a_signature_covers_id_time_and_body(change: str) -> None:
    now_s = int(time.time())
    signature = sign([parse_secret(SECRET)], "msg_1", now_s, b'{"a": 1}')
    headers = signed_headers(signature, now_s + 1 if change == "time" else now_s)
    headers["webhook-id"] = "msg_2" if change == "id" else "msg_1"
    receiver = Webhook(OTHER if change == "secret" else SECRET)
    with pytest.raises(WebhookVerificationError):
        receiver.verify('{"a": 2}' if change == "body" else '{"a": 1}', headers)


def test_without_a_secret_nothing_is_signed() -> None:
    assert Signer([]).sign("msg_1", 1, b"{}") is None


@given(st.binary(min_size=24, max_size=64))
def test_every_key_of_24_to_64_bytes_is_read(key: bytes) -> None:
    assert parse_secret("whsec_" + base64.b64encode(key).decode()) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa\u00e7a",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        SECRET + " " + SECRET,
    ],
)
def test_what_is_no_secret_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_secret(text)
    assert "MfKQ" not in str(caught.value)
    assert caught.value.__cause__ is None
