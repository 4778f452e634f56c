"""What may come in, and what is said of what may not."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actor_queue.core.admission import (
    AdmissionPolicy,
    Refused,
    milliseconds,
    user_from_path,
)
from actor_queue.core.message import MESSAGE_ID_BYTES_MAX, USER_BYTES_MAX, Message
from actor_queue.core.settings import Settings
from tests.core.messages import admitted, message, raw, refused, texts, users

SEED = {
    "id_agente": 1,
    "numero_conectado": "+5511999999999",
    "foto": "https://example.com/photo.jpg",
    "phone": "+5511888888888",
    "sender_name": "João Silva",
    "user": "joao.silva",
    "chave": "chave123",
    "instance_id": "inst_123",
    "servidor": "srv1",
    "token": "token123",
    "token_seguranca": "sec_token123",
    "modo": "chat",
    "plataforma_ia": 1,
    "server_url": "https://api.example.com",
    "provider": 1,
    "id_instancia": 1,
    "message": "Sua mensagem aqui",
    "ttl": 30,
}

# What is taken


def test_the_first_senders_message_is_taken_as_it_is() -> None:
    body = json.dumps(SEED, indent=4, ensure_ascii=False).encode()
    assert admitted(body) == Message(
        user="joao.silva", body=body, ttl_ms=30_000, message_id="made-here", remembered=False
    )


def test_limits_come_from_the_settings() -> None:
    settings = Settings(default_ttl_ms=1, max_ttl_ms=2, max_body_bytes=300)
    assert AdmissionPolicy.of(settings) == AdmissionPolicy(1, 2, 300)


@given(
    st.dictionaries(
        texts,
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | texts
            | st.floats(allow_nan=False, allow_infinity=False),
            lambda children: st.lists(children) | st.dictionaries(texts, children),
            max_leaves=8,
        ),
    ),
    users,
    texts,
    st.booleans(),
    st.sampled_from([None, 0, 2]),
)
def test_every_object_with_user_and_message_is_taken_and_its_bytes_are_kept(
    others: dict[str, Any], user: str, text: str, ascii_only: bool, indent: int | None
) -> None:
    others.pop("route", None)  # not kept where it says nothing
    fields = others | {"user": user, "message": text, "ttl": 1, "message_id": "id"}
    body = json.dumps(fields, ensure_ascii=ascii_only, indent=indent).encode()
    taken = admitted(body)
    assert (taken.user, taken.body, taken.ttl_ms) == (user, body, 1_000)
    # It can stand in an array of somebody else's making.
    assert json.loads(b"[" + taken.body + b",1]") == [fields, 1]


def test_a_byte_order_mark_is_dropped_so_that_the_rest_fits_into_an_array() -> None:
    body = message().encode()
    assert admitted(b"\xef\xbb\xbf" + body).body == body


def test_an_empty_text_is_a_message() -> None:
    assert admitted('{"user": "u", "message": ""}').user == "u"


@pytest.mark.parametrize(
    ("given_user", "user"), [(7, "7"), (-7, "-7"), (10**400, "1" + "0" * 400), ("\0 {x}", "\0 {x}")]
)
def test_a_user_is_text_or_a_whole_number(given_user: object, user: str) -> None:
    assert admitted(message(user=given_user)).user == user


@pytest.mark.parametrize("size", [1, USER_BYTES_MAX])
def test_a_user_may_have_1_to_512_bytes(size: int) -> None:
    assert admitted(message(user="u" * size)).user == "u" * size


def test_bytes_are_counted_and_not_characters() -> None:
    assert admitted(message(user="\U0001f600" * 128)).user == "\U0001f600" * 128
    assert refused(message(user="\U0001f600" * 128 + "u")).field == "user"


@pytest.mark.parametrize(
    ("given_seconds", "ms"),
    [
        (None, None),
        ("", None),
        ("  ", None),
        ("7", 7_000),
        (0.0005, 1),
        ("-1.5", -1_500),
        (3, 3_000),
    ],
)
def test_seconds_are_read_alike_wherever_they_are_asked_for(
    given_seconds: object, ms: int | None
) -> None:
    assert milliseconds("seconds", given_seconds) == ms


# Fields


@pytest.mark.parametrize("user", [None, True, False, 1.0, [], {}, "", "u" * 513, 10**512])
def test_a_user_of_another_kind_or_size_is_refused(user: object) -> None:
    problem = refused(message(user=user))
    assert (problem.status, problem.field) == (422, "user")


@pytest.mark.parametrize("text", [True, False, [], {}, ["oi"]])
def test_a_message_that_has_no_text_is_refused(text: object) -> None:
    problem = refused(message(message=text))
    assert (problem.status, problem.field) == (422, "message")


NUMBERS = ["0", "-0", "7", "1.10", "1e3", "-1.5E-7", "12345678901234567890", "9" * 1_000]


@pytest.mark.parametrize(("written", "text"), [("null", ""), *((n, n) for n in NUMBERS)])
@pytest.mark.parametrize(
    "body",
    [
        '{"user": "u", "message": %s}',
        '{"message":%s,"user":"u"}',
        '{"a": {"message": 1}, "b": ["\\"message\\": 2"],\n"m\\u0065ssage"\t:\r\n%s , "user":"u"}',
        '{"user": "u", "x\\ud800": "\\ud800", "message": %s, "é": "\U0001f600"}',
    ],
)
def test_a_message_that_is_null_or_a_number_is_its_text_and_nothing_else_changes(
    body: str, written: str, text: str
) -> None:
    taken = admitted(body % written)
    assert taken.body.decode() == (body % json.dumps(text)).replace("\\ud800", "\\ufffd")


@given(
    st.dictionaries(texts, st.recursive(st.none() | st.integers() | texts, st.lists), max_size=5),
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 6),
    st.sampled_from([None, 0, 3]),
)
def test_the_text_of_a_number_is_put_where_the_number_stood(
    others: dict[str, Any], number: float | None, position: int, indent: int | None
) -> None:
    items = [(k, v) for k, v in others.items() if k not in ("user", "message", "ttl", "message_id")]
    items.insert(position, ("message", number))
    kept = json.loads(admitted(json.dumps(dict([*items, ("user", "u")]), indent=indent)).body)
    assert kept == dict([*items, ("user", "u")]) | {
        "message": "" if number is None else json.dumps(number)
    }
    assert list(kept) == [name for name, _ in items] + ["user"]


def test_what_is_missing_is_named() -> None:
    assert refused('{"message": "m"}').field == "user"
    assert refused('{"user": "u"}').field == "message"


@pytest.mark.parametrize(
    ("ttl", "ttl_ms"),
    [
        ("null", 15_000),
        ("0", 0),
        ("-0", 0),
        ("-0.0", 0),
        ("1", 1_000),
        ("86400", 86_400_000),
        ("1.5", 1_500),
        ("4.35", 4_350),
        ("2.3", 2_300),
        ("2.007", 2007),
        ("0.0001", 1),
        ("1e-300", 1),
        ("1.0000000001", 1_001),
        ("1.5e1", 15_000),
        ('"30"', 30_000),
        ('" 0.25 "', 250),
        ('"-0"', 0),
        ('"007"', 7_000),
        ('"0.0000001"', 1),
        ('""', 15_000),
        ('" "', 15_000),
    ],
)
def test_a_ttl_is_seconds_and_parts_of_a_millisecond_count_as_one(ttl: str, ttl_ms: int) -> None:
    assert admitted(raw(f'"ttl": {ttl}')).ttl_ms == ttl_ms


def test_without_a_ttl_the_default_holds() -> None:
    assert admitted(message()).ttl_ms == 15_000


@pytest.mark.parametrize(
    "ttl",
    ["true", "false", "[]", "{}", "-1", "-0.001", "86400.001", "86401", "1e300", "9" * 900]
    + ["-0.0001", "-1e-300", '"-0.0001"']
    + [
        f'"{text}"'
        for text in ("abc", "-1", "86401", "1e3", "+1", "1,5", ".5", "5.", "0x10", "NaN")
    ]
    + [f'"{text}"' for text in ("inf", "1_000", "1 0", "\uff11", "\\n1", "1\\u0000", "9" * 5_000)],
)
def test_a_ttl_out_of_range_or_of_another_kind_is_refused(ttl: str) -> None:
    problem = refused(raw(f'"ttl": {ttl}'))
    assert (problem.status, problem.field) == (422, "ttl")


@given(st.decimals(0, 86_400, allow_nan=False, places=None))
@example(Decimal("0.1"))
def test_a_ttl_never_becomes_shorter_and_never_a_millisecond_longer(seconds: Decimal) -> None:
    spelt = format(seconds, "f")
    if len(spelt) > 15:
        return
    exact_ms = Fraction(seconds) * 1_000
    for ttl in (spelt, f'"{spelt}"'):
        assert admitted(raw(f'"ttl": {ttl}')).ttl_ms == math.ceil(exact_ms)


# The message's name


@pytest.mark.parametrize(
    ("in_body", "in_header", "name"),
    [
        ('"wamid.X"', None, "wamid.X"),
        ("42", None, "42"),
        ("null", "k", "k"),
        ('"k"', "k", "k"),
        ('"k"', '"k"', "k"),
        ("42", '"42"', "42"),
        ("null", '"a \\"b\\" \\\\"', 'a "b" \\'),
        ("null", '"half', '"half'),
        ("null", '"a"b"', '"a"b"'),
        ('"' + "i" * MESSAGE_ID_BYTES_MAX + '"', None, "i" * MESSAGE_ID_BYTES_MAX),
    ],
)
def test_the_senders_name_for_a_message_is_remembered(
    in_body: str, in_header: str | None, name: str
) -> None:
    taken = admitted(raw(f'"message_id": {in_body}'), in_header)
    assert (taken.message_id, taken.remembered) == (name, True)


def test_a_nameless_message_gets_a_new_name_that_nobody_repeats() -> None:
    taken = admitted(message(message_id=None))
    assert (taken.message_id, taken.remembered) == ("made-here", False)


@pytest.mark.parametrize(
    ("in_body", "in_header", "name"),
    [
        ('""', None, None),
        ('""', "", None),
        ("null", "", None),
        ("null", '""', None),
        ('""', "k", "k"),
        ('"k"', "", "k"),
        ("7", '""', "7"),
    ],
)
def test_an_empty_name_is_none(in_body: str, in_header: str | None, name: str | None) -> None:
    taken = admitted(raw(f'"message_id": {in_body}'), in_header)
    assert (taken.message_id, taken.remembered) == (name or "made-here", name is not None)


@pytest.mark.parametrize("given_id", ["i" * 513, True, 1.5, [], {}])
def test_a_message_id_of_another_kind_or_size_is_refused(given_id: object) -> None:
    problem = refused(message(message_id=given_id))
    assert (problem.status, problem.field) == (422, "message_id")


@pytest.mark.parametrize("key", ["k" * 513, "\udc80"])
def test_an_idempotency_key_obeys_the_same_limits(key: str) -> None:
    problem = refused(message(), key)
    assert (problem.status, problem.field) == (422, "message_id")


def test_two_different_names_for_one_message_are_refused() -> None:
    assert refused(message(message_id="a"), "b").field == "message_id"


# What is said


@pytest.mark.parametrize(
    "body",
    [
        '{"user": "u", "message": "SECRET", "ttl": -1}',
        '{"user": "u", "message": "SECRET", "message": "SECRET"}',
        '{"user": "u", "message": "m", "ttl": "SECRET"}',
        '{"user": "SECRET%s", "message": "m"}' % ("x" * 600),
        '{"user": "u", "message": "SECRET',
        '{"user": "u", "message": "SECRET\n"}',
        '{"user": "u", "message": "SECRET \\x"}',
        '{"user": "u", "message": "m", "x": SECRET}',
        '{"user": "u", "message": "m", "SECRET": "SECRET \\ud800", "x": SECRET}',
    ],
)
def test_a_refusal_never_repeats_what_was_written(body: str) -> None:
    problem = refused(body)
    said = f"{problem} {problem.title} {problem.detail} {problem.field}"
    assert "SECRET" not in said
    assert len(problem.detail) < 120
    said.encode()


@given(st.binary() | texts.map(str.encode))
def test_any_bytes_are_answered(body: bytes) -> None:
    problem = refused(body)
    assert problem.status in (400, 422)


# Users in paths


@given(users)
@example("a/b?c#d%2F+ é\0.")
@example("..")
def test_every_user_that_is_taken_can_be_named_in_a_path(user: str) -> None:
    assert admitted(message(user=user)).user == user
    assert user_from_path(quote(user, safe="").encode()) == user


def test_unescaped_utf_8_and_a_plus_sign_stand_for_themselves() -> None:
    assert user_from_path("joão+1".encode()) == "joão+1"


@pytest.mark.parametrize(
    ("segment", "status"),
    [
        (b"", 404),
        (b"%", 400),
        (b"%4", 400),
        (b"%zz", 400),
        (b"%ff", 400),
        (b"%ed%a0%80", 400),
        (b"u" * 513, 404),
    ],
)
def test_a_segment_that_can_name_no_user_is_refused(segment: bytes, status: int) -> None:
    with pytest.raises(Refused) as caught:
        user_from_path(segment)
    assert caught.value.status == status
