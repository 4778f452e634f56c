"""Standard Webhooks signatures, version 1: HMAC-SHA256 over `{id}.{timestamp}.{body}`.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
Every attempt is signed anew: receivers refuse timestamps that are minutes old.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import string
from collections.abc import Iterable, Sequence

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix is public
SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64
SECRET_CHARACTERS_NEW = 48
"""Of a new secret's text: 285 bits, and base64 needs no padding."""


class Signer:
    """Signs with every secret it was given, so that receivers can change over one by one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Raises ValueError, without the secret, for one that is not `whsec_…`."""
        self._keys = tuple(parse_secret(secret) for secret in secrets)

    def sign(self, webhook_id: str, timestamp_s: int, body: bytes) -> str | None:
        """The value of `webhook-signature`; None without a secret."""
        return sign(self._keys, webhook_id, timestamp_s, body) if self._keys else None


def sign(keys: Sequence[bytes], webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """One `v1,…` for each key, in order, separated by spaces."""
    signed = b"%b.%d.%b" % (webhook_id.encode("ascii"), timestamp_s, body)
    return " ".join(f"v1,{_digest(key, signed)}" for key in keys)


def parse_secret(text: str) -> bytes:
    """The key of `whsec_` + base64 of 24 to 64 bytes. Raises ValueError without the secret."""
    if not text.startswith(SECRET_PREFIX):
        raise ValueError(f"a webhook secret starts with {SECRET_PREFIX}")
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a webhook secret is {SECRET_PREFIX} and base64") from None
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ValueError(
            f"a webhook secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes behind its base64"
        )
    return key


def new_secret() -> str:
    """A secret whose key is a text of letters and digits.

    Some receivers take the key only as text (n8n's Crypto node does), and random bytes cannot
    be written there.
    """
    letters = string.ascii_letters + string.digits
    key = "".join(secrets.choice(letters) for _ in range(SECRET_CHARACTERS_NEW))
    return SECRET_PREFIX + base64.b64encode(key.encode("ascii")).decode("ascii")


def _digest(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
