"""The webhook's body is released: what a mode renders stays as it is, byte for byte.

A retry may be sent by another release than the attempt before it. So a body that is to be another
one is a new mode, and a file beside these; what is in them is not changed any more.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from actor_queue.core.batch import Batch, PayloadMode, StoredMode
from actor_queue.core.payload import render, stored_mode

BODIES = Path(__file__).parent / "bodies"
ID = "b0001a1b2c3d4e5a1b2c3d4e5"
WHOLE = Batch(
    id=ID,
    user="joão",
    seq=7,
    reason="max_messages",
    mode="classic",
    first_at_ms=1_738_199_985_001,
    last_at_ms=1_738_199_985_999,
    due_at_ms=1_738_200_000_999,
    closed_at_ms=1_738_199_985_999,
    stored=(
        b'[1,1738199985001,"m1",{"user":"jo\xc3\xa3o","message":"Oi","ttl":5,"n":1.10}]',
        b'[2,1738199985999,"m2",{"n":2,"route":"of old","batch":1,"message":"",'
        b'"user":"jo\xc3\xa3o"}]',
    ),
)
HALF = replace(WHOLE, id=f"{ID}x8")
ELSEWHERE = replace(WHOLE, route="vendas")
OUT_OF_ORDER = replace(
    WHOLE,
    stored=tuple(
        b'[%d,%d,"m%d",{"user":"ana","message":"%d","n":%d,"sent_at":%b}]'
        % (n, WHOLE.first_at_ms + n, n, n, n, sent_at)
        for n, sent_at in enumerate(
            (
                b"1738199984",
                b'"2025-01-30T01:19:42Z"',
                b'"no time"',
                b"1738199983000",
                b"1738199982.50",
                b"1738199984",
            ),
            1,
        )
    ),
)
KINDS = {"whole": WHOLE, "half": HALF, "of-a-route": ELSEWHERE, "out-of-order": OUT_OF_ORDER}


@pytest.mark.parametrize("mode", get_args(StoredMode))
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_mode_renders_is_what_every_release_has_rendered(
    kind: str, mode: StoredMode
) -> None:
    file = BODIES / f"{mode}-{kind}.json"
    assert render(replace(KINDS[kind], mode=mode)) + b"\n" == file.read_bytes()


def test_a_batch_that_is_closed_now_names_its_route_where_details_are_wanted() -> None:
    for batch in (WHOLE, ELSEWHERE):
        body = render(replace(batch, mode=stored_mode("detailed")))
        assert f'"batch":{{"id":"{ID}","route":"{batch.route}",'.encode() in body
    assert stored_mode("classic") == "classic"


def test_messages_that_say_when_they_were_sent_stand_in_that_order_where_it_is_wanted() -> None:
    wanted = ["2", "5", "3", "4", "1", "6"]
    for payload in get_args(PayloadMode):
        batch = replace(OUT_OF_ORDER, mode=stored_mode(payload, "sent"))
        body = json.loads(render(batch))
        assert body["messages"] == batch.messages == wanted
        assert body["n"] == batch.fields["n"] == 6, "the last message that has a field wins"
        assert [str(item["seq"]) for item in body.get("items", ())] in ([], wanted)
        assert json.loads(render(replace(batch, mode=stored_mode(payload))))["n"] == 6
        assert replace(batch, mode=stored_mode(payload)).messages == list("123456")


def test_a_batch_is_closed_in_the_newest_mode_that_every_replica_can_render() -> None:
    first = ("classic", "detailed")
    assert stored_mode("detailed", "arrival", (*first, "detailed_v2")) == "detailed_v2"
    assert stored_mode("detailed", "arrival", first) == "detailed"
    assert stored_mode("detailed", "sent", (*first, "detailed_v2")) == "detailed_v2"
    assert stored_mode("classic", "sent", first) == "classic"
    assert stored_mode("classic", "sent", (*first, "classic+sent")) == "classic+sent"
