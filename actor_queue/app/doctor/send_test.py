"""One signed test batch to the webhook, and what its answer means.

It goes the road of every batch: the same body, headers, signature, certificates and time limit.
It is not stored and not tried again. Its body has `"test": true`.
"""

from __future__ import annotations

import json
import secrets
import time

import trio

from actor_queue.app.doctor.advice import ANSWER_SOONER, explained
from actor_queue.app.doctor.finding import Finding
from actor_queue.app.terminal import span
from actor_queue.core.batch import Batch
from actor_queue.core.outcome import Delivered, Failed, Outcome
from actor_queue.core.settings import Settings
from actor_queue.webhook.client import WebhookClient

CHECK = "test"
USER = "actor-queue-doctor"
TEXT = "This is a test from actor-queue doctor."
SLOW_SHARE = 3
"""An answer that took more than the time limit divided by this is called slow."""


def send_test(settings: Settings) -> Finding:
    """Post it, wait for the answer, and say what it means. Never raises."""
    if settings.webhook_url is None:
        return Finding("fail", CHECK, "WEBHOOK_URL is not set, so there is nowhere to send a test")
    started = time.monotonic()
    outcome = trio.run(_post, settings)
    return judge(outcome, time.monotonic() - started, settings)


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


def batch_of_test(settings: Settings) -> Batch:
    """As if the doctor's own user had written one message."""
    now_ms = int(time.time() * 1000)
    name = f"test-{secrets.token_hex(12)}"
    item = [1, now_ms, name, {"user": USER, "message": TEXT, "test": True}]
    return Batch(
        id=name,
        user=USER,
        seq=1,
        reason="flush",
        mode=settings.payload,
        first_at_ms=now_ms,
        last_at_ms=now_ms,
        due_at_ms=now_ms,
        closed_at_ms=now_ms,
        stored=(json.dumps(item).encode(),),
    )


async def _post(settings: Settings) -> Outcome:
    async with WebhookClient.of(settings) as client:
        return await client.deliver(batch_of_test(settings), settings.webhook_timeout_ms / 1000)
