"""The receiver for Telegram: `fastapi_receiver.py`, which sends by the Bot API.

    WEBHOOK_SECRET=whsec_… MODEL_URL=https://… BOT_TOKEN=… \\
        uvicorn --factory telegram_receiver:create --port 9000
"""

from __future__ import annotations

import os
import re
from typing import Any

import httpx
from fastapi import FastAPI

import fastapi_receiver
from fastapi_receiver import Batch

CHARACTERS_MAX = 2048
"""Telegram takes 4096, and counts an emoji as two or more."""


async def send(client: httpx.AsyncClient, batch: Batch, text: str) -> list[str]:
    url = os.environ.get("TELEGRAM_URL", "https://api.telegram.org")
    answer = await client.post(
        f"{url}/bot{os.environ['BOT_TOKEN']}/sendMessage",
        json={**address(batch), "text": text},
    )
    return [str(answer.raise_for_status().json()["result"]["message_id"])]


def address(batch: Batch) -> dict[str, Any]:
    """Out of `{door}:{chat}`, with a business connection in front of the chat, a topic behind it,
    and at the end who wrote, where each one in a group is a conversation."""
    parts = batch["user"].split(":")[1:]
    found: dict[str, Any] = {}
    if not re.fullmatch(r"-?\d+", parts[0]):
        found["business_connection_id"] = parts.pop(0)
    found["chat_id"] = int(parts.pop(0))
    writers = {item["sender"]["id"] for item in batch["items"] if "sender" in item}
    if parts and parts[0] not in writers:
        found["message_thread_id"] = int(parts[0])
    return found


def create() -> FastAPI:
    return fastapi_receiver.create(send=send, characters_max=CHARACTERS_MAX)
