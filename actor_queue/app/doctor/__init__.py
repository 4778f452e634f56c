"""What is wrong with a Redis and a webhook, in sentences that say what to do.

Owns the order of the checks; each subject has its module. Changes nothing: no key is written,
and only `send_test` calls the webhook. A check that cannot be made is a finding too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from actor_queue.app.doctor.redis_server import examine_redis, url_of
from actor_queue.app.doctor.send_test import send_test_to
from actor_queue.app.doctor.waiting import USERS_MAX, examine_waiting
from actor_queue.app.doctor.webhook import examine_webhook
from actor_queue.app.finding import Finding, Level
from actor_queue.app.listening import doubts_here
from actor_queue.core.doubts import open_to_all
from actor_queue.core.routes import Route
from actor_queue.core.settings import Settings

__all__ = ["Finding", "Level", "examine", "findings", "show"]

NEEDED_TO_LOOK = ("redis", "version", "scripts", "shards")
"""The checks of Redis without which nothing can be said of what waits there."""


def examine(
    settings: Settings, routes: Sequence[Route] | None = None, *, post_test: str | None = None
) -> list[Finding]:
    """All findings, in the order of the road: configuration, Redis, webhooks. Never raises.

    Without `routes` there is the one that the settings describe. `post_test` names the route to
    whose receiver one signed test batch is posted.
    """
    routes = _routes(settings, routes)
    found = list(findings(settings, routes))
    if post_test is not None:
        found.append(send_test_to(post_test, routes, settings))
    return found


def findings(
    settings: Settings,
    routes: Sequence[Route] | None = None,
    *,
    quote: bool = True,
    users_max: int = USERS_MAX,
) -> Iterator[Finding]:
    """As they are found. With `quote`, what failing receivers said is quoted; at most `users_max`
    users are looked at. Never raises, and calls no webhook."""
    yield from _configuration(settings)
    can_look = True
    for finding in examine_redis(settings):
        yield finding
        if finding.level == "fail" and finding.check in NEEDED_TO_LOOK:
            can_look = False
    url = url_of(settings)
    if url is not None and can_look:
        yield from examine_waiting(url, settings, quote=quote, users_max=users_max)
    yield from examine_webhook(settings, _routes(settings, routes))


def _routes(settings: Settings, routes: Sequence[Route] | None) -> Sequence[Route]:
    if routes is not None:
        return routes
    return [] if settings.webhook_url is None else [Route.default(settings)]


def show(found: list[Finding], *, as_json: bool) -> None:
    """What was found here."""
    failed = any(finding.level == "fail" for finding in found)
    show_answer({"healthy": not failed, "findings": [asdict(each) for each in found]}, as_json)


def show_answer(answer: dict[str, Any], as_json: bool) -> None:
    """As `GET /api/doctor` answers."""
    from actor_queue.app.terminal import show_json, show_paragraphs, show_table, text

    if as_json:
        show_json(answer)
        return
    rows: list[dict[str, Any]] = answer["findings"]
    if not sys.stdout.isatty():
        show_table(("level", "check", "text"), rows)
        return
    width = max((len(each["check"]) for each in rows), default=0)
    show_paragraphs(
        [(text(f"{each['level']:<4}  {each['check']:<{width}}"), each["text"]) for each in rows]
    )


def _configuration(settings: Settings) -> Iterator[Finding]:
    """What `serve` says at its start, by the same rules, and what it refuses to start with."""
    refused = set(open_to_all(settings))
    for doubt in doubts_here(settings):
        yield Finding("fail" if doubt in refused else "warn", "settings", doubt)
    if settings.allow_anonymous and not (settings.api_keys or settings.loopback_only):
        yield Finding(
            "warn",
            "settings",
            f"AQ_ALLOW_ANONYMOUS is true, so anybody who reaches {settings.bind} may call: set"
            " AQ_API_KEYS, or bind 127.0.0.1, unless a proxy in front asks for credentials",
        )
