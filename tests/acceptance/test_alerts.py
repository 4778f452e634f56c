"""AQ_ALERT_URL: a dead letter is told of to a receiver of its own, signed as every webhook."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standardwebhooks import Webhook

from tests.acceptance.receiver import reply
from tests.acceptance.service import world
from tests.acceptance.waiting import wait_until

pytestmark = pytest.mark.process

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


class Operators:
    """Who is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        operators = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                fields = {name.lower(): value for name, value in self.headers.items()}
                operators.heard.append((fields, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/operadores"


@contextmanager
def operators() -> Iterator[Operators]:
    told = Operators()
    thread = threading.Thread(target=told.server.serve_forever)
    thread.start()
    try:
        yield told
    finally:
        told.server.shutdown()
        thread.join()
        told.server.server_close()


def test_a_dead_letter_wakes_the_operators_and_tells_them_nothing_of_what_was_written() -> None:
    headers = json.dumps({"authorization": "Bearer so-para-o-robo"})
    with (
        operators() as told,
        world(AQ_ALERT_URL=told.url, WEBHOOK_SECRET=SECRET, WEBHOOK_HEADERS=headers) as running,
    ):
        running.receiver.default = reply(410)
        running.client.post("joao", "ninguém deve ler isto", ttl=0)
        wait_until(lambda: told.heard, "the alert")
        fields, body = told.heard[0]
        said = Webhook(SECRET).verify(body, fields)
        assert said["type"] == "dead_letter"
        assert said["data"]["count"] == 1
        (letter,) = said["data"]["letters"]
        assert letter["id"] == running.receiver.attempts[0].webhook_id
        assert letter["reason"] == "answered 410"
        assert "joao" not in body.decode()
        assert "ler isto" not in body.decode()
        assert "authorization" not in fields
        assert fields["idempotency-key"] == fields["webhook-id"]
        assert "/operadores" not in running.service.log()
