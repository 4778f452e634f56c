"""`send`, `users`, `user`, and what can be done about a user, against a real HTTP server."""

from __future__ import annotations

import io
import json
import sys
import types
from typing import Any

import pytest

from actor_queue.app.commands.users import next_step
from actor_queue.app.remote import segment
from actor_queue.core.message import Message
from tests.cli.conftest import Ours, Run, Scripted, Terminal, actor_queue


def body_of(ours: Ours) -> Any:
    """The one message that was posted."""
    ((message,),) = ours.engine.pushes
    return json.loads(message.body)


def given(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Stands where standard input is a pipe."""
    stdin = types.SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stdin)


# send


def test_send_posts_the_message_with_the_key_that_may(
    run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQ_API_KEYS", "admin:a1,ingest:i1")
    scripted.answers["/api/message"] = (
        202,
        {"success": True, "user": "joao", "message_id": "m1", "pending": 3, "fires_in": 15.0},
    )
    said = run("send", "joao", "tudo bem?", "--ttl", "2.5", "--id", "m1", "--url", scripted.url)
    assert said.status == 0
    assert "pending: 3" in said.out
    (request,) = scripted.requests
    assert request.method == "POST"
    assert request.key == "Bearer i1"
    assert request.body == {
        "user": "joao",
        "message": "tudo bem?",
        "ttl": 2.5,
        "message_id": "m1",
    }


def test_a_field_passes_through_as_json_if_it_is_and_else_as_text(run: Run, ours: Ours) -> None:
    fields = ["id_agente=1", "nome=Zé", 'tags=["a","b"]', "vazio=", "igual=a=b", "nulo=null",
              "nan=NaN", "telefone=+5511"]  # fmt: skip
    options = [word for field in fields for word in ("--field", field)]
    said = run("send", "joao", "oi", *options, "--message-id", "m7", "--url", ours.url)
    assert said.status == 0
    assert "message id: m7" in said.out
    assert body_of(ours) == {
        "id_agente": 1,
        "nome": "Zé",
        "tags": ["a", "b"],
        "vazio": "",
        "igual": "a=b",
        "nulo": None,
        "nan": "NaN",
        "telefone": "+5511",
        "user": "joao",
        "message": "oi",
        "message_id": "m7",
    }


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"oi\n", "oi"),
        (b"oi\r\n", "oi"),
        (b"duas\nlinhas\n\n", "duas\nlinhas\n"),
        (b"\xef\xbb\xbfa\xc3\xa7\xc3\xa3o", "ação"),
        (b" \n", " "),
        (b"x" * 200_000, "x" * 200_000),
    ],
)
def test_a_dash_reads_the_message_from_standard_input(
    run: Run, ours: Ours, monkeypatch: pytest.MonkeyPatch, content: bytes, text: str
) -> None:
    given(monkeypatch, content)
    assert run("send", "joao", "-", "--url", ours.url).status == 0
    assert body_of(ours)["message"] == text


def test_standard_input_that_is_no_text_or_has_no_end_is_refused(
    run: Run, ours: Ours, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, word in ((b"\xff", "UTF-8"), (b"x" * 16_777_217, "16777216 bytes")):
        given(monkeypatch, content)
        said = run("send", "joao", "-", "--url", ours.url)
        assert said.status == 2
        assert word in said.err
    assert ours.engine.pushes == []


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"\xef\xbb\xbf"])
def test_an_empty_standard_input_is_a_pipeline_that_failed_and_sends_nothing(
    run: Run, ours: Ours, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    given(monkeypatch, content)
    said = run("send", "joao", "-", "--url", ours.url)
    assert said.status == 2
    assert said.err.startswith("actor-queue: standard input is empty, so nothing was sent")
    assert ours.engine.pushes == []
    assert run("send", "joao", "", "--url", ours.url).status == 0
    assert body_of(ours)["message"] == ""


def test_a_pipe_into_the_process_is_the_message(ours: Ours) -> None:
    said = actor_queue("send", "joao", "-", "--url", ours.url, given="olá\n".encode())
    assert said.returncode == 0
    assert body_of(ours)["message"] == "olá"


def test_what_the_service_refuses_is_said_in_its_words(run: Run, ours: Ours) -> None:
    ours.engine.full.add("joao")
    said = run("send", "joao", "oi", "--url", ours.url)
    assert said.status == 1
    assert "429" in said.err


# users


def waiting(ours: Ours, number: int) -> None:
    """Each of `u000`, `u001`, … has one message waiting."""
    for index in range(number):
        user = f"u{index:04d}"
        message = Message(user, b'{"message":"x"}', 15_000, f"m{index}", False)
        ours.engine.messages[user].append(message)


def test_nobody_waits_is_said(run: Run, ours: Ours) -> None:
    assert run("users", "--url", ours.url) == (0, "nobody is waiting\n", "")
    assert run("users", "--state", "held", "--url", ours.url) == (0, "nobody is held\n", "")
    assert json.loads(run("users", "--json", "--url", ours.url).out) == {
        "users": [],
        "cursor": None,
    }


def test_a_table_in_a_pipe_is_tab_separated_and_says_how_to_go_on(
    run: Run, scripted: Scripted
) -> None:
    row = {"user": "a\x1b[31m\tb", "state": "collecting", "pending": 2, "fires_in": 1.26}
    scripted.answers["/api/users?limit=100"] = (200, {"users": [row] * 100, "cursor": "next"})
    said = run("users", "--url", scripted.url)
    heading, *lines = said.out.splitlines()
    assert heading == "user\tstate\tpending\tbatch\tnext"
    assert lines == ["a\\x1b[31m\\tb\tcollecting\t2\t-\tfires in 1.3 s"] * 100
    assert "--cursor next" in said.err


def test_json_prints_the_whole_answer(run: Run, scripted: Scripted) -> None:
    answer = {"users": [{"user": "ação", "state": "held"}], "cursor": None, "new": {"field": 1}}
    scripted.answers["/api/users?limit=2&state=held"] = (200, answer)
    said = run("users", "--state", "held", "--limit", "2", "--json", "--url", scripted.url)
    assert said.status == 0
    assert json.loads(said.out) == answer


@pytest.mark.parametrize(
    ("limit", "shown"), [(3, 3), (1_000, 1_000), (1_001, 1_001), (None, 2_100)]
)
def test_a_list_goes_on_beyond_the_first_page(
    run: Run, ours: Ours, limit: int | None, shown: int
) -> None:
    waiting(ours, 2_100)
    how = ["--all"] if limit is None else ["--limit", str(limit)]
    heading, *lines = (said := run("users", *how, "--url", ours.url)).out.splitlines()
    assert heading.startswith("user\t")
    assert [line.split("\t")[0] for line in lines] == [f"u{n:04d}" for n in range(shown)]
    assert ("--cursor" in said.err) == (limit is not None)
    answer = json.loads(run("users", *how, "--json", "--url", ours.url).out)
    assert [view["user"] for view in answer["users"]] == [f"u{n:04d}" for n in range(shown)]
    assert (answer["cursor"] is None) == (limit is None)


def test_a_list_that_never_ends_is_left(run: Run, scripted: Scripted) -> None:
    page = (200, {"users": [], "cursor": "c"})
    scripted.answers |= {"/api/users?limit=1000": page, "/api/users?limit=1000&cursor=c": page}
    said = run("users", "--all", "--url", scripted.url)
    assert said.status == 1
    assert "for ever" in said.err


def test_what_waits_for_its_route_is_shown_with_the_reason() -> None:
    waits = {"state": "collecting", "pending": 0, "fires_in": 0.0, "route": "vendas"}
    assert next_step(waits) == next_step(waits | {"blocked": None}) == "fires now"
    for blocked, words in (
        ("missing", "is not configured"),
        ("paused", "is paused; `actor-queue resume` ends that"),
        ("open", "has a receiver that fails, so only a probe goes from time to time"),
    ):
        assert next_step(waits | {"blocked": blocked}) == f"waits: the route vendas {words}"
    held = waits | {"state": "held", "held_for": 60, "blocked": "missing"}
    assert next_step(held) == "waits: the route vendas is not configured; held for 60 s more"


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ({"state": "collecting", "fires_in": 4.24}, "fires in 4.2 s"),
        ({"state": "collecting", "fires_in": 0.0}, "fires now"),
        (
            {"state": "delivering", "fires_in": 28.4, "batch": {"attempts": 2, "attempt_for": 2.6}},
            "attempt 2, for 2.6 s, at most 28 s more",
        ),
        (
            {"state": "retrying", "fires_in": 12, "batch": {
                "attempts": 2, "retry_in": 12, "failure": "answered 503"}},
            "2 attempts failed, next in 12 s: answered 503",
        ),
        (
            {"state": "retrying", "batch": {"attempts": 1, "retry_in": 0}},
            "1 attempt failed, next now",
        ),
        ({"state": "held", "fires_in": 9, "held_for": 3_000.0}, "held for 50 min more"),
        ({"state": "idle", "fires_in": None}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_what_happens_next_is_said_in_words(view: dict[str, Any], words: str | None) -> None:
    assert next_step(view) == words


def test_a_retry_shows_its_attempts_its_reason_and_its_size(run: Run, scripted: Scripted) -> None:
    batch = {"id": "b1", "messages": 7, "attempts": 3, "retry_in": 61.0, "failure": "answered 500"}
    view = {"user": "ana", "state": "retrying", "pending": 0, "fires_in": 61.0, "batch": batch}
    scripted.answers["/api/users?limit=100"] = (200, {"users": [view], "cursor": None})
    line = run("users", "--url", scripted.url).out.splitlines()[1]
    assert line == "ana\tretrying\t0\t7\t3 attempts failed, next in 61 s: answered 500"


# user


@pytest.mark.parametrize(
    ("user", "path"),
    [
        ("a/b?c#d", "a%2Fb%3Fc%23d"),
        ("..", "%2E%2E"),
        ("São João", "S%C3%A3o%20Jo%C3%A3o"),
        ("a%2Fb", "a%252Fb"),
        ("{x}+;=&", "%7Bx%7D%2B%3B%3D%26"),
    ],
)
def test_any_user_reaches_the_scripted_as_one_segment(
    run: Run, scripted: Scripted, user: str, path: str
) -> None:
    assert segment(user) == path
    scripted.answers[f"/api/users/{path}/flush"] = (200, {"user": user, "state": "collecting"})
    assert run("flush", user, "--url", scripted.url).status == 0
    assert [r.path for r in scripted.requests] == [f"/api/users/{path}/flush"]


def test_a_user_is_shown_with_its_batch_in_lines_and_its_attempts(run: Run, ours: Ours) -> None:
    out = run("user", "with-batch", "--url", ours.url).out
    assert "state: retrying\n" in out
    assert "next: 1 attempt failed, next in 4.5 s\n" in out
    assert "  id: b-1\n  seq: 3\n  reason: quiet\n  messages: 2\n" in out
    assert "{" not in out
    heading, line = out.splitlines()[-2:]
    assert heading.split("\t")[:4] == ["at", "attempt", "outcome", "status"]
    row = dict(zip(heading.split("\t"), line.split("\t"), strict=True))
    assert row["attempt"] == "2"
    assert row["reason"] == "answered 503"
    assert row["at"] == "2025-01-30T01:19:45.120Z"
    assert row["replica"].startswith("r-")


def test_what_the_service_tells_of_an_attempt_is_shown_where_it_does(
    run: Run, scripted: Scripted
) -> None:
    attempt = {"at": "t", "attempt": 1, "outcome": "retry", "status": 404, "duration_ms": 31,
               "messages": 1, "replica": "r-1", "batch_id": "b1", "reason": "answered 404",
               "answer": "the workflow\nmust be active"}  # fmt: skip
    view = {"user": "ana", "state": "idle", "pending": 0, "recent": [attempt, {"attempt": 2}]}
    scripted.answers["/api/users/ana"] = (200, view)
    *_, heading, first, second = run("user", "ana", "--url", scripted.url).out.splitlines()
    row = dict(zip(heading.split("\t"), first.split("\t"), strict=True))
    assert (row["duration ms"], row["replica"]) == ("31", "r-1")
    assert row["answer"] == "the workflow\\nmust be active"
    assert second.count("-") == 9


@pytest.mark.parametrize("columns", [80, 240])
def test_in_a_narrow_terminal_each_attempt_is_a_sentence_and_no_id_is_cut(
    scripted: Scripted, columns: int
) -> None:
    batch_id = "b0022cb08e9d5d72b000000031t1795668958629"
    attempt = {"at": "2025-01-30T01:19:45.120Z", "attempt": 3, "outcome": "retry", "status": 404,
               "duration_ms": 31, "messages": 1, "replica": "r-3c40c86187c7",
               "batch_id": batch_id, "reason": "answered 404",
               "answer": "the workflow must be active\x9b"}  # fmt: skip
    view = {"user": "ana", "state": "idle", "pending": 0, "recent": [attempt, attempt]}
    scripted.answers["/api/users/ana"] = (200, view)
    terminal = Terminal("user", "ana", "--url", scripted.url, columns=columns)
    assert terminal.end() == 0
    shown = "\n".join(terminal.lines).split("recent attempts:\n")[1]
    assert shown.count(batch_id) == 2
    if columns == 240:
        assert shown.startswith("at ")
        return
    assert max(map(len, terminal.lines)) <= 80
    assert " ".join(shown.split()) == " ".join(
        [
            f"- {batch_id} attempt 3 at 2025-01-30T01:19:45.120Z, retry: answered 404, after 31 ms,"
            " 1 message, by r-3c40c86187c7; it said: the workflow must be active\\x9b"
        ]
        * 2
    )


def test_a_user_that_nobody_knows_is_a_no(run: Run, ours: Ours) -> None:
    said = run("user", "maria\x1b[2J", "--url", ours.url)
    assert said.status == 1
    assert said.out == ""
    assert said.err.startswith("actor-queue: nobody knows the user 'maria\\x1b[2J'")
    as_json = run("user", "maria", "--json", "--url", ours.url)
    assert as_json.status == 1
    assert json.loads(as_json.out)["state"] == "idle"
    assert as_json.err.count("\n") == 1


def test_a_user_on_hold_is_known_although_nothing_waits(run: Run, ours: Ours) -> None:
    ours.engine.held_ms["ana"] = 60_000
    said = run("user", "ana", "--url", ours.url)
    assert said.status == 0
    assert "state: held\nnext: held for 60 s more\n" in said.out.replace("pending: 0\n", "")
    assert "no attempt was made" in said.out


def test_while_the_first_attempt_is_being_made_it_is_not_said_that_there_was_none(
    run: Run, scripted: Scripted
) -> None:
    scripted.answers["/api/users/ana"] = (
        200,
        {
            "user": "ana",
            "state": "delivering",
            "pending": 0,
            "batch": {"id": "b", "messages": 1, "attempts": 1, "attempt_for": 3.9},
            "recent": [],
        },
    )
    said = run("user", "ana", "--url", scripted.url)
    assert said.status == 0
    assert "an attempt is being made; none has ended yet" in said.out
    assert "no attempt was made" not in said.out


# What can be done about a user


def test_flush_sends_what_waits_and_says_no_where_nothing_does(run: Run, ours: Ours) -> None:
    assert run("flush", "with-batch", "--url", ours.url).status == 0
    nothing = run("flush", "nobody", "--url", ours.url)
    assert nothing.status == 1
    assert "nothing waits for 'nobody'" in nothing.err
    ours.engine.held_ms["ana"] = 1_000
    held = run("flush", "ana", "--url", ours.url)
    assert held.status == 1
    assert "release it first" in held.err


@pytest.mark.parametrize(
    ("state", "batch", "words"),
    [
        ("retrying", {"attempts": 4, "retry_in": 0.0}, "\nattempt 5 goes now, and it counts: "),
        ("delivering", {"attempts": 5}, "\nattempt 5 goes now, and it counts: "),
        ("delivering", {"attempts": 1}, None),
        ("collecting", None, None),
    ],
)
def test_flush_says_which_attempt_it_uses_up(
    run: Run, scripted: Scripted, state: str, batch: Any, words: str | None
) -> None:
    view = {"user": "ana", "state": state, "pending": 1, "batch": batch}
    scripted.answers["/api/users/ana/flush"] = (200, view)
    said = run("flush", "ana", "--url", scripted.url)
    assert said.status == 0
    assert (words or "") in said.out
    assert ("counts" in said.out) == (words is not None)
    assert json.loads(run("flush", "ana", "--json", "--url", scripted.url).out) == view


def test_hold_keeps_for_as_long_as_is_said_and_release_ends_it(run: Run, ours: Ours) -> None:
    said = run("hold", "ana", "--url", ours.url)
    assert said.status == 0
    assert "state: held" in said.out
    assert ours.engine.held_ms == {"ana": 3_600_000}
    run("hold", "ana", "--seconds", "90.5", "--url", ours.url)
    assert ours.engine.held_ms == {"ana": 90_500}
    refused = run("hold", "ana", "--seconds", "99999999", "--url", ours.url)
    assert refused.status == 1
    assert "seconds" in refused.err
    said = run("release", "ana", "--url", ours.url)
    assert (said.status, said.err) == (0, "")
    assert ours.engine.held_ms == {}


def test_release_of_somebody_who_is_not_on_hold_says_so_and_is_no_failure(
    run: Run, ours: Ours
) -> None:
    said = run("release", "ana", "--url", ours.url)
    assert said.status == 0
    assert said.err == "'ana' was not on hold, so nothing changed\n"
    as_json = run("release", "ana", "--json", "--url", ours.url)
    assert (as_json.status, as_json.err) == (0, "")
    assert json.loads(as_json.out)["state"] == "idle"


def test_typing_extends_what_waits_and_says_no_where_nothing_does(run: Run, ours: Ours) -> None:
    nothing = run("typing", "ana", "--url", ours.url)
    assert nothing.status == 1
    assert "no message of 'ana' waits for its batch to close, so nothing was ext" in nothing.err
    behind = run("typing", "with-batch", "--url", ours.url)
    assert behind.status == 1
    assert "a batch of 'with-batch' is under way, so nothing was extended" in behind.err
    run("send", "ana", "oi", "--url", ours.url)
    said = run("typing", "ana", "--ttl", "7.5", "--url", ours.url)
    assert said.status == 0
    assert "next: fires in 7.5 s" in said.out


def test_drop_deletes_and_shows_what_it_deleted_but_texts_only_when_asked(
    run: Run, ours: Ours
) -> None:
    post = ("send", "ana", "tchau\x1b[0m", "--message-id", "m1", "--url", ours.url)
    run(*post)
    said = run("drop", "ana", "--yes", "--url", ours.url)
    assert said.status == 0
    assert "dropped: 1\n" in said.out
    assert said.out.splitlines()[-1] == "2025-01-30T01:19:45.120Z\tm1\t9"
    assert "tchau" not in said.out + said.err
    run(*post)
    said = run("drop", "ana", "--yes", "--texts", "--url", ours.url)
    assert said.out.splitlines()[-1] == "2025-01-30T01:19:45.120Z\tm1\ttchau\\x1b[0m"
    run(*post)
    assert "tchau" in run("drop", "ana", "--yes", "--json", "--url", ours.url).out
    nothing = run("drop", "ana", "-y", "--url", ours.url)
    assert nothing.status == 1
    assert "nothing waited for 'ana'" in nothing.err


def test_drop_says_when_it_shows_a_part_of_what_it_deleted(run: Run, scripted: Scripted) -> None:
    shown = {"seq": 1, "received_at": "2025-01-30T01:19:45.120Z", "message": "oi"}
    told = {"success": True, "user": "ana", "dropped": 9, "batch": None, "messages": [shown]}
    scripted.answers["/api/users/ana"] = (200, {**told, "complete": False})
    said = run("drop", "ana", "--yes", "--url", scripted.url)
    assert "these are the first 1 of 9; the others are gone, too" in said.err
    scripted.answers["/api/users/ana"] = (200, {**told, "dropped": 1, "complete": True})
    assert run("drop", "ana", "--yes", "--url", scripted.url).err == ""
    many = {**told, "dropped": 300, "messages": [shown] * 300, "complete": True}
    scripted.answers["/api/users/ana"] = (200, many)
    said = run("drop", "ana", "--yes", "--url", scripted.url)
    assert len(said.out.splitlines()) < 30
    assert "these are the first 20 of 300; the others are gone, too" in said.err
    said = run("drop", "ana", "--yes", "--texts", "--url", scripted.url)
    assert said.out.count("\toi\n") == 300


def test_drop_without_a_terminal_deletes_nothing_and_says_how_much_it_would(
    run: Run, ours: Ours
) -> None:
    run("send", "ana", "oi", "--url", ours.url)
    run("send", "ana", "oi", "--url", ours.url)
    said = run("drop", "ana", "--url", ours.url)
    assert said.status == 2
    assert said.out == ""
    assert "2 waiting messages of 'ana' would be deleted for ever: give --yes" in said.err
    assert len(ours.engine.messages["ana"]) == 2


@pytest.mark.parametrize(
    ("answer", "status", "left"),
    [("y", 0, 0), ("YES", 0, 0), ("n", 1, 1), ("", 1, 1), ("\x04", 1, 1)],
)
def test_drop_in_a_terminal_asks(ours: Ours, answer: str, status: int, left: int) -> None:
    actor_queue("send", "ana", "oi", "--url", ours.url)
    terminal = Terminal("drop", "ana", "--url", ours.url)
    terminal.see("1 waiting message of 'ana' would be deleted for ever; go on? [y/N]")
    terminal.type(answer + ("" if answer == "\x04" else "\r"))
    assert terminal.end() == status
    assert ("nothing was deleted" in terminal.seen) == bool(left)
    assert len(ours.engine.messages["ana"]) == left
