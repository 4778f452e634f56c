"""What people wrote is masked until an admin asks for it, and that is logged without the words."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from actor_queue.core.conversation import Conversation
from actor_queue.core.routes import Route
from tests.http.client import Answer, ask
from tests.http.conftest import Served, served
from tests.http.test_sessions import KEY_OF, KEYS, cookie_of, home

WORDS = "palavras que ninguém deve ler"
DEAD = "/api/dead/b0123456789abcdefghijklmnop"
USER = "/api/users/joao"


@pytest.fixture(scope="module")
def locked() -> Iterator[Served]:
    with served(api_keys=KEYS) as server:
        fill(server)
        yield server


def fill(server: Served) -> None:
    server.run(lambda: server.engine.bury(DEAD.rpartition("/")[2], "joao", [WORDS]))
    post(server)


def post(server: Served, user: str = "joao") -> None:
    body = json.dumps({"user": user, "message": WORDS, "nome": WORDS})
    key = {"authorization": f"Bearer {KEY_OF['ingest']}"}
    assert ask(server.address, "POST", "/api/message", body, key).status == 202


def with_key(server: Served, scope: str, path: str, method: str = "GET") -> Answer:
    headers = {"authorization": f"Bearer {KEY_OF[scope]}"}
    return ask(server.address, method, path, headers=headers)


def with_session(server: Served, scope: str, path: str, method: str = "GET") -> Answer:
    headers = {"cookie": cookie_of(server, scope), "origin": home(server)}
    return ask(server.address, method, path, headers=headers)


def test_a_session_is_shown_no_texts_until_it_asks(locked: Served) -> None:
    for scope in ("read", "admin"):
        for path in (
            DEAD,
            f"{DEAD}?texts=false",
            USER,
            f"{USER}?texts=",
            "/api/users",
            "/api/dead",
        ):
            answer = with_session(locked, scope, path)
            assert answer.status == 200, (scope, path)
            assert WORDS not in answer.body.decode()
    assert with_session(locked, "admin", DEAD).json["batch"] is None
    for path in (DEAD, USER):
        answer = with_session(locked, "admin", f"{path}?texts=true")
        assert answer.status == 200
        assert WORDS in answer.body.decode()


def test_asking_needs_admin(locked: Served) -> None:
    for path in (DEAD, USER):
        for answer in (
            with_session(locked, "read", f"{path}?texts=true"),
            with_key(locked, "read", f"{path}?texts=true"),
        ):
            assert answer.status == 403
            assert 'scope="admin"' in answer.headers["www-authenticate"]
            assert WORDS not in answer.body.decode()


def test_a_read_key_sees_a_dead_letter_without_its_texts_and_an_admins_key_all(
    locked: Served,
) -> None:
    assert with_key(locked, "read", DEAD).json["batch"] is None
    assert with_key(locked, "admin", DEAD).json["batch"]["messages"] == [WORDS]
    assert with_key(locked, "admin", f"{DEAD}?texts=false").json["batch"] is None


def test_the_messages_of_a_user_come_as_they_were_sent(locked: Served) -> None:
    shown = with_key(locked, "admin", f"{USER}?texts=true").json
    (message,) = shown["messages"]
    assert (message["message"], message["nome"], message["seq"]) == (WORDS, WORDS, 1)
    assert message["received_at"].endswith("Z")
    assert shown["complete"] is True
    assert shown["state"] == "collecting"
    assert "messages" not in with_key(locked, "admin", USER).json


def test_a_session_that_drops_is_told_which_messages_and_not_what_they_said() -> None:
    with served(api_keys=KEYS) as server:
        post(server)
        answer = with_session(server, "admin", USER, "DELETE")
        assert answer.json["dropped"] == 1
        assert WORDS not in answer.body.decode()
        assert answer.json["messages"][0].keys() == {"seq", "message_id", "received_at"}
        post(server)
        assert WORDS in with_session(server, "admin", f"{USER}?texts=true", "DELETE").body.decode()
        post(server)
        assert WORDS in with_key(server, "admin", USER, "DELETE").body.decode()


def test_whoever_is_shown_texts_is_in_the_log_and_the_texts_are_not(
    locked: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "actor_queue")

    def said() -> list[dict[str, Any]]:
        told = [vars(each) for each in caplog.records]
        caplog.clear()
        return [each["fields"] for each in told if each.get("event") == "texts_shown"]

    said()
    for path in (DEAD, USER, f"{DEAD}?texts=false"):
        assert with_session(locked, "admin", path).status == 200
    assert said() == []
    assert with_session(locked, "admin", f"{DEAD}?texts=true").status == 200
    assert said() == [{"user": "u-4", "batch": DEAD.rpartition("/")[2], "key": "ana"}]
    assert with_key(locked, "admin", f"{USER}?texts=true").status == 200
    assert WORDS not in caplog.text
    assert said() == [{"user": "u-4", "key": "ana"}]


def test_an_admins_key_of_one_route_is_shown_no_texts_of_another() -> None:
    both = (("read", "both"), ("admin", "both", "", "vendas"), ("admin", KEY_OF["ingest"]))
    with served(api_keys=both) as server:
        default = Route.default(server.engine.settings)
        server.engine.routes.replace([default, replace(default, name="vendas")])
        fill(server)
        vendas = Conversation("vendas", "joao").key
        server.run(lambda: server.engine.bury("b-vendas", vendas, [WORDS]))

        def seen(path: str) -> tuple[int, bool]:
            headers = {"authorization": "Bearer both"}
            answer = ask(server.address, "GET", path, headers=headers)
            return answer.status, WORDS in answer.body.decode()

        assert [seen(path) for path in (DEAD, USER)] == [(200, False)] * 2
        assert [seen(f"{path}?texts=true") for path in (DEAD, USER)] == [(403, False)] * 2
        assert seen("/api/dead/b-vendas") == (200, True)
        assert seen("/api/dead/b-vendas?texts=true") == (200, True)
        assert seen(f"{USER}?texts=true&route=vendas")[0] == 200


@pytest.mark.parametrize("value", ["1", "yes", "TRUE", "true&texts=true"])
def test_a_parameter_that_is_neither_true_nor_false_is_refused(locked: Served, value: str) -> None:
    for path in (DEAD, USER):
        assert with_key(locked, "admin", f"{path}?texts={value}").status in (400, 422)


def test_without_keys_everything_is_as_it_was(server: Served) -> None:
    fill_open = json.dumps({"user": "joao", "message": WORDS})
    assert ask(server.address, "POST", "/api/message", fill_open).status == 202
    shown = ask(server.address, "GET", f"{USER}?texts=true").json
    assert [each["message"] for each in shown["messages"]] == [WORDS]
