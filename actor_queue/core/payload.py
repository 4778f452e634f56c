"""The webhook's body. A pure function of the batch: every attempt sends the same bytes.

Decided here where the contract leaves it open:

- `user` and `user_id` are always text, as in the first receivers' programs: 42 and "42" are one
  user, and the type must not depend on who wrote last. In `detailed` the item keeps its own.
- Pass-through fields come in the order in which they were first seen, then `user`, `user_id`,
  `messages`, `processed_at`, and in `detailed` `batch` and `items`. These names are ours: a
  pass-through field of the same name does not reach the top level (in `classic`, `batch` and
  `items` are free). An item is the original object with `seq`, `message_id` and `received_at`
  set on it.
- `route` names a receiver and reaches none: of the default route, a message that says it is kept
  without it; of another route it is left out of the body's top level.
- Numbers keep their digits, also fractions: 1.10 stays 1.10.
- `processed_at` is UTC without a zone, in whole seconds, as it always was. All other times are
  ISO 8601 in UTC with milliseconds and Z.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from actor_queue.core.batch import (
    BY_SENT_AT,
    Batch,
    Order,
    PayloadMode,
    StoredMode,
    divided_from,
    supersedes,
)
from actor_queue.core.conversation import DEFAULT_ROUTE
from actor_queue.core.sent_at import as_sent

NOT_PASSED_THROUGH = ("message", "ttl", "message_id", "user", "user_id", "messages", "processed_at")
"""What concerns one message only, and the names that are ours at the top level."""

_MARK = "\ud800"
"""Half of a surrogate pair: admitted text cannot contain it, so it can mark a place."""
_MARKED = re.compile(f'"{_MARK}([^"]*)"')
_DECODER = json.JSONDecoder(parse_float=_MARK.__add__)
_QUICK_DECODER = msgspec.json.Decoder(float_hook=_MARK.__add__)
_ENCODER = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
)

_Item = tuple[int, int, str, dict[str, Any]]
"""`seq`, `received_at_ms`, `message_id`, the original object."""


class CountedBytes(NamedTuple):
    """What a batch counts as, before its body exists: `frame`, and per message `times` its stored
    bytes plus `each`.

    A body of several messages is never larger than that, and that is all that is promised: fields
    that all messages share stand in the body once and are counted for each. The stored bytes are
    the whole object as the sender wrote it, its id, and about 20 more.
    """

    frame: int
    times: int
    each: int


def counted_bytes(mode: PayloadMode) -> CountedBytes:
    """How the store counts the bytes of a batch for `AQ_MAX_BATCH_BYTES`."""
    if mode == "classic":
        # What the body adds around its messages is less than what two of them leave behind.
        return CountedBytes(frame=0, times=1, each=0)
    # `batch`; each text in `messages` and again in `items`, where its message gets three names.
    return CountedBytes(frame=512, times=2, each=45)


def stored_mode(
    mode: PayloadMode, order: Order = "arrival", known: Collection[StoredMode] | None = None
) -> StoredMode:
    """As what a batch is kept that is closed now, with AQ_PAYLOAD `mode` and AQ_ORDER `order`.

    `known` are the modes that every replica can render; None: all there are. Of those that come
    into question it is the newest one, and what every release knows otherwise.
    """
    newest: tuple[StoredMode, ...] = ("detailed_v2",) if mode == "detailed" else ()
    if order == "sent":
        newest = ("detailed_v2+sent" if mode == "detailed" else "classic+sent", *newest)
    return next((each for each in newest if known is None or each in known), mode)


def render(batch: Batch) -> bytes:
    """The body as compact JSON in UTF-8."""
    items: list[_Item] = [_read(item) for item in batch.stored]
    if batch.mode.endswith(BY_SENT_AT):
        items = as_sent(items, _sent_at)
    body = _classic(batch, items)
    if _is_detailed(batch):
        body["batch"] = _about(batch)
        body["items"] = [_detailed(item) for item in items]
    text = _ENCODER.encode(body)
    if _MARK in text:
        text = _MARKED.sub(r"\1", text)
    return text.encode()


def _read(item: bytes) -> Any:
    """msgspec reads what it takes as `_DECODER` does, in a tenth of the time. What it does not take
    somebody else may have written, and then `_DECODER` says what it is."""
    try:
        return _QUICK_DECODER.decode(item)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _DECODER.decode(item.decode())


def _is_detailed(batch: Batch) -> bool:
    return not batch.mode.startswith("classic")


def _sent_at(item: _Item) -> object:
    """What stands in a message's `sent_at`. A fraction is its text behind a mark here."""
    given = item[3].get("sent_at")
    if type(given) is str and given.startswith(_MARK):
        return float(given[len(_MARK) :])
    return given


def _classic(batch: Batch, items: list[_Item]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for _, _, _, original in items:
        body.update(original)
    for name in NOT_PASSED_THROUGH:
        body.pop(name, None)
    if batch.route != DEFAULT_ROUTE:
        body.pop("route", None)
    if _is_detailed(batch):
        body.pop("batch", None)
        body.pop("items", None)
    body["user"] = batch.user
    body["user_id"] = batch.user
    body["messages"] = [original["message"] for _, _, _, original in items]
    body["processed_at"] = _moment(batch.closed_at_ms).isoformat()
    return body


def _about(batch: Batch) -> dict[str, Any]:
    whole, former = divided_from(batch.id), supersedes(batch.id)
    return {
        "id": batch.id,
        **({} if batch.mode == "detailed" else {"route": batch.route}),
        **({} if whole is None else {"divided_from": whole}),
        **({} if former is None else {"supersedes": former}),
        "seq": batch.seq,
        "reason": batch.reason,
        "first_at": _zoned(batch.first_at_ms),
        "last_at": _zoned(batch.last_at_ms),
        "due_at": _zoned(batch.due_at_ms),
    }


def _detailed(item: _Item) -> dict[str, Any]:
    seq, received_at_ms, message_id, original = item
    return original | {
        "seq": seq,
        "message_id": message_id,
        "received_at": _zoned(received_at_ms),
    }


def _moment(at_ms: int) -> datetime:
    """Whole seconds, without a zone; integer arithmetic, so that no float rounds up."""
    return datetime.fromtimestamp(at_ms // 1_000, UTC).replace(tzinfo=None)


def _zoned(at_ms: int) -> str:
    return f"{_moment(at_ms).isoformat()}.{at_ms % 1_000:03d}Z"
