"""`events`: what happens, followed until Ctrl-C, over restarts of the service."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

import typer

from actor_queue.app.commands.asking import Asking, asks
from actor_queue.app.logs import printable
from actor_queue.app.terminal import json_text, note, text

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 15.0
EVENT_BYTES_MAX = 1_048_576
"""A longer one is thrown away up to its end."""


class Event(NamedTuple):
    name: str
    data: str


def register(app: typer.Typer) -> None:
    app.command("events")(events)


@asks("read")
def events(asking: Asking) -> None:
    """Follow what happens, until Ctrl-C."""
    from actor_queue.app.remote import Refused, Unreachable

    # The other commands end before there is garbage.
    gc.enable()
    connected_before = False
    pause_s = RETRY_FIRST_S
    while True:
        try:
            with asking.service.events() as pieces:
                if connected_before:
                    note("connected again; what happened meanwhile was missed")
                connected_before = True
                pause_s = RETRY_FIRST_S
                for event in read_events(pieces):
                    _show(event, as_json=asking.as_json)
            note("the service ended the connection; connecting again")
        except Refused as refused:
            passing = isinstance(refused, Unreachable) or refused.status == 503
            if not (connected_before and passing):
                raise
            note(f"{refused}; trying again in {pause_s:.0f} s")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, RETRY_MAX_S)


def read_events(pieces: Iterable[bytes]) -> Iterator[Event]:
    """The events of a `text/event-stream`; comments and `retry` are left out.

    https://html.spec.whatwg.org/multipage/server-sent-events.html, with line feeds only.
    """
    waiting = b""
    overlong = False
    for piece in pieces:
        *blocks, waiting = (waiting + piece).split(b"\n\n")
        for block in blocks:
            if not overlong and (event := _event(block)):
                yield event
            overlong = False
        if len(waiting) > EVENT_BYTES_MAX:
            # The last byte may be half of the event's end.
            waiting, overlong = waiting[-1:], True


def _event(block: bytes) -> Event | None:
    name, data = "message", []
    for line in block.decode(errors="replace").split("\n"):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return Event(name, "\n".join(data)) if data else None


def _show(event: Event, *, as_json: bool) -> None:
    try:
        data: Any = json.loads(event.data)
    except ValueError:
        data = event.data
    if as_json:
        line = json_text({"event": event.name, "data": data})
    else:
        facts = data if isinstance(data, dict) else {"data": data}
        words = [f"{printable(str(name))}={text(value)}" for name, value in facts.items()]
        line = " ".join([f"{datetime.now():%H:%M:%S}", printable(event.name), *words])
    print(line, flush=True)
