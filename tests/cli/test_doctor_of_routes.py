"""`doctor` looks at every route's receiver, and posts its test to the one that is named."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from actor_queue.app.doctor import webhook
from actor_queue.core.config_file import read_config
from actor_queue.core.settings import Settings
from actor_queue.webhook.signing import new_secret
from tests.cli.conftest import Run, Scripted


def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    file = tmp_path / "aq.toml"
    file.write_text(text)
    monkeypatch.setenv("AQ_CONFIG", str(file))


def found_by(run: Run, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    by_check: dict[str, list[dict[str, Any]]] = {}
    for each in json.loads(run("doctor", "--json", *arguments).out)["findings"]:
        by_check.setdefault(each["check"], []).append(each)
    return by_check


def test_every_route_is_looked_at_and_named(
    run: Run, scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    configured(
        tmp_path,
        monkeypatch,
        f"""
        [routes.well]
        url = "{scripted.url}/hunter2"
        secret = "{new_secret()}"
        [routes.also-well]
        url = "{scripted.url}/other"
        [routes.refused]
        url = "http://127.0.0.1:{port}/"
        [routes.nameless]
        url = "http://receiver.invalid/"
        [routes.metadata]
        url = "http://169.254.43518/latest"
        [routes.no-tls]
        url = "{scripted.url.replace("http:", "https:")}/"
        """,
    )
    found = found_by(run)
    levels = {check: [each["level"] for each in said] for check, said in found.items()}
    assert "webhook" not in levels, "the default route need not be there"
    assert levels["webhook well"] == levels["webhook also-well"] == ["ok"]
    assert levels["webhook refused"] == levels["webhook nameless"] == ["fail"]
    assert levels["webhook no-tls"] == ["ok", "fail"]
    [metadata] = found["webhook metadata"]
    assert metadata["level"] == "fail"
    assert "is an address to which no webhook may go" in metadata["text"]
    assert metadata["text"].endswith(
        "correct url of [routes.metadata], or look at AQ_WEBHOOK_NETWORKS"
    )
    [unsigned] = found["routes"]
    assert "also-well, refused, nameless, metadata, no-tls;" in unsigned["text"]
    assert "hunter2" not in json.dumps(found)
    assert scripted.requests == []


def test_the_test_goes_to_the_route_that_is_named_as_its_batches_would(
    run: Run, scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = new_secret()
    configured(
        tmp_path,
        monkeypatch,
        f'[routes.vendas]\nurl = "{scripted.url}/vendas"\nsecret = "{secret}"\n'
        'payload = "detailed"\nheaders = { authorization = "Bearer hunter2" }',
    )
    monkeypatch.setenv("WEBHOOK_URL", f"{scripted.url}/hook")
    scripted.answers["/vendas"] = (400, {})
    [said] = found_by(run, "--send-test", "--route", "vendas")["test vendas"]
    assert said["level"] == "fail"
    assert "compare what it expects with payload of [routes.vendas]" in said["text"]
    [request] = scripted.requests
    assert request.path == "/vendas"
    assert request.headers["authorization"] == "Bearer hunter2"
    assert Webhook(secret).verify(request.content, request.headers)["batch"]["route"] == "vendas"

    [said] = found_by(run, "--send-test", "--route", "venda")["test"]
    assert said["text"] == "there is no route 'venda'; the routes are: default, vendas"
    assert found_by(run, "--send-test")["test"][0]["level"] == "fail"
    assert [each.path for each in scripted.requests] == ["/vendas", "/hook"]
    assert run("doctor", "--route", "vendas").status == 2


def test_many_routes_that_do_not_answer_are_looked_at_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Name lookups that hang take their threads and nothing else."""
    let_go = threading.Event()
    asked: list[object] = []

    def never(host: object, *_: object, **__: object) -> list[object]:
        asked.append(host)
        let_go.wait(60)
        return []

    monkeypatch.setattr(webhook.socket, "getaddrinfo", never)
    monkeypatch.setattr(webhook, "ALL_LOOKS_S", 0.05)
    text = "".join(f'[routes.r{n}]\nurl = "http://host-{n}"\n' for n in range(40))
    routes = read_config(text, {}, Settings()).routes
    try:
        found = list(webhook.examine_webhook(Settings(), routes))
    finally:
        let_go.set()
    late = [each for each in found if "was not looked at within" in each.text]
    assert [each.check for each in late] == [f"webhook {route.name}" for route in routes]
    assert len(asked) <= webhook.LOOKS_AT_ONCE
