"""The models are the API: a real service answers with their fields, with all and no others, and
the command line and the pages name only fields that a model has.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, get_args
from urllib.parse import quote

import pytest
from msgspec.structs import fields

from actor_queue.app.commands import dead as dead_commands
from actor_queue.app.commands import drop as drop_commands
from actor_queue.app.commands import history as history_commands
from actor_queue.app.commands import users as user_commands
from actor_queue.core.batch import Reason
from actor_queue.http import models
from actor_queue.http.models import Model, fields_of
from actor_queue.store.deeds_api import DeedName
from tests.acceptance.client import Response, fresh_user
from tests.acceptance.receiver import held, reply
from tests.acceptance.service import World, world
from tests.acceptance.waiting import wait_for_attempts, wait_until
from tests.doors.fixtures import as_sent, fixture

KEY = "k-of-these-tests-and-no-other"
KINDS: dict[str, type[Model]] = {model.__name__: model for model in models.MODELS}


@dataclass
class Seen:
    """Which fields of which models held something; null, or an empty list, is nothing."""

    held: dict[str, set[str]] = field(default_factory=dict)

    def add(self, model: type[Model], value: Any) -> None:
        """Raises AssertionError where `value` has other fields than its model."""
        optional = {each.name for each in fields(model) if not each.required}
        extra = set(value) - set(fields_of(model))
        assert issubclass(model, models.Open) or not extra, (model.__name__, extra)
        missing = set(fields_of(model)) - set(value) - optional
        assert not missing, (model.__name__, missing)
        noted = self.held.setdefault(model.__name__, set())
        for each in fields(model):
            part = value.get(each.name)
            if part is None or part == []:
                continue
            noted.add(each.name)
            below = model_in(each.type)
            for one in part if isinstance(part, list) else [part]:
                if below is not None:
                    self.add(below, one)

    def answer(self, model: type[Model], status: int, answer: Response) -> Any:
        assert answer.status == status, answer.body
        self.add(model, answer.json())
        return answer.json()


def model_in(kind: Any) -> type[Model] | None:
    """The model that a field's type speaks of, if one."""
    if isinstance(kind, type) and issubclass(kind, Model):
        return kind
    return next((found for part in get_args(kind) if (found := model_in(part))), None)


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with world(
        AQ_DEAD_RETENTION="30",
        AQ_RETRY_SCHEDULE="600",
        AQ_PAYLOAD="detailed",
        AQ_WEBHOOK_TIMEOUT="300",
        AQ_API_KEYS=f"admin:{KEY}:joana",
    ) as running:
        running.client.key = KEY
        yield running


NEVER_SO_FEW = {
    "Erased": {"cursor"},
    "Would": {"cursor"},
    "DeadGroups": {"cursor"},
    "Accepted": {"route"},
    "ReplayJob": {"route"},
    "Batch": {"answer_in"},
    "Route": {"next_probe_in"},
    "User": {"blocked"},
    "UserDetail": {"blocked"},
    "UserTexts": {"blocked"},
    "TypingAnswer": {"blocked"},
}
"""What is null, or not there, unless there is more than a test of all models should make."""


@pytest.mark.process
def test_every_answer_has_the_fields_of_its_model_and_every_field_is_in_an_answer(
    running: World,
) -> None:
    seen, client, receiver = Seen(), running.client, running.receiver
    about_users(seen, running)
    about_dead_letters(seen, running)
    about_attempts(seen, running)
    seen.answer(models.Health, 200, client.get("/healthz"))
    seen.answer(models.Checkup, 200, client.get("/api/doctor"))
    wait_until(
        lambda: all(lease["owner"] for lease in client.get("/api/shards").json()["shards"]),
        "every shard has an owner",
    )
    seen.answer(models.Shards, 200, client.get("/api/shards"))
    seen.answer(models.Routes, 200, client.get("/api/routes"))
    paused = client.call("POST", "/api/routes/default/pause", b'{"reason": "a test"}')
    seen.answer(models.Routes, 200, paused)
    assert client.call("POST", "/api/routes/default/resume").status == 200
    seen.answer(models.Trial, 200, client.call("POST", "/api/routes/default/test", b"{}"))
    wait_until(lambda: client.get("/api/attempts").json()["attempts"], "a history")
    user = fresh_user("done")
    client.user(user, "hold", seconds=60, reason="a person took over")
    seen.answer(models.UserDeeds, 200, client.get(f"/api/users/{user}?deeds=true"))
    client.accepted(user, ttl=600, message_id="wamid.1")
    seen.answer(models.LookUp, 200, client.get(f"/api/find?id=wamid.1&user={user}"))
    path = f"/api/users/{quote(user, safe='')}/messages/wamid.1"
    changed = client.call("PATCH", path, b'{"message": "outra coisa"}')
    seen.answer(models.ChangedMessage, 200, changed)
    dead = client.get("/api/attempts?outcome=dead&limit=1").json()["attempts"][0]["batch_id"]
    seen.answer(models.LookUp, 200, client.get(f"/api/find?id={dead}"))
    seen.answer(models.DeedList, 200, client.get("/api/deeds"))
    seen.answer(models.AttemptList, 200, client.get("/api/attempts?limit=1"))
    about_sessions(seen, running)
    done = as_sent(fixture("chatwoot/agent_is_done")["body"])
    seen.answer(models.DoorAnswer, 200, client.call("POST", "/in/chatwoot", done))
    for attempt in receiver.attempts:
        seen.add(models.Webhook, json.loads(attempt.body))
    assert seen.held.keys() | {"Message", "NewText", "SignIn"} == KINDS.keys(), "what is only read"
    never = {name: set(fields_of(KINDS[name])) - held for name, held in seen.held.items()}
    assert {name: missing for name, missing in never.items() if missing} == NEVER_SO_FEW


def about_users(seen: Seen, running: World) -> None:
    client, receiver = running.client, running.receiver
    busy, retrying, stopped = (fresh_user(name) for name in ("busy", "retrying", "held"))
    gate = threading.Event()
    receiver.script(busy, held(gate))
    receiver.script(retrying, reply(503))
    seen.answer(models.Accepted, 202, client.post(busy, ttl=0))
    client.accepted(retrying, ttl=0)
    client.accepted(stopped, ttl=600)
    wait_for_attempts(receiver, busy)
    wait_until(lambda: client.state(retrying) == "retrying", "a batch that waits for its retry")
    seen.answer(models.TypingAnswer, 200, client.user(stopped, "typing", ttl=700))
    seen.answer(models.UserDetail, 200, client.user(stopped, "hold", seconds=600))
    for user in (busy, retrying):
        seen.answer(models.UserDetail, 200, client.user(user))
    for verb in ("typing", "hold", "release"):
        model = models.TypingAnswer if verb == "typing" else models.UserDetail
        seen.answer(model, 200, client.user(retrying, verb))
    seen.answer(models.UserList, 200, client.get("/api/users"))
    seen.answer(models.UserList, 200, client.get("/api/users?limit=1"))
    client.user(retrying, "hold", seconds=600)
    seen.answer(models.UserTexts, 200, client.get(f"/api/users/{retrying}?texts=true"))
    seen.answer(models.TypingAnswer, 200, client.user(retrying, "typing"))
    seen.answer(models.Dropped, 200, client.drop(retrying))
    for body in (b'{"dry_run": true}', b'{"limit": 1, "state": "held"}'):
        model = models.Would if b"dry" in body else models.Done
        seen.answer(model, 200, client.call("POST", "/api/users/hold", body))
    receiver.script(retrying, reply(503))
    client.user(retrying, "release")
    client.accepted(retrying, ttl=0)
    wait_until(lambda: client.state(retrying) == "retrying", "a batch that waits for its retry")
    for user in (retrying, busy):
        path = f"/api/users/{user}?everything=true"
        seen.answer(models.Erased, 200, client.call("DELETE", path))
    seen.answer(models.Problem, 422, client.call("POST", "/api/message", b'{"user": []}'))
    gate.set()


def about_sessions(seen: Seen, running: World) -> None:
    signed_in = running.client.call("POST", "/api/session", json.dumps({"key": KEY}).encode())
    assert signed_in.status == 204, signed_in.body
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    running.client.key = None
    session = running.client.call("GET", "/api/session", headers={"cookie": cookie})
    running.client.key = KEY
    seen.answer(models.Session, 200, session)


def about_dead_letters(seen: Seen, running: World) -> None:
    client, receiver = running.client, running.receiver
    for user in (fresh_user("died"), fresh_user("died")):
        receiver.script(user, reply(410), reply(410))
        client.accepted(user, ttl=0)
    wait_until(lambda: len(client.dead_ids()) == 2, "two dead letters")
    seen.answer(models.DeadList, 200, client.get("/api/dead?limit=1"))
    groups = client.get("/api/dead/groups")
    seen.answer(models.DeadGroups, 200, groups)
    for group in groups.json()["groups"]:
        seen.add(models.DeadGroup, group)
    first, second = client.dead_ids()
    seen.answer(models.DeadLetterDetail, 200, client.get(f"/api/dead/{first}"))
    client.user(client.get(f"/api/dead/{first}").json()["user"], "hold", seconds=600)
    seen.answer(models.DeadLetter, 202, client.call("POST", f"/api/dead/{first}/replay"))
    wanted = {"user": "died", "reason": "answered", "status": 410, "since": "10m"}
    begin = json.dumps(wanted | {"per_second": 50}).encode()
    seen.answer(models.ReplayJob, 202, client.call("POST", "/api/dead/replay", begin))
    seen.answer(models.ReplayJob, 200, client.get("/api/dead/replay"))
    seen.answer(models.DeadGone, 200, client.call("DELETE", f"/api/dead/{first}"))
    wait_until(lambda: second in client.dead_ids(), "the other one has died again")


def about_attempts(seen: Seen, running: World) -> None:
    client = running.client
    wait_until(
        lambda: client.get("/api/attempts?status=410").json()["attempts"] != [],
        "the history has a failed attempt",
    )
    seen.answer(models.AttemptList, 200, client.get("/api/attempts?limit=1"))
    seen.answer(models.AttemptList, 200, client.get("/api/attempts?status=410"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("user", []), ("message", []), ("ttl", []), ("message_id", [])],
)
def test_every_field_of_a_message_has_a_rule(running: World, name: str, value: object) -> None:
    assert name in fields_of(models.Message)
    body = {"user": "ana", "message": "oi"} | {name: value}
    answer = running.client.call("POST", "/api/message", json.dumps(body).encode())
    assert (answer.status, answer.json()["field"]) == (422, name)


# Who shows them

WORKED_OUT = {"next"}
"""What the command line makes of several fields."""
COLUMNS = [
    (user_commands, "COLUMNS", models.User),
    (user_commands, "FIELDS", models.UserDetail),
    (user_commands, "ATTEMPT_COLUMNS", models.Attempt),
    (user_commands, "ATTEMPT_OPTIONAL", models.Attempt),
    (dead_commands, "COLUMNS", models.DeadLetter),
    (dead_commands, "COLUMNS_REPLAYED", models.DeadLetter),
    (dead_commands, "COLUMNS_JOB", models.ReplayJob),
    (dead_commands, "OPTIONAL", models.DeadLetter),
    (history_commands, "COLUMNS", models.PastAttempt),
    (history_commands, "DEED_COLUMNS", models.Deed),
    (history_commands, "FOUND_FIELDS", models.Found),
    (history_commands, "FOUND_COLUMNS", models.FoundAttempt),
    (history_commands, "USER_DEED_COLUMNS", models.Deed),
    (drop_commands, "ERASED_FIELDS", models.Erased),
]


@pytest.mark.parametrize(("module", "columns", "model"), COLUMNS)
def test_the_columns_of_the_command_line_are_fields(
    module: Any, columns: str, model: type[Model]
) -> None:
    assert set(getattr(module, columns)) - WORKED_OUT <= set(fields_of(model))


ALL_FIELDS = {name for model in (*models.MODELS, *models.PARAMETERS) for name in fields_of(model)}


@pytest.mark.parametrize("module", [user_commands, dead_commands, drop_commands])
def test_whatever_the_command_line_reads_of_an_answer_is_a_field(module: Any) -> None:
    tree = ast.parse(inspect.getsource(module))
    read = {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "get"
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and not str(call.args[0].value).startswith("/")
    }
    assert len(read) > 5
    assert read <= ALL_FIELDS


COMMENTS = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
SNAKE = re.compile(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
"""In our scripts only fields of the API are written so; names of their own have a hump."""
OTHERS = {"late_ms", "received_at", *get_args(Reason), *get_args(DeedName), "taken_back"}
"""Of an event, of the objects inside a webhook, and what a field may hold."""
OF_PLATFORMS = "webhooks.js"
"""It writes what chat platforms send, in their words."""


def scripts_in(folder: Traversable) -> Iterator[Traversable]:
    for each in folder.iterdir():
        if each.is_dir() and each.name != "vendor":
            yield from scripts_in(each)
        elif each.name.endswith(".js"):
            yield each


def test_the_pages_name_only_fields() -> None:
    found = {
        (script.name, name)
        for script in scripts_in(files("actor_queue.http").joinpath("pages"))
        if script.name != OF_PLATFORMS
        for name in SNAKE.findall(COMMENTS.sub("", script.read_text()))
        if not name.startswith("actor_queue_")  # of /metrics
    }
    assert len(found) > 5
    assert {(script, name) for script, name in found if name not in ALL_FIELDS | OTHERS} == set()
