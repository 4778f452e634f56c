"""What is wrong with a Redis and a webhook, in sentences that say what to do.

Owns the order of the checks; each subject has its module. Changes nothing: no key is written,
and only `send_test` calls the webhook. A check that cannot be made is a finding too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict

from actor_queue.app.doctor.finding import Finding, Level
from actor_queue.app.doctor.redis_server import examine_redis, url_of
from actor_queue.app.doctor.send_test import send_test
from actor_queue.app.doctor.waiting import examine_waiting
from actor_queue.app.doctor.webhook import examine_webhook
from actor_queue.core.settings import Settings

__all__ = ["Finding", "Level", "examine", "show"]

KEY_CHARS_GOOD = 16
NEEDED_TO_LOOK = ("redis", "version", "scripts", "shards")
"""The checks of Redis without which nothing can be said of what waits there."""


def examine(settings: Settings, *, post_test: bool = False) -> list[Finding]:
    """All findings, in the order of the road: configuration, Redis, webhook. Never raises.

    `post_test` posts one signed test batch to the webhook.
    """
    findings = [*_configuration(settings), *(of_redis := list(examine_redis(settings)))]
    url = url_of(settings)
    if url is not None and not any(
        each.level == "fail" and each.check in NEEDED_TO_LOOK for each in of_redis
    ):
        findings += examine_waiting(url, settings)
    findings += examine_webhook(settings)
    if post_test:
        findings.append(send_test(settings))
    return findings


def show(findings: list[Finding], *, as_json: bool) -> None:
    from actor_queue.app.terminal import show_json, show_paragraphs, show_table

    if as_json:
        failed = any(finding.level == "fail" for finding in findings)
        show_json({"healthy": not failed, "findings": [asdict(finding) for finding in findings]})
    elif sys.stdout.isatty():
        width = max((len(finding.check) for finding in findings), default=0)
        show_paragraphs(
            [(f"{each.level:<4}  {each.check:<{width}}", each.text) for each in findings]
        )
    else:
        show_table(("level", "check", "text"), [asdict(finding) for finding in findings])


def _configuration(settings: Settings) -> Iterator[Finding]:
    if not settings.api_keys and not settings.loopback_only:
        yield Finding(
            "warn" if settings.allow_anonymous else "fail",
            "api keys",
            f"anybody who reaches {settings.bind} may call: set AQ_API_KEYS, or bind 127.0.0.1,"
            " unless a proxy in front asks for credentials",
        )
    if any(len(key) < KEY_CHARS_GOOD for _, key in settings.api_keys):
        yield Finding(
            "warn",
            "api keys",
            f"a key in AQ_API_KEYS has fewer than {KEY_CHARS_GOOD} characters and may be"
            " guessed: make one with `openssl rand -hex 24`",
        )
