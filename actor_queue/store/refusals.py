"""One table: what a server's error says about whether a call was carried out.

"Not executed" is only said of errors that a server raises before it runs a script's first
line. Anything else is unknown, because a script that fails half-way is not rolled back.
Source: the error codes of Redis 7 and Valkey 8, `server.c` and `cluster.c`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """`writes`: whether it means that nothing can be written at present."""

    sentence: str
    writes: bool = True


NOT_EXECUTED = {
    "NOSCRIPT": Refusal("Redis lost its scripts", writes=False),
    "LOADING": Refusal("Redis is loading its data"),
    "READONLY": Refusal("Redis is a read-only replica"),
    "OOM": Refusal("Redis is out of memory"),
    "MISCONF": Refusal("Redis cannot save to disk and refuses writes"),
    "MASTERDOWN": Refusal("Redis has lost its primary"),
    "NOREPLICAS": Refusal("Redis has too few replicas and refuses writes"),
    "BUSY": Refusal("Redis is busy with a script"),
    "CLUSTERDOWN": Refusal("the Redis Cluster is down"),
    "TRYAGAIN": Refusal("Redis is moving the slot", writes=False),
    "MOVED": Refusal("the slot is on another Redis node", writes=False),
    "ASK": Refusal("the slot is moving to another Redis node", writes=False),
    "CROSSSLOT": Refusal("the keys of a call are in different slots", writes=False),
    "NOAUTH": Refusal("Redis wants a password: set it in REDIS_URL"),
    "WRONGPASS": Refusal("Redis refuses the user or the password in REDIS_URL"),
    "NOPERM": Refusal("Redis does not allow this user what the service needs"),
    "EXECABORT": Refusal("Redis aborted the call", writes=False),
}


def refusal(code: str) -> Refusal | None:
    """None when it cannot be said whether the call was carried out."""
    return NOT_EXECUTED.get(code)
