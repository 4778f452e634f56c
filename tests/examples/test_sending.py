"""What each platform's receiver sends: to whom, by which request, and which ids it hands back.

The platforms are stand-ins that take what their documentation says and refuse everything else. The
batches are made of the fixtures of the doors, so of what the queue really hands over.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from actor_queue.webhook.signing import new_secret
from tests.acceptance.redis_process import redis_process
from tests.acceptance.service import Service
from tests.acceptance.waiting import wait_until
from tests.doors.fixtures import fixture
from tests.examples.programs import RECEIVERS, fastapi, program
from tests.examples.stand_in import posted, surroundings

Send = Callable[[httpx.AsyncClient, dict[str, Any], str], Awaitable[list[str]]]
Answer = tuple[int, object]

PATIENCE_S = 60.0
KEY = "the-key-of-the-platform"


def exactly(sent: dict[str, Any], **types: type) -> bool:
    return {name: type(value) for name, value in sent.items()} == types


def evolution(sent: dict[str, Any]) -> Answer:
    if not exactly(sent, number=str, text=str):
        return 400, {}
    key = {"remoteJid": sent["number"], "fromMe": True, "id": f"3EB0{len(sent['text']):08}"}
    return 201, {"key": key, "status": "PENDING", "messageType": "conversation"}


def waha(sent: dict[str, Any]) -> Answer:
    """By its text, each of its engines."""
    if not exactly(sent, session=str, chatId=str, text=str):
        return 422, {}
    id = f"true_{sent['chatId']}_3EB0"
    match sent["text"]:
        case "by WEBJS":
            return 201, {"_data": {}, "id": {"fromMe": True, "id": "3EB0", "_serialized": id}}
        case "by NOWEB":
            return 201, {"key": {"remoteJid": sent["chatId"], "fromMe": True, "id": "3EB0"}}
        case "without an id":
            return 201, {}
    return 201, {"id": id, "fromMe": True}


def cloud(sent: dict[str, Any]) -> Answer:
    who = {"to": str} if "to" in sent else {"recipient": str}
    types = {"messaging_product": str, "recipient_type": str, "type": str, "text": dict}
    body = sent["text"]["body"]
    if not exactly(sent, **who, **types) or not 0 < len(body) <= 4096:
        return 400, {"error": {"code": 100}}
    messages = [{"id": f"wamid.{len(body)}"}]
    return 200, {"messaging_product": "whatsapp", "contacts": [], "messages": messages}


def chatwoot(sent: dict[str, Any]) -> Answer:
    if not exactly(sent, content=str, message_type=str):
        return 422, {}
    return 200, {"id": 1002, "content": sent["content"], "message_type": 1, "private": False}


def telegram(sent: dict[str, Any]) -> Answer:
    allowed = {"chat_id", "text", "message_thread_id", "business_connection_id"}
    units = len(sent["text"].encode("utf-16-le")) // 2
    if not sent.keys() <= allowed or not 0 < units <= 4096:
        return 400, {"ok": False, "error_code": 400}
    return 200, {"ok": True, "result": {"message_id": units, "chat": {"id": sent["chat_id"]}}}


@dataclass(frozen=True)
class Platform:
    """Takes a message as the platform's documentation has it, and gives it an id."""

    path: str
    """A pattern, behind the platform's name."""
    header: tuple[str, str] | None
    take: Callable[[dict[str, Any]], Answer]
    variables: tuple[str, str]
    """Of its receiver: the one for the address, and the one for the key."""


PLATFORMS = {
    "evolution": Platform(
        r"/message/sendText/(?P<instance>[^/]+)",
        ("apikey", KEY),
        evolution,
        ("EVOLUTION_URL", "EVOLUTION_KEY"),
    ),
    "waha": Platform(r"/api/sendText", ("x-api-key", KEY), waha, ("WAHA_URL", "WAHA_KEY")),
    "cloud": Platform(
        r"/(?P<number>\d+)/messages",
        ("authorization", f"Bearer {KEY}"),
        cloud,
        ("GRAPH_URL", "CLOUD_TOKEN"),
    ),
    "chatwoot": Platform(
        r"/api/v1/accounts/(?P<account>\d+)/conversations/(?P<conversation>\d+)/messages",
        ("api_access_token", KEY),
        chatwoot,
        ("CHATWOOT_URL", "CHATWOOT_TOKEN"),
    ),
    "telegram": Platform(rf"/bot{KEY}/sendMessage", None, telegram, ("TELEGRAM_URL", "BOT_TOKEN")),
}


@dataclass
class StandIn:
    """All platforms at one address, each under its name."""

    url: str = ""
    sent: list[dict[str, Any]] = field(default_factory=list)
    """What was taken: the body, and what stood in the path."""

    def take(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        name, _, rest = path[1:].partition("/")
        platform = PLATFORMS[name]
        found = re.fullmatch(platform.path, f"/{rest}")
        if found is None:
            return 404, {}
        if platform.header and headers.get(platform.header[0]) != platform.header[1]:
            return 401, {}
        sent = json.loads(body)
        status, answer = platform.take(sent)
        if status < 300:
            self.sent.append({**found.groupdict(), **sent})
        return status, answer


class _Handler(BaseHTTPRequestHandler):
    stand_in: ClassVar[StandIn]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answer = self.stand_in.take(self.path, headers, body)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    there = StandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Here", (_Handler,), {"stand_in": there}))
    there.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    for name, platform in PLATFORMS.items():
        address, key = platform.variables
        monkeypatch.setenv(address, f"{there.url}/{name}")
        monkeypatch.setenv(key, KEY)
    monkeypatch.syspath_prepend(RECEIVERS)
    yield there
    server.shutdown()
    server.server_close()
    thread.join()


def batch_of(case: str, user: str | None = None) -> dict[str, Any]:
    """A `detailed` webhook of what a door made of this event."""
    items = [each["push"] for each in fixture(case)["actions"] if "push" in each]
    texts = [each["message"] for each in items]
    return {"user": user or items[-1]["user"], "messages": texts, "items": items}


def ids_of(batch: dict[str, Any], text: str, name: str) -> list[str]:
    """What the platform's receiver says that it sent."""
    send: Send = importlib.import_module(f"{name}_receiver").send

    async def main() -> list[str]:
        async with httpx.AsyncClient() as client:
            return await send(client, batch, text)

    return asyncio.run(main())


ANA = "5511900000001"
CLOUD = {"messaging_product": "whatsapp", "recipient_type": "individual", "type": "text"}


@pytest.mark.parametrize(
    ("case", "user", "text", "sent", "id"),
    [
        (
            "evolution/text",
            None,
            "Oi!",
            {"instance": "loja", "number": f"{ANA}@s.whatsapp.net", "text": "Oi!"},
            "3EB000000003",
        ),
        (
            "evolution/text",
            "loja/centro 2:200000000000099@lid",
            "Oi!",
            {"instance": "loja%2Fcentro%202", "number": "200000000000099@lid", "text": "Oi!"},
            "3EB000000003",
        ),
        (
            "evolution/text",
            f"loja:120363000000000001@g.us:{ANA}@s.whatsapp.net",
            "Oi!",
            {"instance": "loja", "number": "120363000000000001@g.us", "text": "Oi!"},
            "3EB000000003",
        ),
        *(
            (
                "waha/text",
                None,
                text,
                {"session": "default", "chatId": f"{ANA}@c.us", "text": text},
                id,
            )
            for text, id in (
                ("by GOWS", f"true_{ANA}@c.us_3EB0"),
                ("by WEBJS", f"true_{ANA}@c.us_3EB0"),
                ("by NOWEB", "3EB0"),
            )
        ),
        (
            "cloud/text",
            None,
            "Oi!",
            {**CLOUD, "number": "200000000000001", "to": ANA, "text": {"body": "Oi!"}},
            "wamid.3",
        ),
        (
            "cloud/user_id_without_phone",
            "200000000000001:BR.1000000000000001",
            "Oi!",
            {
                **CLOUD,
                "number": "200000000000001",
                "recipient": "BR.1000000000000001",
                "text": {"body": "Oi!"},
            },
            "wamid.3",
        ),
        (
            "chatwoot/text",
            None,
            "Oi!",
            {
                "account": "1",
                "conversation": "42",
                "content": "Oi!",
                "message_type": "outgoing",
            },
            "1002",
        ),
        ("telegram/text", None, "Oi!", {"chat_id": 700001, "text": "Oi!"}, "3"),
        ("telegram/button_reply", None, "Oi!", {"chat_id": 700001, "text": "Oi!"}, "3"),
        (
            "telegram/business",
            "telegram:bcAbC12:700001",
            "Oi!",
            {"business_connection_id": "bcAbC12", "chat_id": 700001, "text": "Oi!"},
            "3",
        ),
        (
            "telegram/text",
            "loja:-1001000000001:55:700001",
            "Oi!",
            {"chat_id": -1001000000001, "message_thread_id": 55, "text": "Oi!"},
            "3",
        ),
        (
            "telegram/text",
            "loja:-1001000000001:700001",
            "Oi!",
            {"chat_id": -1001000000001, "text": "Oi!"},
            "3",
        ),
    ],
)
def test_an_answer_goes_to_the_chat_it_is_for_and_its_id_comes_back(
    stand_in: StandIn,
    case: str,
    user: str | None,
    text: str,
    sent: dict[str, Any],
    id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And no key is in a log: Telegram's stands in the address."""
    caplog.set_level(logging.INFO)
    name = case.partition("/")[0]
    assert ids_of(batch_of(case, user), text, name) == [id]
    assert stand_in.sent == [sent]
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("cloud", lambda sent: sent["text"]["body"]),
        ("telegram", lambda sent: sent["text"]),
    ],
)
def test_a_long_answer_is_sent_in_pieces_that_the_platform_takes(
    stand_in: StandIn, name: str, texts: Callable[[dict[str, Any]], str]
) -> None:
    line = "uma linha com 😀\ne outra "
    answer = line * 900
    characters_max = importlib.import_module(f"{name}_receiver").CHARACTERS_MAX
    pieces_of = importlib.import_module("fastapi_receiver").pieces_of
    batch = batch_of(f"{name}/text")
    ids = [ids_of(batch, piece, name) for piece in pieces_of(answer, characters_max)]
    pieces = [texts(each) for each in stand_in.sent]
    assert len(ids) == len(pieces) > 3
    assert [word for piece in pieces for word in piece.split()] == answer.split()
    assert pieces[0].startswith("uma linha com 😀\ne outra uma")


@pytest.mark.parametrize("name", PLATFORMS)
def test_what_a_platform_refuses_was_not_sent(
    stand_in: StandIn, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLATFORMS[name].variables[1], "a-key-of-yesterday")
    with pytest.raises(httpx.HTTPStatusError):
        ids_of(batch_of(f"{name}/text"), "Oi!", name)
    assert stand_in.sent == []


def test_an_answer_of_waha_without_an_id_is_no_success(stand_in: StandIn) -> None:
    with pytest.raises(ValueError, match="no id"):
        ids_of(batch_of("waha/text"), "without an id", "waha")


@pytest.mark.process
def test_a_burst_in_evolution_is_answered_once_in_its_chat(
    stand_in: StandIn, tmp_path: Path
) -> None:
    """From the platform's webhook to its send endpoint: the door, the queue, and the receiver."""
    secret = new_secret()
    with surroundings() as around, redis_process() as store, ExitStack() as stack:
        variables = {
            "REDIS_URL": store.url,
            "WEBHOOK_URL": f"{around.url}/evolution",
            "WEBHOOK_SECRET": secret,
            "AQ_ANSWER": "later",
            "AQ_PUBLIC_URL": f"{around.url}/queue",
            "AQ_PAYLOAD": "detailed",
            "AQ_DEFAULT_TTL": "0.5",
            "AQ_SHARDS": "8",
        }
        service = Service(tmp_path, variables)
        stack.push(service.closing)
        service.start()
        around.queue = f"http://127.0.0.1:{service.port}"
        settings = {
            "WEBHOOK_SECRET": secret,
            "MODEL_URL": f"{around.url}/model",
            "EVOLUTION_URL": f"{stand_in.url}/evolution",
            "EVOLUTION_KEY": KEY,
        }
        command = fastapi(tmp_path, "evolution_receiver")
        receiver = stack.enter_context(program(command, tmp_path, settings))
        around.receivers["evolution"] = receiver.start()
        event = fixture("evolution/text")["body"]
        event["data"]["messageTimestamp"] = int(time.time())
        for number, text in enumerate(("Oi", "tudo bem?")):
            event["data"]["key"]["id"] = f"3EB0A000000{number}"
            event["data"]["message"] = {"conversation": text}
            body = json.dumps(event).encode()
            assert posted(f"{around.queue}/in/evolution", {}, body) == 200
        wait_until(lambda: stand_in.sent, "an answer", PATIENCE_S)
        user = fixture("evolution/text")["actions"][0]["push"]["user"]
        wait_until(lambda: is_idle(service, user), "it is over", PATIENCE_S)
        number = f"{ANA}@s.whatsapp.net"
        assert stand_in.sent == [{"instance": "loja", "number": number, "text": "Oi + tudo bem?"}]
        report = {"sent": ["3EB000000014"]}
        told = around.told
        wait_until(lambda: report in [body for _, body in told], "its id was told", PATIENCE_S)
        # Evolution up to 2.2 tells what its API sent as if a human had: the reported id says no.
        echo = fixture("evolution/from_me")["body"]
        echo["data"]["messageTimestamp"] = int(time.time())
        for id, held in (("3EB000000014", False), ("3EB0FFFFFF00", True)):
            echo["data"]["key"].update(remoteJid=number, fromMe=True, id=id)
            assert posted(f"{around.queue}/in/evolution", {}, json.dumps(echo).encode()) == 200
            wait_until(
                lambda held=held: is_idle(service, user) is not held, f"held: {held}", PATIENCE_S
            )


def is_idle(service: Service, user: str) -> bool:
    view = service.client.user(user)
    return view.status == 200 and view.json()["state"] == "idle"
