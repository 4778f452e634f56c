"""One signed test batch to the webhook, and what its answer means.

It goes the road of every batch: the same body, headers, signature, certificates and time limit.
It is not stored and not tried again. Its body has `"test": true`.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import trio

from actor_queue.app.doctor.advice import ANSWER_SOONER, explained
from actor_queue.app.doctor.webhook import named
from actor_queue.app.finding import Finding
from actor_queue.app.terminal import span
from actor_queue.core.batch import Batch
from actor_queue.core.conversation import DEFAULT_ROUTE
from actor_queue.core.outcome import Delivered, Failed, Outcome
from actor_queue.core.payload import stored_mode
from actor_queue.core.routes import Route
from actor_queue.core.settings import Settings
from actor_queue.webhook.client import WebhookClient

CHECK = "test"
USER = "actor-queue-doctor"
TEXT = "This is a test from actor-queue doctor."
ROUTES_SHOWN_MAX: Final = 10
SLOW_SHARE = 3
"""An answer that took more than the time limit divided by this is called slow."""


def send_test_to(name: str, routes: Sequence[Route], settings: Settings) -> Finding:
    """As `send_test`, to the receiver of the route `name`, in the names of its file. Never
    raises."""
    route = next((each for each in routes if each.name == name), None)
    if route is not None:
        return named(send_test(_as_default(route, settings), route=name), route)
    if name == DEFAULT_ROUTE:
        return send_test(replace(settings, webhook_url=None))
    known = ", ".join(each.name for each in routes[:ROUTES_SHOWN_MAX]) or "none"
    return Finding("fail", CHECK, f"there is no route {name!r}; the routes are: {known}")


def _as_default(route: Route, settings: Settings) -> Settings:
    """The settings of a service that had no other receiver."""
    return replace(
        settings,
        webhook_url=route.url,
        webhook_secrets=route.secrets,
        webhook_headers=route.headers,
        webhook_timeout_ms=route.timeout_ms,
        payload=route.payload,
    )


def send_test(settings: Settings, *, route: str = DEFAULT_ROUTE) -> Finding:
    """Post it, wait for the answer, and say what it means. Never raises."""
    if settings.webhook_url is None:
        return Finding("fail", CHECK, "WEBHOOK_URL is not set, so there is nowhere to send a test")
    started = time.monotonic()
    outcome = trio.run(_post, settings, route)
    return judge(outcome, time.monotonic() - started, settings)


async def try_route(route: Route, settings: Settings, patience_s: float) -> Finding:
    """As `send_test_to`, from within a service; waits for `patience_s` at most. Never raises."""
    as_default = _as_default(route, settings)
    started = time.monotonic()
    async with WebhookClient.for_route(route) as client:
        limit_s = min(route.timeout_ms / 1000, patience_s)
        outcome = await client.deliver(batch_of_test(as_default, route.name), limit_s)
    return named(judge(outcome, time.monotonic() - started, as_default), route)


def judge(outcome: Outcome, took_s: float, settings: Settings) -> Finding:
    """What `outcome` after `took_s` seconds says of the receiver."""
    limit_s = settings.webhook_timeout_ms / 1000
    match outcome:
        case Delivered(status) if took_s * SLOW_SHARE > limit_s:
            return Finding(
                "warn",
                CHECK,
                f"answered {status} after {span(took_s)}, which is more than a third of"
                f" AQ_WEBHOOK_TIMEOUT ({limit_s:g} s): {ANSWER_SOONER}",
            )
        case Delivered(status):
            return Finding("ok", CHECK, f"answered {status} after {took_s * 1000:.0f} ms")
        case Failed() as failed:
            said = f"; it said: {failed.answer}" if failed.answer else ""
            return Finding("fail", CHECK, f"{explained(failed, settings)}{said}")


def batch_of_test(settings: Settings, route: str) -> Batch:
    """As if the doctor's own user had written one message."""
    now_ms = int(time.time() * 1000)
    name = f"test-{secrets.token_hex(12)}"
    item = [1, now_ms, name, {"user": USER, "message": TEXT, "test": True}]
    return Batch(
        id=name,
        user=USER,
        route=route,
        seq=1,
        reason="flush",
        mode=stored_mode(settings.payload),
        first_at_ms=now_ms,
        last_at_ms=now_ms,
        due_at_ms=now_ms,
        closed_at_ms=now_ms,
        stored=(json.dumps(item).encode(),),
    )


async def _post(settings: Settings, route: str) -> Outcome:
    async with WebhookClient.of(settings) as client:
        return await client.deliver(
            batch_of_test(settings, route), settings.webhook_timeout_ms / 1000
        )
