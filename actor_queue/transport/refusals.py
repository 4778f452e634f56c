"""One table: what a server's error says about whether a call was carried out.

"Not executed" is only said of errors that a server raises before it runs a script's first
line. Anything else is unknown, because a script that fails half-way is not rolled back.
Source: the error codes of Redis 7 and Valkey 9, `server.c`, `script.c` and `cluster.c`.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from dataclasses import dataclass

from anyio import ClosedResourceError
from coredis.exceptions import AskError, InvalidResponse, MovedError, RedisError
from coredis.parser import Parser

from actor_queue.core.settings import RedisVariable
from actor_queue.transport.errors import StoreUnavailable
from actor_queue.transport.runner import WRONG_TYPE, ScriptError

ACL_RECIPE = "deploy/redis-acl.md"


@dataclass(frozen=True, slots=True)
class Refusal:
    """`writes`: whether it means that nothing can be written at present.

    `passing`: whether the same call may be taken a moment later, here or by another node.
    """

    sentence: str
    writes: bool = True
    passing: bool = False
    for_host: str = ""
    """The sentence where REDIS_HOST and its companions were set instead of REDIS_URL."""


UNKNOWN_COMMAND = "UNKNOWN"
"""Not a server's own word: it says ERR, and what it was asked."""

NOT_EXECUTED = {
    "NOSCRIPT": Refusal("Redis lost its scripts", writes=False, passing=True),
    "LOADING": Refusal("Redis is loading its data", passing=True),
    "READONLY": Refusal("Redis is a read-only replica", passing=True),
    "OOM": Refusal("Redis is out of memory"),
    "MISCONF": Refusal("Redis cannot save to disk and refuses writes"),
    "MASTERDOWN": Refusal("Redis has lost its primary", passing=True),
    "NOREPLICAS": Refusal("Redis has too few replicas and refuses writes", passing=True),
    "BUSY": Refusal("Redis is busy with a script"),
    "CLUSTERDOWN": Refusal("the Redis Cluster is down", passing=True),
    "TRYAGAIN": Refusal("Redis is moving the slot", writes=False, passing=True),
    "MOVED": Refusal(
        "REDIS_URL names one node of a Redis Cluster: write redis+cluster://",
        writes=False,
        for_host="REDIS_HOST names one node of a Redis Cluster: set REDIS_URL=redis+cluster://…",
    ),
    "ASK": Refusal("the slot is moving to another Redis node", writes=False),
    "CROSSSLOT": Refusal("the keys of a call are in different slots", writes=False),
    "NOAUTH": Refusal(
        "Redis wants a password: set it in REDIS_URL",
        for_host="Redis wants a password: set it in REDIS_PASSWORD",
    ),
    "WRONGPASS": Refusal(
        "Redis refuses the user or the password in REDIS_URL",
        for_host="Redis refuses the password in REDIS_PASSWORD",
    ),
    "NOPERM": Refusal("Redis does not allow this user what the service needs"),
    UNKNOWN_COMMAND: Refusal("Redis does not know a command that the service needs", writes=False),
    "EXECABORT": Refusal("Redis aborted the call", writes=False),
}

_WRONG_TYPE_WORDS = "WRONGTYPE Operation against a key holding the wrong kind of value"

_NOT_OURS = "Redis answered with an error that the service does not know"
_NOT_COMPILED = "Redis fails in compiling a script of the service"
_WRONG_TYPE_SENTENCE = (
    "a key of the service in Redis holds another kind of value: `actor-queue doctor` says which"
)

NO_ROOM = "RESERVE"
"""Not a server's word: the service itself sends no message where AQ_REDIS_RESERVE is reached."""

NO_DATABASE = "DB index is out of range"
"""The server's words for it, which has no code of its own."""

LOST = "lost"
"""The trouble with a server that does not answer at all."""

_TROUBLES = {
    "LOADING": "loading",
    "READONLY": "read_only",
    "OOM": "full",
    "MISCONF": "cannot_save",
    "MASTERDOWN": "no_primary",
    "NOREPLICAS": "too_few_replicas",
    "BUSY": "busy",
    "CLUSTERDOWN": "cluster_down",
}
_TROUBLES_BY_SENTENCE = {NOT_EXECUTED[code].sentence: name for code, name in _TROUBLES.items()}
_TROUBLES_BY_WORDS = (
    ("wants a password", "wrong_credentials"),
    ("refuses the user or the password", "wrong_credentials"),
    ("refuses the password", "wrong_credentials"),
    ("does not allow", "not_allowed"),
    ("slots that no node serves", "cluster_down"),
    ("confirm", "unconfirmed"),
    ("AQ_REDIS_RESERVE", "nearly_full"),
)

UNREACHED = "Redis cannot be reached"
"""The beginning of the sentence; its end says why, where that is known."""

_UNREACHED_KINDS: tuple[tuple[type[OSError], str], ...] = (
    (socket.gaierror, "the name of its host does not resolve"),
    (ConnectionRefusedError, "nothing listens at its address"),
    (FileNotFoundError, "there is no socket at its path"),
    (PermissionError, "this process may not connect to it"),
)
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH)

NEVER_WORKS = ("NOAUTH", "WRONGPASS", "NOPERM", UNKNOWN_COMMAND)
"""At the start: these stay until somebody changes something."""

_CODES: dict[type, str] = {
    kind: code for code, kind in Parser.EXCEPTION_CLASSES.items() if isinstance(kind, type)
}


class WrongSetUp(StoreUnavailable):
    """Unavailable, and it stays so until somebody changes how things are set up."""

    def __init__(self, detail: str, *, executed: bool | None = False) -> None:
        super().__init__(detail, executed=executed)


class NoSuchDatabase(WrongSetUp):
    """The number of the database is higher than the server's highest."""


@dataclass(frozen=True, slots=True)
class Redirected(ScriptError):
    """Another node has the slot: for good, or (`asking`) for this call only."""

    slot: int
    host: str
    """Empty where it is the host that was asked."""
    port: int
    asking: bool


def refusal(code: str) -> Refusal | None:
    """None when it cannot be said whether the call was carried out."""
    return NOT_EXECUTED.get(code)


def kind_of_trouble(sentence: str) -> str:
    """One word for a `Runner.trouble()`: what a server that refuses says, or `LOST`."""
    known = _TROUBLES_BY_SENTENCE.get(sentence)
    if known is not None:
        return known
    return next((name for words, name in _TROUBLES_BY_WORDS if words in sentence), LOST)


def answered(error: RedisError, set_by: RedisVariable = "REDIS_URL") -> ScriptError:
    """What a server answered to one call instead of its result, with `set_by` as the variable."""
    code, text = _code(error), str(error)
    # The script had begun when one of its own commands was refused.
    begun = "@user_script" in text
    if begun and text.startswith(("ACL failure", "The user executing the script")):
        code = "NOPERM"
    elif text.startswith("unknown command"):
        code = UNKNOWN_COMMAND
    elif _WRONG_TYPE_WORDS in text:
        code = WRONG_TYPE  # before Redis 7 the code stands inside the script's error
    known = refusal(code)
    if known is None:
        # Nothing of the server's words: they may quote what somebody wrote into it.
        sentence = _WRONG_TYPE_SENTENCE if code == WRONG_TYPE else _NOT_OURS
        if "ompiling script" in text:
            sentence = _NOT_COMPILED
        return ScriptError(code, sentence, executed=None)
    if isinstance(error, AskError):
        asking = not isinstance(error, MovedError)
        return Redirected(
            code,
            _worded(code, known, "", set_by),
            False,
            error.slot_id,
            error.host,
            error.port,
            asking,
        )
    return ScriptError(code, _worded(code, known, text, set_by), executed=None if begun else False)


def may_pass(error: ScriptError) -> bool:
    """Whether the call was certainly not carried out and may be a moment later."""
    known = refusal(error.code)
    return known is not None and known.passing and error.executed is False


def unavailable(
    error: object, *, executed: bool | None, set_by: RedisVariable = "REDIS_URL"
) -> StoreUnavailable:
    """Why a connection cannot be made, or ended. `set_by` is the variable to name."""
    if isinstance(error, StoreUnavailable):
        same = type(error) if isinstance(error, WrongSetUp) else StoreUnavailable
        return same(error.detail, executed=executed)
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return WrongSetUp(_tls_sentence(cause), executed=executed)
        code = _code(cause) if isinstance(cause, RedisError) else ""
        if known := refusal(code):
            kind = WrongSetUp if code in NEVER_WORKS else StoreUnavailable
            return kind(_worded(code, known, str(cause), set_by), executed=executed)
        if isinstance(cause, RedisError) and NO_DATABASE in str(cause):
            return NoSuchDatabase(f"{NO_DATABASE}: correct it in {set_by}", executed=executed)
    if any(isinstance(cause, TimeoutError | ClosedResourceError) for cause in causes):
        return StoreUnavailable("Redis does not answer", executed=executed)
    if any(isinstance(cause, InvalidResponse | ValueError | TypeError) for cause in causes):
        return StoreUnavailable("what answers does not speak as Redis does", executed=executed)
    return StoreUnavailable(f"{UNREACHED}{_why_unreached(causes)}", executed=executed)


def _why_unreached(causes: list[BaseException]) -> str:
    """The end of the sentence. A host with several addresses has an error for each."""
    errors = list(causes)
    for cause in causes:
        if isinstance(cause, BaseExceptionGroup):
            errors += cause.exceptions
    for error in errors:
        for kind, why in _UNREACHED_KINDS:
            if isinstance(error, kind):
                return f": {why}"
        if isinstance(error, OSError) and error.errno in _NO_ROUTE:
            return ": there is no route to its host"
    return ""


def _tls_sentence(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of Redis does not verify ({error.verify_message.rstrip('.')}):"
            " name its CA with ?ssl_ca_certs=/path/ca.pem in REDIS_URL"
        )
    reason = (error.reason or "no TLS").replace("_", " ").lower()
    return f"TLS with Redis fails ({reason}): check that the port in REDIS_URL speaks TLS"


def _worded(code: str, known: Refusal, text: str, set_by: RedisVariable) -> str:
    """A server that refuses a right says which; of its words only a command's name is taken."""
    if code == UNKNOWN_COMMAND:
        asked = re.match(r"unknown command '([A-Za-z]{1,40})'", text)
        what = f"the command {asked[1].upper()}" if asked else "a command"
        return f"this Redis does not know {what}: use Redis 6.2 or newer, or Valkey, with scripts"
    if code != "NOPERM":
        parts = set_by == "REDIS_HOST" and known.for_host
        return parts or known.sentence
    named = re.search(r"'([A-Za-z|-]{1,40})' command", text)
    if named:
        what = f"the command {named[1].replace('|', ' ').upper()}"
    elif "channel" in text:
        what = "its channels"
    else:
        what = "its keys" if " key" in text else "a command of its scripts"
    return f"Redis does not allow its user {what}: give it the rights in {ACL_RECIPE}"


def _code(error: RedisError) -> str:
    code = _CODES.get(type(error), "")
    if code:
        return code
    first = str(error).split(" ", 1)[0]
    return first if first.isupper() else ""


def _causes(error: object) -> list[BaseException]:
    chain: list[BaseException] = []
    while isinstance(error, BaseException) and error not in chain:
        chain.append(error)
        error = error.__cause__
    return chain
