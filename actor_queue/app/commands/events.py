"""`events`: what happens, followed until Ctrl-C, over restarts of the service."""

from __future__ import annotations

import gc
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from queue import Empty, Queue
from threading import Thread
from typing import Any, NamedTuple

import typer

from actor_queue.app.commands.asking import Asking, asks
from actor_queue.app.logs import printable
from actor_queue.app.terminal import json_text, note, text

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 15.0
PUT_OFF_S_MAX = 60.0
"""A service may ask for that long a pause, and for no longer one."""
EVENT_BYTES_MAX = 1_048_576
"""A longer one is thrown away up to its end."""
MOMENT_S = 0.5
"""How long after the first of several moves the others are told with it: a lease that is lost and
taken again moves each of a replica's shards."""
MOVES_TOGETHER_MAX = 16_384
"""As many shards as there can be."""
READ_AHEAD_MAX = 1_000
"""The most events that are read before they are shown."""


class Event(NamedTuple):
    name: str
    data: str


class Reconnection:
    """When the service wants the next connection, by its last word about it."""

    def __init__(self) -> None:
        self.pause_s = RETRY_FIRST_S

    def heard(self, ms: int) -> None:
        self.pause_s = min(max(ms / 1000, RETRY_FIRST_S), PUT_OFF_S_MAX)


class _End(NamedTuple):
    """No event follows; `error` is why, None where the stream ended as it should."""

    error: Exception | None


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
                wanted = Reconnection()
                found = read_events(pieces, wanted)
                if asking.as_json:
                    for event in found:
                        _show_json(event)
                else:
                    for group in in_groups(found):
                        _show(group)
            pause_s = wanted.pause_s
            when = "" if pause_s == RETRY_FIRST_S else f" in {pause_s:.0f} s"
            note(f"the service ended the connection; connecting again{when}")
        except Refused as refused:
            passing = isinstance(refused, Unreachable) or refused.status == 503
            if not (connected_before and passing):
                raise
            note(f"{refused}; trying again in {pause_s:.0f} s")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, RETRY_MAX_S)


def in_groups(found: Iterable[Event]) -> Iterator[list[Event]]:
    """Each event alone and at once; `moved` ones that come within a moment together.

    What `found` raises is raised here. A thread reads, because only the passing of time tells that
    no other move follows.
    """
    arrived: Queue[Event | _End] = Queue(READ_AHEAD_MAX)
    Thread(target=_read_ahead, args=(found, arrived), daemon=True).start()
    moves: list[Event] = []
    told_at = 0.0
    while True:
        if len(moves) >= MOVES_TOGETHER_MAX:
            yield moves
            moves = []
        try:
            # What has arrived already is taken also when the moment is over.
            event = arrived.get(timeout=max(0.0, told_at - time.monotonic()) if moves else None)
        except Empty:
            yield moves
            moves = []
            continue
        if isinstance(event, Event) and event.name == "moved":
            if not moves:
                told_at = time.monotonic() + MOMENT_S
            moves.append(event)
            continue
        if moves:
            yield moves
            moves = []
        if isinstance(event, Event):
            yield [event]
        elif event.error is not None:
            raise event.error
        else:
            return


def _read_ahead(found: Iterable[Event], arrived: Queue[Event | _End]) -> None:
    try:
        for event in found:
            arrived.put(event)
    except Exception as error:  # noqa: BLE001 - whoever shows the events raises it
        arrived.put(_End(error))
    else:
        arrived.put(_End(None))


def read_events(pieces: Iterable[bytes], wanted: Reconnection | None = None) -> Iterator[Event]:
    """The events of a `text/event-stream`; comments are left out, and `wanted` hears of `retry`.

    https://html.spec.whatwg.org/multipage/server-sent-events.html, with line feeds only.
    """
    waiting = b""
    overlong = False
    for piece in pieces:
        *blocks, waiting = (waiting + piece).split(b"\n\n")
        for block in blocks:
            if wanted is not None and (told := _RETRY.search(block)):
                wanted.heard(int(told[1]))
            if not overlong and (event := _event(block)):
                yield event
            overlong = False
        if len(waiting) > EVENT_BYTES_MAX:
            # The last byte may be half of the event's end.
            waiting, overlong = waiting[-1:], True


_RETRY = re.compile(rb"^retry: ?([0-9]{1,9})$", re.MULTILINE)


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


def _show_json(event: Event) -> None:
    print(json_text({"event": event.name, "data": _data(event)}), flush=True)


def _show(group: list[Event]) -> None:
    """One line; of several moves one for each replica and new owner."""
    if len(group) == 1:
        data = _data(group[0])
        _show_line(group[0].name, data if isinstance(data, dict) else {"data": data})
        return
    moves: Counter[tuple[Any, Any]] = Counter()
    for event in group:
        data = _data(event)
        facts = data if isinstance(data, dict) else {}
        moves[facts.get("replica"), facts.get("owner")] += 1
    for (replica, owner), shards in moves.items():
        _show_line("moved", {"shards": shards, "owner": owner, "replica": replica})


def _show_line(name: str, facts: dict[str, Any]) -> None:
    words = [f"{printable(str(fact))}={text(value)}" for fact, value in facts.items()]
    line = " ".join([f"{datetime.now():%H:%M:%S}", printable(name), *words])
    print(line, flush=True)


def _data(event: Event) -> Any:
    try:
        return json.loads(event.data)
    except ValueError:
        return event.data
