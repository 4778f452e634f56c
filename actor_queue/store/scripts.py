"""The Lua scripts: found beside this file, loaded once, called by name and version.

A released script is never edited, it gets a new version: two releases of the service may
run on one Redis at the same time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import cast

from actor_queue.transport.script import Script, Way

SHEBANG = "#!lua"
_PRELUDE = re.compile(r"^-- with (prelude_v\d+|nothing)$", re.MULTILINE)
"""The line by which a script names its prelude. One without it has the first."""
_WAY = re.compile(r"^-- travels with (messages|claims|rest)$", re.MULTILINE)
"""The line by which a script names the connection on which it travels."""
_WAYS_OF_OLD: Mapping[str, Way] = {
    "append_v1": "messages",
    "append_v2": "messages",
    "append_one_v1": "messages",
    "claim_v1": "claims",
    "claim_v2": "claims",
    "claim_v3": "claims",
    "claim_replay_v1": "claims",
    "claim_replay_v2": "claims",
}
"""Of scripts that were released before there was that line. All others of that time travel with the
rest."""


@cache
def script(name: str) -> Script:
    """The script `name`, e.g. `claim_v1`, with the prelude that it names."""
    lua = files(__package__).joinpath("lua")
    shebang, _, body = lua.joinpath(f"{name}.lua").read_text("utf-8").partition("\n")
    assert shebang.startswith(SHEBANG), name
    named = _PRELUDE.search(body)
    prelude = named[1] if named else "prelude_v1"
    before = "" if prelude == "nothing" else lua.joinpath(f"{prelude}.lua").read_text("utf-8")
    plain = before + body
    source = f"{shebang}\n{plain}"
    return Script(name, source, _sha(source), plain, _sha(plain), _way(name, body))


def _way(name: str, body: str) -> Way:
    named = _WAY.search(body)
    if named is None:
        return _WAYS_OF_OLD.get(name, "rest")
    return cast("Way", named[1])


def all_scripts() -> tuple[Script, ...]:
    """Every script but the preludes, by name."""
    names = (entry.name for entry in files(__package__).joinpath("lua").iterdir())
    return tuple(
        script(name.removesuffix(".lua"))
        for name in sorted(names)
        if name.endswith(".lua") and not name.startswith("prelude")
    )


def _sha(source: str) -> str:
    return sha1(source.encode(), usedforsecurity=False).hexdigest()
