"""The line of each key, which `tomllib` does not tell."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from actor_queue.core.toml_lines import Path, lines_of

TEXT = '''\
# routes.a = 1
[routes.vendas]   # the first
url = "https://x#y"
secret = [
  "[routes.b]",   # ], no table
  'c = 1',
]
headers = { authorization = "a = }", "x-y" = 'b', z = [ { d = 1 } ] }
"quoted \\u0041" = 1
long = """
ttl = 8
\\""" , """
raw = \'\'\'
[routes.c]
\'\'\'

[routes."a.b"]
x . y = 2024-01-01T00:00:00Z
  [[routes.many]]
ttl = 1

[routes]
late.url = 1'''


def paths(table: dict[str, Any], above: Path = ()) -> dict[Path, Any]:
    found: dict[Path, Any] = {}
    for key, value in table.items():
        found[(*above, key)] = value
        inside = [value]
        while inside:
            each = inside.pop()
            if isinstance(each, dict):
                found |= paths(each, (*above, key))
            elif isinstance(each, list):
                inside += each
    return found


def test_every_key_has_the_line_on_which_it_stands_first() -> None:
    lines = lines_of(TEXT)
    assert lines.keys() == paths(tomllib.loads(TEXT)).keys()
    for path, line in {
        ("routes",): 2,
        ("routes", "vendas"): 2,
        ("routes", "vendas", "url"): 3,
        ("routes", "vendas", "headers", "x-y"): 8,
        ("routes", "vendas", "headers", "z", "d"): 8,
        ("routes", "vendas", "quoted A"): 9,
        ("routes", "vendas", "long"): 10,
        ("routes", "vendas", "raw"): 13,
        ("routes", "a.b"): 17,
        ("routes", "a.b", "x", "y"): 18,
        ("routes", "many", "ttl"): 20,
        ("routes", "late", "url"): 23,
    }.items():
        assert lines[path] == line, path
    assert lines_of(TEXT.replace("\n", "\r\n")) == lines


def test_what_the_scanner_does_not_follow_leaves_the_lines_before_it() -> None:
    assert lines_of("a = 1\n[b]\nc ? 1\nd = 1").keys() == {("a",), ("b",), ("b", "c")}
    assert lines_of("a = 1\n? = 1") == {("a",): 1}
    assert lines_of("a = " + "[" * 100_000) == {("a",): 1}


KEYS = st.one_of(st.text("ab-_1", min_size=1, max_size=3), st.text(max_size=4)).map(json.dumps)
SCALARS = st.one_of(
    st.integers(-9, 9).map(str),
    st.sampled_from(['"a # b"', "'\"'", '"""\nx = "1"\n"""', "'''[t]\n'''", "1979-05-27", "true"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda each: "[ " + ",\n # ]\n".join(each) + "\n]"),
        st.dictionaries(KEYS, inner, max_size=3).map(
            lambda each: "{" + ", ".join(f"{k} = {v}" for k, v in each.items()) + "}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=3))
def test_no_key_of_any_file_is_without_its_line(tables: dict[str, dict[str, str]]) -> None:
    text = ""
    expected: dict[Path, int] = {}
    for name, pairs in tables.items():
        expected[(json.loads(name),)] = text.count("\n") + 1
        text += f"[{name}]\n"
        for key, value in pairs.items():
            expected[(json.loads(name), json.loads(key))] = text.count("\n") + 1
            text += f"{key} = {value} # ]\n"
    try:
        whole = paths(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        return  # JSON writes some keys in a way that TOML does not read
    lines = lines_of(text)
    assert lines.keys() == whole.keys()
    assert {path: lines[path] for path in expected} == expected
