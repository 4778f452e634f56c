"""Plain webhooks are judged in the lane, and answered as everywhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from actor_queue.core.doors import DoorTable, doors_of
from actor_queue.core.settings import parse
from actor_queue.http.aliases import Aliases
from tests.doors.fixtures import NOW_S, as_sent, fixture
from tests.doors.test_signatures import SIGN
from tests.http.client import raw
from tests.http.conftest import Served, served
from tests.http.memory_engine import MemoryEngine
from tests.http.test_doors import INGEST, SECRET, SETTINGS

CASES = [f"{platform}/{case}" for platform in SIGN for case in ("text", "from_me", "edit", "old")]


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with served(MemoryEngine(parse(SETTINGS))) as server:
        server.application.doors.clock = lambda: NOW_S
        yield server


def emptied(server: Served) -> Served:
    server.engine.__post_init__()
    server.application.doors.aliases = Aliases(server.engine)
    return server


def request(path: str, body: bytes, headers: dict[str, str], *, plain: bool) -> bytes:
    """The same webhook as the lane takes it, or in a form that only the general lane knows."""
    lines = [f"POST {path} HTTP/1.1", "host: localhost", "connection: keep-alive"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(body)}"] if plain else ["transfer-encoding: chunked"]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head + (body if plain else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))


ANSWER = re.compile(rb"HTTP/1.1 [^\r]*\r\n.*?content-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL)


def told(server: Served, sent: bytes, answers: int = 1) -> bytes:
    """So many answers, without their dates, on a connection that stays open."""
    came = b""
    with raw(server.address) as sock:
        sock.sendall(sent)
        while True:
            ends = [found.end() + int(found[1]) for found in ANSWER.finditer(came)]
            if len(ends) >= answers and len(came) >= ends[-1]:
                return re.sub(rb"date: [^\r]*", b"date:", came)
            piece = sock.recv(65_536)
            assert piece, came
            came += piece


def kept(server: Served) -> Any:
    engine = server.engine
    messages = {user: [json.loads(m.body) for m in all_] for user, all_ in engine.messages.items()}
    return messages, dict(engine.held_ms), [deed for _, deed in engine.noted]


@pytest.mark.parametrize("shows", ["key", "query", "signature", "wrong", "both wrong", "nothing"])
@pytest.mark.parametrize("name", CASES)
def test_both_lanes_answer_an_event_alike_and_do_the_same(
    service: Served, name: str, shows: str
) -> None:
    platform = name.partition("/")[0]
    body = as_sent(fixture(name)["body"])
    wrong = SIGN[platform](body, "another-secret")
    headers = {
        "key": {"x-api-key": INGEST},
        "signature": SIGN[platform](body, SECRET),
        "wrong": wrong,
        "both wrong": {"x-api-key": INGEST} | wrong,
    }.get(shows, {})
    path = f"/in/{platform}" + (f"?key={INGEST}" if shows == "query" else "")
    found = []
    for plain in (True, False):
        emptied(service)
        sent = request(path, body, headers, plain=plain)
        found.append((told(service, sent), kept(service)))
    assert found[0] == found[1]
    status = 401 if "wrong" in shows or shows == "nothing" else 200
    assert found[0][0].startswith(b"HTTP/1.1 %d" % status)


def test_a_plain_event_is_no_business_of_the_general_lane(
    service: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise AssertionError("it left the lane")

    emptied(service)
    monkeypatch.setattr(type(service.application), "__call__", refused)
    for case, count in (("text", 1), ("from_me", 1), ("typing_no_more", 1), ("lid_only", 2)):
        body = as_sent(fixture(f"evolution/{case}")["body"])
        sent = request("/in/evolution", body, {"x-api-key": INGEST}, plain=True)
        assert told(service, sent).startswith(b"HTTP/1.1 200"), case
        assert sum(map(len, service.engine.messages.values())) == count, case


def test_events_that_come_together_with_messages_are_each_answered_in_their_order(
    service: Served,
) -> None:
    emptied(service)
    event = as_sent(fixture("telegram/text")["body"])
    hold = as_sent(fixture("evolution/from_me")["body"])
    message = b'{"user": "ana", "message": "Oi"}'
    shown = {"authorization": f"Bearer {INGEST}"}
    sent = b"".join(
        request(path, body, shown, plain=True)
        for path, body in (
            ("/api/message", message),
            ("/in/evolution", hold),
            ("/in/telegram", event),
            ("/api/message", message),
        )
    )
    answers = re.findall(rb"HTTP/1.1 (\d+)", told(service, sent, 4))
    assert answers == [b"202", b"200", b"200", b"202"]
    assert len(service.engine.messages["ana"]) == 2


def test_an_event_comes_again_while_the_store_is_away(service: Served) -> None:
    emptied(service).engine.away = "Redis does not answer"
    for case in ("text", "from_me", "lid_only"):
        body = as_sent(fixture(f"evolution/{case}")["body"])
        sent = request("/in/evolution", body, {"x-api-key": INGEST}, plain=True)
        assert told(service, sent).startswith(b"HTTP/1.1 503"), case


def test_a_head_that_is_remembered_opens_no_door_that_was_replaced() -> None:
    engine = MemoryEngine(parse({"AQ_API_KEYS": f"ingest@default:{INGEST}"}))
    body = as_sent(fixture("waha/text")["body"])
    sent = request("/in/waha", body, {"x-api-key": INGEST}, plain=True)
    with served(engine) as server:
        doors = server.application.doors
        doors.clock = lambda: NOW_S
        for _ in range(2):
            assert told(server, sent).startswith(b"HTTP/1.1 200")
        table: DoorTable = doors.table
        table.replace(replace(door, route="vendas") for door in doors_of(engine.settings).values())
        answer = told(server, sent)
        assert answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 503")), answer
        table.replace(door for door in doors_of(engine.settings).values() if door.name != "waha")
        assert told(server, sent).startswith((b"HTTP/1.1 503", b"HTTP/1.1 404"))
