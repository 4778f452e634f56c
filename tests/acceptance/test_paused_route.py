"""A route that is paused by hand: nothing of it goes, in any replica, until it is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.client import fresh_user
from tests.acceptance.service import world
from tests.acceptance.waiting import wait_until

pytestmark = pytest.mark.process


def test_what_waits_for_a_paused_route_goes_in_order_when_it_is_resumed(tmp_path: Path) -> None:
    file = tmp_path / "aq.toml"
    with world(start=False, AQ_CONFIG=str(file), AQ_WORKERS="2") as running:
        file.write_text(f'[routes.vendas]\nurl = "{running.receiver.url}"\n')
        running.service.start()
        client, receiver, user = running.client, running.receiver, fresh_user("paused")

        def routes(path: str = "/api/routes", method: str = "GET", **body: str) -> dict[str, Any]:
            sent = json.dumps(body).encode() if method == "POST" else None
            answer = client.call(method, path, sent)
            assert answer.status == 200, answer
            return {each["route"]: each for each in answer.json()["routes"]}

        paused = routes("/api/routes/vendas/pause", "POST", reason="rollout")["vendas"]
        assert (paused["state"], paused["reason"]) == ("paused", "rollout")
        for text in ("um", "dois"):
            client.accepted(user, text, ttl=0, route="vendas")
        client.accepted(user, "agora", ttl=0)
        wait_until(lambda: receiver.of(user), "the default route goes on")
        assert [attempt.texts for attempt in receiver.of(user)] == [("agora",)]
        wait_until(lambda: routes()["vendas"]["waiting"] == 1, "who waits is counted")

        assert routes("/api/routes/vendas/resume", "POST")["vendas"]["state"] == "closed"
        wait_until(lambda: len(receiver.of(user)) >= 2, "the paused route goes on")
        texts = [text for attempt in receiver.of(user)[1:] for text in attempt.texts]
        assert texts[0] == "um"
        wait_until(
            lambda: {t for a in receiver.of(user) for t in a.texts} == {"agora", "um", "dois"},
            "both messages arrive",
        )
        wait_until(lambda: routes()["vendas"]["attempts"] >= 1, "the attempt is remembered")
