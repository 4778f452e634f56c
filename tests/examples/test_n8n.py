"""The workflows for n8n: what can be known of them without n8n, and with it the whole way.

Where `n8n` is on PATH it is started with both of them, between a real service and a stand-in of the
platform. Elsewhere only their structure is looked at.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from actor_queue.webhook.signing import new_secret
from tests.acceptance.client import fresh_user
from tests.acceptance.redis_process import redis_process
from tests.acceptance.service import Service, clean_environment
from tests.acceptance.waiting import wait_until
from tests.examples.programs import EXAMPLES
from tests.examples.stand_in import Surroundings, posted, surroundings
from tests.examples.test_receivers import (
    DOIS,
    UM,
    Bench,
    a_newer_message_comes_while_it_thinks,
    done,
    it_cannot_think,
    signed,
    table,
)

WORKFLOWS = sorted((EXAMPLES / "n8n").glob("*.json"))
SECRET_PLACE = "PUT-THE-TEXT-OF-THE-SECRET-HERE"
N8N_START_S = 240.0
KEY = "ingest-key-of-a-test"
SCENARIOS = (done, a_newer_message_comes_while_it_thinks, it_cannot_think)


def workflow(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((EXAMPLES / "n8n" / f"{name}.json").read_text())
    return content


def followers(flow: dict[str, Any], name: str) -> list[list[str]]:
    """Of each of a node's outputs."""
    outputs = flow["connections"].get(name, {"main": []})["main"]
    return [[each["node"] for each in output] for output in outputs]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_node_of_a_workflow_is_connected_and_every_reference_leads_to_one(path: Path) -> None:
    flow = json.loads(path.read_text())
    nodes = {each["name"]: each for each in flow["nodes"]}
    assert len(nodes) == len(flow["nodes"]) == len({each["id"] for each in flow["nodes"]})
    working = {name for name, each in nodes.items() if not each["type"].endswith("stickyNote")}
    reached, ahead = set[str](), [n for n in working if nodes[n]["type"].endswith(".webhook")]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += [each for output in followers(flow, name) for each in output]
    assert reached == working
    referred = set(re.findall(r"\$\('([^']+)'\)", json.dumps(flow["nodes"])))
    assert referred <= working
    assert flow["active"] is False
    assert not any("credentials" in each for each in flow["nodes"])


def test_the_workflow_answers_202_only_to_what_is_genuine_and_asks_before_it_speaks() -> None:
    flow = workflow("receive")
    nodes = {each["name"]: each["parameters"] for each in flow["nodes"]}
    assert nodes["Webhook"]["responseMode"] == "responseNode"
    assert nodes["Webhook"]["options"]["rawBody"] is True
    assert followers(flow, "Genuine?") == [["202"], ["401"]]
    for name in ("202", "401"):
        assert nodes[name]["options"]["responseCode"] == int(name)
    assert followers(flow, "202") == [["The bot"]]
    assert followers(flow, "The bot") == [["done, if latest"], ["fail"]]
    assert nodes["done, if latest"]["url"].endswith("['aq-answer-url'] }}/done")
    assert json.loads(nodes["done, if latest"]["jsonBody"]) == {"if": "latest"}
    assert nodes["Signature"]["secret"] == SECRET_PLACE
    assert followers(flow, "done, if latest") == [["May it be said?"]]
    assert followers(flow, "May it be said?") == [["Only once"], []]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """With a running n8n that has both workflows, on the route `n8n`."""
    if shutil.which("n8n") is None:
        pytest.skip("n8n is not on PATH, so of its workflows only the structure was TESTED")
    directory, port = tmp_path_factory.mktemp("n8n"), free_port()
    with surroundings() as around, redis_process() as store:
        secret = new_secret()
        (directory / "aq.toml").write_text(table("n8n", around, secret, within_s=30))
        variables = {
            "REDIS_URL": store.url,
            "AQ_CONFIG": str(directory / "aq.toml"),
            "AQ_DEFAULT_TTL": "0.5",
            "AQ_API_KEYS": f"ingest@n8n:{KEY},admin:the-other-{KEY}",
            "AQ_SHARDS": "8",
        }
        service = Service(directory, variables, port=free_port())
        service.client.key = f"the-other-{KEY}"
        adapt(directory, around, service, secret)
        with started(directory, port) as url:
            around.receivers["n8n"] = f"{url}/webhook/actor-queue"
            service.start()
            yield Bench(around, service, {"n8n": secret})
            service.close()


def adapt(directory: Path, around: Surroundings, service: Service, secret: str) -> None:
    """What somebody does by hand after the import: the secret, two addresses, the key, and a model
    in the place of what only looks like one."""
    receive = workflow("receive")
    (bot,) = (each for each in receive["nodes"] if each["name"] == "The bot")
    asked = "={{ JSON.stringify($('Webhook').first().json.body) }}"
    ask = {"method": "POST", "url": f"{around.url}/model", "sendBody": True, "options": {}}
    bot["parameters"] = {**ask, "specifyBody": "json", "jsonBody": asked}
    bot["type"], bot["typeVersion"] = "n8n-nodes-base.httpRequest", 4.2
    text = base64.b64decode(secret.removeprefix("whsec_")).decode()
    changed = json.dumps(receive).replace(SECRET_PLACE, text).replace("json.answer", "json.text")
    changed = changed.replace("https://platform.example/send", f"{around.url}/platform")
    send = json.dumps(workflow("send"))
    flow = json.loads(send.replace("https://queue.example", f"http://127.0.0.1:{service.port}"))
    credential = {"id": "aqKey00000000001", "name": "the queue's key"}
    for node in flow["nodes"]:
        if node["parameters"].get("genericAuthType"):
            node["credentials"] = {"httpHeaderAuth": credential}
    data = {"name": "Authorization", "value": f"Bearer {KEY}"}
    (directory / "flows").mkdir()
    (directory / "flows" / "receive.json").write_text(changed)
    (directory / "flows" / "send.json").write_text(json.dumps(flow))
    (directory / "keys.json").write_text(
        json.dumps([{**credential, "type": "httpHeaderAuth", "data": data}])
    )


@contextmanager
def started(directory: Path, port: int) -> Iterator[str]:
    settings = {
        "HOME": str(directory),
        "N8N_USER_FOLDER": str(directory),
        "N8N_PORT": str(port),
        "N8N_LISTEN_ADDRESS": "127.0.0.1",
        "N8N_DIAGNOSTICS_ENABLED": "false",
        "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
        "N8N_TEMPLATES_ENABLED": "false",
        "N8N_RUNNERS_ENABLED": "false",
        "N8N_EXPRESSION_ENGINE": "legacy",
    }
    environment = clean_environment(**settings)
    for command in (
        ["import:credentials", f"--input={directory / 'keys.json'}"],
        ["import:workflow", "--separate", f"--input={directory / 'flows'}"],
        ["update:workflow", "--all", "--active=true"],
    ):
        done = subprocess.run(
            ["n8n", *command], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    with (directory / "n8n.log").open("ab") as log:
        process = subprocess.Popen(["n8n", "start"], env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: listens(url), "n8n listens", N8N_START_S)
        yield url
    finally:
        process.terminate()
        process.wait()


def listens(url: str) -> bool:
    """Its webhooks are registered: nobody has signed this."""
    try:
        return posted(f"{url}/webhook/actor-queue", {}, b"{}") == 401
    except OSError:
        return False


@pytest.mark.process
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_n8n_answers_a_batch_once(
    bench: Bench, scenario: Callable[[Bench, str, str], None]
) -> None:
    scenario(bench, "n8n", fresh_user(f"n8n-{scenario.__name__}"))


@pytest.mark.process
def test_n8n_says_once_what_it_worked_at_twice(bench: Bench) -> None:
    user = fresh_user("n8n-duas-vezes")
    bench.around.answers_lost.add(user)
    thought = bench.around.thinking(user)
    bench.write("n8n", user, UM)
    bench.asked(user, 2)
    thought.set()
    assert bench.said(user) == [UM]
    bench.is_over("n8n", user)
    assert bench.again("n8n", bench.webhook(user)) == 202
    bench.asked(user, 3)
    # Whatever it does with that one, it has done by the time that a later batch is answered.
    other = fresh_user("n8n-depois")
    bench.write("n8n", other, DOIS)
    bench.said(other)
    assert bench.said(user) == [UM]


@pytest.mark.process
def test_what_n8n_sends_is_kept_once(bench: Bench) -> None:
    user = fresh_user("n8n-envia")
    gateway = bench.around.receivers["n8n"].replace("/actor-queue", "/to-actor-queue")
    for number, text in enumerate((UM, f'"{DOIS}"\n', f'"{DOIS}"\n')):
        message = {"from": user, "text": text, "id": f"{user}-{min(number, 1)}"}
        assert posted(gateway, {}, json.dumps(message).encode()) == 200
    assert bench.said(user) == [f'{UM} + "{DOIS}"\n']


@pytest.mark.process
def test_n8n_refuses_what_nobody_has_signed(bench: Bench) -> None:
    url, secret, now = bench.around.receivers["n8n"], bench.secrets["n8n"], time.time()
    body = '{"user": "ninguém", "messages": ["ção 😀"]}'.encode()
    good = signed(secret, body, now)
    for headers, content in (
        (good, body.replace(b"user", b"uses")),
        (signed(new_secret(), body, now), body),
        (signed(secret, body, now - 600), body),
        ({}, body),
    ):
        assert posted(url, headers, content) == 401
    assert posted(url, good, body) == 202
