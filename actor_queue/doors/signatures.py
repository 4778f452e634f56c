"""Whether a platform has signed a request. Every comparison takes the same time, right or wrong.

What is signed are the bytes as they came. A body that is decoded and encoded again is another one:
Meta signs non-ASCII letters as the escapes that it sends.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Final

from actor_queue.doors.reading import Node

CLOCKS_APART_S: Final = 300
"""How old a signature with a time in it may be, as Standard Webhooks has it."""
TOKEN_BYTES_MAX: Final = 4_096


def same(shown: str, secrets: Sequence[str]) -> bool:
    """Whether `shown` is one of `secrets`."""
    given = shown.encode("utf-8", "surrogatepass")
    matches = [hmac.compare_digest(given, secret.encode()) for secret in secrets]
    return any(matches)


def signed(shown: str, content: bytes, secrets: Sequence[str], digest: str) -> bool:
    """Whether `shown` is the HMAC of `content` in hexadecimal, with one of `secrets`."""
    return same(
        shown.strip().lower(),
        [hmac.new(secret.encode(), content, digest).hexdigest() for secret in secrets],
    )


def fresh(moment_s: float | None, now_s: float) -> bool:
    """Whether a signed moment is near enough to now that the request is no old one, repeated."""
    return moment_s is not None and abs(now_s - moment_s) <= CLOCKS_APART_S


def token_signed(token: str, secrets: Sequence[str], now_s: float) -> bool:
    """Whether this is a JSON Web Token (RFC 7519) that HS256 signed and that has not expired."""
    if len(token) > TOKEN_BYTES_MAX or token.count(".") != 2 or not token.isascii():
        return False
    content, _, shown = token.rpartition(".")
    expected = [
        _base64url(hmac.new(secret.encode(), content.encode(), hashlib.sha256).digest())
        for secret in secrets
    ]
    if not same(shown, expected):
        return False
    header, claims = map(_part, content.split("."))
    ends_s = claims["exp"].number
    return header["alg"].text == "HS256" and (ends_s is None or now_s < ends_s)


def _base64url(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _part(text: str) -> Node:
    try:
        return Node(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
    except (binascii.Error, ValueError, RecursionError):
        return Node(None)
