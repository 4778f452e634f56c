"""Who may do what: API keys with scopes, sent as `Authorization: Bearer`.

Without keys everything is open; whether that is allowed on this address is decided at start.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from actor_queue.http.problem import Problem

Scope = Literal["ingest", "read", "admin"]

_BEARER = b"bearer "


class Keys:
    """The configured keys. `admin` includes the other scopes."""

    def __init__(self, api_keys: Iterable[tuple[str, str]]) -> None:
        self._keys = tuple((scope, key.encode()) for scope, key in api_keys)

    def refusal(
        self, authorization: bytes | None, needed: Scope, asked: Mapping[str, Any]
    ) -> Problem | None:
        """Why a request with this header may not do what needs `needed`; None if it may.

        `asked` is the request's ASGI scope: a key that is known makes its connection known. The
        time taken does not depend on which key matches, or how much of it.
        """
        if not self._keys:
            return None
        if authorization is None:
            return _unauthorised("send a key as Authorization: Bearer", b"")
        if authorization[: len(_BEARER)].lower() != _BEARER:
            return _unauthorised("the Authorization header must be a Bearer key", b"")
        sent = authorization[len(_BEARER) :].strip()
        granted = {scope for scope, key in self._keys if hmac.compare_digest(sent, key)}
        if not granted:
            return _unauthorised("this key is not known", b', error="invalid_token"')
        guest = asked.get("state", {}).get("guest")
        if guest is not None:
            guest.known = True
        if needed in granted or "admin" in granted:
            return None
        challenge = b'Bearer realm="actor-queue", error="insufficient_scope", scope="%s"'
        return Problem(
            403,
            f"this key lacks the scope {needed}",
            headers=((b"www-authenticate", challenge % needed.encode()),),
        )


def _unauthorised(detail: str, error: bytes) -> Problem:
    challenge = b'Bearer realm="actor-queue"' + error
    return Problem(401, detail, headers=((b"www-authenticate", challenge),))
