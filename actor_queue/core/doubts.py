"""What is allowed in the settings and probably not meant."""

from __future__ import annotations

from collections.abc import Iterator

from actor_queue.core.settings import Settings

KEY_CHARS_FEW = 8
"""A key with fewer characters can be guessed by trying."""


def doubts(settings: Settings) -> list[str]:
    """One sentence for each, without secrets."""
    return [*_batch_size(settings), *_redis_password(settings), *_api_keys(settings)]


def _batch_size(settings: Settings) -> Iterator[str]:
    if settings.max_batch_bytes < 2 * settings.max_body_bytes:
        yield (
            f"AQ_MAX_BATCH_BYTES is {settings.max_batch_bytes}, less than twice AQ_MAX_BODY, which"
            f" is {settings.max_body_bytes}: large messages will go one by one; raise the first,"
            " or lower the second"
        )


def _redis_password(settings: Settings) -> Iterator[str]:
    if settings.redis_password_unused:
        yield (
            "REDIS_PASSWORD is set and not used, because it belongs to REDIS_HOST and REDIS_URL is"
            " set: write the password into REDIS_URL as redis://:password@host:6379, or set"
            " REDIS_HOST instead of REDIS_URL"
        )


def _api_keys(settings: Settings) -> Iterator[str]:
    """One key may stand under `ingest` and `read`, which do not include each other."""
    admins = {key for scope, key in settings.api_keys if scope == "admin"}
    both = sorted({scope for scope, key in settings.api_keys if key in admins} - {"admin"})
    if both:
        yield (
            f"a key in AQ_API_KEYS has the scopes admin and {' and '.join(both)}: admin includes"
            " the others, so whoever has this key may do everything; give each scope its own key"
        )
    if not settings.loopback_only and any(len(key) < KEY_CHARS_FEW for _, key in settings.api_keys):
        yield (
            f"a key in AQ_API_KEYS has fewer than {KEY_CHARS_FEW} characters, and others can reach"
            f" {settings.bind} and guess it: make one with `openssl rand -hex 24`"
        )
