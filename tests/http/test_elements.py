"""Cutting a stream into messages: the same cuts wherever the pieces end, in bounded memory."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.http.elements import Array, Lines, Splitter

BYTES_MAX = 1_000

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
blanks = st.text(" \t\r\n", max_size=3)


def cut(splitter: Splitter, data: bytes, ends: list[int]) -> list[bytes]:
    """Feed `data` in pieces that end at `ends`."""
    marks = sorted({0, len(data), *(end % (len(data) + 1) for end in ends)})
    elements: list[bytes] = []
    for start, end in pairwise(marks) if len(marks) > 1 else [(0, 0)]:
        elements += splitter.feed(data[start:end])
    return elements + splitter.end()


@given(st.lists(json_values, max_size=6), blanks, st.booleans(), st.lists(st.integers(0, 10_000)))
def test_an_array_gives_its_elements_wherever_the_pieces_end(
    values: list[object], blank: str, ascii_only: bool, ends: list[int]
) -> None:
    texts = [json.dumps(value, ensure_ascii=ascii_only) for value in values]
    body = blank + "[" + blank + (blank + "," + blank).join(texts) + blank + "]" + blank
    splitter = Array(BYTES_MAX * 1_000)
    assert cut(splitter, body.encode(errors="replace"), ends) == [
        text.encode(errors="replace") for text in texts
    ]
    assert splitter.fault is None


@given(st.binary(max_size=300), st.lists(st.integers(0, 10_000), max_size=20))
def test_where_the_pieces_end_changes_nothing_of_any_bytes(data: bytes, ends: list[int]) -> None:
    for make in (Array, Lines):
        for body in (data, b"[" + data, b"[" + data.replace(b"\x00", b'"') + b"]"):
            whole, pieces = make(BYTES_MAX), make(BYTES_MAX)
            assert cut(whole, body, []) == cut(pieces, body, ends)
            assert whole.fault == pieces.fault


@given(
    st.text('[]{},:"\\ab1 \n', max_size=80).map(str.encode),
    st.lists(st.integers(0, 100), max_size=20),
)
def test_where_the_pieces_end_changes_nothing_of_what_looks_like_json(
    data: bytes, ends: list[int]
) -> None:
    whole, pieces = Array(20), Array(20)
    one, other = cut(whole, b"[" + data, []), cut(pieces, b"[" + data, ends)
    # Of one that is over the limit, all that matters is that it is.
    assert [e if len(e) <= 20 else "over" for e in one] == [
        e if len(e) <= 20 else "over" for e in other
    ]
    assert whole.fault == pieces.fault


@pytest.mark.parametrize(
    ("body", "elements"),
    [
        (b"[]", []),
        (b" [ \n ] ", []),
        (b'[{"a":"]"},{"b":"}"}]', [b'{"a":"]"}', b'{"b":"}"}']),
        (b'[{"a":"\\\\"},{"b":"\\""}]', [b'{"a":"\\\\"}', b'{"b":"\\""}']),
        (b'[{"a":[{"b":[1,2]},3]},4]', [b'{"a":[{"b":[1,2]},3]}', b"4"]),
        (b"[1,,2]", [b"1", b"", b"2"]),
        (b"[1,]", [b"1", b""]),
        (b"[{bad},{}]", [b"{bad}", b"{}"]),
        (b'[{"a":1}x,{}]', [b'{"a":1}x', b"{}"]),
    ],
)
def test_a_broken_element_spoils_only_itself(body: bytes, elements: list[bytes]) -> None:
    for ends in ([], list(range(len(body)))):
        splitter = Array(BYTES_MAX)
        assert cut(splitter, body, ends) == elements
        assert splitter.fault is None


@pytest.mark.parametrize(
    ("body", "elements"),
    [(b"", []), (b"  ", []), (b"{}", []), (b"[1,2", [b"1"]), (b"[1] 2", [b"1"]), (b"[1]]", [b"1"])],
)
def test_a_broken_array_is_a_fault_of_the_whole(body: bytes, elements: list[bytes]) -> None:
    for ends in ([], list(range(len(body)))):
        splitter = Array(BYTES_MAX)
        assert cut(splitter, body, ends) == elements
        assert splitter.fault is not None


def test_lines_end_with_either_newline_and_blank_ones_are_none() -> None:
    body = b'{"a":1}\r\n\r\n \n{"b":2}\n{"c":3}'
    for ends in ([], list(range(len(body)))):
        assert cut(Lines(BYTES_MAX), body, ends) == [b'{"a":1}', b'{"b":2}', b'{"c":3}']


@pytest.mark.parametrize(
    ("make", "before", "between", "after"),
    [(Lines, b"", b"\n", b"\n"), (Array, b"[", b",", b"]")],
)
@pytest.mark.parametrize("piece", [1, 7, 4_096])
def test_of_an_element_over_the_limit_only_that_is_kept(
    make: type[Lines] | type[Array], before: bytes, between: bytes, after: bytes, piece: int
) -> None:
    large = b'"' + b"x" * 5_000 + b'"'
    body = before + between.join([b"1", large, b"2"]) + after
    splitter = make(BYTES_MAX)
    elements: list[bytes] = []
    for start in range(0, len(body), piece):
        elements += splitter.feed(body[start : start + piece])
        kept = splitter._rest if isinstance(splitter, Array) else b"".join(splitter._pieces)
        assert len(kept) <= BYTES_MAX + 4_096
    elements += splitter.end()
    assert [elements[0], elements[2]] == [b"1", b"2"]
    assert len(elements[1]) > BYTES_MAX


def test_blanks_before_an_element_do_not_count_and_never_hide_what_was_cut() -> None:
    splitter = Array(BYTES_MAX)
    elements: list[bytes] = []
    body = b"[" + b" " * 3_000 + b'{"a":1}' + b" " * 3_000 + b"x" + b" " * 300 + b", 2]"
    for start in range(0, len(body), 100):
        elements += splitter.feed(body[start : start + 100])
    assert len(elements[0]) > BYTES_MAX
    assert elements[1] == b"2"


@pytest.mark.parametrize("mark", [b"[]", b"{}", b'","', b'"\\""', b'"[{"'])
@pytest.mark.parametrize("before", range(17, 24))
def test_structure_around_the_limit_is_counted_once(mark: bytes, before: int) -> None:
    body = b"[" + b"a" * before + mark + b",1]"
    for piece in (1, 2, 3, 5, 100):
        elements: list[bytes] = []
        splitter = Array(20)
        for start in range(0, len(body), piece):
            elements += splitter.feed(body[start : start + piece])
        assert splitter.end() == []
        assert splitter.fault is None
        assert elements[1:] == [b"1"]


@pytest.mark.parametrize("unit", [b"{", b"[", b'"', b'{"', b"\\", b'"\\', b"{[", b"x", b" ", b"]"])
def test_no_bytes_make_the_cutting_slow(unit: bytes) -> None:
    body = b"[" + unit * (400_000 // len(unit))
    splitter = Array(262_144)
    began = time.process_time()
    for start in range(0, len(body), 65_536):
        splitter.feed(body[start : start + 65_536])
    splitter.end()
    assert time.process_time() - began < 2.0
