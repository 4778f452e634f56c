"""A receiver behind Flask that answers later: it verifies, says 202, thinks in a thread, and looks
once more before it speaks.

    pip install flask gunicorn httpx
    WEBHOOK_SECRET=whsec_… MODEL_URL=https://… SEND_URL=https://… \\
        gunicorn --workers 1 --threads 8 --bind :9000 'flask_receiver:create()'

`think` and `send` are what you replace. One worker, because what is being worked at is kept in its
memory. Whatever a crash leaves unsaid comes again from the queue, or is in `ANSWERS_DB`.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import os
import re
import sqlite3
import time
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

import httpx
from flask import Flask, request
from werkzeug.datastructures import Headers

Batch = dict[str, Any]

CLOCKS_APART_S = 300
THINKING_AT_ONCE = 32
SEND_AGAIN_AFTER_S = (1, 5, 15, 60)
IDS_MAX = 50
BODY_BYTES_MAX = 4 * 1024 * 1024
"""At 413 the queue divides the batch."""
ANSWERS_MAX = 100_000
"""Batches that are known as said: more than come again, and not for ever."""

log = logging.getLogger("receiver")
# At INFO httpx tells each address, and whoever knows one for an answer can end that batch.
logging.getLogger("httpx").setLevel(logging.WARNING)


def think(client: httpx.Client, batch: Batch) -> str:
    """The answer to everything that the user wrote in one go. An exception: the queue sends the
    batch again, on its schedule."""
    asked = {"user": batch["user"], "messages": batch["messages"]}
    answer = client.post(os.environ["MODEL_URL"], json=asked, timeout=600)
    return str(answer.raise_for_status().json()["text"])


def send(client: httpx.Client, batch: Batch, text: str) -> list[str]:
    """Say it to the user. Returns the ids that the platform gave to what was sent."""
    said = {"user": batch["user"], "text": text}
    answer = client.post(os.environ["SEND_URL"], json=said)
    return [str(id) for id in answer.raise_for_status().json()["ids"]]


class Receiver:
    def __init__(self) -> None:
        self.client = httpx.Client(timeout=30)
        secret = os.environ["WEBHOOK_SECRET"].removeprefix("whsec_")
        self.key = base64.b64decode(secret)
        self.lock = Lock()
        self.urls: dict[str, str] = {}
        """Of each batch that is being worked at: the address of its newest attempt."""
        self.within_s = 120.0
        self.other_time = Event()
        self.answers = sqlite3.connect(
            os.environ.get("ANSWERS_DB", "answers.db"),
            isolation_level=None,
            check_same_thread=False,
        )
        self.answers.execute("PRAGMA secure_delete = ON")
        self.answers.execute(
            "CREATE TABLE IF NOT EXISTS answers"
            " (id TEXT PRIMARY KEY, url TEXT, batch TEXT, text TEXT, said INTEGER DEFAULT 0)"
        )
        self.jobs: SimpleQueue[tuple[str, Batch, str | None]] = SimpleQueue()
        self.resume()
        for each in (self.ask_for_time, *[self.work_off] * THINKING_AT_ONCE):
            Thread(target=each, daemon=True).start()

    def webhook(self) -> tuple[str, int]:
        body = request.get_data()
        if not self.genuine(request.headers, body):
            return "", 401
        id, url = request.headers["webhook-id"], request.headers.get("aq-answer-url")
        if url is None:
            # `actor-queue doctor --send-test` is right to want no answer; anything else is not.
            test = json.loads(body).get("test") is True
            return "this receiver needs AQ_ANSWER=later", 200 if test else 501
        if self.was_said(id):
            return "", 200
        # Another attempt at a batch that is being worked at: only its address is news.
        with self.lock:
            known, self.urls[id] = id in self.urls, url
        if not known:
            within_s = float(request.headers["aq-answer-within"])
            if within_s != self.within_s:
                self.within_s = within_s
                self.other_time.set()
            self.jobs.put((id, json.loads(body), None))
        return "", 202

    def genuine(self, headers: Headers, body: bytes) -> bool:
        """Standard Webhooks: https://www.standardwebhooks.com"""
        id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not re.fullmatch("[0-9]{1,12}", at) or abs(time.time() - int(at)) > CLOCKS_APART_S:
            return False
        digest = hmac.digest(self.key, f"{id}.{at}.".encode() + body, "sha256")
        expected = b"v1," + base64.b64encode(digest)
        shown = headers.get("webhook-signature", "").encode().split()
        return any(hmac.compare_digest(expected, each) for each in shown)

    def work_off(self) -> None:
        while True:
            id, batch, text = self.jobs.get()
            if text is None:
                self.work(id, batch)
            else:
                self.say(id, batch, text)

    def work(self, id: str, batch: Batch) -> None:
        try:
            text = think(self.client, batch)
        except Exception as error:
            # Nothing but its kind: the text of an error may quote a user, or hold a key.
            log.warning("no answer to %s: %s", id, type(error).__name__)
            self.post(self.urls.pop(id), "fail", {"reason": type(error).__name__})
            return
        # Written down before it is announced, so that a crash from here on does not lose it.
        row = (id, self.urls[id], json.dumps(batch), text)
        self.answers.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, 0)", row)
        self.say(id, batch, text)

    def ask_for_time(self) -> None:
        """For all that is being worked at, also while it waits for a thread."""
        while True:
            self.other_time.wait(self.within_s / 3)
            self.other_time.clear()
            for id in list(self.urls):
                with suppress(KeyError):  # said meanwhile
                    self.tell(id, "extend", {"seconds": self.within_s})

    def say(self, id: str, batch: Batch, text: str) -> None:
        """Say it, unless the user has gone on writing. May be repeated after a crash."""
        if self.tell(id, "done", {"if": "latest"}) == 200:
            self.send_until_sent(id, batch, text)
        else:
            # 409: taken back, and 410: out of time. Its messages come again.
            self.answers.execute("DELETE FROM answers WHERE id = ?", (id,))
        del self.urls[id]

    def send_until_sent(self, id: str, batch: Batch, text: str) -> None:
        for pause_s in (*SEND_AGAIN_AFTER_S, None):
            try:
                ids = send(self.client, batch, text)
            except Exception as error:
                log.warning("cannot send the answer to %s: %s", id, type(error).__name__)
                if pause_s is not None:
                    time.sleep(pause_s)
            else:
                self.forget(id)
                # So that no door takes the bot's own words for those of a human who answers.
                self.tell(id, "done", {"sent": ids[:IDS_MAX]})
                return
        log.error("the answer to %s stays unsaid until the next start", id)

    def forget(self, id: str) -> None:
        """Of an answer that was said its id stays, until so many others were said."""
        said = "UPDATE answers SET said = 1, url = '', batch = '', text = '' WHERE id = ?"
        self.answers.execute(said, (id,))
        oldest = "DELETE FROM answers WHERE said AND rowid <= (SELECT max(rowid) FROM answers) - ?"
        self.answers.execute(oldest, (ANSWERS_MAX,))

    def tell(self, id: str, verb: str, body: dict[str, Any]) -> int:
        """The queue's answer, at the address of the newest attempt."""
        while True:
            url = self.urls[id]
            status = self.post(url, verb, body)
            if status != 410 or url == self.urls[id]:
                return status

    def post(self, url: str, verb: str, body: dict[str, Any]) -> int:
        """As often as it takes until the queue is there and answers."""
        while True:
            with suppress(httpx.TransportError):
                answer = self.client.post(f"{url}/{verb}", json=body)
                if answer.status_code < 500:
                    return answer.status_code
            time.sleep(1)

    def was_said(self, id: str) -> bool:
        asked = "SELECT 1 FROM answers WHERE id = ? AND said"
        return self.answers.execute(asked, (id,)).fetchone() is not None

    def resume(self) -> None:
        """What an earlier process knew and did not say."""
        unsaid = "SELECT id, url, batch, text FROM answers WHERE NOT said"
        for id, url, batch, text in self.answers.execute(unsaid).fetchall():
            self.urls[id] = url
            self.jobs.put((id, json.loads(batch), text))


def create() -> Flask:
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    app.add_url_rule("/webhook", view_func=Receiver().webhook, methods=["POST"])
    return app
