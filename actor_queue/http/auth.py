"""Who may do what: API keys with scopes, sent as `Authorization: Bearer`, or a session's cookie.

Without keys everything is open; whether that is allowed on this address is decided at start.

A browser sends a cookie along with whatever a page makes it ask. So a cookie counts only for
reading, or where the browser says that the page is ours. A browser sends no `Authorization` header
of its own accord: this header wins over a cookie, also when it is wrong.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, Literal, NamedTuple

import anyio

from actor_queue.core.api_keys import ApiKey
from actor_queue.core.sessions import SignedOut, Signer, believed, signer
from actor_queue.http.origins import OwnPages
from actor_queue.http.problem import Problem

Scope = Literal["ingest", "read", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("admin", "read", "ingest")
"""The strongest first."""

COOKIE: Final = b"aq_session"
COOKIES_TRIED_MAX: Final = 4
"""Of this name in one request: a page under the same domain may have set others."""
KEYS_TRIED_MAX: Final = 4
"""In one request that may show keys in several places. Each is compared with all that there are."""
CHANGES_NOTHING: Final = frozenset({"GET", "HEAD"})

_BEARER = b"bearer "
_OPEN_PAGES: Final = OwnPages(None)


class Caller(NamedTuple):
    """Whom a request comes from."""

    entries: tuple[ApiKey, ...]
    """Of the one key that was shown; it may stand under several scopes."""
    ends_at_s: int | None = None
    """Of a session, in Unix seconds; None for a key in `Authorization`."""
    nonce: str = ""
    """Of a session."""

    def entry_for(self, needed: Scope) -> ApiKey | None:
        """What lets this caller do what needs `needed`; None if nothing does."""
        scopes = {each.scope: each for each in reversed(self.entries)}
        return scopes.get(needed) or scopes.get("admin")


class _Known(NamedTuple):
    """The keys of one moment."""

    keys: tuple[tuple[bytes, ApiKey], ...]
    signers: Mapping[str, Signer]
    entries: Mapping[str, tuple[ApiKey, ...]]
    """Of the key of each signer."""

    @classmethod
    def of(cls, api_keys: Iterable[ApiKey]) -> _Known:
        keys = tuple((each.key.encode(), each) for each in api_keys)
        by_key = {key.decode(): signer(key.decode()) for key, _ in keys}
        entries = {
            its.id: tuple(each for _, each in keys if each.key == key)
            for key, its in by_key.items()
        }
        return cls(keys, {its.id: its for its in by_key.values()}, entries)


class Keys:
    """The configured keys. `admin` includes the other scopes. `clock` gives Unix seconds."""

    def __init__(
        self,
        api_keys: Iterable[ApiKey],
        pages: OwnPages = _OPEN_PAGES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.pages = pages
        self.clock = clock
        self.changed = anyio.Event()
        """Set, and another one put here, when there are other keys, or a session was ended."""
        self.signed_out = SignedOut()
        self.tell_others: Callable[[str, int], None] = lambda nonce, ends_at_s: None
        """Called with each session that is ended here, for the other workers."""
        self.keep: Callable[[str, int], Awaitable[None]] = _kept_nowhere
        """As `tell_others`, for all replicas, also those that start later."""
        self._known = _Known.of(api_keys)

    def __bool__(self) -> bool:
        """Whether there are any; if not, everything is open."""
        return bool(self._known.keys)

    @property
    def all(self) -> tuple[ApiKey, ...]:
        return tuple(each for _, each in self._known.keys)

    def replace(self, api_keys: Iterable[ApiKey]) -> None:
        """From now on these: a key that is gone opens nothing, and its sessions are over."""
        self._known = _Known.of(api_keys)
        self._tell_of_change()

    async def sign_out(self, caller: Caller) -> None:
        """End this caller's session: here at once, and everywhere. Does nothing to a key."""
        if caller.ends_at_s is not None:
            self.hear_signed_out(caller.nonce, caller.ends_at_s)
            self.tell_others(caller.nonce, caller.ends_at_s)
            await self.keep(caller.nonce, caller.ends_at_s)

    def hear_signed_out(self, nonce: str, ends_at_s: int) -> None:
        """This session was ended, here or at another worker."""
        self.signed_out.add(nonce, ends_at_s)
        self._tell_of_change()

    def _tell_of_change(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    def refusal(
        self, authorization: bytes | None, needed: Scope, asked: Mapping[str, Any]
    ) -> Problem | None:
        """Why a request with this header may not do what needs `needed`; None if it may.

        `asked` is the request's ASGI scope, in which a cookie is looked for.
        """
        found = self.judge(authorization, needed, asked)
        return found if isinstance(found, Problem) else None

    def judge(
        self, authorization: bytes | None, needed: Scope, asked: Mapping[str, Any]
    ) -> Caller | Problem | None:
        """As `refusal`, and whom the request comes from; None where everything is open."""
        if not self._known.keys:
            return None
        caller = self.caller(authorization, asked)
        if isinstance(caller, Problem):
            return caller
        if caller.ends_at_s is not None and (foreign := self.foreign(asked)):
            return foreign
        return caller if caller.entry_for(needed) else lacking(needed)

    def bound(
        self, authorization: bytes | None, needed: Scope, asked: Mapping[str, Any]
    ) -> str | Problem | None:
        """As `refusal`, and else the only route that the key reaches; None: it reaches all."""
        found = self.judge(authorization, needed, asked)
        if found is None or isinstance(found, Problem):
            return found
        entry = found.entry_for(needed)
        return None if entry is None else entry.route

    def caller(self, authorization: bytes | None, asked: Mapping[str, Any]) -> Caller | Problem:
        """Whom a request comes from, or why nobody is known to have sent it.

        A known caller makes the connection known. The time taken does not depend on which key
        matches, or how much of it.
        """
        if authorization is None:
            found = self._by_cookie(asked)
        elif authorization[: len(_BEARER)].lower() != _BEARER:
            return _unauthorised("the Authorization header must be a Bearer key", b"")
        else:
            found = self.by_key(authorization[len(_BEARER) :].strip())
        if isinstance(found, Caller):
            guest = asked.get("state", {}).get("guest")
            if guest is not None:
                guest.known = True
        return found

    def by_key(self, sent: bytes) -> Caller | Problem:
        """Whose key this is."""
        matching = [each for key, each in self._known.keys if hmac.compare_digest(sent, key)]
        if not matching:
            return _unauthorised("this key is not known", b', error="invalid_token"')
        return Caller(tuple(matching))

    def foreign(self, asked: Mapping[str, Any]) -> Problem | None:
        """Why a browser's request changes nothing here: it comes from another site's page, or does
        not say from where. None where it may, or only reads."""
        if asked.get("method") in CHANGES_NOTHING or self.pages.sent(asked.get("headers", ())):
            return None
        return _FOREIGN

    def _by_cookie(self, asked: Mapping[str, Any]) -> Caller | Problem:
        tokens = cookies(asked.get("headers", ()), COOKIE)
        if not tokens:
            return _unauthorised("send a key as Authorization: Bearer, or sign in", b"")
        known = self._known
        for token in tokens[:COOKIES_TRIED_MAX]:
            session = believed(token, known.signers, self.clock())
            if session is not None and session.nonce not in self.signed_out:
                return Caller(known.entries[session.key_id], session.ends_at_s, session.nonce)
        return _unauthorised("this session is over: sign in again", b', error="invalid_token"')


async def _kept_nowhere(nonce: str, ends_at_s: int) -> None:
    """Of a process that has no store."""


_FOREIGN: Final = Problem(
    403,
    "a session's cookie changes something only for a page of this service, and this request's"
    " Origin names another one or none; behind a proxy that changes Host, set AQ_PUBLIC_URL",
    title="Foreign origin",
)


def few(shown: Iterable[bytes]) -> list[bytes]:
    """What is shown, each once; nothing at all of more than `KEYS_TRIED_MAX`, which is guessing."""
    each = list(islice(dict.fromkeys(filter(None, shown)), KEYS_TRIED_MAX + 1))
    return each if len(each) <= KEYS_TRIED_MAX else []


def cookies(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """The values of all cookies of this name, in order, as text in which nothing is decoded."""
    found = []
    for header, value in headers:
        if header == b"cookie":
            for pair in value.split(b";"):
                key, equals, token = pair.strip().partition(b"=")
                if equals and key == name:
                    found.append(token.decode("latin-1"))
    return found


def lacking(needed: Scope) -> Problem:
    challenge = b'Bearer realm="actor-queue", error="insufficient_scope", scope="%s"'
    return Problem(
        403,
        f"this key lacks the scope {needed}",
        headers=((b"www-authenticate", challenge % needed.encode()),),
    )


def _unauthorised(detail: str, error: bytes) -> Problem:
    challenge = b'Bearer realm="actor-queue"' + error
    return Problem(401, detail, headers=((b"www-authenticate", challenge),))
