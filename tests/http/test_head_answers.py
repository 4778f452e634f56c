"""What a head alone decides is answered in the lane, as the general lane answers it."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from actor_queue.core.answers import Ticket, opened, sealed
from actor_queue.core.api_keys import ApiKey
from actor_queue.core.sessions import NONCE_HEX_DIGITS, issue, signer
from actor_queue.core.settings import Settings
from actor_queue.http import bulk
from actor_queue.http.asgi import Application
from actor_queue.http.auth import KEYS_TRIED_MAX, Keys
from actor_queue.http.bulk import REQUESTS_MAX
from actor_queue.http.connection import Connection
from actor_queue.http.page_files import page_files
from actor_queue.http.server import Limits
from tests.http.client import raw, read_all, read_answer, until
from tests.http.conftest import Served, served
from tests.http.memory_engine import MemoryEngine, NoAnswers

KEYS = (ApiKey("ingest", "key-in"), ApiKey("read", "key-read"))
LONG = 70_000
_DATE = re.compile(rb"date: [^\r]*\r\n")


def get(path: str, *fields: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "host: localhost", *fields, "", "")).encode()


def post(path: str, length: int, *fields: str, key: str = "") -> bytes:
    shown = (f"authorization: Bearer {key}",) if key else ()
    lines = (f"POST {path} HTTP/1.1", "host: localhost", f"content-length: {length}", *shown)
    return "\r\n".join((*lines, *fields, "", "")).encode()


HEADS = {
    **{path: get(path) for path in ("/", "/operate", "/docs", "/openapi.json", "/readyz")},
    "a file": get("/static/base.css", "accept: text/css", "authorization: Bearer wrong"),
    "no key": post("/api/message", 50),
    "no key, long": post("/api/message", 900_000),
    "a wrong key": post("/api/message", 50, key="wrong"),
    "another scope": post("/api/message", 50, key="key-read"),
    "a form": post("/api/message", 50, "content-type: multipart/form-data", key="key-in"),
    "too large": post("/api/message", 50_000_000, key="key-in"),
    "many, no key": post("/api/messages", LONG),
    "many, a wrong key": post("/api/messages", 50, key="wrong"),
    "many, another scope": post("/api/messages", LONG, key="key-read"),
    "many, a form": post("/api/messages", LONG, "content-type: multipart/form-data", key="key-in"),
    "a question, no key": get("/api/users"),
    "a question with parameters, no key": get("/api/dead?limit=x&y=z"),
    "a question, another scope": get("/api/shards", "authorization: Bearer key-in"),
    "a verb, no key": post("/api/dead/replay", 10),
    "a verb, another scope": post("/api/dead/drop", 10, key="key-read"),
    "many, one name": post("/api/messages", LONG, "idempotency-key: a", key="key-in"),
}


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Served, Served]]:
    """With the lane, and without."""
    with ExitStack() as stack:
        pair = [stack.enter_context(served(api_keys=KEYS, lane=lane)) for lane in (True, False)]
        for server in pair:
            server.prepare()
        yield pair[0], pair[1]


@pytest.fixture
def attended(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """The connections that had a task."""
    seen: list[Connection] = []
    run = Connection.run

    async def note(self: Connection) -> bool:
        seen.append(self)
        return await run(self)

    monkeypatch.setattr(Connection, "run", note)
    return seen


def _more(server: Served, before: Counter[tuple[str, int]]) -> Counter[tuple[str, int]]:
    return server.application.traffic.answers - before


def answer_to(server: Served, sent: bytes) -> bytes:
    with raw(server.address) as sock:
        sock.sendall(sent)
        return _DATE.sub(b"", read_answer(sock))


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_what_a_head_decides_is_answered_at_once_and_without_a_task_as_in_the_other_lane(
    both: tuple[Served, Served], attended: list[Connection], head: bytes
) -> None:
    ours, theirs = both
    counted = [server.application.traffic.answers.copy() for server in both]
    answer = answer_to(ours, head)
    assert attended == []
    assert answer == answer_to(theirs, head)
    until(lambda: _more(ours, counted[0]) == _more(theirs, counted[1]))


def test_every_file_of_the_pages_is_the_same_in_both_lanes(both: tuple[Served, Served]) -> None:
    for name in page_files(playground=False):
        ours, theirs = [answer_to(server, get(f"/static/{name}")) for server in both]
        assert ours == theirs


@pytest.mark.parametrize(
    "head",
    [
        get("/docs", "if-none-match: *"),
        get("/docs?a=b"),
        get("/docs/"),
        get("/static/none"),
        get("/openapi.json?a=b"),
        get("/api/users/"),
        get("/api/users/ana"),
        get("/api/users?limit=x", "authorization: Bearer key-read"),
        post("/api/users", 0),
        post("/docs", 0),
        post("/api/messages?a=b", LONG),
    ],
)
def test_what_is_a_little_different_is_left_to_the_other_lane(
    both: tuple[Served, Served], attended: list[Connection], head: bytes
) -> None:
    ours, theirs = [answer_to(server, head) for server in both]
    assert len(attended) == 2
    assert ours == theirs


def test_a_description_that_needs_a_key_is_refused_in_the_lane_and_given_in_the_other(
    attended: list[Connection],
) -> None:
    with served(api_keys=KEYS, key_for_metrics=True) as server:
        server.prepare()
        assert answer_to(server, get("/openapi.json")).startswith(b"HTTP/1.1 401 ")
        assert attended == []
        shown = get("/openapi.json", "authorization: Bearer key-read")
        assert answer_to(server, shown).startswith(b"HTTP/1.1 200 ")
        assert len(attended) == 1


def test_one_more_long_request_than_there_are_places_is_refused_for_its_head(
    attended: list[Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SPARED_S", 600.0)  # nobody has to leave its place
    head = post("/api/messages", LONG, "content-type: application/x-ndjson", key="key-in")
    answers = []
    for lane in (True, False):
        with served(api_keys=KEYS, lane=lane) as server, ExitStack() as stack:
            for _ in range(REQUESTS_MAX):
                stack.enter_context(raw(server.address)).sendall(head + b"{")
            places = server.application.plain._bulk._places
            until(lambda: len(places._taken) == REQUESTS_MAX)  # noqa: B023
            attended.clear()
            answers.append(answer_to(server, head + b"{" * (not lane)))
            assert len(attended) == (0 if lane else 1)
            counted = server.application.traffic.answers
            until(lambda: counted["/api/messages", 503] == 1)  # noqa: B023
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in answers[0]


def test_a_place_that_somebody_would_have_to_leave_is_asked_for_in_the_other_lane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulk, "SPARED_S", -1.0)  # everybody is behind
    head = post("/api/messages", LONG, "content-type: application/x-ndjson", key="key-in")
    with served(api_keys=KEYS) as server, ExitStack() as stack:
        for _ in range(REQUESTS_MAX):
            stack.enter_context(raw(server.address)).sendall(head + b"{")
        places = server.application.plain._bulk._places
        until(lambda: len(places._taken) == REQUESTS_MAX)
        stack.enter_context(raw(server.address)).sendall(head + b"{")
        until(lambda: server.application.traffic.peers_too_slow["stream"] == 1)


def test_who_is_refused_while_it_sends_can_read_why_and_is_closed_then(
    both: tuple[Served, Served], attended: list[Connection]
) -> None:
    server = both[0]
    with raw(server.address) as sock:
        sock.sendall(post("/api/message", 1_000_000))
        for _ in range(10):
            sock.sendall(b"x" * 1_000)
        assert read_answer(sock).startswith(b"HTTP/1.1 401 ")
        assert sock.recv(1) == b""  # and no reset, which would have destroyed the answer
    until(lambda: server.application.traffic.connections_open == 0)
    assert attended == []


def test_who_goes_on_sending_behind_a_refusal_is_closed_all_the_same() -> None:
    with served(api_keys=KEYS, limits=Limits(linger_s=0.2)) as server, raw(server.address) as sock:
        sock.sendall(post("/api/message", 1_000_000))
        assert read_answer(sock).startswith(b"HTTP/1.1 401 ")
        until(lambda: server.application.traffic.connections_open == 0)
        assert server.application.traffic.peers_too_slow.total() == 0


def test_a_refused_request_whose_body_is_there_costs_no_connection(
    both: tuple[Served, Served],
) -> None:
    with raw(both[0].address) as sock:
        for _ in range(3):
            sock.sendall(post("/api/message", 5) + b"12345")
            assert read_answer(sock).startswith(b"HTTP/1.1 401 ")


def test_a_page_that_nobody_reads_ends_after_its_time_and_is_counted() -> None:
    limits = Limits(send_idle_s=0.3)
    with served(limits=limits) as server, socket.socket() as sock:
        server.prepare()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        sock.connect(server.address)
        sock.sendall(get("/openapi.json") * 20)
        until(lambda: server.application.traffic.peers_too_slow["answer"] == 1)
        until(lambda: server.application.traffic.connections_open == 0)
        assert server.application.traffic.answers["/openapi.json", 200] < 5


def test_what_was_begun_is_sent_to_its_end_when_the_service_stops() -> None:
    with served() as server, socket.socket() as sock:
        server.prepare()
        answer_to(server, get("/readyz"))  # the first `Host` is judged by the other lane
        whole = answer_to(server, get("/openapi.json"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        sock.settimeout(10)
        sock.connect(server.address)
        sock.sendall(get("/openapi.json") * 9)  # more than the system keeps for it
        given, before = server.application.traffic.answers, 0
        while before != given["/openapi.json", 200]:
            before = given["/openapi.json", 200]
            time.sleep(0.1)  # long enough for one more; with less the test only sees less
        server.stop()
        received = _DATE.sub(b"", read_all(sock))
    *begun, last = received.split(b"HTTP/1.1 200 ")[1:]
    assert len(begun) == before - 1  # the other one was asked for before
    assert {b"HTTP/1.1 200 " + each for each in begun} == {whole}
    assert b"\r\nconnection: close\r\n" in last
    assert last.endswith(whole.partition(b"\r\n\r\n")[2])


def stranger(sent: str, **settings: Any) -> bool:
    plain = Application(MemoryEngine(Settings(**settings))).plain
    return plain.is_stranger(sent.replace("\n", "\r\n").encode())


HOOK = "POST /in/telegram HTTP/1.1\nhost: a\n"


@pytest.mark.parametrize(
    ("sent", "is_one"),
    [
        ("GET /api/users HTTP/1.1\nhost: a\n\n", True),
        ("GET /api/users HTTP/1.1\nhost: a\nAuthorization: Bearer key-read\n\n", False),
        ("GET /api/users HTTP/1.1\nhost: a\nauthorization:bearer key-in\n\n", False),
        ("GET /api/users HTTP/1.1\nhost: a\nauthorization: Bearer wrong\n\n", True),
        ("GET /api/users HTTP/1.1\nhost: a\nx: authorization: Bearer key-in\n\n", True),
        ("GET /api/users HTTP/1.1\nhost: a\ncookie: aq_session=a.b.c\n\n", True),
        ("\x16\x03\x01", True),
        (HOOK + "\n", True),
        (HOOK + "x-api-key: key-in\n\n", False),
        ("POST /in/waha?a=b&key=key-in HTTP/1.1\nhost: a\n\n", False),
        ("POST /in/waha?key=wrong HTTP/1.1\nhost: a\n\n", True),
    ],
)
def test_who_shows_no_key_is_a_stranger(sent: str, is_one: bool) -> None:
    assert stranger(sent, api_keys=KEYS) is is_one


@pytest.mark.parametrize("name", ["authorization: Bearer ", "x-api-key: "])
def test_a_head_with_a_thousand_keys_costs_as_little_as_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[bytes] = []
    by_key = Keys.by_key

    def counted(keys: Keys, sent: bytes) -> Any:
        judged.append(sent)
        return by_key(keys, sent)

    monkeypatch.setattr(Keys, "by_key", counted)
    shown = "".join(f"{name}guess-{number}\n" for number in range(1_000))
    for head in ("GET /api/users HTTP/1.1\n", HOOK):
        assert stranger(f"{head}{shown}{name}key-in\n\n", api_keys=KEYS)
    assert len(judged) <= 2 * KEYS_TRIED_MAX
    judged.clear()
    again = f"{name}key-in\n" * 1_000
    assert not stranger(f"GET /api/users HTTP/1.1\n{again}\n", api_keys=KEYS)
    assert judged == [b"key-in"]


def test_a_key_in_a_body_makes_nobody_known() -> None:
    sent = "POST /api/dead/replay HTTP/1.1\nhost: a\ncontent-length: 90\n\nx-api-key: key-in\n"
    assert stranger(sent, api_keys=KEYS)


def test_where_everything_is_open_nobody_is_a_stranger() -> None:
    assert not stranger("GET /api/users HTTP/1.1\nhost: a\n\n")


def test_who_brings_a_signature_is_no_stranger_before_its_body_was_read() -> None:
    assert not stranger(HOOK + "\n", api_keys=KEYS, door_telegram_secrets=("s" * 20,))


def test_a_receiver_that_says_how_it_goes_on_is_no_stranger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = b"k" * 32
    monkeypatch.setattr(NoAnswers, "ticket", lambda _, text: opened(text, [key]))
    mine, another = (sealed(Ticket("ana", "b1", "ra/1", 1), each) for each in (key, b"x" * 32))
    for path in (f"{mine}/done", f"{mine}?wait=5", mine):
        sent = f"POST /api/answers/{path} HTTP/1.1\nhost: a\n\n"
        assert not stranger(sent, api_keys=KEYS)
        assert stranger(sent.replace(mine, another), api_keys=KEYS)
        assert stranger(sent.replace("POST /api", "POST /api?/api"), api_keys=KEYS)


def test_a_session_is_no_stranger() -> None:
    with served(api_keys=KEYS) as server:
        keys = server.application.keys
        token = issue(signer("key-read"), int(keys.clock()) + 60, "0" * NONCE_HEX_DIGITS)
        sent = f"GET /api/users HTTP/1.1\r\nhost: a\r\ncookie: aq_session={token}\r\n\r\n"
        assert not server.application.plain.is_stranger(sent.encode())


def test_a_key_that_is_gone_is_refused_although_its_head_is_remembered() -> None:
    head = post("/api/messages", LONG, key="key-in")
    with served(api_keys=KEYS) as server:
        plain = server.application.plain
        assert plain.route(head).known  # type: ignore[union-attr]
        server.run(lambda: server.application.keys.replace([ApiKey("ingest", "another")]))
        assert not plain.route(head).known  # type: ignore[union-attr]
        assert answer_to(server, head).startswith(b"HTTP/1.1 401 ")


def test_the_lane_says_what_is_not_ready(both: tuple[Served, Served]) -> None:
    for server in both:
        server.engine.reason = "the service is starting"
    ours, theirs = [answer_to(server, get("/readyz")) for server in both]
    for server in both:
        server.engine.reason = None
    assert ours == theirs
    assert ours.startswith(b"HTTP/1.1 503 ")
