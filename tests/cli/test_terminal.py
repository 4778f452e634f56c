"""What a person sees: tables in terminals of any width, and nothing that steers a terminal."""

from __future__ import annotations

import json
import re

import pytest

from actor_queue.app.terminal import json_text, span
from tests.cli.conftest import Ours, Run, Scripted, Terminal

ID = "b0007" + "0123456789abcdef" * 2


def attempts(number: int) -> list[dict[str, object]]:
    return [
        {"at": "2025-01-30T01:19:45.120Z", "attempt": n, "outcome": "retry", "status": 503,
         "duration_ms": 31, "messages": 3, "replica": "r-0123456789", "batch_id": f"{ID}{n}",
         "reason": "answered 503", "answer": "the workflow must be active " * 8}
        for n in range(number)
    ]  # fmt: skip


@pytest.mark.parametrize("columns", [48, 80, 200])
def test_an_id_can_be_copied_whatever_the_width(scripted: Scripted, columns: int) -> None:
    view = {"user": "ana", "state": "idle", "pending": 0, "recent": attempts(3)}
    scripted.answers["/api/users/ana"] = (200, view)
    terminal = Terminal("user", "ana", "--url", scripted.url, columns=columns)
    assert terminal.end() == 0
    text = "\n".join(terminal.lines)
    for each in attempts(3):
        assert re.search(rf"(?m)(^|  ){each['batch_id']}(  |$)", text)
        assert each["at"] in text
    assert max(map(len, terminal.lines)) <= columns
    assert "…" not in text
    assert " ".join(text.split()).count("the workflow must be active " * 7) == 3


def test_a_sentence_is_wrapped_between_words_beside_what_it_is_about(scripted: Scripted) -> None:
    failure = "TLS certificate not trusted: self signed"
    batch = {"attempts": 2, "retry_in": 549.0, "failure": failure}
    users = ["5511999999999@s.whatsapp.net", "joao"]
    rows = [{"user": user, "state": "retrying", "pending": 0, "batch": batch} for user in users]
    scripted.answers["/api/users?limit=100"] = (200, {"users": rows, "cursor": None})
    terminal = Terminal("users", "--url", scripted.url)
    assert terminal.end() == 0
    heading, *lines = terminal.lines
    assert max(map(len, lines)) <= 80
    column = heading.index("next")
    sentence = f"2 attempts failed, next in 9 min: {failure}"
    for user in users:
        (first,) = [number for number, line in enumerate(lines) if line.startswith(user)]
        assert " ".join(line[column:] for line in lines[first : first + 5]).startswith(sentence)


def test_a_user_of_any_length_stands_on_a_line_with_nothing_that_cuts_it(
    scripted: Scripted,
) -> None:
    names = ["a" * 300, "joao", "maria da silva", "名前" * 40]
    rows = [{"user": name, "state": "collecting", "pending": 1, "fires_in": 3} for name in names]
    scripted.answers["/api/users?limit=100"] = (200, {"users": rows, "cursor": None})
    terminal = Terminal("users", "--url", scripted.url, PYTHONIOENCODING="utf-8")
    assert terminal.end() == 0
    lines = [line.rstrip() for line in terminal.lines]
    assert names[0] in lines
    assert names[3] in lines
    short = [line for line in lines if "collecting" in line]
    assert len({line.index("collecting") for line in short}) == 1


def test_a_terminal_takes_no_orders_from_the_texts(scripted: Scripted) -> None:
    """Escape sequences, C1 controls, bidirectional overrides, carriage returns, bells."""
    evil = "[bold]a\x1b]0;owned\x07\x9b31m\u202e\r\x7f"
    view = {"user": evil, "state": evil, "pending": 0, "fires_in": 1, "recent": [{"reason": evil}]}
    scripted.answers |= {
        "/api/users?limit=100": (200, {"users": [view], "cursor": None}),
        "/api/users/ana": (200, view),
        "/api/dead?limit=100": (503, {"detail": evil}),
    }
    for command in (
        ["users"], ["users", "--json"], ["user", "ana"], ["user", "ana", "--json"],
        ["dead", "list"], ["dead", evil],
    ):  # fmt: skip
        where = [] if command == ["dead", evil] else ["--url", scripted.url]
        terminal = Terminal(*command, *where, NO_COLOR="1", PYTHONIOENCODING="utf-8")
        terminal.end()
        seen = terminal.seen.replace("\r\n", "")
        assert "[bold]a" in seen
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", seen), command


def test_json_says_the_same_whatever_it_had_to_escape() -> None:
    value = {"a": "ação 😀 \x7f\x9b\u202e\U000e0001\ud800\n"}
    text = json_text(value, indent=2)
    assert json.loads(text) == value
    assert all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize(
    ("variables", "bold"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_headings_are_bold_unless_that_is_unwanted(
    ours: Ours, variables: dict[str, str], bold: bool
) -> None:
    ours.engine.bury("b1")
    terminal = Terminal("dead", "list", "--url", ours.url, **variables)
    assert terminal.end() == 0
    assert ("\x1b[1m" in terminal.seen) == bold


def test_outside_a_terminal_nothing_is_styled(run: Run, ours: Ours) -> None:
    ours.engine.bury("b1")
    assert "\x1b" not in run("dead", "list", "--url", ours.url).out


def test_output_that_cannot_carry_a_character_gets_its_escape(ours: Ours) -> None:
    ours.engine.bury("b1", user="ação")
    terminal = Terminal("dead", "list", "--url", ours.url, PYTHONIOENCODING="ascii")
    assert terminal.end() == 0
    assert r"a\xe7\xe3o" in terminal.seen


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1.0, "0.0 s"), (3.21, "3.2 s"), (45.4, "45 s"), (119, "119 s"), (120, "2 min"),
     (7_100, "118 min"), (7_200, "2 h"), (172_800, "2 days")],
)  # fmt: skip
def test_a_duration_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert span(seconds) == words
