"""What `openapi.json` says of the webhook that receivers get."""

from __future__ import annotations

from typing import Any

from actor_queue.http import models
from actor_queue.http.openapi_parts import JSON, Operation, body_of
from actor_queue.http.schemas import STRING, ref


def webhook() -> Operation:
    def header(name: str, text: str) -> dict[str, Any]:
        return {"name": name, "in": "header", "schema": STRING, "description": text}

    return {
        "tags": ["Messages"],
        "summary": "One user's burst, as your receiver gets it",
        "operationId": "receiveBatch",
        "security": [],
        "description": "Any 2xx is success. Anything else is tried again on the schedule, with "
        "Retry-After honoured; 410 ends it at once. At 413 the batch comes again as two, in order, "
        "each with an id of its own, until a message alone gets 413. Redirects are not followed.",
        "parameters": [
            header("webhook-id", "One per batch, the same on every attempt and replay."),
            header("webhook-timestamp", "Of this attempt, in seconds since 1970."),
            header("webhook-signature", "Standard Webhooks, when a secret is configured."),
            header("idempotency-key", "Equal to webhook-id."),
            header(
                "aq-answer-url",
                "With AQ_ANSWER=later: where to say that you are done, after an answer of 202.",
            ),
            header("aq-answer-within", "With AQ_ANSWER=later: how many seconds there are for it."),
        ],
        "requestBody": body_of({JSON: ref(models.Webhook)}),
        "responses": {
            "202": {"description": "Taken; with AQ_ANSWER=later, done once that is said"},
            "2XX": {"description": "Taken"},
            "4XX": {"description": "A failed attempt, tried again; 410 ends it, 413 divides it"},
        },
    }
