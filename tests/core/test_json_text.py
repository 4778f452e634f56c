"""What a body may be as JSON, wherever in it something stands, and what is said of the rest."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.admission import AdmissionPolicy
from actor_queue.core.json_text import _DECODER, DEPTH_MAX, NUMBER_CHARACTERS_MAX, _plain_fields
from tests.core.messages import admitted, message, raw, refused


@pytest.mark.parametrize(
    "body", ["", " ", "{", "nonsense", "{'user': 1}", "{}{}", '{"a": 01}', '{"a": "\n"}']
)
def test_what_is_not_json_is_400(body: str) -> None:
    assert (refused(body).status, refused(body).field) == (400, None)


BROKEN = [
    *(
        '"',
        '{"',
        '{"user',
        '{"user": "u',
        '{"user": "u\n"}',
        '{"user": "\\x"}',
        '{"user": "\\u12"}',
    ),
    *("{", '{"a"', '{"a":', '{"a":1', '{"a":1,', "{'a':1}", '{"a":1,}', '{"a" 1}', "{}x", "\ufeff"),
    *("[", "[1", "[1,", "[1,]", "[1 2]", "nul", "-", "1.", "\t", '{"a": tru}'),
]


@pytest.mark.parametrize("body", BROKEN)
def test_what_cannot_be_read_is_said_in_a_sentence_with_the_place(body: str) -> None:
    detail = refused(body).detail
    assert re.fullmatch(r"The body is not JSON: .+[^ ] at line \d+, column \d+\.", detail)
    assert "at at" not in detail


@pytest.mark.parametrize(
    "body", ["[]", '"text"', "1", "null", "true", '[{"user": "u", "message": "m"}]']
)
def test_json_that_is_no_object_is_400(body: str) -> None:
    assert refused(body).title == "Not an object"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_only_utf_8_is_read(encoding: str) -> None:
    assert refused('{"user": "ü", "message": "m"}'.encode(encoding)).status == 400


def test_surrogates_written_as_bytes_are_not_utf_8() -> None:
    assert refused(b'{"user": "u", "message": "\xed\xa0\x80"}').title == "Not UTF-8"


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 400 + ".0"]
)
@pytest.mark.parametrize("where", ['"x": {}', '"ttl": {}', '"x": {{"y": [1, {{"z": {}}}]}}'])
def test_a_number_that_is_none_is_refused_wherever_it_stands(number: str, where: str) -> None:
    assert refused(raw(where.format(number))).status == 400


@pytest.mark.parametrize(
    "number", ["1" * 5_000, "1." + "1" * 5_000, "1" * 250_000, "-" + "1" * NUMBER_CHARACTERS_MAX]
)
@pytest.mark.parametrize("field", ["ttl", "user2", "message_id"])
def test_a_number_of_thousands_of_digits_is_refused_before_it_is_computed(
    number: str, field: str
) -> None:
    assert refused(raw(f'"{field}": {number}')).title == "Number too long"


@pytest.mark.parametrize("field", ["user", "message", "ttl", "message_id", "other"])
def test_a_field_that_occurs_twice_is_named(field: str) -> None:
    problem = refused('{"user": "u", "message": "m", "x": 1, "%s": 1, "%s": 1}' % (field, field))  # noqa: UP031
    assert (problem.status, problem.field) == (422, field)


@pytest.mark.parametrize("nested", ['{"a": 1, "a": 1}', '[[{"b": {"a": 1, "\\u0061": 1}}]]'])
def test_a_field_that_occurs_twice_is_found_at_any_level_and_however_it_is_spelt(
    nested: str,
) -> None:
    assert refused(raw(f'"x": {nested}')).field == "a"


def test_a_repeated_fields_name_is_shown_cut_and_can_be_encoded() -> None:
    field = refused(raw('"\\ud800{0}": 1, "\\udfff{0}": 1'.format("n" * 1_000))).field
    assert field == "\ufffd" + "n" * 48 + "…"


HALVES = [
    ('"\\ud800"', "\ufffd"),
    ('"x\\uDFFFy"', "x\ufffdy"),
    ('"\\ud83d \\ude00"', "\ufffd \ufffd"),
    ('"\\ude00\\ud83d"', "\ufffd\ufffd"),
    ('"\\ud83d\\ud83d\\ude00"', "\ufffd\U0001f600"),
    ('"\\\\\\udbff"', "\\\ufffd"),
    ('"\\\\ud800 \\ud800\\n"', "\\ud800 \ufffd\n"),
    ('"\\ud800\\u0041"', "\ufffdA"),
    ('{"\\udc00": 1}', {"\ufffd": 1}),
    ('["a", [{"b": ["\\udbff"]}]]', ["a", [{"b": ["\ufffd"]}]]),
]


@pytest.mark.parametrize(("text", "read"), HALVES)
def test_half_a_surrogate_pair_becomes_the_replacement_wherever_it_stands(
    text: str, read: object
) -> None:
    assert json.loads(admitted(raw(f'"x": {text}')).body)["x"] == read


def test_half_a_surrogate_pair_is_replaced_in_our_own_fields_and_in_names() -> None:
    body = '{"user": "u\\ud800", "message": "\\udc00", "message_id": "i\\udfff", "k\\ud801": 1}'
    taken = admitted(body)
    assert (taken.user, taken.message_id) == ("u\ufffd", "i\ufffd")
    assert json.loads(taken.body)["message"] == "\ufffd"
    assert json.loads(taken.body)["k\ufffd"] == 1


@given(st.text(st.characters(exclude_categories=[])), st.text(st.characters(categories=["Cs"])))
def test_any_text_that_a_sender_can_escape_is_taken_as_every_decoder_would(
    text: str, halves: str
) -> None:
    body = json.dumps({"user": "u", "message": "m", "x": [text + halves + text], "y\\": halves})
    taken = json.loads(admitted(body).body)
    both = text + halves + text
    assert taken["x"] == [both.encode("utf-16", "surrogatepass").decode("utf-16", "replace")]


def test_a_whole_pair_and_an_escaped_backslash_are_text() -> None:
    assert admitted(raw('"x": "\\ud83d\\ude00 \\\\ud800 \\u00e9"')).user == "u"


def nested(levels: int, kind: str) -> str:
    """A message of `levels` levels, itself included."""
    opening, closing = {"list": ("[", "]"), "object": ('{"a":', "}")}[kind]
    return raw(f'"x": {opening * (levels - 1)}{{}}{closing * (levels - 1)}'.replace("{}", "1"))


@pytest.mark.parametrize("kind", ["list", "object"])
def test_64_levels_are_taken_and_65_are_not(kind: str) -> None:
    assert admitted(nested(DEPTH_MAX, kind)).user == "u"
    assert refused(nested(DEPTH_MAX + 1, kind)).title == "Too deep"


@pytest.mark.parametrize(
    "body", ["[" * 250_000, '{"a":' * 50_000, nested(2_000, "list"), nested(40_000, "object")]
)
def test_no_depth_breaks_the_parser(body: str) -> None:
    assert refused(body).title == "Too deep"


_texts = st.text(st.sampled_from('a"\\é{[:,\n\U0001f600'), max_size=6)
_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        _texts,
        st.integers(-(10**1200), 10**1200),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_texts, inner)),
    max_leaves=8,
)


@given(
    st.lists(st.tuples(_texts, _values), max_size=5),
    st.booleans(),
    st.sampled_from([0, NUMBER_CHARACTERS_MAX]),
    st.data(),
)
def test_what_is_read_quickly_is_what_the_careful_decoder_reads(
    pairs: list[tuple[str, object]], ascii_only: bool, blanks: int, data: st.DataObject
) -> None:
    def dumped(value: object) -> str:
        return json.dumps(value, ensure_ascii=ascii_only)

    text = ", ".join(f"{dumped(name)}: {dumped(value)}" for name, value in pairs)
    body = ("{" + text + "}" + " " * blanks).encode()
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(body)))
        gone = data.draw(st.integers(0, 2))
        body = body[:at] + data.draw(st.binary(max_size=2)) + body[at + gone :]
    quick = _plain_fields(body)
    if quick is not None:
        assert repr(quick) == repr(_DECODER.decode(body.decode()))


def test_the_message_of_every_day_is_read_quickly() -> None:
    assert _plain_fields(message(x=[{"y": [1, "a"]}], text="a\nb").encode()) is not None
    assert _plain_fields(b'{"a": 1, "a": 1}') is None
    assert _plain_fields(b'{"b": {"a": "", "\\u0061": ""}}') is None


def test_many_shallow_objects_are_not_deep() -> None:
    assert admitted(message(x=[{"y": [1]}] * 1_000, text="[" * 1_000)).user == "u"


def test_a_body_over_the_limit_is_413_and_one_at_the_limit_is_taken() -> None:
    body = message()
    at_limit = AdmissionPolicy(0, 0, len(body))
    assert admitted(body, policy=at_limit).ttl_ms == 0
    assert refused(body + " ", policy=at_limit).status == 413
