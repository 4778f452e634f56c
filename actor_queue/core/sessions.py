"""What a session's cookie says, and who can have made it. Pure functions; times are Unix seconds.

    v1.<id of the key>.<end of the session>.<nonce>.<signature>

No session is kept, only that one was signed out. Its cookie is signed with a secret that is derived
from the API key that was shown for it, so every replica and every worker that knows the key knows
the session, and a key that is taken out of AQ_API_KEYS ends all its sessions in the same moment.
What the session may do is not in the cookie: it is what its key may do when the request comes.

Two prices. Signing out needs something that is kept until the session would have ended: in the
store, so that all replicas and whatever starts later know it. And whoever has a cookie can try out
keys on it without asking us, so a key that can be guessed is no stronger for being exchanged: 24
random bytes are beyond guessing, a word is not.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

SESSION_S: Final = 12 * 3_600
"""A shift at work, and no more: what is signed can only be taken back where that is remembered."""
NONCE_HEX_DIGITS: Final = 16
SIGNED_OUT_MAX: Final = 10_000

_DERIVE: Final = b"actor-queue, sessions of a key, v1"
_NAME: Final = b"the id of the key"
_ID_HEX_DIGITS: Final = 16
_TOKEN = re.compile(
    rf"v1\.([0-9a-f]{{{_ID_HEX_DIGITS}}})\.([0-9]{{1,12}})\.([0-9a-f]{{{NONCE_HEX_DIGITS}}})\.[0-9a-f]{{64}}",
    re.ASCII,
)


class Signer(NamedTuple):
    """Derived from one API key: a secret that signs, and an id from which nobody gets the key."""

    id: str
    secret: bytes


class Session(NamedTuple):
    """A cookie that was believed."""

    key_id: str
    ends_at_s: int
    nonce: str
    """Tells it from all others."""


class SignedOut:
    """Sessions that were ended before their time, until that; in bounded memory."""

    def __init__(self, sessions_max: int = SIGNED_OUT_MAX) -> None:
        self._sessions_max = sessions_max
        self._ends_at_s: dict[str, int] = {}

    def add(self, nonce: str, ends_at_s: int) -> None:
        """Of too many, the one that was ended longest ago is forgotten."""
        self._ends_at_s[nonce] = ends_at_s
        if len(self._ends_at_s) > self._sessions_max:
            del self._ends_at_s[next(iter(self._ends_at_s))]

    def __contains__(self, nonce: str) -> bool:
        return nonce in self._ends_at_s

    def all(self) -> list[tuple[str, int]]:
        return list(self._ends_at_s.items())


def signer(key: str) -> Signer:
    """The signer of an API key, the same in every process."""
    secret = hmac.digest(key.encode(), _DERIVE, "sha256")
    return Signer(hmac.digest(secret, _NAME, "sha256").hex()[:_ID_HEX_DIGITS], secret)


def signers(keys: Iterable[str]) -> Mapping[str, Signer]:
    """By their ids."""
    return {each.id: each for each in map(signer, keys)}


def issue(by: Signer, ends_at_s: int, nonce: str) -> str:
    """A cookie's value. `nonce`: `NONCE_HEX_DIGITS` hexadecimal digits that nobody else draws."""
    assert len(nonce) == NONCE_HEX_DIGITS
    said = f"v1.{by.id}.{ends_at_s}.{nonce}"
    return f"{said}.{_signature(by, said)}"


def believed(token: str, known: Mapping[str, Signer], now_s: float) -> Session | None:
    """The session of a cookie's value; None if no known key signed it, or it is over."""
    parts = _TOKEN.fullmatch(token)
    by = None if parts is None else known.get(parts[1])
    if parts is None or by is None:
        return None
    said, _, signature = token.rpartition(".")
    if not hmac.compare_digest(signature, _signature(by, said)):
        return None
    ends_at_s = int(parts[2])
    return Session(by.id, ends_at_s, parts[3]) if now_s < ends_at_s else None


def _signature(by: Signer, said: str) -> str:
    return hmac.digest(by.secret, said.encode(), "sha256").hex()
