"""The webhook's body: the first receivers' shape, and the same bytes at every attempt."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.admission import AdmissionPolicy, admit
from actor_queue.core.batch import Batch, StoredMode, divided_from, shard_of_batch
from actor_queue.core.payload import _DECODER, _read, counted_bytes, render
from tests.core.test_admission import SEED

CLOSED_AT_MS = 1_738_199_985_999  # 2025-01-30T01:19:45.999Z


def item(seq: int, original: str, message_id: str = "id") -> bytes:
    return f"[{seq},{CLOSED_AT_MS - 1_000 + seq},{json.dumps(message_id)},{original}]".encode()


def batch(
    *originals: str | dict[str, Any], user: str = "joao.silva", mode: Any = "classic"
) -> Batch:
    bodies = [body if isinstance(body, str) else json.dumps(body) for body in originals]
    return Batch(
        id="b1",
        user=user,
        seq=7,
        reason="quiet",
        mode=mode,
        first_at_ms=CLOSED_AT_MS - 999,
        last_at_ms=CLOSED_AT_MS - 997,
        due_at_ms=CLOSED_AT_MS,
        closed_at_ms=CLOSED_AT_MS,
        stored=tuple(item(seq, body, f"id{seq}") for seq, body in enumerate(bodies, 1)),
    )


def counted(closed: Batch) -> int:
    frame, times, each = counted_bytes(closed.mode)
    return frame + sum(times * len(item) + each for item in closed.stored)


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"user": "joao.silva", "message": text} | fields


def test_classic_is_the_body_that_the_first_receivers_know() -> None:
    number = {"id_agente": 1, "numero_conectado": "+5511999999999"}
    sent = [number | said(f"Mensagem {n}", ttl=30) for n in (1, 2, 3)]
    assert render(batch(*sent)).decode() == (
        '{"id_agente":1,"numero_conectado":"+5511999999999","user":"joao.silva",'
        '"user_id":"joao.silva","messages":["Mensagem 1","Mensagem 2","Mensagem 3"],'
        '"processed_at":"2025-01-30T01:19:45"}'
    )


def test_every_field_of_the_first_senders_passes_through() -> None:
    body = json.loads(render(batch(SEED)))
    passed = {name: value for name, value in SEED.items() if name not in ("message", "ttl")}
    assert body == passed | {
        "user_id": "joao.silva",
        "messages": ["Sua mensagem aqui"],
        "processed_at": "2025-01-30T01:19:45",
    }


def test_the_last_message_that_has_a_field_wins_and_fields_stand_where_they_were_first_seen() -> (
    None
):
    body = render(batch(said("1", a=1, b=1), said("2", c=2, a=2), said("3", b=None)))
    assert body.startswith(b'{"a":2,"b":null,"c":2,"user":')


def test_what_concerns_one_message_is_not_passed_through() -> None:
    body = json.loads(render(batch(said("1", ttl=1, message_id="x"))))
    assert set(body) == {"user", "user_id", "messages", "processed_at"}


@pytest.mark.parametrize("mode", get_args(StoredMode))
def test_a_senders_field_cannot_take_the_place_of_ours(mode: str) -> None:
    ours = {"user_id": 1, "messages": 2, "processed_at": 3, "batch": 4, "items": 5}
    body = json.loads(render(batch(said("1", **ours), mode=mode)))
    assert body["user_id"] == "joao.silva"
    assert body["messages"] == ["1"]
    assert body["processed_at"] == "2025-01-30T01:19:45"
    if mode.startswith("classic"):
        assert (body["batch"], body["items"]) == (4, 5)
    else:
        assert body["batch"]["id"] == "b1"
        assert body["items"][0]["messages"] == 2


def test_the_user_is_text_whoever_wrote_last() -> None:
    one, other = {"user": 42, "message": "a"}, {"user": "42", "message": "b"}
    for originals in ((one, other), (other, one)):
        body = json.loads(render(batch(*originals, user="42", mode="detailed")))
        assert (body["user"], body["user_id"]) == ("42", "42")
        assert [item["user"] for item in body["items"]] == [sent["user"] for sent in originals]


def test_detailed_adds_the_batch_and_every_message_as_it_came() -> None:
    sent = said("oi", ttl=5, message_id=9, deep={"a": [1, None, True]})
    body = json.loads(render(batch(sent, said("tudo bem?"), mode="detailed")))
    assert list(body) == ["deep", "user", "user_id", "messages", "processed_at", "batch", "items"]
    assert body["batch"] == {
        "id": "b1",
        "seq": 7,
        "reason": "quiet",
        "first_at": "2025-01-30T01:19:45.000Z",
        "last_at": "2025-01-30T01:19:45.002Z",
        "due_at": "2025-01-30T01:19:45.999Z",
    }
    assert body["items"] == [
        sent | {"seq": 1, "message_id": "id1", "received_at": "2025-01-30T01:19:45.000Z"},
        said("tudo bem?", seq=2, message_id="id2", received_at="2025-01-30T01:19:45.001Z"),
    ]


NUMBERS = [
    "1.10",
    "1E5",
    "-0.0",
    "0.30000000000000004",
    "12345678901234567890.12345",
    "1e-999",
    "9" * 900,
]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("mode", ["classic", "detailed"])
def test_numbers_keep_their_digits(number: str, mode: str) -> None:
    original = '{"user": "u", "message": "m", "x": %s, "y": [{"z": %s}]}' % (number, number)  # noqa: UP031
    body = render(batch(original, mode=mode)).decode()
    assert f'"x":{number},"y":[{{"z":{number}}}]' in body
    json.loads(body)


def test_text_that_looks_like_a_number_stays_text() -> None:
    body = render(batch('{"user": "u", "message": "1.10", "x": 1.10, "y": "1.10"}'))
    assert b'"x":1.10,"y":"1.10"' in body


def test_text_is_utf_8_and_not_escaped() -> None:
    assert '"messages":["João \U0001f600"]'.encode() in render(
        batch('{"user": "u", "message": "Jo\\u00e3o \\ud83d\\ude00"}')
    )


def test_times_are_rounded_down_and_never_carry_a_zone_in_processed_at() -> None:
    body = json.loads(render(replace(batch(said("1")), closed_at_ms=1_999)))
    assert body["processed_at"] == "1970-01-01T00:00:01"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children, max_size=3)
    ),
    max_leaves=5,
)
OBJECTS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3), JSON, max_size=4
)


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.sampled_from(get_args(StoredMode)), st.data())
def test_whatever_was_admitted_comes_out_in_order_and_twice_the_same(
    others: list[dict[str, Any]], mode: str, data: st.DataObject
) -> None:
    policy = AdmissionPolicy(15_000, 86_400_000, 262_144)
    texts = [data.draw(st.text(st.characters(exclude_categories=["Cs"]))) for _ in others]
    sent = [
        other | said(text) | {"ttl": 1, "message_id": "i"}
        for other, text in zip(others, texts, strict=True)
    ]
    admitted = [admit(json.dumps(one).encode(), policy, new_id=str).body.decode() for one in sent]
    rendered = render(batch(*admitted, mode=mode))
    assert rendered == render(batch(*admitted, mode=mode))
    body = json.loads(rendered)
    assert body["messages"] == texts
    if not mode.startswith("classic"):
        stamps = ("seq", "message_id", "received_at")
        for item, original in zip(body["items"], sent, strict=True):
            for name in set(original) - set(stamps):
                assert item[name] == original[name]


@given(
    st.lists(
        st.tuples(
            st.text(max_size=30),
            st.dictionaries(
                st.text(max_size=8),
                st.text(max_size=20) | st.floats(allow_nan=False, allow_infinity=False),
            ),
        ),
        min_size=2,
        max_size=6,
    ),
    st.sampled_from(get_args(StoredMode)),
    st.sampled_from(["u", 'ana\x01"', "42", "ü" * 100]),
    st.booleans(),
)
def test_a_body_of_several_messages_is_never_larger_than_it_was_counted(
    messages: list[tuple[str, dict[str, Any]]], mode: Any, user: str, compact: bool
) -> None:
    separators = (",", ":") if compact else None
    originals = [
        json.dumps(
            fields | {"user": 42 if user == "42" else user, "message": text},
            ensure_ascii=False,
            separators=separators,
        )
        for text, fields in messages
    ]
    closed = batch(*originals, user=user, mode=mode)
    assert len(render(closed)) <= counted(closed)


def test_a_plain_burst_counts_hardly_more_than_its_body_has() -> None:
    for mode in ("classic", "detailed"):
        closed = batch(*[said("x" * 2_000) for _ in range(20)], mode=mode)
        assert counted(closed) <= 1.05 * len(render(closed))


def test_a_half_of_a_divided_batch_says_so_in_detailed_and_in_classic_nothing_is_new() -> None:
    whole = "b0001" + "a1b2c3d4e5" * 2 + "1ft1738199985999"
    for name, parent in (
        (f"{whole}x2", whole),
        (f"{whole}y1f", whole),
        (f"{whole}x2ya", f"{whole}x2"),
    ):
        half = replace(batch(said("a"), mode="detailed"), id=name)
        assert json.loads(render(half))["batch"]["divided_from"] == divided_from(name) == parent
        assert "divided_from" not in render(replace(half, mode="classic")).decode()
        assert shard_of_batch(name) == 1
    assert divided_from(whole) is None
    assert "divided_from" not in render(batch(said("a"), mode="detailed")).decode()


@given(
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.text(),
            st.sampled_from([1.5, 0.1, 1e300]),
        ),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
        max_leaves=10,
    ),
    st.booleans(),
    st.data(),
)
def test_what_is_kept_is_read_quickly_as_it_would_be_read_carefully(
    value: object, ascii_only: bool, data: st.DataObject
) -> None:
    item = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    item = item.replace(b"1.5", b"1.50").replace(b"0.1", b"1E400").replace(b"true", b"NaN")
    at = data.draw(st.integers(0, len(item)))
    item = (
        item[:at] + data.draw(st.sampled_from([b"", b" ", b"-0", b"\\ud800", b"\xff"])) + item[at:]
    )
    try:
        meant = _DECODER.decode(item.decode())
    except ValueError:
        with pytest.raises(ValueError):
            _read(item)
    else:
        assert repr(_read(item)) == repr(meant)
