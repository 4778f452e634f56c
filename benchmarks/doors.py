"""What a chat platform's webhook costs beside `POST /api/message` with the same text."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks import processes
from benchmarks.figures import Result, Target
from benchmarks.ingest import BURST, MARGIN_S, Run
from benchmarks.processes import Listening

CONNECTIONS: Final = 32
WARM_UP_S: Final = 0.5
COST_MAX: Final = 1.3
PRESENCE_MAX: Final = 0.5
DEDUP_BYTES_MAX: Final = 120.0
USERS: Final = 200
LOOKS_MAX: Final = 10_000
TEXT: Final = "Oi, tudo bem? Queria saber do meu pedido."
NAMED: Final = "a POST with a message_id"

METHOD = f"""\
{CONNECTIONS} kept-alive connections with one request under way on each, {BURST} in a row of each
of {USERS} users, to one service with a Valkey of its own. A round is a burst of {{seconds:g}} s of
each kind, after {WARM_UP_S:g} s of warm-up, and the ratios are of the bursts of a round. Every
message has the same text and an id of its own; the users are the same ones in each round. The
service has core 0 to itself; the processor's time is what other work on the machine disturbs least.
A presence event that changes nothing says that somebody is online. An id that is remembered is the
key of a message of Evolution's door in Valkey, as MEMORY USAGE says."""


def evolution(name: str, data: Mapping[str, Any]) -> str:
    """Evolution's envelope, with all that it has around an event."""
    whole = {
        "event": name,
        "instance": "loja",
        "data": data,
        "destination": "https://queue.example/in/evolution",
        "date_time": "2025-11-24T13:00:00.000Z",
        "sender": "5511900000099@s.whatsapp.net",
        "server_url": "https://evolution.example",
        "apikey": "THE-KEY-OF-THE-INSTANCE",
    }
    return json.dumps(whole, ensure_ascii=False)


def evolution_message(**key: str) -> str:
    return evolution(
        "messages.upsert",
        {
            "key": {"remoteJid": "USER@s.whatsapp.net", "fromMe": False, "id": "3EBNUMBER"} | key,
            "pushName": "Ana Souza",
            "status": "DELIVERY_ACK",
            "message": {"conversation": TEXT},
            "messageType": "conversation",
            "instanceId": "11111111-0000-4000-8000-000000000001",
            "source": "android",
        },
    )


def cloud() -> str:
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "551190000099", "phone_number_id": "200000000001"},
        "contacts": [{"profile": {"name": "Ana Souza"}, "wa_id": "USER", "user_id": "BR.USER"}],
        "messages": [
            {"from": "USER", "id": "wamid.NUMBER", "type": "text", "text": {"body": TEXT}}
        ],
    }
    entry = {"id": "100000000001", "changes": [{"value": value, "field": "messages"}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}, ensure_ascii=False)


def telegram() -> str:
    message = {
        "message_id": "NUMBER",
        "from": {"id": "USER", "is_bot": False, "first_name": "Ana", "language_code": "pt"},
        "chat": {"id": "USER", "first_name": "Ana", "type": "private"},
        "text": TEXT,
    }
    return json.dumps({"update_id": "NUMBER", "message": message}, ensure_ascii=False)


def _posted(**more: str) -> str:
    return json.dumps({"user": "USER", "message": TEXT} | more, ensure_ascii=False)


PRESENCE: Final = "a presence event that changes nothing"
EVENTS: Final[dict[str, tuple[str, str]]] = {
    "a POST": ("/api/message", _posted()),
    NAMED: ("/api/message", _posted(message_id="3EBNUMBER")),
    "Evolution": ("/in/evolution", evolution_message()),
    "Evolution, with @lid and phone": (
        "/in/evolution",
        evolution_message(remoteJid="USER@lid", remoteJidAlt="USER@s.whatsapp.net"),
    ),
    "Cloud API": ("/in/cloud", cloud()),
    "Telegram": ("/in/telegram", telegram()),
    PRESENCE: (
        "/in/evolution",
        evolution(
            "presence.update",
            {
                "id": "USER@s.whatsapp.net",
                "presences": {"USER@s.whatsapp.net": {"lastKnownPresence": "available"}},
            },
        ),
    ),
}


def run(quick: bool) -> Result:
    """At most 1.3 times a POST; a presence event at most half of one."""
    rounds, seconds = (2, 1.0) if quick else (7, 2.0)
    runs: dict[str, list[Run]] = {name: [] for name in EVENTS}
    remembered = []
    with ExitStack() as open_:
        folder = open_.enter_context(tempfile.TemporaryDirectory(prefix="aqb-"))
        receiver = open_.enter_context(processes.receiver(Path(folder) / "arrivals"))
        valkey = open_.enter_context(processes.valkey())
        service = open_.enter_context(
            processes.service(valkey.url, receiver.port, AQ_DEFAULT_TTL="3600")
        )
        for _ in range(rounds):
            for name, (path, form) in EVENTS.items():
                prefix = f"{list(EVENTS).index(name):02d}"
                runs[name].append(_measure(service, path, form, seconds, prefix))
            remembered.append(_id_bytes(valkey))
    result = Result("The doors", METHOD.format(seconds=seconds))
    _ratios(result, runs)
    result.add(
        "an id that is remembered", "bytes/message", remembered, Target("at most", DEDUP_BYTES_MAX)
    )
    for name, measured in runs.items():
        result.add(f"{name}: CPU", "µs/request", [each.cpu_us for each in measured])
        result.add(name, "requests/s", [each.per_s for each in measured])
    return result


def _ratios(result: Result, runs: dict[str, list[Run]]) -> None:
    post = [each.cpu_us for each in runs[NAMED]]
    for name, (path, _) in EVENTS.items():
        if path.startswith("/in/"):
            most = PRESENCE_MAX if name == PRESENCE else COST_MAX
            ratios = [each.cpu_us / base for each, base in zip(runs[name], post, strict=True)]
            result.add(f"{name} / {NAMED}: CPU", "times", ratios, Target("at most", most))


def _measure(server: Listening, path: str, form: str, seconds: float, prefix: str) -> Run:
    load = processes.start_load(
        "closed",
        port=server.port,
        path=path,
        connections=CONNECTIONS,
        warm_up_s=WARM_UP_S,
        seconds=seconds,
        ttl=0,
        prefix=prefix,
        burst=BURST,
        form=form,
        users_max=USERS,
    )
    processes.wait_line(load)
    cpu_s, at = server.cpu_s(), time.monotonic()
    time.sleep(seconds - MARGIN_S)
    cpu_share = (server.cpu_s() - cpu_s) / (time.monotonic() - at)
    measured = processes.finish_load(load)
    if not set(measured["statuses"]) <= {"200", "202"}:
        raise RuntimeError(f"{path} answered {measured['statuses']}")
    per_s = sum(measured["statuses"].values()) / seconds
    return Run(per_s, cpu_share / per_s * 1e6, measured["p99_ms"])


def _id_bytes(valkey: processes.Valkey) -> float:
    """Of one key that remembers a message of Evolution's door."""
    for _ in range(LOOKS_MAX):
        key = valkey.command("RANDOMKEY").split(b"\r\n")[1]
        if b":id:" in key and b"loja:3EB" in key:
            found = valkey.command("MEMORY", "USAGE", key.decode())
            return float(found.strip().removeprefix(b":"))
    raise RuntimeError("no id is remembered")
