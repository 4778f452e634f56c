"""`users` and `dead list` with filters, against a real HTTP server."""

from __future__ import annotations

from actor_queue.core.message import Message
from tests.cli.conftest import Ours, Run, Scripted


def waiting(ours: Ours, *users: str) -> None:
    for user in users:
        ours.engine.messages[user].append(Message(user, b"{}", 9_000, f"m-{user}", True))


def test_users_are_listed_by_what_their_names_begin_with(run: Run, ours: Ours) -> None:
    waiting(ours, "ana", "ana-2", "bia")
    said = run("users", "--user", "ana", "--url", ours.url)
    assert said.status == 0
    assert "ana-2" in said.out
    assert "bia" not in said.out
    none = run("users", "--user", "x", "--since", "10m", "--url", ours.url)
    assert none == (0, "nobody is waiting who was asked for\n", "")


def test_a_time_that_is_none_is_said_by_the_service(run: Run, ours: Ours) -> None:
    said = run("users", "--since", "yesterday", "--url", ours.url)
    assert said.status == 1
    assert "10m" in said.err


def test_dead_letters_are_listed_by_user_reason_and_status(run: Run, ours: Ours) -> None:
    ours.engine.bury("b1", user="ana")
    ours.engine.bury("b2", user="bia")
    assert "b2" not in run("dead", "list", "--user", "an", "--url", ours.url).out
    assert "b2" in run("dead", "list", "--reason", "answered", "--url", ours.url).out
    none = run("dead", "list", "--status", "404", "--url", ours.url)
    assert none == (0, "there are no dead letters that were asked for\n", "")


def test_an_empty_page_in_the_middle_is_not_the_end(run: Run, scripted: Scripted) -> None:
    letter = {"id": "b1", "user": "ana", "status": 503, "answer": "busy"}
    path = "/api/dead?limit=100"
    scripted.answers[f"{path}&user=ana"] = (200, {"dead": [], "cursor": "c1"})
    scripted.answers[f"{path}&cursor=c1&user=ana"] = (200, {"dead": [letter], "cursor": None})
    said = run("dead", "list", "--user", "ana", "--url", scripted.url)
    assert "b1" in said.out
    assert "busy" in said.out
