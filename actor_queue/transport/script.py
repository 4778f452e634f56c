"""A Lua script as a server is given it: the text, its digest, and what a road has to know of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Way = Literal["messages", "claims", "rest"]
"""On which of a server's connections a call travels. Messages that come in, and claims, wait for
`AQ_DURABILITY`; new messages are refused where a server is nearly full. See `Node`."""


@dataclass(frozen=True, slots=True)
class Script:
    """`source` begins with a shebang line that carries the script's flags (Redis ≥ 7, Valkey)."""

    name: str
    source: str
    sha: str
    plain_source: str
    """For Redis 6.2, which knows no shebang: out of memory, it stops the owner's verbs too."""
    plain_sha: str
    way: Way = "rest"

    @property
    def verb(self) -> str:
        """The name without the version."""
        return self.name.rpartition("_v")[0]

    @property
    def reads_only(self) -> bool:
        """By its own word, which the server holds it to."""
        return "no-writes" in self.source.partition("\n")[0]
