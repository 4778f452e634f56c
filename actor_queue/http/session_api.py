"""`/api/session`: a browser exchanges an API key for a cookie, asks what it may do, and signs out.

A page that keeps a key in its memory must be given it again in every tab, and whatever runs in the
page can read it. The cookie is out of a script's reach, goes with every tab, and ends by itself
(`core/sessions.py` says what it is and what it is not).
"""

from __future__ import annotations

import secrets
import time
from math import ceil
from typing import Final

from quart import Blueprint, Response, request

from actor_queue.core.json_text import Refused, read_object
from actor_queue.core.sessions import NONCE_HEX_DIGITS, SESSION_S, issue, signer
from actor_queue.core.settings import Settings
from actor_queue.core.tries import Tries
from actor_queue.http import models
from actor_queue.http.auth import COOKIE, SCOPES, Caller, Keys, Scope
from actor_queue.http.problem import Problem, retry_after
from actor_queue.http.routing import answer, needs, problem_answer, sent_body, sent_key
from actor_queue.http.shapes import moment
from actor_queue.http.traffic import Traffic
from actor_queue.runtime.lines import tell

SESSION: Final = "/api/session"

NO_KEYS: Final = Problem(
    409, "this service has no keys: everything is open, and there is nothing to sign in to"
)
FOREIGN: Final = Problem(
    403,
    "a page of another site may not sign anybody in or out; behind a proxy that changes Host, set"
    " AQ_PUBLIC_URL",
    title="Foreign origin",
)


def routes(settings: Settings, keys: Keys, traffic: Traffic) -> Blueprint:
    session = Blueprint("session", __name__)
    tries = Tries()
    path = settings.root_path.rstrip("/") or "/"

    @session.post(SESSION)
    @needs(None)
    async def sign_in() -> Response:
        if _is_foreign(keys):
            return problem_answer(FOREIGN)
        if not keys:
            return problem_answer(NO_KEYS)
        key = _key_of(await sent_body())
        address, now = _address(), time.monotonic()
        if wait_s := tries.wait_s(address, now):
            traffic.sign_ins_refused += 1
            return problem_answer(_too_many(wait_s))
        caller = keys.by_key(key.encode("utf-8", "surrogatepass"))
        if isinstance(caller, Problem):
            tries.failed(address, now)
            traffic.sign_ins_refused += 1
            return problem_answer(caller)
        tell("signed_in", key=caller.entries[0].name, scope=_scopes(caller)[0])
        nonce = secrets.token_hex(NONCE_HEX_DIGITS // 2)
        token = issue(signer(key), ceil(keys.clock()) + SESSION_S, nonce)
        return _with_cookie(keys, path, token, SESSION_S)

    @session.get(SESSION)
    @needs(None)
    async def look() -> Response:
        if not keys:
            return answer(_open())
        caller = keys.caller(sent_key(), request.scope)
        return problem_answer(caller) if isinstance(caller, Problem) else answer(_shown(caller))

    @session.delete(SESSION)
    @needs(None)
    async def sign_out() -> Response:
        if _is_foreign(keys):
            return problem_answer(FOREIGN)
        caller = keys.caller(None, request.scope)
        if isinstance(caller, Caller):
            await keys.sign_out(caller)
        return _with_cookie(keys, path, "", 0)

    return session


def _is_foreign(keys: Keys) -> bool:
    """Whether a browser says that another site's page asks. Without it, no browser asks, or it is
    one that has no session yet."""
    told = request.headers.get("origin") or request.headers.get("sec-fetch-site")
    return told is not None and not keys.pages.sent(request.scope["headers"])


def _key_of(body: bytes) -> str:
    """Of `{"key": "…"}`. Raises `Refused`, which quotes nothing."""
    _, fields = read_object(body)
    key = fields.get("key")
    if not isinstance(key, str) or not key or len(fields) != 1:
        raise Refused(422, "Invalid field", 'the body must be {"key": "…"}, with a key', "key")
    return key


def _address() -> str:
    """Whose tries count together: of one IPv6 customer all addresses do."""
    guest = request.scope.get("state", {}).get("guest")
    client = request.scope.get("client")
    return getattr(guest, "address", "") or (str(client[0]) if client else "")


def _too_many(wait_s: int) -> Problem:
    return Problem(
        429, "too many wrong keys came from this address", headers=(retry_after(wait_s),)
    )


def _with_cookie(keys: Keys, path: str, token: str, age_s: int) -> Response:
    """204 and the cookie; without a token, the browser forgets it."""
    kept = f"{COOKIE.decode()}={token}; Path={path}; Max-Age={age_s}; HttpOnly; SameSite=Strict"
    if keys.pages.by_tls(request.scope["headers"]):
        kept += "; Secure"
    return Response(b"", 204, headers={"set-cookie": kept, "cache-control": "no-store"})


def _scopes(caller: Caller) -> list[Scope]:
    """All that this caller may do, the strongest first."""
    return [scope for scope in SCOPES if caller.entry_for(scope)]


def _shown(caller: Caller) -> models.Session:
    scopes, ends_at_s = _scopes(caller), caller.ends_at_s
    expires = None if ends_at_s is None else moment(ends_at_s * 1000)
    return models.Session(scopes[0], scopes, caller.entries[0].name, expires)


def _open() -> models.Session:
    """Where there are no keys, whoever asks may do everything, and nobody has a name."""
    return models.Session(SCOPES[0], list(SCOPES), None, None)
