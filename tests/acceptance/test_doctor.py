"""`GET /api/doctor`, and `actor-queue doctor --url`: the service judges itself."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.acceptance.client import MARK, Client, fresh_user
from tests.acceptance.receiver import Answer
from tests.acceptance.service import clean_environment, command, world
from tests.acceptance.waiting import wait_until

pytestmark = pytest.mark.process

KEYS = {"ingest": f"{MARK}-ingest-key", "read": f"{MARK}-read-key", "admin": f"{MARK}-admin-key"}


def test_the_service_is_judged_with_its_own_settings_and_tells_no_secret_and_no_text() -> None:
    keys = ",".join(f"{scope}:{key}" for scope, key in KEYS.items())
    with world(AQ_API_KEYS=keys, AQ_RETRY_SCHEDULE="0", AQ_MAX_BATCH_BYTES="1000") as running:
        port = running.client.port
        asked = {scope: Client(port, key=key).get("/api/doctor") for scope, key in KEYS.items()}
        assert asked["ingest"].status == 403
        assert Client(port).get("/api/doctor").status == 401
        assert asked["read"].status == asked["admin"].status == 200
        answer = asked["read"].json()
        assert answer["healthy"] is True
        levels = {each["check"]: each["level"] for each in answer["findings"]}
        assert {"ready", "redis", "persistence", "shards", "users", "webhook"} <= set(levels)
        assert any("AQ_MAX_BATCH_BYTES is 1000" in each["text"] for each in answer["findings"])

        admin = Client(port, key=KEYS["admin"])
        user = fresh_user("morto")
        running.receiver.script(user, Answer(status=410, body=f"{MARK} said the receiver"))
        admin.accepted(user, ttl=0)
        wait_until(lambda: len(admin.dead_ids()) == 1, "a dead letter")

        def said() -> str:
            return admin.get("/api/doctor").body.decode()

        wait_until(lambda: "1 dead letter" in said(), "the doctor looks again")
        assert "answered 410" in said()
        assert MARK not in said()

        # The environment of whoever asks is not judged.
        elsewhere = {"REDIS_URL": "redis://127.0.0.1:1", "AQ_MAX_BATCH_BYTES": "2000"}
        process = subprocess.run(
            command("doctor", "--url", f"http://127.0.0.1:{port}", "--key", KEYS["read"], "--json"),
            env=clean_environment(**elsewhere),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert process.returncode == 0, process.stderr
        told = json.loads(process.stdout)
        assert "AQ_MAX_BATCH_BYTES is 1000" in json.dumps(told)
        assert "AQ_MAX_BATCH_BYTES is 2000" not in json.dumps(told)

        running.redis.configure(maxmemory="1000000")

        def failing() -> set[str]:
            found = admin.get("/api/doctor").json()["findings"]
            return {each["check"] for each in found if each["level"] == "fail"}

        wait_until(lambda: failing() >= {"ready", "memory"}, "the service is not well", 20)
        assert admin.get("/api/doctor").json()["healthy"] is False
        running.redis.configure(maxmemory="0")
