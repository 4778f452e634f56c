"""What the store calls fits what each script's header says of it.

A script takes its keys and arguments by place, so one too many, or too few, would move all that
follow. The header of a released script never changes, so it is the contract.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from actor_queue.store.scripts import script
from tools.release_scripts import LUA, unnamed

STORE = LUA.parent
EXPANDED = {
    "self._caller": ("self.replica", "self._keys.channel", "shard.shard"),
    "_shown": ("ticket.batch_id", "ticket.token", "ticket.expires_at_ms"),
}
"""What stands for a call with a star before it."""
MEANT = {
    "lease": "lease key", "due": "due", "u": "state", "p": "pending", "s": "line", "f": "flight",
    "h": "history", "dead": "dead", "d": "letter", "di": "items", "by": "deeds",
    "erasing": "erasing", "aside": "aside", "members": "members", "modes": "modes",
    "meta": "meta meta_key", "replay": "replay", "attempts": "attempts", "erased": "erased",
    "routes": "routes", "now": "self._now", "epoch": "epoch", "nonce": "nonce", "user": "user",
    "batch id": "id batch_id batch", "batch_id": "batch_id", "the attempt's token": "token",
    "token": "token", "until when the address is good": "expires_at_ms", "caller": "self.replica",
    "channel": "channel", "channel of all replicas": "everyone", "shard": "shard.shard",
    "attempt_ms": "attempt_ms", "payload mode": "self._modes)", "after_ms": "after_ms LEFT_MS",
    "why": "reason said WHY_CHARACTERS_MAX)", "history entry": "entry told) {}) lines[0]",
    "history entry where the batch is delivered": "told) {}) lines[1]", "ttl_ms": "ttl_ms",
    "within_ms": "within_ms", "retention_ms": "retention_ms", "replica": "replica",
    "route": "route", "times": "times", "each": "each", "place": "place",
    "remember_ms": "dedup_window_ms", "for_ms": "for_ms",
}  # fmt: skip
"""By a name in a header, how what is given for it ends in Python."""
OPEN = (
    "then",
    "…",
    "of each",
    "for each",
    "per ",
    "if the sender",
    "third key",
    "the routes",
    " and of",
    "or deeds",
)
"""Words in a header by which there may be more, or which name what cannot be counted by commas."""
READ_OTHERWISE: dict[str, tuple[int, int]] = {"dead_letter_v2": (2, 1), "message_v1": (3, 4)}
"""Keys and arguments of scripts whose header has a comma within one, or an "and" between two."""


class Site(NamedTuple):
    """A place at which a script is called, and what it is given; None where that depends."""

    where: str
    name: str
    keys: list[str] | None
    args: list[str] | None


def test_a_script_that_is_not_released_names_its_prelude_and_its_connection() -> None:
    assert unnamed() == []


def test_every_call_has_the_keys_and_arguments_of_the_header_in_their_order() -> None:
    checked = meant = 0
    for site in sites():
        for given, names in zip((site.keys, site.args), promised(site.name), strict=True):
            if given is None or names is None:
                continue
            checked += 1
            assert len(given) == len(names), f"{site.where}: {site.name} takes {names}"
            for each, name in zip(given, names, strict=True):
                if name in MEANT:
                    meant += 1
                    ends = tuple(MEANT[name].split())
                    assert each.endswith(ends), f"{site.where}: {each} is no {name}"
    assert checked > 100, "the calls are not found any more"
    assert meant > 280, "what is given is not recognised any more"


@pytest.mark.parametrize(
    ("name", "counts"),
    [("claim_v4", (7, 9)), ("append_v2", (None, None)), ("lease_aside_v1", (2, []))],
)
def test_a_header_is_read_as_people_read_it(name: str, counts: object) -> None:
    assert tuple(names and len(names) for names in promised(name)) == counts


def promised(name: str) -> tuple[list[str] | None, list[str] | None]:
    """The keys and arguments that the header of a script names; None where it may be any number."""
    if name in READ_OTHERWISE:
        keys_of_it, args_of_it = READ_OTHERWISE[name]
        return [""] * keys_of_it, [""] * args_of_it
    lines = script(name).source.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("-- KEYS"))
    end = next(n for n, line in enumerate(lines) if line.startswith("-- Returns"))
    text = " ".join(line.removeprefix("--").strip() for line in lines[start:end])
    keys, _, args = text.removeprefix("KEYS").partition("ARGV")
    return _names(keys), _names(args)


def _names(text: str) -> list[str] | None:
    words = text.strip()
    if words in ("none", "(none)"):
        return []
    words = re.sub(r"\([^)]*\)|(?<!\w)'[^']*'|\"[^\"]*\"|`[^`]*`", "x", words)
    # Behind these a header explains.
    words = re.split(r", see |, a sorted set|, so that|, which only|, both |   begin ", words)[0]
    if any(word in words for word in OPEN):
        return None
    return [each.strip() for each in words.replace("spent: 1, or 0", "spent").split(",")]


def sites() -> Iterator[Site]:
    """Every call of a script in the store that names it."""
    for file in sorted(STORE.glob("*.py")):
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _sites_in(function, file)


def _sites_in(function: ast.AST, file: Path) -> Iterator[Site]:
    named = dict(_scripts_named_in(function))
    for node in ast.walk(function):
        if not isinstance(node, ast.Call) or len(node.args) < 2:
            continue
        first, keys, *args = node.args
        where, called = f"{file.name}:{node.lineno}", ast.unparse(node.func)
        if called == "self._call" and isinstance(first, ast.Constant):
            yield Site(where, str(first.value), _given(keys), _given(ast.Tuple(args)))
        elif called == "Call":
            name = _named(first) or named.get(ast.unparse(first))
            if name is not None and args:
                yield Site(where, name, _given(keys), _given(args[0]))


def _scripts_named_in(function: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            pairs = (
                zip(target.elts, value.elts, strict=False)
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                else [(target, value)]
            )
            for each, given in pairs:
                if name := _named(given):
                    yield ast.unparse(each), name


def _named(node: ast.AST) -> str | None:
    """The script that `script("…")` names."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "script":
        (name,) = node.args
        return name.value if isinstance(name, ast.Constant) else None
    return None


def _given(node: ast.AST) -> list[str] | None:
    if not isinstance(node, ast.Tuple):
        return None
    found: list[str] = []
    for each in node.elts:
        if not isinstance(each, ast.Starred):
            found.append(ast.unparse(each))
            continue
        inner = each.value
        known = EXPANDED.get(ast.unparse(inner.func)) if isinstance(inner, ast.Call) else None
        if known is None:
            return None
        found += known
    return found
