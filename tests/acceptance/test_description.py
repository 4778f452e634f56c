"""`/openapi.json` is true: Schemathesis asks a real service whatever it allows and forbids.

Every request is made from the description alone, and every answer is held against it. Failures are:
a status that is not described, an answer against its schema, a field that no schema has, another
method than the described ones that is answered at all, an input that the description forbids and
the service takes, and one that it allows and the service refuses. The examples are few, and the
same in every run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as described

from actor_queue.core.settings import Settings
from actor_queue.http.many_api import MANY_VERBS
from actor_queue.http.openapi import document
from tests.acceptance.client import fresh_user
from tests.acceptance.receiver import reply
from tests.acceptance.service import World, world
from tests.acceptance.waiting import wait_until

pytestmark = pytest.mark.process

EXAMPLES = 10
"""For each operation and each kind, allowed and forbidden ones."""
KEY = "k-admin"
WAITING_MAX = 3
"""So few that 429 is among the answers."""
ENDLESS = "GET /api/events"
MANY = "POST /api/messages"
DOOR = "POST /in/"
"""Whatever comes to a door is answered, so no schema says what is wrong."""
"""What is wrong with one of many messages is that message's result, and the status 200."""
AS_TEXT = ("ttl", "seconds", "limit", "status", "per_second")
"""Numbers that may be written as text."""
OF_THE_MOMENT = ("cursor", "since", "route")
"""What a schema cannot say: which cursors, moments and routes there are."""
FOR_MANY_USERS = [f"POST /api/users/{verb}" for verb in MANY_VERBS]
"""Other methods than POST are answered there, for a user of that name."""

CHECKS = [
    not_a_server_error,
    described.status_code_conformance,
    described.content_type_conformance,
    described.response_headers_conformance,
    described.response_schema_conformance,
    described.unsupported_method,
    described.allow_header_conformance,
    described.negative_data_rejection,
]

OPERATIONS = [
    f"{method.upper()} {path}"
    for path, item in document(Settings())["paths"].items()
    for method in item
    if method != "parameters"
]


@schemathesis.serializer("application/x-ndjson")
def lines(_: object, value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@dataclass
class Asked:
    """A service and its description, as the service itself gives it."""

    world: World
    schema: Any
    session: requests.Session

    def operation(self, label: str) -> Any:
        for result in self.schema.get_all_operations():
            operation = result.ok()
            if operation.label == label:
                return operation
        raise AssertionError(f"{label} is not described")

    def ask(self, case: Case) -> None:
        """Raises what the checks find."""
        label = case.operation.label
        excluded = [described.negative_data_rejection] if label == MANY else []
        if label in FOR_MANY_USERS:
            excluded = [described.unsupported_method, described.allow_header_conformance]
        answer = case.call(session=self.session, headers={"authorization": f"Bearer {KEY}"})
        # Its own check leaves out the requests that are no request of the operation at all.
        statuses = case.operation.definition.raw["responses"]
        assert str(answer.status_code) in statuses, (answer.status_code, case.as_curl_command())
        case.validate_response(answer, checks=CHECKS, excluded_checks=excluded)
        if case.meta is not None and case.meta.generation.mode.is_positive:
            if answer.status_code not in (400, 413, 415, 422):
                return
            # A maximum of a number that is written as text, whether a cursor was given out by this
            # service, whether there is such a day, and which routes are configured at the moment,
            # are rules that JSON Schema has no words for.
            field = answer.json().get("field")
            body = case.body if isinstance(case.body, dict) else {}
            as_text = isinstance(body.get(field), str) and field in AS_TEXT
            assert answer.status_code == 422, answer.text
            assert as_text or field in OF_THE_MOMENT, (answer.text, case.as_curl_command())


def closed(node: Any) -> Any:
    """The description with every object's fields as the only ones, where it leaves that open."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {name: closed(value) for name, value in node.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    with world(
        AQ_API_KEYS=f"admin:{KEY}",
        AQ_RETRY_SCHEDULE="600",
        AQ_MAX_PENDING=str(WAITING_MAX),
        AQ_PAYLOAD="detailed",
    ) as running:
        running.client.key = KEY
        schema = schemathesis.openapi.from_dict(closed(running.client.get("/openapi.json").json()))
        schema.config.update(base_url=f"http://127.0.0.1:{running.client.port}")
        schema.config.generation.codec = "ascii"  # lengths are counted in bytes
        schema.config.generation.with_security_parameters = False
        with requests.Session() as session:
            yield Asked(running, schema, session)


def each_of(strategy: Any, ask: Callable[[Case], None]) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(case: Case) -> None:
        ask(case)

    run()


@pytest.mark.parametrize("label", [label for label in OPERATIONS if label != ENDLESS])
def test_whatever_is_asked_the_answer_is_one_of_the_described(asked: Asked, label: str) -> None:
    operation = asked.operation(label)
    each_of(operation.as_strategy(), asked.ask)
    inputs = [*operation.path_parameters, *operation.query, *operation.headers, *operation.body]
    if inputs and not label.startswith(DOOR):
        each_of(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), asked.ask)
    cases = asked.schema.iter_coverage_cases(
        operation,
        generation_modes=list(GenerationMode),
        generation_config=asked.schema.config.generation,
    )
    for case in cases:
        asked.ask(case)


@pytest.mark.parametrize("label", [label for label in OPERATIONS if "{" in label])
def test_of_what_there_is_the_answer_is_one_of_the_described(asked: Asked, label: str) -> None:
    operation = asked.operation(label)
    user, died = fresh_user("tem"), fresh_user("morreu")
    asked.world.receiver.script(user, reply(503))
    asked.world.receiver.script(died, reply(410))
    for name in (user, died):
        asked.world.client.accepted(name, ttl=0)
    wait_until(lambda: asked.world.client.state(user) == "retrying", "a batch that waits")
    wait_until(lambda: letters_of(asked, died), "a dead letter")
    asked.world.client.accepted(user, ttl=600)
    there = {"user": user} if "{user}" in label else {"id": letters_of(asked, died)[0]}
    each_of(operation.as_strategy(path_parameters=there), asked.ask)


def letters_of(asked: Asked, user: str) -> list[str]:
    letters = asked.world.client.get("/api/dead?limit=1000").json()["dead"]
    return [letter["id"] for letter in letters if letter["user"] == user]


def test_the_stream_of_events_refuses_as_described(asked: Asked) -> None:
    operation = asked.operation(ENDLESS)
    for case in asked.schema.iter_coverage_cases(
        operation,
        generation_modes=[GenerationMode.NEGATIVE],
        generation_config=asked.schema.config.generation,
    ):
        if case.method != "GET":
            asked.ask(case)
