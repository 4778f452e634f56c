"""Signing in: a key for a cookie, and every door tried without a key, with the wrong scope, with an
old session, from another site, and with `GET` in place of `POST`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from actor_queue.core.api_keys import ApiKey
from actor_queue.core.sessions import SESSION_S, issue, signer
from actor_queue.core.tries import TRIES_AT_ONCE
from tests.http.client import Answer, ask, raw, read_all
from tests.http.conftest import Served, served
from tests.http.test_keys import NEEDS

KEYS = (
    ApiKey("ingest", "in-key", "shop"),
    ApiKey("read", "read-key", "carla"),
    ApiKey("admin", "root-key", "ana"),
)
KEY_OF = {each.scope: each.key for each in KEYS}
ELSEWHERE = ("https://evil.example", "null", "http://127.0.0.1:1", "")
READS = frozenset({"GET", "HEAD"})


@pytest.fixture(scope="module")
def locked() -> Iterator[Served]:
    with served(api_keys=KEYS) as server:
        yield server
        assert server.application.traffic.requests_failed == 0


def home(server: Served) -> str:
    host, port = server.address
    return f"http://{host}:{port}"


def sign_in(server: Served, key: object, **headers: str) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(server.address, "POST", "/api/session", json.dumps({"key": key}), fields)


def cookie_of(server: Served, scope: str) -> str:
    answer = sign_in(server, KEY_OF[scope], origin=home(server))
    assert answer.status == 204, answer
    return answer.headers["set-cookie"].partition(";")[0]


def with_cookie(
    server: Served, method: str, path: str, cookie: str, origin: str | None = None, **more: str
) -> Answer:
    headers = {"cookie": cookie, **more}
    if origin is not None:
        headers["origin"] = origin
    return ask(server.address, method, path, headers=headers)


def test_a_key_is_exchanged_for_a_cookie_that_scripts_and_other_sites_do_not_get(
    locked: Served,
) -> None:
    answer = sign_in(locked, "root-key", origin=home(locked))
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["cache-control"] == "no-store"
    value, *attributes = answer.headers["set-cookie"].split("; ")
    assert attributes == ["Path=/", f"Max-Age={SESSION_S}", "HttpOnly", "SameSite=Strict"]
    assert "root-key" not in value
    look = with_cookie(locked, "GET", "/api/session", value)
    assert look.status == 200
    assert look.json["scope"] == "admin"
    assert look.json["scopes"] == ["admin", "read", "ingest"]
    assert look.json["name"] == "ana"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.\d{3}Z", look.json["expires"])


def test_the_cookie_is_kept_to_https_where_the_browser_came_by_it(locked: Served) -> None:
    for more in ({"x_forwarded_proto": "https"}, {"x_forwarded_proto": "HTTPS, http"}):
        assert sign_in(locked, "root-key", **more).headers["set-cookie"].endswith("; Secure")
    assert "Secure" not in sign_in(locked, "root-key").headers["set-cookie"]


def test_behind_a_prefix_the_cookie_goes_to_that_prefix_alone() -> None:
    with served(api_keys=KEYS, root_path="/redis-api") as server:
        assert "; Path=/redis-api;" in sign_in(server, "root-key").headers["set-cookie"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"key": 5}', b'{"key": ""}', b'{"k": "a"}'])
def test_what_is_no_key_is_refused_and_never_quoted(locked: Served, body: bytes) -> None:
    answer = ask(locked.address, "POST", "/api/session", body)
    assert answer.status in (400, 422)


def test_a_wrong_key_is_401_and_gives_no_cookie(locked: Served) -> None:
    for key in ("root-keyx", "root-ke", "é", "\ud800", "admin:root-key"):
        answer = sign_in(locked, key)
        assert answer.status == 401, key
        assert "set-cookie" not in answer.headers


# Every door


@pytest.mark.parametrize(("method", "path", "scope"), NEEDS)
def test_each_door_opens_for_a_session_as_for_its_key(
    locked: Served, method: str, path: str, scope: str
) -> None:
    for granted in KEY_OF:
        answer = with_cookie(locked, method, path, cookie_of(locked, granted), home(locked))
        allowed = granted in (scope, "admin")
        assert (answer.status == 403) is not allowed, (granted, answer)
        assert answer.status != 401


@pytest.mark.parametrize(("method", "path", "scope"), NEEDS)
def test_no_door_opens_without_a_session(
    locked: Served, method: str, path: str, scope: str
) -> None:
    for cookie in ("", "aq_session", "aq_session=", "aq_session=x", "other=1", "aq_session=v1.a.b"):
        answer = with_cookie(locked, method, path, cookie, home(locked))
        assert answer.status == 401
        assert "www-authenticate" in answer.headers


@pytest.mark.parametrize(("method", "path", "scope"), NEEDS)
def test_no_door_opens_for_a_session_that_is_over(
    locked: Served, method: str, path: str, scope: str
) -> None:
    now = int(locked.application.keys.clock())
    old = issue(signer(KEY_OF["admin"]), now - 1, "0" * 16)
    unknown = issue(signer("a key that was rotated away"), now + 100, "0" * 16)
    for token in (old, unknown):
        answer = with_cookie(locked, method, path, f"aq_session={token}", home(locked))
        assert answer.status == 401, answer


@pytest.mark.parametrize(("method", "path", "scope"), NEEDS)
def test_nothing_is_changed_with_a_cookie_from_another_site(
    locked: Served, method: str, path: str, scope: str
) -> None:
    cookie = cookie_of(locked, "admin")
    reads = method in READS
    for origin in (None, *ELSEWHERE):
        answer = with_cookie(locked, method, path, cookie, origin)
        assert (answer.status == 403) is not reads, (origin, answer)
        assert "access-control-allow-origin" not in answer.headers
    for site in ("cross-site", "same-site", "none"):
        answer = with_cookie(locked, method, path, cookie, home(locked), **{"sec-fetch-site": site})
        assert (answer.status == 403) is not reads, (site, answer)


@pytest.mark.parametrize(("method", "path", "scope"), NEEDS)
def test_get_in_place_of_post_changes_nothing(
    locked: Served, method: str, path: str, scope: str
) -> None:
    if method in READS:
        return
    engine = locked.engine
    before = (len(engine.pushes), list(engine.replayed), dict(engine.held_ms), engine.job)
    answer = with_cookie(locked, "GET", path, cookie_of(locked, "admin"), home(locked))
    after = (len(engine.pushes), list(engine.replayed), dict(engine.held_ms), engine.job)
    assert before == after
    assert answer.status in (200, 404, 405), answer  # some of these paths show something


def test_a_listed_page_of_another_site_does_not_send_messages_with_a_cookie() -> None:
    with served(api_keys=KEYS, cors_origins=("https://chat.example",)) as server:
        cookie = cookie_of(server, "admin")
        body = json.dumps({"user": "a", "message": "oi"})
        headers = {"cookie": cookie, "origin": "https://chat.example"}
        assert ask(server.address, "POST", "/api/message", body, headers).status == 403
        headers = {"cookie": cookie, "origin": home(server)}
        assert ask(server.address, "POST", "/api/message", body, headers).status == 202
        assert len(server.engine.pushes) == 1


def test_the_public_address_is_ours_too_and_so_is_what_the_browser_calls_its_own() -> None:
    with served(api_keys=KEYS, public_url="https://queue.example/redis-api") as server:
        cookie = cookie_of(server, "admin")
        path = "/api/users/a/flush"
        assert with_cookie(server, "POST", path, cookie, "https://queue.example").status == 200
        proxied = {"sec-fetch-site": "same-origin"}
        assert with_cookie(server, "POST", path, cookie, "https://a.b", **proxied).status == 200


def test_a_key_in_the_header_wins_over_the_cookie(locked: Served) -> None:
    cookie = cookie_of(locked, "admin")
    for authorization, status in (("Bearer wrong", 401), ("Bearer in-key", 403), ("Basic x", 401)):
        more = {"authorization": authorization}
        assert with_cookie(locked, "GET", "/api/users", cookie, **more).status == status
    more = {"authorization": "Bearer root-key"}
    assert with_cookie(locked, "POST", "/api/users/a/flush", "aq_session=x", **more).status == 200


def test_a_cookie_that_somebody_else_set_beside_ours_does_not_hide_it(locked: Served) -> None:
    cookie = f"aq_session=planted; theme=dark; {cookie_of(locked, 'read')}"
    assert with_cookie(locked, "GET", "/api/users", cookie).status == 200


# Signing out, other keys


def test_signing_out_ends_this_session_in_every_tab_and_no_other_one(locked: Served) -> None:
    cookie, other = cookie_of(locked, "read"), cookie_of(locked, "read")
    with raw(locked.address) as sock:
        head = f"GET /api/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: {cookie}"
        sock.sendall(f"{head}\r\n\r\n".encode())
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")
        answer = with_cookie(locked, "DELETE", "/api/session", cookie, home(locked))
        assert answer.status == 204
        assert answer.headers["set-cookie"].startswith("aq_session=; Path=/; Max-Age=0")
        assert read_all(sock).endswith(b"0\r\n\r\n")
    assert with_cookie(locked, "GET", "/api/session", cookie).status == 401
    assert with_cookie(locked, "GET", "/api/users", cookie).status == 401
    assert with_cookie(locked, "GET", "/api/users", other).status == 200
    assert with_cookie(locked, "DELETE", "/api/session", cookie, home(locked)).status == 204


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_no_page_of_another_site_signs_anybody_in_or_out(locked: Served, method: str) -> None:
    body = json.dumps({"key": "root-key"})
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = ask(locked.address, method, "/api/session", body, headers)
        assert answer.status == 403
        assert "set-cookie" not in answer.headers


def test_a_key_that_is_rotated_away_ends_its_sessions_in_every_tab_at_once() -> None:
    with served(api_keys=KEYS) as server:
        tabs = [cookie_of(server, "admin") for _ in range(3)]
        other = cookie_of(server, "read")
        rotated = (KEYS[0], KEYS[1], ApiKey("admin", "new-root-key", "ana"))
        server.run(lambda: server.application.keys.replace(rotated))
        for cookie in tabs:
            assert with_cookie(server, "GET", "/api/session", cookie).status == 401
        assert with_cookie(server, "GET", "/api/users", other).status == 200
        assert sign_in(server, "root-key").status == 401
        assert sign_in(server, "new-root-key").status == 204


def test_a_session_may_what_its_key_may_now() -> None:
    with served(api_keys=KEYS) as server:
        cookie = cookie_of(server, "admin")
        demoted = (KEYS[0], KEYS[1], ApiKey("read", "root-key", "ana"))
        server.run(lambda: server.application.keys.replace(demoted))
        assert with_cookie(server, "GET", "/api/users", cookie).status == 200
        answer = with_cookie(server, "POST", "/api/users/a/flush", cookie, home(server))
        assert answer.status == 403


def test_a_stream_ends_with_the_key_that_opened_it() -> None:
    with served(api_keys=KEYS) as server, raw(server.address) as sock:
        cookie = cookie_of(server, "read")
        head = f"GET /api/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: {cookie}"
        sock.sendall(f"{head}\r\n\r\n".encode())
        first = sock.recv(65_536)
        assert first.startswith(b"HTTP/1.1 200 ")
        server.run(lambda: server.application.keys.replace(KEYS[2:]))
        assert read_all(sock).endswith(b"0\r\n\r\n")


# Guessing


def test_who_guesses_has_to_wait_even_with_the_right_key() -> None:
    with served(api_keys=KEYS) as server:
        for number in range(TRIES_AT_ONCE):
            assert sign_in(server, f"guess {number}").status == 401
        answer = sign_in(server, "root-key")
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert server.application.traffic.sign_ins_refused == TRIES_AT_ONCE + 1


def test_signing_in_often_is_no_guessing(locked: Served) -> None:
    for _ in range(3 * TRIES_AT_ONCE):
        assert sign_in(locked, "read-key").status == 204


# Without keys


def test_without_keys_there_is_nothing_to_sign_in_to(server: Served) -> None:
    assert sign_in(server, "anything").status == 409
    look: Any = ask(server.address, "GET", "/api/session").json
    assert look == {
        "scope": "admin",
        "scopes": ["admin", "read", "ingest"],
        "name": None,
        "expires": None,
    }


def test_a_key_says_who_it_is_too(locked: Served) -> None:
    look = ask(locked.address, "GET", "/api/session", headers={"authorization": "Bearer in-key"})
    assert look.json == {"scope": "ingest", "scopes": ["ingest"], "name": "shop", "expires": None}
    assert ask(locked.address, "GET", "/api/session").status == 401
