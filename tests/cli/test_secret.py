"""`new-secret`: a key that every verifier takes, those too that take only text."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

from standardwebhooks import Webhook

from actor_queue.core.settings import parse
from actor_queue.webhook.signing import Signer, new_secret
from tests.cli.conftest import Run, actor_queue

BODY = b'{"user":"ana","messages":["oi"]}'


def text_of(secret: str) -> str:
    return base64.b64decode(secret.removeprefix("whsec_")).decode("ascii")


def test_standard_output_has_the_secret_alone_and_the_advice_does_not_have_it() -> None:
    said = actor_queue("new-secret")
    assert said.returncode == 0
    secret = said.stdout.decode().removesuffix("\n")
    assert parse({"WEBHOOK_SECRET": secret}).webhook_secrets == (secret,)
    assert "n8n" in said.stderr.decode()
    assert secret not in said.stderr.decode()
    assert text_of(secret) not in said.stderr.decode()


def test_every_new_secret_is_another_one_of_24_to_64_bytes_of_letters_and_digits() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        text = text_of(secret)
        assert 24 <= len(text) <= 64
        assert text.isalnum()
        assert text.isascii()
        assert "=" not in secret


def test_the_secret_and_its_text_verify_the_same_signature(run: Run) -> None:
    answer = json.loads(run("new-secret", "--json").out)
    now_s = int(datetime.now(UTC).timestamp())
    signature = Signer([answer["secret"]]).sign("b1", now_s, BODY)
    assert signature is not None
    headers = {"webhook-id": "b1", "webhook-timestamp": str(now_s), "webhook-signature": signature}
    assert Webhook(answer["secret"]).verify(BODY, headers) == json.loads(BODY)
    # What n8n's Crypto node computes: HMAC with the key as text, SHA-256, base64.
    signed = f"b1.{now_s}.{BODY.decode()}"
    digest = hmac.new(answer["text"].encode(), signed.encode(), hashlib.sha256).digest()
    assert signature == f"v1,{base64.b64encode(digest).decode()}"
