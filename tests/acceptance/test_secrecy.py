"""Neither what people write nor a secret reaches a log, a metric or an error page."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from tests.acceptance.client import MARK, fresh_user
from tests.acceptance.receiver import CLOSE, GARBAGE, HANG, reply
from tests.acceptance.service import world
from tests.acceptance.waiting import wait_for_end, wait_until

pytestmark = pytest.mark.process

WEBHOOK_KEY = base64.b64encode(f"{MARK}-chave-do-webhook-0001".encode()).decode()
PAGES = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/shards",
    "/api/users",
    "/api/dead",
    "/openapi.json",
]


def test_no_secret_and_no_text_in_logs_metrics_and_errors_whatever_happens() -> None:
    with world(start=False) as shared:
        shared.redis.configure(requirepass=f"{MARK}-senha")
        port, path = shared.receiver.port, shared.redis.url.removeprefix("unix://")
        shared.service.start(
            REDIS_URL=f"unix://:{MARK}-senha@{path}",
            WEBHOOK_URL=f"http://{MARK}-nome:{MARK}-senha@127.0.0.1:{port}"
            f"/{MARK}-caminho?token={MARK}-url",
            WEBHOOK_SECRET=f"whsec_{WEBHOOK_KEY}",
            WEBHOOK_HEADERS=f'{{"x-bot": "{MARK}-bot"}}',
            AQ_API_KEYS=f"admin:{MARK}-chave-da-api",
        )
        client = shared.client
        client.key = f"{MARK}-chave-da-api"
        users = {
            fresh_user(name): answers
            for name, answers in {
                "bem": [],
                "erro": [replace(reply(500, x_header=f"{MARK}-cabecalho"), body=f"{MARK}-eco")],
                "fechado": [CLOSE],
                "mudou": [reply(308, location=f"/{MARK}-outro-caminho?{MARK}")],
                "lixo": [GARBAGE],
                "mudo": [HANG],
                "morto": [reply(410)],
            }.items()
        }
        for user, answers in users.items():
            shared.receiver.script(user, *answers)
            text = client.accepted(
                user, ttl=0, message_id=f"{MARK}-id-{user}", nota=f"{MARK}-campo"
            )
            if reply(410) in answers:
                shared.gone.add(text)
        for user in users:
            wait_for_end(shared.receiver, user)

        seen = [client.get(page).body for page in PAGES]
        for body in bad_bodies():
            seen.append(client.call("POST", "/api/message", body).body)
            seen.append(client.call("POST", "/api/messages", body).body)
        client.key = f"{MARK}-chave-errada"
        seen += [client.get(page).body for page in PAGES]
        client.key = f"{MARK}-chave-da-api"

        shared.redis.kill()
        wait_until(lambda: not shared.service.ready, "Redis is missed")
        seen.append(client.post(fresh_user("sem-redis")).body)
        seen += [client.get(page).body for page in PAGES]
        shared.redis.start()
        # The new process has no password; the service says one all the same.
        shared.redis.configure(requirepass=f"{MARK}-senha")
        wait_until(lambda: shared.service.ready, "ready")
        shared.settle()
        for body in seen:
            assert MARK.encode() not in body
            assert WEBHOOK_KEY.encode() not in body
        (failed,) = [user for user in users if "erro" in user]
        assert f"{MARK}-eco" in client.user(failed).body.decode(), "an echo is kept, not logged"
        attempt = shared.receiver.attempts[-1]
        assert attempt.headers["webhook-signature"].startswith("v1,")
        log = shared.service.log()
        assert log
        assert MARK not in log
        assert WEBHOOK_KEY not in log


def bad_bodies() -> list[bytes]:
    """Refused, each with the mark in another place."""
    good = {"user": MARK, "message": MARK}
    return [
        MARK.encode(),
        json.dumps([MARK]).encode(),
        json.dumps({**good, "ttl": MARK}).encode(),
        json.dumps({**good, "message_id": [MARK]}).encode(),
        json.dumps({"user": [MARK], "message": MARK}).encode(),
        json.dumps({"user": MARK, "message": [MARK]}).encode(),
        b'{"user": "%s", "message": NaN}' % MARK.encode(),
        b'{"user": "x", "message": "\xff%s"}' % MARK.encode(),
    ]
