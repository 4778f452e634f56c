"""What is allowed in the settings and probably not meant."""

from __future__ import annotations

from collections.abc import Iterator

from actor_queue.core.settings import Settings

KEY_CHARS_FEW = 8
"""A key with fewer characters can be guessed by trying."""

ANSWER_SECRET_CHARS_FEW = 24
"""With one address whoever has it can try secrets, a billion a second, and asks nobody."""


def doubts(settings: Settings) -> list[str]:
    """One sentence for each, without secrets."""
    return [
        *_batch_size(settings),
        *_redis_password(settings),
        *open_to_all(settings),
        *_api_keys(settings),
        *_answer_secret(settings),
    ]


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


def open_to_all(settings: Settings) -> Iterator[str]:
    """`serve` refuses this; `dev` is tried out on machines of which it cannot know that."""
    if not (settings.api_keys or settings.allow_anonymous or settings.loopback_only):
        yield (
            f"AQ_API_KEYS is not set and others can reach {settings.bind}, so anybody may read and"
            f" drop: set AQ_API_KEYS, or AQ_BIND=127.0.0.1:{settings.port}"
        )


def _api_keys(settings: Settings) -> Iterator[str]:
    """One key may stand under `ingest` and `read`, which do not include each other."""
    admins = {each.key: each for each in settings.api_keys if each.scope == "admin"}
    included = {
        each.scope
        for each in settings.api_keys
        if each.key in admins and admins[each.key].reaches(each.route)
    }
    both = sorted(included - {"admin"})
    if both:
        yield (
            f"a key in AQ_API_KEYS has the scopes admin and {' and '.join(both)}: admin includes"
            " the others, so whoever has this key may do everything; give each scope its own key"
        )
    if settings.key_for_metrics and all(each.scope == "ingest" for each in settings.api_keys):
        yield (
            "AQ_KEY_FOR_METRICS is true and no key in AQ_API_KEYS has the scope read or admin, so"
            " nobody can read /metrics: add one, such as read:…"
        )
    if not settings.loopback_only and any(
        len(each.key) < KEY_CHARS_FEW for each in settings.api_keys
    ):
        yield (
            f"a key in AQ_API_KEYS has fewer than {KEY_CHARS_FEW} characters, and others can reach"
            f" {settings.bind} and guess it: make one with `openssl rand -hex 24`"
        )


def _answer_secret(settings: Settings) -> Iterator[str]:
    if any(len(each) < ANSWER_SECRET_CHARS_FEW for each in settings.answer_secrets):
        yield (
            f"AQ_ANSWER_SECRET has fewer than {ANSWER_SECRET_CHARS_FEW} characters, and a receiver"
            " can guess it from one address: make one with `openssl rand -hex 32`"
        )
