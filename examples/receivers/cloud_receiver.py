"""The receiver for the WhatsApp Cloud API: `fastapi_receiver.py`, which sends by Meta's Graph API.

    WEBHOOK_SECRET=whsec_… MODEL_URL=https://… CLOUD_TOKEN=… \\
        uvicorn --factory cloud_receiver:create --port 9000

A free text may be sent within 24 hours of what the user wrote last; later, Meta takes templates.
"""

from __future__ import annotations

import os

import httpx
from fastapi import FastAPI

import fastapi_receiver
from fastapi_receiver import Batch

GRAPH_URL = "https://graph.facebook.com/v23.0"
CHARACTERS_MAX = 4096


async def send(client: httpx.AsyncClient, batch: Batch, text: str) -> list[str]:
    # `{phone_number_id}:{who}`: a phone, or a user id such as `BR.123`, which has a field of its
    # own.
    number, who = batch["user"].split(":")[:2]
    to = {"to": who} if who.isdecimal() else {"recipient": who}
    answer = await client.post(
        f"{os.environ.get('GRAPH_URL', GRAPH_URL)}/{number}/messages",
        headers={"authorization": f"Bearer {os.environ['CLOUD_TOKEN']}"},
        json={
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            **to,
            "type": "text",
            "text": {"body": text},
        },
    )
    return [each["id"] for each in answer.raise_for_status().json()["messages"]]


def create() -> FastAPI:
    return fastapi_receiver.create(send=send, characters_max=CHARACTERS_MAX)
