"""The built-in inbox, asked as an ASGI application."""

from __future__ import annotations

import json
import logging
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actor_queue.app import inbox as inbox_module
from actor_queue.app.inbox import NOT_KEPT, Inbox
from tests.browser.conftest import ANSWER_S, Dev

LOCAL = {"host": "127.0.0.1:8000", "content-type": "application/json"}


class Answer:
    """What the application sent."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    inbox: Inbox,
    method: str,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> Answer:
    answer = Answer()
    chunks = [body[start : start + 65_536] for start in range(0, len(body), 65_536)] or [b""]
    events = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, start=1)
    ]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(k.encode(), v.encode()) for k, v in (headers or LOCAL).items()],
    }

    async def receive() -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return events.pop(0)

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            answer.status = event["status"]
            answer.headers = {k.decode(): v.decode() for k, v in event["headers"]}
        else:
            answer.body += event["body"]

    await inbox(scope, receive, send)
    return answer


def test_it_lists_webhooks_newest_first_with_their_headers_and_exact_bodies(tmp_path: Path) -> None:
    async def main() -> None:
        inbox = Inbox(tmp_path)
        for name, body in (("a", b'{"n":1}'), ("b", b'{"n":12345678901234567890.10}')):
            headers = {**LOCAL, "webhook-id": name, "user-agent": "us", "x-token": "secret"}
            assert (await ask(inbox, "POST", "/dev/inbox", body, headers)).status == 200
        listing = await ask(inbox, "GET", "/dev/inbox")
        webhooks = listing.json()["webhooks"]
        assert [webhook["id"] for webhook in webhooks] == ["b", "a"]
        shown = webhooks[0]["headers"]
        assert shown == {**LOCAL, "webhook-id": "b", "user-agent": "us", "x-token": NOT_KEPT}
        assert b"secret" not in listing.body
        assert b'"body":{"n":12345678901234567890.10}' in listing.body

    trio.run(main)


@pytest.mark.parametrize(
    "body", [b"not json", b"\xff\xfe", b"[" * 100_000, b"NaN", b'{"a":1}{', b""]
)
def test_a_body_that_is_not_json_does_not_spoil_the_listing(body: bytes, tmp_path: Path) -> None:
    async def main() -> None:
        inbox = Inbox(tmp_path)
        assert (await ask(inbox, "POST", "/dev/inbox", body)).status == 200
        [webhook] = (await ask(inbox, "GET", "/dev/inbox")).json()["webhooks"]
        assert webhook["body"] == body.decode("utf-8", "replace")

    trio.run(main)


def test_it_forgets_the_oldest_beyond_its_bounds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(inbox_module, "WEBHOOKS_MAX", 3)
    monkeypatch.setattr(inbox_module, "TOTAL_BYTES_MAX", 800)

    async def main() -> None:
        inbox = Inbox(tmp_path)

        async def kept() -> list[str]:
            webhooks = (await ask(inbox, "GET", "/dev/inbox")).json()["webhooks"]
            return [webhook["id"] for webhook in webhooks]

        async def post(name: str, body: bytes) -> None:
            await ask(inbox, "POST", "/dev/inbox", body, {**LOCAL, "webhook-id": name})

        for name in "abcd":
            await post(name, b'"0123456789"')
        assert await kept() == ["d", "c", "b"]
        await post("e", b'"%s"' % (b"x" * 350))
        assert await kept() == ["e", "d"]
        assert (await ask(inbox, "DELETE", "/dev/inbox")).json() == {"removed": 2}
        assert await kept() == []

    trio.run(main)


def test_a_body_over_the_limit_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    async def main() -> None:
        body = b'"%s"' % (b"x" * (inbox_module.WEBHOOK_BYTES_MAX * 2))
        inbox = Inbox(tmp_path)
        assert (await ask(inbox, "POST", "/dev/inbox", body)).status == 413
        assert (await ask(inbox, "GET", "/dev/inbox")).json()["webhooks"] == []

    trio.run(main)


def test_told_to_fail_it_answers_500_and_keeps_nothing_until_told_otherwise(tmp_path: Path) -> None:
    async def main() -> None:
        inbox = Inbox(tmp_path)
        await ask(inbox, "POST", "/dev/inbox/mode", b'{"mode":"fail"}')
        assert (await ask(inbox, "POST", "/dev/inbox", b"{}")).status == 500
        listing = (await ask(inbox, "GET", "/dev/inbox")).json()
        assert listing == {"mode": "fail", "webhooks": []}
        await ask(inbox, "POST", "/dev/inbox/mode", b'{"mode":"ok"}')
        assert (await ask(inbox, "POST", "/dev/inbox", b"{}")).status == 200

    trio.run(main)


def test_told_to_be_slow_it_answers_after_two_seconds(tmp_path: Path) -> None:
    async def main() -> None:
        inbox = Inbox(tmp_path)
        await ask(inbox, "POST", "/dev/inbox/mode", b'{"mode":"slow"}')
        before = trio.current_time()
        assert (await ask(inbox, "POST", "/dev/inbox", b"{}")).status == 200
        assert trio.current_time() - before == pytest.approx(2.0)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"mode":["ok"]}', b'{"mode":"off"}', b"\xff"])
def test_an_unknown_mode_is_refused_and_changes_nothing(body: bytes, tmp_path: Path) -> None:
    async def main() -> None:
        inbox = Inbox(tmp_path)
        assert (await ask(inbox, "POST", "/dev/inbox/mode", body)).status == 422
        assert inbox.mode == "ok"

    trio.run(main)


HOSTS_OF_OURS = ["localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST", "aq.localhost:1"]
HOSTS_OF_OTHERS = ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8000", "", "[::1", "[x]:1"]


def with_host(host: str) -> dict[str, str]:
    return {**LOCAL, "host": host}


def with_origin(origin: str) -> dict[str, str]:
    return {**LOCAL, "origin": origin}


@pytest.mark.parametrize("host", HOSTS_OF_OURS)
def test_it_answers_on_loopback_names(host: str) -> None:
    assert status_with(with_host(host)) == 200


@pytest.mark.parametrize("host", HOSTS_OF_OTHERS)
def test_a_name_rebound_to_loopback_reads_nothing(host: str) -> None:
    assert status_with(with_host(host)) == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9", "//[x"])
def test_another_sites_page_is_refused(origin: str) -> None:
    assert status_with(with_origin(origin)) == 403


def test_its_own_page_is_answered() -> None:
    assert status_with(with_origin("http://127.0.0.1:8000")) == 200


def test_a_mode_that_a_foreign_form_could_send_is_refused() -> None:
    headers = {"host": LOCAL["host"], "content-type": "text/plain"}
    assert status_of("POST", "/dev/inbox/mode", b'{"mode":"fail"}', headers) == 415


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "/dev/inbox", 405), ("GET", "/dev/inbox/mode", 405), ("GET", "/dev/x", 404)],
)
def test_what_it_does_not_have_is_a_problem_answer(method: str, path: str, status: int) -> None:
    assert status_of(method, path, b"", LOCAL) == status


def status_with(headers: dict[str, str]) -> int | None:
    return status_of("GET", "/dev/inbox", b"", headers)


def status_of(method: str, path: str, body: bytes, headers: dict[str, str]) -> int | None:
    statuses: list[int | None] = []

    async def main() -> None:
        with tempfile.TemporaryDirectory() as directory:
            answer = await ask(Inbox(directory), method, path, body, headers)
        assert answer.json() is not None
        statuses.append(answer.status)

    trio.run(main)
    return statuses[0]


def test_a_body_that_never_ends_is_given_up(tmp_path: Path) -> None:
    statuses: list[int] = []

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            statuses.append(event["status"])

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": "/dev/inbox", "headers": headers}
    never: Callable[[], Any] = trio.sleep_forever
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(Inbox(tmp_path), scope, never, send, clock=clock)
    assert statuses == [408]


# What survives


async def listed(inbox: Inbox) -> list[str]:
    """The ids, newest first."""
    webhooks = (await ask(inbox, "GET", "/dev/inbox")).json()["webhooks"]
    return [webhook["id"] for webhook in webhooks]


async def post(inbox: Inbox, name: str, body: bytes = b"{}") -> int | None:
    return (await ask(inbox, "POST", "/dev/inbox", body, {**LOCAL, "webhook-id": name})).status


def test_a_restart_shows_the_same_webhooks_and_fails_as_it_was_told_to(tmp_path: Path) -> None:
    async def main() -> None:
        before = Inbox(tmp_path)
        for name in "abc":
            await post(before, name, b'{"n":1.10}')
        await ask(before, "POST", "/dev/inbox/mode", b'{"mode":"fail"}')
        listing = (await ask(before, "GET", "/dev/inbox")).body
        after = Inbox(tmp_path)
        assert (await ask(after, "GET", "/dev/inbox")).body == listing
        assert await post(after, "d") == 500
        await ask(after, "POST", "/dev/inbox/mode", b'{"mode":"ok"}')
        await post(after, "d")
        assert await listed(Inbox(tmp_path)) == ["d", "c", "b", "a"]
        assert (await ask(after, "DELETE", "/dev/inbox")).json() == {"removed": 4}
        assert await listed(Inbox(tmp_path)) == []

    trio.run(main)


def test_two_workers_show_the_same_and_follow_the_same_mode(tmp_path: Path) -> None:
    async def main() -> None:
        one, other = Inbox(tmp_path), Inbox(tmp_path)
        await post(one, "a")
        await post(other, "b")
        assert await listed(one) == await listed(other) == ["b", "a"]
        await ask(one, "POST", "/dev/inbox/mode", b'{"mode":"fail"}')
        assert await post(other, "c") == 500
        await ask(other, "DELETE", "/dev/inbox")
        assert await listed(one) == []

    trio.run(main)


@pytest.mark.parametrize(
    "damage", [b"", b'{"id":"a","received_at":"', b"[]", b'{"id":"a"}', b"\xff\xfe", b"[" * 100_000]
)
def test_a_damaged_file_is_set_aside_with_a_line_and_hides_no_other(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await post(Inbox(tmp_path), "a")
        (first,) = files(tmp_path)
        await post(Inbox(tmp_path), "b")
        first.write_bytes(damage)
        (tmp_path / "inbox" / "mode").write_bytes(b"\xffoff")
        with caplog.at_level(logging.WARNING):
            inbox = Inbox(tmp_path)
            for _ in range(2):
                assert await listed(inbox) == ["b"]
        assert inbox.mode == "ok"
        assert len(caplog.records) == 1
        assert not first.exists()
        assert first.with_suffix(".unreadable").read_bytes() == damage

    trio.run(main)


def test_what_a_killed_process_was_writing_is_not_shown_and_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        await post(Inbox(tmp_path), "a")
        (whole,) = files(tmp_path)
        half = whole.with_name(whole.name + ".1.writing")
        half.write_bytes(whole.read_bytes()[:20])
        assert await listed(Inbox(tmp_path)) == ["a"]
        assert half.exists()
        monkeypatch.setattr("actor_queue.app.inbox_files.WRITING_MAX_S", 0.0)
        assert await listed(Inbox(tmp_path)) == ["a"]
        assert not half.exists()

    trio.run(main)


def test_the_files_are_few_and_readable_by_their_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "WEBHOOKS_MAX", 3)

    async def main() -> None:
        for number in range(5):
            await post(Inbox(tmp_path), f"w{number}")
        assert [path.stat().st_mode & 0o777 for path in files(tmp_path)] == [0o600] * 3
        assert (tmp_path / "inbox").stat().st_mode & 0o777 == 0o700

    trio.run(main)


def test_a_webhook_that_cannot_be_kept_is_refused_so_that_it_comes_again(tmp_path: Path) -> None:
    (tmp_path / "inbox").write_text("a file where the directory belongs")

    async def main() -> None:
        assert await post(Inbox(tmp_path), "a") == 507
        assert await listed(Inbox(tmp_path)) == []

    trio.run(main)


@pytest.mark.process
def test_a_dev_that_was_killed_shows_its_webhooks_again(own_dev: Dev) -> None:
    def webhooks() -> list[Any]:
        with urllib.request.urlopen(f"{own_dev.url}dev/inbox", timeout=ANSWER_S) as answer:
            return list(json.load(answer)["webhooks"])

    body = json.dumps({"user": "ana", "message": "Oi", "ttl": 0}).encode()
    request = urllib.request.Request(
        f"{own_dev.url}api/message", body, {"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=ANSWER_S).close()
    deadline = time.monotonic() + ANSWER_S
    while not (before := webhooks()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    own_dev.kill()
    own_dev.start()
    assert [each["id"] for each in webhooks()] == [each["id"] for each in before]
    assert webhooks()[0]["body"]["messages"] == ["Oi"]


def files(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "inbox").glob("*.json"))
