"""Query parameters: one that a path does not know, or knows and gets twice, is refused.

Ignoring it would do something else than what was asked: `POST /api/dead/replay?user=ana` would
replay everybody's. Only the pages take any parameter, as pages do, and the two health checks:
their answer depends on nothing, and refusing a probe that has always had one would end processes.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import unquote_plus

from actor_queue.core.json_text import NAME_CHARACTERS_SHOWN
from actor_queue.http.problem import Problem


def query_refusal(query: bytes, known: Collection[str] = ()) -> Problem | None:
    """Why a request with this query string is refused with 400; None if it is not."""
    seen: set[str] = set()
    for pair in query.split(b"&") if query else ():
        if not pair:
            continue
        name = unquote_plus(pair.partition(b"=")[0].decode("latin-1"))
        if name not in known:
            takes = f"only {', '.join(sorted(known))}" if known else "no query parameters"
            return Problem(
                400,
                f"this path takes {takes}",
                title="Unknown parameter",
                field=name[:NAME_CHARACTERS_SHOWN],
            )
        if name in seen:
            return Problem(
                400, "a query parameter occurs twice", title="Repeated parameter", field=name
            )
        seen.add(name)
    return None
