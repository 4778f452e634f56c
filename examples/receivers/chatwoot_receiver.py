"""The receiver for Chatwoot: `fastapi_receiver.py`, which answers in Chatwoot's conversations.

    WEBHOOK_SECRET=whsec_… MODEL_URL=https://… \\
    CHATWOOT_URL=https://chat.example CHATWOOT_TOKEN=… \\
        uvicorn --factory chatwoot_receiver:create --port 9000

The token is that of an agent bot: what is sent with a person's token counts as a person's word.
"""

from __future__ import annotations

import os

import httpx
from fastapi import FastAPI

import fastapi_receiver
from fastapi_receiver import Batch


async def send(client: httpx.AsyncClient, batch: Batch, text: str) -> list[str]:
    account, conversation = batch["user"].split(":")
    answer = await client.post(
        f"{os.environ['CHATWOOT_URL']}/api/v1/accounts/{account}/conversations/{conversation}/messages",
        headers={"api_access_token": os.environ["CHATWOOT_TOKEN"]},
        json={"content": text, "message_type": "outgoing"},
    )
    return [str(answer.raise_for_status().json()["id"])]


def create() -> FastAPI:
    return fastapi_receiver.create(send=send)
