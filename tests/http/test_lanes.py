"""Two lanes, one meaning: what is plain is answered as everything else is."""

from __future__ import annotations

import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.admission import admit
from actor_queue.core.api_keys import ApiKey
from actor_queue.core.message import Message
from actor_queue.http import ingest
from actor_queue.http.asgi import Application
from actor_queue.http.guest import Guest
from actor_queue.http.lane import Lane
from actor_queue.http.plain import HEAD_END, HEADS_REMEMBERED, Answer, Route, read_head
from actor_queue.http.protocol import HEAD_BYTES_MAX, _unacceptable
from actor_queue.http.server import Limits
from tests.http.client import ask, until
from tests.http.conftest import Served, served
from tests.http.lanes import THREADS, Pair, pair, request
from tests.http.memory_engine import MemoryEngine

SEEDS = 12 * THREADS


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield pair(stack)


def test_both_lanes_answer_the_same_and_keep_the_same(both: Pair) -> None:
    """`python -m tests.http.lanes` compares as many as one likes."""
    assert both.compare_all(range(SEEDS)) == []
    assert both.answers > SEEDS


PIECES = st.sampled_from(
    [
        *(b"POST", b"GET", b" ", b"/api/message", b"/healthz", b"HTTP/1.1", b"HTTP/1.0"),
        *(b"\r\n", b"\n", b"\r", b"\t", b":", b": ", b"\x00", b"\x7f", b"\xe9", b"\x0b"),
        *(
            b"host",
            b"Host: a",
            b"localhost",
            b"content-length: 2",
            b"Content-Length:2",
            b"0",
            b"12",
        ),
        *(b"transfer-encoding: chunked", b"Expect: 100-continue", b"connection: keep-alive"),
        *(b"connection: close", b"a: b", b"x-y: z", b"#", b"?a=1", b"http://a", b"+", b"-", b","),
    ]
)
USUAL = b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n"
CHANGES = st.lists(
    st.tuples(st.integers(0, len(USUAL) - len(HEAD_END)), st.integers(0, 8), PIECES), max_size=3
)


@given(st.lists(PIECES).map(b"".join) | st.binary(max_size=60), CHANGES)
def test_what_is_plain_has_the_same_meaning_for_h11(more: bytes, changes: object) -> None:
    assert isinstance(changes, list)
    head = USUAL[: -len(HEAD_END)]
    for start, length, piece in changes:
        head = head[:start] + piece + head[start + length :]
    for candidate in (head + HEAD_END, head + b"\r\n" + more + HEAD_END, more + HEAD_END):
        candidate = candidate[: candidate.find(HEAD_END) + len(HEAD_END)]
        plain = read_head(candidate)
        if plain is None:
            continue
        wire = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        wire.receive_data(candidate)
        event = wire.next_event()
        assert isinstance(event, h11.Request)
        assert (event.method.decode(), event.target) == (plain.method, plain.path)
        assert event.http_version == b"1.1"
        assert list(event.headers) == plain.fields
        assert _unacceptable(event, plain.fields) is None
        assert not wire.they_are_waiting_for_100_continue
        if plain.length:
            wire.receive_data(b"x" * plain.length)
        taken = 0
        while isinstance(event := wire.next_event(), h11.Data):
            taken += len(event.data)
        assert isinstance(event, h11.EndOfMessage)
        assert taken == plain.length
        assert wire.trailing_data == (b"", False)


def test_the_usual_request_is_plain() -> None:
    assert read_head(USUAL) is not None


@pytest.mark.parametrize("between", [b"", b"\r\n"], ids=["at once", "with a line break behind"])
def test_plain_and_other_requests_take_turns_on_one_connection(between: bytes) -> None:
    body = b'{"user": "ana", "message": "Oi"}'
    plain = post(body)
    chunked = (
        b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    )
    other = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with served() as server, socket.create_connection(server.address, 10) as sock:
        for turn in range(3):
            for sent in (plain, chunked, other, plain):
                sock.sendall(sent + between)
                answer = b""
                while b"}" not in answer:
                    answer += sock.recv(65_536)
                assert answer.startswith(b"HTTP/1.1 20"), answer
            assert len(server.engine.messages["ana"]) == 3 * (turn + 1)
        sock.sendall(plain + chunked + other + plain)
        answer = b""
        while answer.count(b"HTTP/1.1 20") < 4 or not answer.endswith(b"}"):
            answer += sock.recv(65_536)
        assert len(server.engine.messages["ana"]) == 12


def post(body: bytes) -> bytes:
    head = b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def test_a_client_that_asks_much_before_it_reads_anything_gets_every_answer_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its answers fill the socket, so that it is sent the rest of one when it reads again."""
    count = 300
    kept = 0
    take_in, keep = Lane.take_in, Guest.keep

    def take_in_small(self: Lane, sock: socket.socket, address: str) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        take_in(self, sock, address)

    def count_those_with_a_rest(self: Guest, answer: Answer, taken: int) -> None:
        nonlocal kept
        kept += 1
        keep(self, answer, taken)

    monkeypatch.setattr(Lane, "take_in", take_in_small)
    monkeypatch.setattr(Guest, "keep", count_those_with_a_rest)
    with served() as server, socket.socket() as sock:
        ask(
            server.address, "GET", "/healthz", headers={"host": "localhost"}
        )  # a `Host` is judged by the other lane at first
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.settimeout(60)
        sock.connect(server.address)
        asked = b"".join(post(b'{"user": "u", "message": "%d"}' % i) for i in range(count))
        sender = threading.Thread(target=sock.sendall, args=(asked,))
        sender.start()
        until(lambda: kept > 0 or len(server.engine.pushes) == count)
        answers = b""
        while answers.count(b'"success": true') < count:
            piece = sock.recv(1 << 20)
            assert piece
            answers += piece
        sender.join()
    assert kept
    pending = [int(n) for n in re.findall(rb'"pending": (\d+)', answers)]
    assert pending == list(range(1, count + 1))
    texts = [m.body for m in server.engine.messages["u"]]
    assert texts == [b'{"user": "u", "message": "%d"}' % i for i in range(count)]


def test_a_request_that_fails_in_a_group_fails_alone() -> None:
    with served() as server, ExitStack() as stack:
        server.engine.full.add("full")
        socks = [stack.enter_context(raw_socket(server)) for _ in range(6)]
        users = ["ana", "full", "bia", "", "full", "caio"]
        for sock, user in zip(socks, users, strict=True):
            sock.sendall(post(b'{"user": "%b", "message": "Oi"}' % user.encode()))
        statuses = [sock.recv(65_536)[9:12] for sock in socks]
    assert statuses == [b"202", b"429", b"202", b"422", b"429", b"202"]


def test_a_key_that_is_gone_opens_nothing_although_its_head_is_remembered() -> None:
    key = ApiKey("ingest", "key-one")
    head = b"POST /api/message HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer key-one\r\n"
    body = b'{"user": "u", "message": "Oi"}'
    asked = head + b"content-length: %d\r\n\r\n" % len(body) + body
    with served(api_keys=[key]) as server, raw_socket(server) as sock:
        for keys, status in (([key], b"202"), ([ApiKey("ingest", "key-two")], b"401")):
            server.run(partial(server.application.keys.replace, keys))
            for _ in range(2):
                sock.sendall(asked)
                assert sock.recv(65_536)[9:12] == status


def test_an_error_of_ours_ends_one_request_and_not_those_that_came_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def admit_some(body: bytes, *args: Any, **options: Any) -> Message:
        if b"boom" in body:
            raise RuntimeError("a fault of ours")
        return admit(body, *args, **options)

    monkeypatch.setattr(ingest, "admit", admit_some)
    with served() as server, ExitStack() as stack:
        ask(server.address, "GET", "/healthz", headers={"host": "localhost"})
        socks = [stack.enter_context(raw_socket(server)) for _ in range(5)]
        asked = [post(b'{"user": "%b", "message": "Oi"}' % user) for user in FIVE]

        def send_all() -> None:  # in the server's own loop, which finds all of them at once
            for sock, sent in zip(socks, asked, strict=True):
                sock.sendall(sent)

        server.run(send_all)
        assert [sock.recv(65_536)[9:12] for sock in socks] == [
            b"500" if user == b"boom" else b"202" for user in FIVE
        ]
        assert server.application.traffic.requests_failed == 2


FIVE = [b"ana", b"boom", b"bia", b"boom", b"caio"]


@pytest.mark.parametrize("where", ["reading", "answering"])
def test_an_error_of_ours_ends_one_connection_and_not_the_lane(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    route, give = ingest.PlainIngest.route, Lane._give

    def route_some(self: ingest.PlainIngest, head: bytes) -> Route | None:
        if b"x-boom" in head and where == "reading":
            raise RuntimeError("a fault of ours")
        return route(self, head)

    def give_some(self: Lane, guest: Any, answer: Answer, asked: Any, **options: bool) -> None:
        if b'"boom"' in answer.head and where == "answering":
            raise RuntimeError("a fault of ours")
        give(self, guest, answer, asked, **options)

    monkeypatch.setattr(ingest.PlainIngest, "route", route_some)
    monkeypatch.setattr(Lane, "_give", give_some)
    boom = post(b'{"user": "boom", "message": "Oi"}').replace(b"\r\n\r\n", b"\r\nx-boom: 1\r\n\r\n")
    with served() as server, raw_socket(server) as bad, raw_socket(server) as good:
        ask(server.address, "GET", "/healthz", headers={"host": "localhost"})
        bad.sendall(boom)
        assert bad.recv(65_536) == b""
        good.sendall(post(b'{"user": "ana", "message": "Oi"}'))
        assert good.recv(65_536)[9:12] == b"202"
        traffic = server.application.traffic
        assert (traffic.connections_failed, traffic.connections_open) == (1, 1)


@pytest.mark.parametrize("when", ["in its turn", "when it is late", "at the end"])
def test_an_error_of_ours_when_a_connection_leaves_the_lane_ends_it_alone(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = Lane._let_go

    def let_some_go(self: Lane, guest: Any, **how: bool) -> None:
        if b"x-boom" in guest.came:
            raise RuntimeError("a fault of ours")
        let_go(self, guest, **how)

    monkeypatch.setattr(Lane, "_let_go", let_some_go)
    keys = [ApiKey("ingest", "key-in")]
    known = b"\r\nauthorization: Bearer key-in\r\n"
    boom = {
        "in its turn": b"GET /api/users/ana HTTP/1.1\r\nhost: localhost\r\nx-boom: 1\r\n\r\n",
        "when it is late": post(b"{}").replace(b"\r\n", known + b"x-boom: 1\r\n", 1)[:-1],
        "at the end": b"GET /api/users/ana HTTP/1.1\r\nx-boom",
    }[when]
    limits = Limits(body_idle_s=0.1 if when == "when it is late" else 60)
    with served(api_keys=keys, limits=limits) as server, raw_socket(server) as bad:
        ask(server.address, "GET", "/healthz", headers={"host": "localhost"})
        bad.sendall(boom)
        if when == "at the end":
            assert ask(server.address, "GET", "/healthz").status == 200
            server.stop()
        assert bad.recv(65_536) == b""
        traffic = server.application.traffic
        assert traffic.connections_failed == 1
        if when != "at the end":
            assert ask(server.address, "GET", "/healthz").status == 200


@pytest.fixture
def patient() -> Iterator[Served]:
    """Everything takes its time but a head: what ends soon here ends for another reason."""
    limits = Limits(idle_s=60, body_idle_s=60, send_idle_s=60, head_s=0.3)
    with served(limits=limits, api_keys=[ApiKey("ingest", "key-in")]) as server:
        yield server


def test_a_head_has_its_own_patience_and_not_that_of_an_idle_connection(patient: Served) -> None:
    with raw_socket(patient) as sock:
        sock.sendall(b"POST /api/message HTTP/1.1\r\nhost: localhost\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 408 ")


def test_a_head_without_an_end_is_refused_when_it_is_too_large_and_not_when_it_is_late() -> None:
    with served(limits=Limits(head_s=60)) as server, raw_socket(server) as sock:
        sock.sendall(b"POST /api/message HTTP/1.1\r\nx-long: " + b"y" * 20_000)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 431 ")


def test_what_is_refused_for_its_head_is_refused_before_its_body_comes(patient: Served) -> None:
    with raw_socket(patient) as sock:
        sock.sendall(post(b"x" * 50).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_a_client_that_is_ahead_of_its_answers_is_heard_again(start: Callable[..., Served]) -> None:
    server = start()
    pause = server.engine.pause = server.run(trio.Event)
    one = post(b'{"user": "ana", "message": "Oi"}')
    with raw_socket(server) as sock:
        sock.sendall(one)
        until(lambda: server.run(lambda: pause.statistics().tasks_waiting) == 1)
        sock.sendall(one)  # readable while the first is under way
        for _ in range(3):  # the server goes round, and finds it
            assert ask(server.address, "GET", "/healthz").status == 200
        server.run(pause.set)
        read_answers(sock, 2)
        for _ in range(3):
            sock.sendall(one)
            read_answers(sock, 1)


def read_answers(sock: socket.socket, count: int) -> None:
    received = b""
    while received.count(b'"success": true') < count or not received.endswith(b"}"):
        piece = sock.recv(65_536)
        assert piece, received
        received += piece


def test_who_has_shown_a_key_keeps_its_place_when_strangers_want_one() -> None:
    limits = Limits(connections_max=6, idle_s=60)
    with (
        served(limits=limits, api_keys=[ApiKey("ingest", "a-key")]) as server,
        ExitStack() as stack,
    ):
        asked = post(b'{"user": "ana", "message": "Oi"}').replace(
            b"\r\n\r\n", b"\r\nauthorization: Bearer a-key\r\n\r\n"
        )
        known = [stack.enter_context(raw_socket(server)) for _ in range(3)]
        for sock in known:
            sock.sendall(asked)
            assert sock.recv(65_536)[9:12] == b"202"
            sock.sendall(asked[:30])  # slow now, and the oldest of all
        for _ in range(20):
            stack.enter_context(raw_socket(server)).sendall(b"GET /")
        until(lambda: server.application.traffic.connections_evicted >= 17)
        for sock in known:
            sock.sendall(asked[30:])
            assert sock.recv(65_536)[9:12] == b"202"


def test_of_the_heads_that_are_found_plain_so_many_are_remembered() -> None:
    plain = Application(MemoryEngine()).plain.messages
    for i in range(3 * HEADS_REMEMBERED):
        head = post(b"").replace(b"\r\n\r\n", b"\r\nx-id: %d\r\n\r\n" % i)
        assert plain.route(head) is not None
        assert len(plain._routes) <= HEADS_REMEMBERED
    long = post(b"").replace(b"\r\n\r\n", b"\r\nx-id: " + b"y" * 2_000 + b"\r\n\r\n")
    assert plain.route(long) is not None
    assert long not in plain._routes


def raw_socket(server: Served) -> socket.socket:
    return socket.create_connection(server.address, 10)


def test_the_generator_sends_plain_requests_and_others() -> None:
    dice = random.Random(1)
    heads = [request(dice, "1").partition(HEAD_END)[0] + HEAD_END for _ in range(500)]
    plain = sum(read_head(head) is not None for head in heads)
    assert 150 < plain < 450
