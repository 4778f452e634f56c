"""The Lua scripts: found beside this file, loaded once, called by name and version.

A released script is never edited, it gets a new version: two releases of the service may
run on one Redis at the same time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files

SHEBANG = "#!lua"
_PRELUDE = re.compile(r"^-- with (prelude_v\d+)$", re.MULTILINE)
"""The line by which a script names its prelude. One without it has the first."""


@dataclass(frozen=True, slots=True)
class Script:
    """`source` begins with a shebang line that carries the script's flags (Redis ≥ 7, Valkey)."""

    name: str
    source: str
    sha: str
    plain_source: str
    """For Redis 6.2, which knows no shebang: out of memory, it stops the owner's verbs too."""
    plain_sha: str

    @property
    def verb(self) -> str:
        """The name without the version."""
        return self.name.rpartition("_v")[0]


@cache
def script(name: str) -> Script:
    """The script `name`, e.g. `claim_v1`, with the prelude that it names."""
    lua = files(__package__).joinpath("lua")
    shebang, _, body = lua.joinpath(f"{name}.lua").read_text("utf-8").partition("\n")
    assert shebang.startswith(SHEBANG), name
    named = _PRELUDE.search(body)
    prelude = named[1] if named else "prelude_v1"
    plain = lua.joinpath(f"{prelude}.lua").read_text("utf-8") + body
    source = f"{shebang}\n{plain}"
    return Script(name, source, _sha(source), plain, _sha(plain))


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
