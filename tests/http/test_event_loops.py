"""The handlers of messages give the same answers on asyncio and on Trio, and need only ASGI."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anyio
import pytest

from actor_queue.core.message import Accepted, Appended, Message
from actor_queue.core.routes import RouteTable
from actor_queue.core.settings import Settings
from actor_queue.http.auth import Keys
from actor_queue.http.bulk import Bulk
from actor_queue.http.chunks import CHUNK_MESSAGES_MAX
from actor_queue.http.ingest import Ingest
from actor_queue.http.pace import Pace, loop_clock
from actor_queue.http.traffic import Traffic
from actor_queue.store.api import StoreUnavailable

HERE = ("asyncio", "trio")
FRESH = """
import sys
import actor_queue.http.bulk, actor_queue.http.ingest, actor_queue.http.health
print(*sorted({"trio", "quart", "quart_trio"} & sys.modules.keys()))
"""


class Kept:
    """Keeps messages in memory."""

    settings = Settings()
    routes = RouteTable.of(settings)

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def new_id(self) -> str:
        return f"m-{len(self.messages) + 1}"

    def unready(self) -> str | None:
        return None

    async def push(self, messages: Sequence[Message]) -> list[Appended]:
        await anyio.lowlevel.checkpoint()
        self.messages += messages
        return [Accepted(m.user, m.message_id, 1, m.ttl_ms, False, m.ttl_ms) for m in messages]

    async def push_each(self, messages: Sequence[Message]) -> list[Appended | StoreUnavailable]:
        return [*await self.push(messages)]


def asked(
    loop: str, make: Callable[..., Any], pieces: Sequence[bytes], *headers: tuple[bytes, bytes]
) -> tuple[int, bytes, list[Message]]:
    """Status and body of the answer to a POST whose body comes in `pieces`; what was kept."""
    kept, sent = Kept(), list[dict[str, Any]]()
    coming: Iterator[tuple[int, bytes]] = iter(enumerate(pieces, 1))

    async def receive() -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        number, piece = next(coming)
        return {"type": "http.request", "body": piece, "more_body": number < len(pieces)}

    async def send(event: dict[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(event)

    async def main() -> None:
        handler = make(kept, Keys(()), Traffic())
        await handler(scope, receive, send)

    scope = {"type": "http", "method": "POST", "headers": list(headers), "query_string": b""}
    anyio.run(main, backend=loop)
    return sent[0]["status"], b"".join(event.get("body", b"") for event in sent), kept.messages


@pytest.mark.parametrize("loop", HERE)
@pytest.mark.parametrize("coded", [False, True])
def test_one_message_is_accepted_on_any_event_loop(loop: str, coded: bool) -> None:
    body = b'{"user": "ana", "message": "oi", "ttl": 3}'
    whole = gzip.compress(body) if coded else body
    headers = [(b"content-encoding", b"gzip")] if coded else []
    status, answer, kept = asked(loop, Ingest, [whole[:9], whole[9:]], *headers)
    assert (status, json.loads(answer)["fires_in"]) == (202, 3.0)
    assert [message.body for message in kept] == [body]


@pytest.mark.parametrize("loop", HERE)
def test_many_messages_are_streamed_in_order_on_any_event_loop(loop: str) -> None:
    count = 2 * CHUNK_MESSAGES_MAX + 3
    lines = [b'{"user": "ana", "message": "%d"}\n' % number for number in range(count)]
    lines.insert(1, b"no message\n")
    body = b"".join(lines)
    middle = len(body) // 2
    headers = (b"content-type", b"application/x-ndjson")
    status, answer, kept = asked(loop, Bulk, [body[:middle], body[middle:]], headers)
    results = [json.loads(line) for line in answer.splitlines()]
    assert (status, len(results), results[1]["status"]) == (200, count + 1, 400)
    assert [json.loads(message.body)["message"] for message in kept] == [
        str(number) for number in range(count)
    ]


@pytest.mark.parametrize("loop", HERE)
def test_a_pace_is_that_of_the_loops_own_clock(loop: str) -> None:
    async def main() -> None:
        now = loop_clock()
        before = now()
        pace = Pace()
        assert before <= pace.since <= now()
        assert anyio.current_time() >= pace.since
        assert 0 <= pace.behind_s() <= now() - before

    anyio.run(main, backend=loop)


def test_the_handlers_of_messages_import_no_trio() -> None:
    found = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True)
    assert (found.stdout.strip(), found.stderr) == ("", "")
