"""`dead list`, `show`, `replay` and `drop`, against a real HTTP server."""

from __future__ import annotations

import json

import pytest

from actor_queue.app.commands import dead
from tests.cli.conftest import Ours, Run, Scripted, Terminal


@pytest.fixture
def buried(ours: Ours) -> Ours:
    """A service with three dead letters of seven messages."""
    ours.engine.bury("b1", "ana", ("oi",))
    ours.engine.bury("b2", "joao", ("a", "b"))
    ours.engine.bury("b3", "maria", ("x", "y", "z", "\x1b[2J"))
    return ours


def test_no_dead_letters_is_said(run: Run, ours: Ours) -> None:
    assert run("dead", "list", "--url", ours.url) == (0, "there are no dead letters\n", "")
    assert run("dead", "list", "--all", "--url", ours.url).out == "there are no dead letters\n"


def test_dead_letters_are_listed_newest_first_and_beyond_a_page(run: Run, buried: Ours) -> None:
    lines = run("dead", "list", "--url", buried.url).out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["id", "b3", "b2", "b1"]
    assert "answered 500" in lines[1]
    for number in range(1_100):
        buried.engine.bury(f"more{number}")
    assert len(run("dead", "list", "--all", "--url", buried.url).out.splitlines()) == 1_104
    some = run("dead", "list", "--limit", "1002", "--json", "--url", buried.url).out
    assert len(json.loads(some)["dead"]) == 1_002


def test_dead_letters_are_counted_by_route_and_reason(run: Run, buried: Ours) -> None:
    head, group = run("dead", "groups", "--url", buried.url).out.splitlines()
    assert head.split("\t")[:4] == ["letters", "route", "reason", "status"]
    assert group.split("\t")[:4] == ["3", "default", "answered 500", "500"]
    said = run("dead", "groups", "--status", "503", "--url", buried.url)
    assert said.out == "there are no dead letters that were asked for\n"
    whole = run("dead", "groups", "--json", "--url", buried.url).out
    assert json.loads(whole)["letters"] == 3


def test_a_dead_letter_is_shown_with_the_body_that_was_refused_as_it_is(
    run: Run, buried: Ours
) -> None:
    out = run("dead", "show", "b3", "--url", buried.url).out
    assert "id: b3\nuser: maria\n" in out
    assert "reason: answered 500\n" in out
    about, body = out.split("\n\nbody:\n")
    assert "died at: " in about
    whole = run("dead", "show", "b3", "--json", "--url", buried.url).out
    assert json.loads(body) == json.loads(whole)["batch"]
    assert json.loads(body)["messages"] == ["x", "y", "z", "\x1b[2J"]
    assert "\x1b" not in out


def test_an_id_that_nobody_knows_is_a_no(run: Run, buried: Ours) -> None:
    for verb in ("show", "replay"):
        said = run("dead", verb, "b9", "--url", buried.url)
        assert said.status == 1
        assert "no dead letter with this id" in said.err
    for yes in ([], ["--yes"]):
        assert run("dead", "drop", "b9", *yes, "--url", buried.url).status == 1
    assert len(buried.engine.letters) == 3


def test_named_dead_letters_are_replayed_and_one_that_is_gone_stops_nothing(
    run: Run, buried: Ours
) -> None:
    said = run("dead", "replay", "b1", "b9", "b2", "b1", "--url", buried.url)
    assert said.status == 1
    assert "b9: " in said.err
    assert buried.engine.replayed == ["b1", "b2"]
    assert said.out.count("queued: yes") == 2
    assert run("dead", "replay", "b3", "--url", buried.url).status == 0
    answer = json.loads(run("dead", "replay", "b3", "--json", "--url", buried.url).out)
    assert (answer["id"], answer["queued"]) == ("b3", True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["replay", "--all"], "3 dead letters with 7 messages would be sent again"),
        (["drop", "--all"], "3 dead letters with 7 messages would be deleted for ever"),
        (["drop", "b1"], "1 dead letter with 1 message would be deleted for ever"),
        (["drop", "b1", "b3"], "2 dead letters with 5 messages would be deleted for ever"),
    ],
)
def test_what_would_be_done_is_counted_and_not_done_where_nobody_can_be_asked(
    run: Run, buried: Ours, arguments: list[str], words: str
) -> None:
    said = run("dead", *arguments, "--url", buried.url)
    assert said.status == 2
    assert said.out == ""
    assert said.err.startswith(f"actor-queue: {words}: give --yes")
    assert len(buried.engine.letters) == 3
    assert buried.engine.replayed == []


def test_yes_does_it_without_asking(run: Run, buried: Ours) -> None:
    assert run("dead", "replay", "--all", "--yes", "--url", buried.url).out == "replayed: 3\n"
    again = run("dead", "replay", "--all", "-y", "--url", buried.url)
    assert again == (0, "there are no dead letters that are not queued already\n", "")
    assert "id: b1" in run("dead", "drop", "b1", "--yes", "--url", buried.url).out
    assert run("dead", "drop", "--all", "--yes", "--url", buried.url).out == "dropped: 2\n"
    assert buried.engine.letters == {}


@pytest.mark.parametrize("yes", [[], ["--yes"]])
@pytest.mark.parametrize(("verb", "done"), [("replay", "replayed"), ("drop", "dropped")])
def test_all_of_no_dead_letters_is_said_without_a_question_and_is_no_failure(
    run: Run, ours: Ours, verb: str, done: str, yes: list[str]
) -> None:
    said = run("dead", verb, "--all", *yes, "--url", ours.url)
    assert said.status == 0
    assert said.out.startswith("there are no dead letters")
    assert said.err == ""
    as_json = run("dead", verb, "--all", *yes, "--json", "--url", ours.url)
    assert as_json.status == 0
    assert json.loads(as_json.out)[done] == 0


def test_what_is_queued_already_is_not_counted_for_a_replay(run: Run, buried: Ours) -> None:
    run("dead", "replay", "b3", "--url", buried.url)
    said = run("dead", "replay", "--all", "--url", buried.url)
    assert "2 dead letters with 3 messages" in said.err


@pytest.mark.parametrize(("answer", "status", "replayed"), [("y", 0, 3), ("n", 1, 0)])
def test_replay_of_all_asks_in_a_terminal(
    buried: Ours, answer: str, status: int, replayed: int
) -> None:
    terminal = Terminal("dead", "replay", "--all", "--url", buried.url)
    terminal.see("3 dead letters with 7 messages would be sent again; go on? [y/N]")
    terminal.type(f"{answer}\r")
    assert terminal.end() == status
    assert len(buried.engine.replayed) == replayed


def test_a_drop_asks_in_a_terminal(buried: Ours) -> None:
    terminal = Terminal("dead", "drop", "b1", "--url", buried.url)
    terminal.see("1 dead letter with 1 message would be deleted for ever; go on?")
    terminal.type("y\r")
    assert terminal.end() == 0
    assert set(buried.engine.letters) == {"b2", "b3"}


@pytest.mark.parametrize(("seen", "status"), [(3, 0), (1_000, 1)])
def test_a_job_whose_replica_is_gone_is_followed_until_another_one_has_taken_it_up(
    run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch, seen: int, status: int
) -> None:
    path = "/api/dead/replay"
    job = {"job": "r1", "state": "abandoned", "total": 9, "replayed": 4, "passed_over": 0}
    scripted.answers[path] = (200, job)
    looks: list[float] = []

    def look(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == seen:
            scripted.answers[path] = (200, job | {"job": "r2", "state": "done", "replayed": 9})

    monkeypatch.setattr(dead.time, "sleep", look)
    said = run("dead", "replay", "--all", "--yes", "--url", scripted.url)
    assert said.status == status
    assert ("replayed: 9" in said.out) == (status == 0)
    assert len(looks) <= dead.ABANDONED_LOOKS_MAX


def test_a_list_of_dead_letters_fits_80_columns_and_says_when_each_expires(
    scripted: Scripted, run: Run
) -> None:
    died = {"died_at": "2025-01-30T01:19:45.120Z", "attempts": 6, "messages": 3, "queued": False}
    why = {"reason": "answered 500", "status": 500, "answer": "x" * 200, "replica": "host-1-abcdef"}
    letters = [
        {"id": "b0001" + "0" * 35, "user": "joao.silva", **died, **why, "duration_ms": 34}
        | {"expires_at": expires_at}
        for expires_at in ("2025-03-01T01:19:45.120Z", None)
    ]
    answer = {"dead": letters, "cursor": None, "unreadable": 2}
    scripted.answers["/api/dead?limit=100"] = (200, answer)
    terminal = Terminal("dead", "list", "--url", scripted.url)
    assert terminal.end() == 0
    assert max(len(line) for line in terminal.lines if "doctor" not in line) <= 80
    assert "-  b0001" + "0" * 35 in terminal.lines
    said = " ".join(line.strip() for line in terminal.lines)
    assert "joao.silva: answered 500, 6 attempts, 3 messages" in said
    assert "expires 2025-03-01T01:19:45Z" in said
    assert "expires never" in said
    assert "2 dead letters cannot be read" in said
    heading, *rows = run("dead", "list", "--url", scripted.url).out.splitlines()
    place = heading.split("\t").index("expires at")
    assert [row.split("\t")[place] for row in rows] == ["2025-03-01T01:19:45.120Z", "never"]
