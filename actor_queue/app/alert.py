"""AQ_ALERT_URL: who is told by webhook what should wake an operator."""

from __future__ import annotations

from actor_queue.runtime.alerting import Alerting
from actor_queue.runtime.engine import Engine
from actor_queue.webhook.client import WebhookClient

CONNECTIONS_KEPT = 4


async def alert_operators(engine: Engine) -> None:
    """Until cancelled; returns at once where nobody wants to be told."""
    settings = engine.settings
    if settings.alert_url is None:
        return
    # Not WEBHOOK_HEADERS: they may be the key of somebody else's house.
    async with WebhookClient(
        settings.alert_url,
        secrets=settings.webhook_secrets,
        max_deliveries=CONNECTIONS_KEPT,
        networks=settings.webhook_networks,
    ) as client:
        await Alerting(engine, client.post).run()
