"""Each receiver in `examples/` against a real service: said once, in all that can come between."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import os
import secrets
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from standardwebhooks import Webhook as Signer

from tests.acceptance.client import MARK, fresh_user
from tests.acceptance.redis_process import redis_process
from tests.acceptance.service import Service
from tests.acceptance.waiting import wait_until
from tests.examples.programs import COMMANDS, RECEIVERS, Program, express, program
from tests.examples.stand_in import Surroundings, Webhook, posted, surroundings

pytestmark = pytest.mark.process

WITHIN_S = 4
PATIENCE_S = 30.0
UM, DOIS = f"{MARK}-um", f"{MARK}-dois"


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class Bench:
    """A service with a route for each receiver, and what stands around them."""

    def __init__(self, around: Surroundings, service: Service, keys: dict[str, str]) -> None:
        self.around, self.service, self.secrets = around, service, keys
        self.programs: dict[str, Program] = {}

    def write(self, route: str, user: str, text: str, ttl: float = 0.1) -> None:
        self.service.client.accepted(user, text, ttl, route=route)

    def state(self, route: str, user: str) -> Any:
        view = self.service.client.get(f"/api/users/{user}?route={route}")
        return view.json()["state"] if view.status == 200 else "idle"

    def is_over(self, route: str, user: str) -> None:
        wait_until(lambda: self.state(route, user) == "idle", "nothing waits any more", PATIENCE_S)

    def asked(self, user: str, times: int) -> list[list[str]]:
        wait_until(
            lambda: len(self.around.asked[user]) >= times, f"asked {times} times", PATIENCE_S
        )
        return self.around.asked[user]

    def said(self, user: str) -> list[str]:
        wait_until(lambda: self.around.said[user], "something was said", PATIENCE_S)
        return self.around.said[user]

    def webhook(self, user: str) -> Webhook:
        """The first one, once it has been answered."""
        wait_until(lambda: self.around.of(user), "a webhook", PATIENCE_S)
        return self.around.of(user)[0]

    def again(self, route: str, webhook: Webhook) -> int:
        """The very same bytes once more."""
        return posted(self.around.receivers[route], webhook.headers, webhook.body)

    def restart(self, route: str) -> None:
        self.programs[route].kill()
        self.around.receivers[route] = self.programs[route].start()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("receivers")
    keys = {name: new_secret() for name in COMMANDS}
    with ExitStack() as stack:
        around = stack.enter_context(surroundings())
        store = stack.enter_context(redis_process())
        config = directory / "aq.toml"
        config.write_text("".join(table(name, around, keys[name]) for name in COMMANDS))
        variables = {
            "REDIS_URL": store.url,
            "AQ_CONFIG": str(config),
            "AQ_PUBLIC_URL": f"{around.url}/queue",
            "AQ_SHARDS": "8",
        }
        service = Service(directory, variables)
        stack.push(service.closing)
        service.start()
        around.queue = f"http://127.0.0.1:{service.port}"
        running = Bench(around, service, keys)
        yield running
        for each in running.programs.values():
            each.kill()


def table(name: str, around: Surroundings, secret: str, within_s: int = WITHIN_S) -> str:
    return f"""
        [routes.{name}]
        url = "{around.url}/{name}"
        secret = "{secret}"
        answer = "later"
        answer_within = {within_s}
        retry_schedule = {[0.2] + [1] * 60}
        payload = "detailed"
    """


@pytest.fixture(scope="module", params=COMMANDS)
def route(
    request: pytest.FixtureRequest, bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Of one receiver, which is running."""
    name: str = request.param
    directory: Path = tmp_path_factory.mktemp(name)
    variables = {
        "WEBHOOK_SECRET": bench.secrets[name],
        "MODEL_URL": f"{bench.around.url}/model",
        "SEND_URL": f"{bench.around.url}/platform",
        "PORT": "0",
    }
    with program(COMMANDS[name](directory), directory, variables) as receiver:
        bench.programs[name] = receiver
        bench.around.receivers[name] = receiver.start()
        yield name


def done(bench: Bench, route: str, user: str) -> None:
    bench.write(route, user, UM, ttl=0.3)
    bench.write(route, user, DOIS, ttl=0.3)
    assert bench.said(user) == [f"{UM} + {DOIS}"]
    bench.is_over(route, user)
    assert [each.status for each in bench.around.of(user)] == [202]


def a_newer_message_comes_while_it_thinks(bench: Bench, route: str, user: str) -> None:
    thought = bench.around.thinking(user)
    bench.write(route, user, UM)
    bench.asked(user, 1)
    bench.write(route, user, DOIS)
    thought.set()
    assert bench.said(user) == [f"{UM} + {DOIS}"]
    bench.is_over(route, user)
    assert bench.around.asked[user] == [[UM], [UM, DOIS]]


def the_webhook_comes_twice(bench: Bench, route: str, user: str) -> None:
    thought = bench.around.thinking(user)
    bench.write(route, user, UM)
    webhook = bench.webhook(user)
    assert bench.again(route, webhook) == 202
    thought.set()
    assert bench.said(user) == [UM]
    bench.is_over(route, user)
    wait_until(lambda: bench.again(route, webhook) == 200, "known as answered")
    assert (bench.around.asked[user], bench.around.said[user]) == ([[UM]], [UM])


def the_202_is_lost_on_its_way(bench: Bench, route: str, user: str) -> None:
    """Then the same batch has another attempt, and only that one's address is good."""
    bench.around.answers_lost.add(user)
    thought = bench.around.thinking(user)
    bench.write(route, user, UM)
    wait_until(lambda: len(bench.around.of(user)) == 2, "another attempt", PATIENCE_S)
    first, second = bench.around.of(user)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["aq-answer-url"] != second.headers["aq-answer-url"]
    thought.set()
    assert bench.said(user) == [UM]
    bench.is_over(route, user)
    assert (len(bench.around.of(user)), bench.around.asked[user]) == (2, [[UM]])


def it_thinks_for_longer_than_it_has(bench: Bench, route: str, user: str) -> None:
    thought = bench.around.thinking(user)
    bench.write(route, user, UM)
    url = bench.webhook(user).headers["aq-answer-url"]
    wait_until(lambda: bench.state(route, user) == "answering", "the 202 is recorded")
    at_first = moment(until(url))
    # Past the time that it had at first, the batch is still its own.
    wait_until(lambda: datetime.now(UTC) > at_first, "the time is over", PATIENCE_S)
    assert moment(until(url)) > at_first
    thought.set()
    assert bench.said(user) == [UM]
    bench.is_over(route, user)
    assert (len(bench.around.of(user)), len(bench.around.asked[user])) == (1, 1)


def it_cannot_think(bench: Bench, route: str, user: str) -> None:
    bench.around.model_fails.add(user)
    bench.write(route, user, UM)
    assert bench.said(user) == [UM]
    bench.is_over(route, user)
    assert bench.around.asked[user] == [[UM], [UM]]
    recent = bench.service.client.get(f"/api/users/{user}?route={route}").json()["recent"]
    told = [each["reason"] for each in recent]
    assert told == [None, "the receiver said that it failed"]


def the_queue_is_away(bench: Bench, route: str, user: str) -> None:
    """When the answer is ready; it is told as soon as the queue is back."""
    thought = bench.around.thinking(user)
    bench.write(route, user, UM)
    bench.asked(user, 1)
    wait_until(lambda: bench.state(route, user) == "answering", "the 202 is recorded")
    bench.around.queue_is_away = True
    try:
        thought.set()
        refused = bench.around.refused
        wait_until(lambda: bench.around.refused >= refused + 2, "asked again", PATIENCE_S)
        assert bench.around.said[user] == []
    finally:
        bench.around.queue_is_away = False
    assert bench.said(user) == [UM]
    bench.is_over(route, user)
    assert bench.around.asked[user] == [[UM]]


def it_is_killed(bench: Bench, route: str, user: str) -> None:
    """Between its 202 and its `done`, and for another user between `done` and sending."""
    other = fresh_user("enviando")
    thought, taken = bench.around.thinking(user), bench.around.taking(other)
    bench.write(route, user, UM)
    bench.write(route, other, DOIS)
    bench.asked(user, 1)
    wait_until(lambda: bench.around.tried[other] == 1, "is about to be said", PATIENCE_S)
    assert bench.state(route, other) == "idle"
    # What the platform was told it has not taken, and will not.
    bench.around.takes_after.pop(other)
    bench.restart(route)
    assert bench.said(other) == [DOIS]
    bench.asked(user, 2)
    thought.set()
    taken.set()
    assert bench.said(user) == [UM]
    bench.is_over(route, user)
    assert bench.around.said[other] == [DOIS]
    first, *others = bench.around.of(user)
    assert {each.headers["webhook-id"] for each in others} == {first.headers["webhook-id"]}


SCENARIOS: tuple[Callable[[Bench, str, str], None], ...] = (
    done,
    a_newer_message_comes_while_it_thinks,
    the_webhook_comes_twice,
    the_202_is_lost_on_its_way,
    it_thinks_for_longer_than_it_has,
    it_cannot_think,
    the_queue_is_away,
    it_is_killed,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_a_batch_is_answered_once(
    bench: Bench, route: str, scenario: Callable[[Bench, str, str], None]
) -> None:
    scenario(bench, route, fresh_user(f"{route}-{scenario.__name__}"))
    assert MARK not in bench.programs[route].said()


def test_what_it_sent_is_told_by_the_platforms_ids(bench: Bench, route: str) -> None:
    user = fresh_user(f"{route}-ids")
    bench.write(route, user, UM)
    url = bench.webhook(user).headers["aq-answer-url"].removeprefix(bench.around.url)
    report = (f"{url}/done", {"sent": [f"sent-{user}-1"]})
    wait_until(lambda: report in bench.around.told, "its ids were told", PATIENCE_S)


def test_what_was_said_is_kept_by_its_id_alone(bench: Bench, route: str) -> None:
    user = fresh_user(f"{route}-esquecido")
    bench.write(route, user, UM)
    webhook = bench.webhook(user)
    bench.said(user)
    wait_until(lambda: bench.again(route, webhook) == 200, "known as answered")
    directory = bench.programs[route].directory
    kept = [each for each in directory.rglob("*") if each.is_file() and "answers" in str(each)]
    assert kept
    assert not [each for each in kept if user.encode() in each.read_bytes()]
    assert not [each for each in kept if UM.encode() in each.read_bytes()]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def until(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return str(json.load(answer)["until"])


def signed(secret: str, body: bytes, at: float) -> dict[str, str]:
    moment = datetime.fromtimestamp(at, UTC)
    return {
        "content-type": "application/json",
        "webhook-id": "msg_of_a_test",
        "webhook-timestamp": str(int(at)),
        "webhook-signature": Signer(secret).sign("msg_of_a_test", moment, body.decode()),
    }


def test_only_what_the_queue_has_signed_lately_is_taken(bench: Bench, route: str) -> None:
    secret, url = bench.secrets[route], bench.around.receivers[route]
    body, now = b'{"user": "ningu\xc3\xa9m", "messages": ["Oi"], "test": true}', time.time()
    good = signed(secret, body, now)
    assert posted(url, good, body) == 200
    both = signed(new_secret(), body, now)["webhook-signature"] + " " + good["webhook-signature"]
    assert posted(url, {**good, "webhook-signature": both}, body) == 200
    without = {name: value for name, value in good.items() if name != "webhook-signature"}
    for headers, content in (
        (good, body.replace(b"Oi", b"Ei")),
        (signed(new_secret(), body, now), body),
        (signed(secret, body, now - 600), body),
        (signed(secret, body, now + 600), body),
        ({**good, "webhook-id": "msg_of_another"}, body),
        ({**good, "webhook-timestamp": "now"}, body),
        # Python reads no number of more than 4,300 digits.
        ({**good, "webhook-timestamp": "9" * 5_000}, body),
        ({**good, "webhook-signature": good["webhook-signature"][:-1]}, body),
        (without, body),
        ({"content-type": "application/json"}, body),
        ({**good, "content-type": "text/plain", "webhook-signature": "v1,"}, body),
    ):
        assert posted(url, headers, content) == 401
    assert bench.around.asked["ninguém"] == []


@pytest.fixture
def receiver_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(RECEIVERS)
    monkeypatch.setenv("WEBHOOK_SECRET", new_secret())
    monkeypatch.setenv("ANSWERS_DB", str(tmp_path / "answers.db"))
    return importlib.import_module("fastapi_receiver")


def test_of_what_was_said_the_newest_ids_are_known_and_nothing_unsaid_is_forgotten(
    receiver_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "ANSWERS_MAX", 3)
    receiver = receiver_module.Receiver(None, receiver_module.think, receiver_module.send)
    for id in ("unsaid", *"abcdef"):
        receiver.answers.execute("INSERT INTO answers VALUES (?, '', '{}', 'Oi', 0, '[]')", (id,))
    for id in "abcdef":
        receiver.forget(id)
    known = receiver.answers.execute("SELECT id FROM answers ORDER BY rowid").fetchall()
    assert [id for (id,) in known] == ["unsaid", "d", "e", "f"]
    receiver.answers.close()


def test_of_a_long_answer_no_piece_is_said_twice_when_a_later_one_fails(
    receiver_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor after a crash: what was sent is written down piece by piece."""
    monkeypatch.setattr(receiver_module, "SEND_AGAIN_AFTER_S", (0,))
    text, said, told = "um dois tres quatro", list[str](), list[object]()

    async def send(client: object, batch: object, piece: str) -> list[str]:
        if piece == "tres" and len(said) < 5:
            said.append("failed")
            raise ConnectionError
        said.append(piece)
        return [f"id of {piece}"]

    async def tell(id: str, verb: str, body: object) -> int:
        told.append(body)
        return 200

    async def until_all_is_said() -> None:
        for _ in range(3):  # each is what is left after a crash
            receiver = receiver_module.Receiver(None, receiver_module.think, send, 6)
            receiver.tell = tell
            row = ("a", "url", "{}", text)
            begin = "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, 0, '[]')"
            receiver.answers.execute(begin, row)
            await receiver.send_until_sent("a", {}, text)
            receiver.answers.close()
            if told:
                return

    asyncio.run(until_all_is_said())
    assert [each for each in said if each != "failed"] == ["um", "dois", "tres", "quatro"]
    assert said.count("failed") == 3
    assert told == [{"sent": [f"id of {each}" for each in text.split()]}]


def test_express_forgets_what_was_said_a_week_ago(tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    answers.mkdir()
    for name, days in (("old.said", 8), ("new.said", 6)):
        (answers / name).touch()
        os.utime(answers / name, (at := time.time() - days * 86_400, at))
    variables = {"WEBHOOK_SECRET": new_secret(), "PORT": "0"}
    with program(express(tmp_path), tmp_path, variables) as receiver:
        receiver.start()
        assert [each.name for each in answers.iterdir()] == ["new.said"]


def test_a_body_that_no_batch_has_is_not_read_to_its_end(bench: Bench, route: str) -> None:
    body = json.dumps({"user": "ana", "test": True, "messages": ["x" * (4 << 20)]}).encode()
    headers = signed(bench.secrets[route], body, time.time())
    assert posted(bench.around.receivers[route], headers, body) == 413


def test_a_route_that_does_not_answer_later_is_told_so(bench: Bench, route: str) -> None:
    body = b'{"user": "ana", "messages": ["Oi"]}'
    headers = signed(bench.secrets[route], body, time.time())
    assert posted(bench.around.receivers[route], headers, body) == 501
