"""The field `traceparent` of a message: in which trace its sender was when it sent it.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import re
from typing import NamedTuple

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)


class Trace(NamedTuple):
    trace_id: int
    span_id: int
    flags: int


def trace_of(value: object) -> Trace | None:
    """What a `traceparent` says; None for what is none, and for the ids that mean nothing."""
    parts = _FORM.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        return None
    version, trace_id, span_id, flags, more = parts.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    trace = Trace(int(trace_id, 16), int(span_id, 16), int(flags, 16))
    return trace if trace.trace_id and trace.span_id else None
