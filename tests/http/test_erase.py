"""`DELETE /api/users/{user}`: to drop what waits is one thing, to erase everything another."""

from __future__ import annotations

import pytest

from tests.http.client import ask
from tests.http.conftest import Served

MESSAGE = '{"user": "ana", "message": "oi", "ttl": 60}'


def test_everything_says_how_much_was_erased_and_no_text(server: Served) -> None:
    server.engine.bury("b1", "ana")
    ask(server.address, "POST", "/api/message", MESSAGE)
    answer = ask(server.address, "DELETE", "/api/users/ana?everything=true")
    assert answer.json == {
        "success": True,
        "user": "ana",
        "route": "default",
        "dropped": 1,
        "batch": None,
        "dead": 1,
        "attempts": 4,
        "ids": 1,
        "under_way": None,
        "complete": True,
        "cursor": None,
    }


def test_what_one_call_does_not_finish_the_next_goes_on_with(server: Served) -> None:
    path = "/api/users/much?everything=true"
    first = ask(server.address, "DELETE", path).json
    assert (first["complete"], first["cursor"]) == (False, "1")
    second = ask(server.address, "DELETE", f"{path}&cursor=1").json
    assert not second["complete"]
    assert ask(server.address, "DELETE", f"{path}&cursor={second['cursor']}").json["complete"]


def test_a_batch_under_way_is_named(server: Served) -> None:
    answer = ask(server.address, "DELETE", "/api/users/with-batch?everything=true")
    assert answer.json["under_way"] == "b-7"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("everything=maybe", "everything"),
        ("everything=true&cursor=x", "cursor"),
        ("cursor=1", "cursor"),
        ("everything=false&cursor=1", "cursor"),
    ],
)
def test_what_cannot_be_meant_drops_nothing(server: Served, query: str, field: str) -> None:
    ask(server.address, "POST", "/api/message", MESSAGE)
    answer = ask(server.address, "DELETE", f"/api/users/ana?{query}")
    assert (answer.status, answer.json["field"]) == (422, field)
    assert len(server.engine.messages["ana"]) == 1


def test_everything_false_drops_what_waits_and_no_more(server: Served) -> None:
    server.engine.bury("b1", "ana")
    answer = ask(server.address, "DELETE", "/api/users/ana?everything=false")
    assert "messages" in answer.json
    assert len(server.engine.letters) == 1
