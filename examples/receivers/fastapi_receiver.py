"""A receiver behind FastAPI that answers later: it verifies, says 202, thinks, and looks once more
before it speaks.

    pip install fastapi uvicorn httpx
    WEBHOOK_SECRET=whsec_… MODEL_URL=https://… SEND_URL=https://… \\
        uvicorn --factory fastapi_receiver:create --port 9000

`think` and `send` are what you replace; `evolution_receiver.py` and its neighbours are this with a
platform's `send`. One process, because what is being worked at is kept in its memory. Whatever a
crash leaves unsaid comes again from the queue, or is in `ANSWERS_DB`.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import os
import re
import sqlite3
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
from fastapi import FastAPI, Request, Response

Batch = dict[str, Any]
Think = Callable[[httpx.AsyncClient, Batch], Awaitable[str]]
Send = Callable[[httpx.AsyncClient, Batch, str], Awaitable[list[str]]]

CLOCKS_APART_S = 300
SEND_AGAIN_AFTER_S = (1, 5, 15, 60)
IDS_MAX = 50
BODY_BYTES_MAX = 4 * 1024 * 1024
"""At 413 the queue divides the batch."""
ANSWERS_MAX = 100_000
"""Batches that are known as said: more than come again, and not for ever."""

log = logging.getLogger("receiver")
# At INFO httpx tells each address, and whoever knows one for an answer can end that batch.
logging.getLogger("httpx").setLevel(logging.WARNING)


async def think(client: httpx.AsyncClient, batch: Batch) -> str:
    """The answer to everything that the user wrote in one go. An exception: the queue sends the
    batch again, on its schedule."""
    asked = {"user": batch["user"], "messages": batch["messages"]}
    answer = await client.post(os.environ["MODEL_URL"], json=asked, timeout=600)
    return str(answer.raise_for_status().json()["text"])


async def send(client: httpx.AsyncClient, batch: Batch, text: str) -> list[str]:
    """Say it to the user, or a piece of it. Returns the ids that the platform gave to what was
    sent."""
    said = {"user": batch["user"], "text": text}
    answer = await client.post(os.environ["SEND_URL"], json=said)
    return [str(id) for id in answer.raise_for_status().json()["ids"]]


class Receiver:
    def __init__(
        self,
        client: httpx.AsyncClient,
        think: Think,
        send: Send,
        characters_max: int | None = None,
    ) -> None:
        self.client, self.think, self.send = client, think, send
        self.characters_max = characters_max
        secret = os.environ["WEBHOOK_SECRET"].removeprefix("whsec_")
        self.key = base64.b64decode(secret)
        self.urls: dict[str, str] = {}
        """Of each batch that is being worked at: the address of its newest attempt."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.answers = sqlite3.connect(
            os.environ.get("ANSWERS_DB", "answers.db"), isolation_level=None
        )
        self.answers.execute("PRAGMA secure_delete = ON")
        self.answers.execute(
            "CREATE TABLE IF NOT EXISTS answers"
            " (id TEXT PRIMARY KEY, url TEXT, batch TEXT, text TEXT, said INTEGER DEFAULT 0,"
            " sent TEXT DEFAULT '[]')"
        )

    async def webhook(self, request: Request) -> Response:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_BYTES_MAX:
                return Response(status_code=413)
        if not self.genuine(request.headers, body):
            return Response(status_code=401)
        id, url = request.headers["webhook-id"], request.headers.get("aq-answer-url")
        if url is None:
            # `actor-queue doctor --send-test` is right to want no answer; anything else is not.
            test = json.loads(body).get("test") is True
            return Response("this receiver needs AQ_ANSWER=later", 200 if test else 501)
        if self.was_said(id):
            return Response(status_code=200)
        # Another attempt at a batch that is being worked at: only its address is news.
        known, self.urls[id] = id in self.urls, url
        if not known:
            within_s = float(request.headers["aq-answer-within"])
            self.start(self.work(id, json.loads(body), within_s))
        return Response(status_code=202)

    def genuine(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Standard Webhooks: https://www.standardwebhooks.com"""
        id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not re.fullmatch("[0-9]{1,12}", at) or abs(time.time() - int(at)) > CLOCKS_APART_S:
            return False
        digest = hmac.digest(self.key, f"{id}.{at}.".encode() + body, "sha256")
        expected = b"v1," + base64.b64encode(digest)
        shown = headers.get("webhook-signature", "").encode().split()
        return any(hmac.compare_digest(expected, each) for each in shown)

    async def work(self, id: str, batch: Batch, within_s: float) -> None:
        more_time = asyncio.create_task(self.ask_for_time(id, within_s))
        try:
            text = await self.think(self.client, batch)
        except Exception as error:
            # Nothing but its kind: the text of an error may quote a user, or hold a key.
            log.warning("no answer to %s: %s", id, type(error).__name__)
            await self.post(self.urls.pop(id), "fail", {"reason": type(error).__name__})
            return
        finally:
            more_time.cancel()
        # Written down before it is announced, so that a crash from here on does not lose it.
        row = (id, self.urls[id], json.dumps(batch), text)
        self.answers.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, 0, '[]')", row)
        await self.say(id, batch, text)

    async def ask_for_time(self, id: str, within_s: float) -> None:
        while True:
            await asyncio.sleep(within_s / 3)
            await self.tell(id, "extend", {"seconds": within_s})

    async def say(self, id: str, batch: Batch, text: str) -> None:
        """Say it, unless the user has gone on writing. May be repeated after a crash."""
        if await self.tell(id, "done", {"if": "latest"}) == 200:
            await self.send_until_sent(id, batch, text)
        else:
            # 409: taken back, and 410: out of time. Its messages come again.
            self.answers.execute("DELETE FROM answers WHERE id = ?", (id,))
        del self.urls[id]

    async def send_until_sent(self, id: str, batch: Batch, text: str) -> None:
        pieces, sent = pieces_of(text, self.characters_max), self.sent_of(id)
        for pause_s in (*SEND_AGAIN_AFTER_S, None):
            try:
                for piece in pieces[len(sent) :]:
                    sent.append(await self.send(self.client, batch, piece))
                    # What is said of a long answer is not said again, whatever comes of the rest.
                    said = "UPDATE answers SET sent = ? WHERE id = ?"
                    self.answers.execute(said, (json.dumps(sent), id))
            except Exception as error:
                log.warning("cannot send the answer to %s: %s", id, type(error).__name__)
                if pause_s is not None:
                    await asyncio.sleep(pause_s)
            else:
                self.forget(id)
                # So that no door takes the bot's own words for those of a human who answers.
                ids = [each for of_piece in sent for each in of_piece]
                await self.tell(id, "done", {"sent": ids[:IDS_MAX]})
                return
        log.error("the answer to %s stays unsaid until the next start", id)

    def sent_of(self, id: str) -> list[list[str]]:
        """The ids of each piece that was sent."""
        row = self.answers.execute("SELECT sent FROM answers WHERE id = ?", (id,)).fetchone()
        found: list[list[str]] = json.loads(row[0])
        return found

    def forget(self, id: str) -> None:
        """Of an answer that was said its id stays, until so many others were said."""
        said = (
            "UPDATE answers SET said = 1, url = '', batch = '', text = '', sent = '' WHERE id = ?"
        )
        self.answers.execute(said, (id,))
        oldest = "DELETE FROM answers WHERE said AND rowid <= (SELECT max(rowid) FROM answers) - ?"
        self.answers.execute(oldest, (ANSWERS_MAX,))

    async def tell(self, id: str, verb: str, body: dict[str, Any]) -> int:
        """The queue's answer, at the address of the newest attempt."""
        while True:
            url = self.urls[id]
            status = await self.post(url, verb, body)
            if status != 410 or url == self.urls[id]:
                return status

    async def post(self, url: str, verb: str, body: dict[str, Any]) -> int:
        """As often as it takes until the queue is there and answers."""
        while True:
            with suppress(httpx.TransportError):
                answer = await self.client.post(f"{url}/{verb}", json=body)
                if answer.status_code < 500:
                    return answer.status_code
            await asyncio.sleep(1)

    def was_said(self, id: str) -> bool:
        asked = "SELECT 1 FROM answers WHERE id = ? AND said"
        return self.answers.execute(asked, (id,)).fetchone() is not None

    def start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def resume(self) -> None:
        """What an earlier process knew and did not say."""
        unsaid = "SELECT id, url, batch, text FROM answers WHERE NOT said"
        for id, url, batch, text in self.answers.execute(unsaid).fetchall():
            self.urls[id] = url
            self.start(self.say(id, json.loads(batch), text))


def pieces_of(text: str, characters_max: int | None) -> list[str]:
    """The same ones each time, divided between words."""
    if characters_max is None:
        return [text]
    return textwrap.wrap(text, characters_max, replace_whitespace=False)


def create(think: Think = think, send: Send = send, characters_max: int | None = None) -> FastAPI:
    """`characters_max`: what the platform takes in one message, if that is not any number."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=30) as client:
            receiver = Receiver(client, think, send, characters_max)
            receiver.resume()
            app.state.receiver = receiver
            yield
            for task in receiver.tasks:
                task.cancel()
            receiver.answers.close()

    async def webhook(request: Request) -> Response:
        receiver: Receiver = request.app.state.receiver
        return await receiver.webhook(request)

    app = FastAPI(lifespan=lifespan)
    app.post("/webhook")(webhook)
    return app
