"""What senders really send: compressed, marked, mislabelled, with a slash or a parameter more."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from actor_queue.core.codings import PIECE_BYTES_MAX
from actor_queue.http.elements import NOTHING_FOUND_BYTES, Array, Cutter, Lines
from tests.http.client import Answer, ask, call, raw, read_all
from tests.http.conftest import Served

BOM = b"\xef\xbb\xbf"
FORM = "application/x-www-form-urlencoded"
NDJSON = "application/x-ndjson"
ONE = {"user": "ana", "message": "olá", "ttl": 3}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw": lambda body: zlib.compress(body, wbits=-15),
    "identity": bytes,
    "": bytes,
}


def send(
    server: Served, path: str, body: bytes | Iterator[bytes], kind: str = "", **headers: str
) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(server.address, "POST", path, body, {"content-type": kind, **fields})


def pushed(server: Served) -> list[Any]:
    return [json.loads(m.body) for messages in server.engine.pushes for m in messages]


def coding_named(name: str) -> str:
    return "deflate" if name == "raw" else name


# Compressed bodies


@pytest.mark.parametrize("name", PACKED)
def test_a_compressed_body_is_taken_on_every_path(server: Served, name: str) -> None:
    pack, coding = PACKED[name], coding_named(name)
    one = json.dumps(ONE).encode()
    for path, kind, body in (
        ("/api/message", "", one),
        ("/api/messages", "application/json", b"[%s, %s]" % (one, one)),
        ("/api/messages", NDJSON, one + b"\n" + one),
        ("/api/users/ana/typing", "", b'{"ttl": 9}'),
        ("/api/users/ana/hold", "", b'{"seconds": "9"}'),
        ("/api/users/ana/release", "", b""),
    ):
        answer = send(server, path, pack(body) if body else b"", kind, content_encoding=coding)
        assert answer.status in (200, 202), (path, answer)
    assert pushed(server) == [ONE] * 5


json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
).map(json.dumps)
messages = st.builds(
    lambda user, text, more: json.dumps({"user": user, "message": text, "x": more}),
    st.sampled_from(["ana", "joão", 7]),
    st.none() | st.integers() | st.text(max_size=20),
    json_texts.map(json.loads),
)


def cut(cutter: Cutter, body: bytes, ends: list[int]) -> tuple[list[bytes], str | None]:
    marks = sorted({0, *(end % (len(body) + 1) for end in ends)})
    elements: list[bytes] = []
    for start, end in pairwise([*marks, len(body)]):
        for some in cutter.feed(body[start:end], last=False):
            elements += some
    for some in cutter.feed(b"", last=True) if cutter.fault is None else ():
        elements += some
    # Of what is too large, it is kept only that it is.
    judged = [element if len(element) <= 100 else b"too large" for element in elements]
    return judged, None if cutter.fault is None else cutter.fault.detail


@given(
    st.lists(messages | json_texts | st.text('[]{},:"\\ab1 \n', max_size=30), max_size=8),
    st.sampled_from(["gzip", "deflate", "raw"]),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(0, 10_000), max_size=10),
)
def test_any_text_compressed_any_way_split_any_way_is_cut_as_the_plain_one(
    texts: list[str], name: str, lines: bool, marked: bool, ends: list[int]
) -> None:
    body = ("\n".join(texts) if lines else "[" + ",".join(texts) + "]").encode()
    body = BOM + body if marked else body
    make = Lines if lines else Array
    plain = cut(Cutter(make(100), None, 100), body, [])
    packed = PACKED[name](body)
    assert cut(Cutter(make(100), coding_named(name), 100), packed, ends) == plain
    assert cut(Cutter(make(100), None, 100), body, ends) == plain


@examples(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(messages | json_texts, max_size=6),
    st.sampled_from(["gzip", "deflate", "raw"]),
    st.sampled_from(["one", "array", "lines"]),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_a_compressed_request_is_answered_as_the_plain_one(
    server: Served, texts: list[str], name: str, form: str, ends: list[int]
) -> None:
    path = "/api/message" if form == "one" else "/api/messages"
    body = {"one": "".join(texts[:1]), "lines": "\n".join(texts), "array": f"[{','.join(texts)}]"}
    plain = body[form].encode()
    packed = PACKED[name](plain)
    marks = sorted({0, len(packed), *(end % len(packed) for end in ends)})
    pieces = (packed[start:end] for start, end in pairwise(marks))
    answers = []
    for sent, headers in ((plain, {}), (pieces, {"content_encoding": coding_named(name)})):
        server.engine.__post_init__()
        answer = send(server, path, sent, NDJSON if form == "lines" else "", **headers)
        answers.append((answer.status, answer.body, pushed(server)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
@pytest.mark.parametrize("path", ["/api/message", "/api/messages", "/api/users/a/typing"])
def test_another_coding_is_415_that_names_it_and_says_what_is_understood(
    server: Served, path: str, coding: str
) -> None:
    answer = send(server, path, b"x", content_encoding=coding)
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "gzip, deflate")
    assert coding in answer.json["detail"]


def test_a_coding_on_several_lines_is_one_list(server: Served) -> None:
    head = b"POST /api/message HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n"
    with raw(server.address) as sock:
        sock.sendall(head + b"content-encoding: gzip\r\n" * 2 + b"connection: close\r\n\r\n")
        assert b" 415 " in read_all(sock)


def test_a_wrong_key_is_said_before_a_wrong_coding(start: Callable[..., Served]) -> None:
    server = start(api_keys=(("ingest", "k1"),))
    for path in ("/api/message", "/api/messages", "/api/users/a/typing"):
        assert send(server, path, b"x", content_encoding="br").status == 401
        assert ask(server.address, "POST", f"{path}?x=1", b"{}").status == 401


@pytest.mark.parametrize("name", ["gzip", "deflate", "raw"])
def test_the_limit_of_one_message_counts_its_decoded_bytes(server: Served, name: str) -> None:
    limit = server.engine.settings.max_body_bytes
    text = "".join(chr(33 + n * 7_919 % 90) for n in range(limit)).replace("\\", "/")
    frame = len(json.dumps({"user": "a", "message": ""}))
    fits = json.dumps({"user": "a", "message": text.replace('"', "'")[: limit - frame]}).encode()
    assert len(fits) == limit
    for body, status in ((fits, 202), (fits + b" ", 413)):
        packed = PACKED[name](body)
        answer = send(server, "/api/message", packed, content_encoding=coding_named(name))
        assert answer.status == status
    stored = zlib.compress(fits, level=0)
    assert len(stored) > limit
    assert send(server, "/api/message", stored, content_encoding="deflate").status == 202


def test_a_bomb_is_413_before_it_has_come_whole(server: Served) -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    head = b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-encoding: gzip\r\ncontent-type: %s\r\n"
    for path, kind in ((b"/api/message", b"x"), (b"/api/messages", NDJSON.encode())):
        with raw(server.address) as sock:
            sock.sendall(head % (path, kind) + b"content-length: %d\r\n\r\n" % (len(bomb) + 1))
            sock.sendall(bomb)  # one byte is missing, and nobody waits for it
            assert read_all(sock).startswith(b"HTTP/1.1 413 ")
    assert send(server, "/api/message", b"x" * 2_000_000, content_encoding="gzip").status == 413


@pytest.mark.parametrize("make", [Lines, Array])
@pytest.mark.parametrize("unit", [b"\n", b" ", b"0", b'"'])
def test_of_a_bomb_no_more_is_decoded_than_shows_what_it_is(
    make: type[Lines] | type[Array], unit: bytes
) -> None:
    bomb = gzip.compress((b"[" if make is Array else b"") + unit * 10_000_000)
    cutter = Cutter(make(1_000), "gzip", 1_000)
    pieces = sum(1 for _ in cutter.feed(bomb, last=True))
    assert cutter.fault is not None
    assert cutter.fault.status == 413
    assert pieces <= (NOTHING_FOUND_BYTES + 4_000) // PIECE_BYTES_MAX + 2


def test_a_message_that_is_too_large_spoils_only_itself_also_in_a_compressed_body(
    server: Served,
) -> None:
    large = json.dumps({"user": "a", "message": "x" * 1_000_000})
    body = f"{json.dumps(ONE)}\n{large}\n{json.dumps(ONE)}".encode()
    answer = send(server, "/api/messages", gzip.compress(body), NDJSON, content_encoding="gzip")
    results = [json.loads(line) for line in answer.body.splitlines()]
    assert [result.get("status", 202) for result in results] == [202, 413, 202]


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\n\r\n"])
@pytest.mark.parametrize("name", ["gzip", "deflate", "raw"])
def test_line_breaks_behind_a_compressed_body_are_ignored(
    server: Served, name: str, end: bytes
) -> None:
    pack, coding = PACKED[name], coding_named(name)
    one = json.dumps(ONE).encode()
    for path, kind, body in (
        ("/api/message", "", one),
        ("/api/messages", "application/json", b"[%s]" % one),
        ("/api/messages", NDJSON, one),
        ("/api/users/a/hold", "", b"{}"),
    ):
        answer = send(server, path, pack(body) + end, kind, content_encoding=coding)
        assert answer.status in (200, 202), (path, answer)
    assert pushed(server) == [ONE] * 3


# Names and not bytes make the tests' ids: a gzip stream holds the second it was made in, and two
# processes that collect the same tests in different seconds would find different ones.
BROKEN = {
    "the last byte is missing": gzip.compress(json.dumps(ONE).encode())[:-1],
    "the checksum is missing": gzip.compress(json.dumps(ONE).encode())[:-9],
    "nothing, and not to its end": gzip.compress(b"")[:-1],
    "text behind the end": gzip.compress(b"{}") + b"\r\n.",
    "a blank behind the end": gzip.compress(b"{}") + b" ",
    "a second stream after a line break": gzip.compress(b"{}") + b"\n" + gzip.compress(b"{}"),
    "not compressed": json.dumps(ONE).encode(),
    "another checksum": gzip.compress(b"{}")[:-8] + b"12345678",
}


@pytest.mark.parametrize(
    ("path", "kind"), [("/api/message", ""), ("/api/messages", NDJSON), ("/api/users/a/hold", "")]
)
@pytest.mark.parametrize("name", BROKEN)
def test_a_stream_that_is_broken_is_400_that_says_so_and_keeps_nothing(
    server: Served, path: str, kind: str, name: str
) -> None:
    answer = send(server, path, BROKEN[name], kind, content_encoding="gzip")
    assert answer.status in (400, 200)
    if answer.status == 200:  # of many, what came before the fault got its answer
        assert json.loads(answer.body.splitlines()[-1])["status"] == 400
    assert "gzip stream" in answer.body.decode()
    assert pushed(server) == []


def test_what_came_before_a_streams_fault_was_kept_and_nothing_half_read(server: Served) -> None:
    lines = b"".join(json.dumps({**ONE, "n": n}).encode() + b"\n" for n in range(2_000))
    packed = gzip.compress(lines + json.dumps(ONE).encode(), 1)
    for cut_off in (len(packed) // 2, len(packed) - 8):
        server.engine.__post_init__()
        answer = send(server, "/api/messages", packed[:cut_off], NDJSON, content_encoding="gzip")
        results = [json.loads(line) for line in answer.body.splitlines()]
        kept = pushed(server)
        assert kept == [{**ONE, "n": n} for n in range(len(kept))]
        assert [result.get("status", 202) for result in results] == [202] * len(kept) + [400]
        assert 0 < len(kept) <= 2_000


# Marks and labels


@pytest.mark.parametrize("piece", [1, 2, 3, 1_000])
@pytest.mark.parametrize("kind", ["application/json", NDJSON])
def test_a_byte_order_mark_before_many_messages_is_dropped(
    server: Served, kind: str, piece: int
) -> None:
    one = json.dumps(ONE).encode()
    body = BOM + (one + b"\n" if kind == NDJSON else b"[" + one + b"]")
    pieces = (body[start : start + piece] for start in range(0, len(body), piece))
    assert send(server, "/api/messages", pieces, kind).status == 200
    assert pushed(server) == [ONE]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/message", b'{"user": "a" "message": "b"}'),
        ("/api/message", BOM + b' {"user": "a", "message": "b=c"'),
        ("/api/message", b"'{user:"),
        ("/api/message", b""),
        ("/api/users/a/hold", b'{"seconds": 5'),
    ],
)
def test_json_that_cannot_be_read_says_so_although_curl_calls_it_a_form(
    server: Served, path: str, body: bytes
) -> None:
    answer = send(server, path, body, FORM)
    assert (answer.status, answer.json["title"]) == (400, "Not JSON")
    assert "line 1, column" in answer.json["detail"]
    assert path != "/api/message" or "content-type: application/json" in answer.json["detail"]
    assert "curl" not in send(server, path, body, "application/json").json["detail"]


@pytest.mark.parametrize("body", [b"user=a&message=b", b"message=%7B%7D", b"%7B%22user%22", b"="])
@pytest.mark.parametrize("path", ["/api/message", "/api/messages", "/api/users/a/hold"])
def test_a_real_form_is_told_to_be_json(server: Served, path: str, body: bytes) -> None:
    answer = send(server, path, body, f"{FORM}; charset=utf-8")
    assert (answer.status, "JSON" in answer.json["detail"]) == (415, True)


def test_json_that_curl_calls_a_form_is_taken_by_every_path(server: Served) -> None:
    one = json.dumps(ONE).encode()
    assert send(server, "/api/messages", b"[" + one + b"]", FORM).status == 200
    assert send(server, "/api/users/ana/hold", b'{"seconds": 5}', FORM).status == 200
    assert send(server, "/api/users/ana/release", b"", FORM).status == 200


@pytest.mark.parametrize("kind", ["application/json", NDJSON])
def test_one_name_for_many_messages_is_refused_because_ignoring_it_would_double_them(
    server: Served, kind: str
) -> None:
    body = json.dumps(ONE).encode() if kind == NDJSON else json.dumps([ONE]).encode()
    answer = send(server, "/api/messages", body, kind, idempotency_key="k")
    assert (answer.status, answer.field) == (422, "message_id")
    assert "give each message its message_id" in answer.json["detail"]
    for empty in ("", '""'):
        assert send(server, "/api/messages", body, kind, idempotency_key=empty).status == 200
    assert len(pushed(server)) == 2


# Paths and parameters


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/message"),
        ("POST", "/api/messages"),
        ("GET", "/api/users"),
        ("GET", "/api/users/ana"),
        ("POST", "/api/users/ana/typing"),
        ("POST", "/api/users/ana/hold"),
        ("POST", "/api/users/ana/release"),
        ("POST", "/api/users/ana/flush"),
        ("DELETE", "/api/users/ana"),
        ("GET", "/api/dead"),
        ("GET", "/api/dead/b-1"),
        ("POST", "/api/dead/b-1/replay"),
        ("POST", "/api/dead/replay"),
        ("DELETE", "/api/dead/b-1"),
        ("GET", "/api/shards"),
        ("HEAD", "/api/events"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
    ],
)
def test_a_slash_at_the_end_of_a_path_means_nothing(server: Served, method: str, path: str) -> None:
    body = {"/api/message": ONE, "/api/messages": [ONE]}.get(path)
    answers = []
    for asked in (path, f"{path}/"):
        server.engine.__post_init__()
        server.engine.bury("b-1")
        answers.append(call(server.address, method, asked, body))
    plain, slashed = answers
    assert plain.status in (200, 202)
    assert slashed.status == plain.status
    assert slashed.headers["content-type"] == plain.headers["content-type"]
    assert slashed.body == plain.body or path == "/metrics"


def test_a_user_whose_name_ends_with_a_slash_is_another_user(server: Served) -> None:
    for user in ("ana", "ana/", "ana//"):
        assert call(server.address, "POST", "/api/message", {"user": user, "message": user})
    for path, user in (
        ("ana", "ana"),
        ("ana/", "ana"),
        ("ana%2F", "ana/"),
        ("ana%2f/", "ana/"),
        ("ana%2F%2F", "ana//"),
        ("ana%2F%2F/", "ana//"),
    ):
        assert call(server.address, "GET", f"/api/users/{path}").json["user"] == user
    assert call(server.address, "DELETE", "/api/users/ana%2F/").json["user"] == "ana/"
    assert sorted(server.engine.messages) == ["ana", "ana//"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/message"),
        ("POST", "/api/messages"),
        ("GET", "/api/users"),
        ("GET", "/api/users/ana"),
        ("DELETE", "/api/users/ana"),
        ("POST", "/api/users/ana/typing"),
        ("POST", "/api/users/ana/hold"),
        ("POST", "/api/users/ana/release"),
        ("POST", "/api/users/ana/flush"),
        ("GET", "/api/dead"),
        ("GET", "/api/dead/b-1"),
        ("DELETE", "/api/dead/b-1"),
        ("POST", "/api/dead/b-1/replay"),
        ("POST", "/api/dead/replay"),
        ("GET", "/api/shards"),
        ("GET", "/api/events"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
    ],
)
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("who=ana", "who"),
        ("who", "who"),
        ("Limit=3", "Limit"),
        ("=3", ""),
        ("&%77ho=&", "who"),
        ("limi%74s=3", "limits"),
        ("j%C3%A3=", "jã"),
        ("%ff=1", "\ufffd"),
        ("x" * 300 + "=1", "x" * 50),
    ],
)
def test_a_parameter_that_a_path_does_not_know_is_named_and_nothing_is_done(
    server: Served, method: str, path: str, query: str, field: str
) -> None:
    server.engine.bury("b-1")
    body = {"/api/message": ONE, "/api/messages": [ONE]}.get(path)
    answer = call(server.address, method, f"{path}?{query}", body)
    assert (answer.status, answer.field) == (400, field)
    assert (pushed(server), server.engine.replayed) == ([], [])
    assert list(server.engine.letters) == ["b-1"]


@pytest.mark.parametrize(
    "query", ["limit=3&limit=3", "cursor=&limit=1&cursor=", "limit=1&limi%74="]
)
@pytest.mark.parametrize("path", ["/api/users", "/api/dead"])
def test_a_parameter_that_occurs_twice_is_named(server: Served, path: str, query: str) -> None:
    answer = call(server.address, "GET", f"{path}?{query}")
    assert (answer.status, answer.field) == (400, "cursor" if "cursor" in query else "limit")


@pytest.mark.parametrize(
    "path", ["/?theme=dark", "/docs?x", "/static/base.css?v=1", "/healthz?t=1"]
)
def test_pages_and_probes_take_any_parameter(server: Served, path: str) -> None:
    assert call(server.address, "GET", path).status == 200


def test_a_question_mark_alone_asks_for_nothing(server: Served) -> None:
    for path in ("/api/users?", "/api/users?&", "/api/users?limit=%2010%20&state=&cursor="):
        assert call(server.address, "GET", path).status == 200
