"""What `openapi.json` says of the doors."""

from __future__ import annotations

from typing import Any, Final

from actor_queue.http import models
from actor_queue.http.doors import KEYED_BYTES_MAX, SIGNED_BYTES_MAX
from actor_queue.http.openapi_parts import JSON, body_of, json_of, operation
from actor_queue.http.schemas import STRING, ref

DOOR_KEYS: Final = {
    "keyInHeader": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "For doors: a key of AQ_API_KEYS, where a platform sends no Authorization.",
    },
    "keyInQuery": {
        "type": "apiKey",
        "in": "query",
        "name": "key",
        "description": "For doors: the same, where a platform sends no headers at all.",
    },
}

DOOR_OPERATIONS: Final = {
    ("/in/evolution", "post"): "takeFromEvolution",
    ("/in/waha", "post"): "takeFromWaha",
    ("/in/cloud", "post"): "takeFromCloud",
    ("/in/cloud", "get"): "confirmCloud",
    ("/in/chatwoot", "post"): "takeFromChatwoot",
    ("/in/telegram", "post"): "takeFromTelegram",
}

_SIGNED: Final = {
    "evolution": "Evolution API: the token of `jwt_key` in `Authorization`",
    "waha": "WAHA: `X-Webhook-Hmac`, with SHA-512",
    "cloud": "WhatsApp Cloud API: `X-Hub-Signature-256`",
    "chatwoot": "Chatwoot: `X-Chatwoot-Signature` and `X-Chatwoot-Timestamp`",
    "telegram": "Telegram Bot API: `X-Telegram-Bot-Api-Secret-Token`",
}


def doors() -> dict[str, Any]:
    found: dict[str, Any] = {f"/in/{name}": {"post": _door(name)} for name in _SIGNED}
    found["/in/cloud"]["get"] = _question()
    return found


def _opened(described: dict[str, Any]) -> dict[str, Any]:
    """A session's cookie opens no door, and a signature has no word in OpenAPI."""
    return described | {"security": [{}, {"key": []}, *({name: []} for name in DOOR_KEYS)]}


def _door(name: str) -> dict[str, Any]:
    # Whatever comes is answered 200, so no schema can say what is wrong.
    event = {"description": "What the platform sends, as it sends it."}
    return _opened(
        operation(
            "Doors",
            f"Take an event of {_SIGNED[name].partition(':')[0]}",
            "ingest",
            {"200": json_of("What was done with it", ref(models.DoorAnswer))},
            "503",
            description="An event that means nothing is ignored, and answered 200 too. Any query "
            f"parameter is taken. Instead of a key, the platform's signature opens it. "
            f"{_SIGNED[name]}. At most {KEYED_BYTES_MAX} bytes with a key, {SIGNED_BYTES_MAX} with "
            "a signature alone.",
            body=body_of({JSON: event}, required=False),
        )
    )


def _question() -> dict[str, Any]:
    return _opened(
        operation(
            "Doors",
            "Answer Meta's question whether this address wants its webhooks",
            "ingest",
            {
                "200": {
                    "description": "The challenge",
                    "content": {"text/plain": {"schema": STRING}},
                }
            },
            description="`hub.mode=subscribe`, the token in `hub.verify_token`, and "
            "`hub.challenge`, which is echoed. The token may be a key, too.",
        )
    )
