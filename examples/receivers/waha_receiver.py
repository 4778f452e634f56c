"""The receiver for WAHA (WhatsApp): `fastapi_receiver.py`, which sends by WAHA.

    WEBHOOK_SECRET=whsec_… MODEL_URL=https://… WAHA_URL=https://waha.example WAHA_KEY=… \\
        uvicorn --factory waha_receiver:create --port 9000
"""

from __future__ import annotations

import os
from typing import Any

import httpx
from fastapi import FastAPI

import fastapi_receiver
from fastapi_receiver import Batch


async def send(client: httpx.AsyncClient, batch: Batch, text: str) -> list[str]:
    # `{session}:{address of the chat}`, and in a group perhaps `:{who wrote}` behind it.
    session, chat = batch["user"].split(":")[:2]
    answer = await client.post(
        f"{os.environ['WAHA_URL']}/api/sendText",
        headers={"x-api-key": os.environ["WAHA_KEY"]},
        json={"session": session, "chatId": chat, "text": text},
    )
    return [id_of(answer.raise_for_status().json())]


def id_of(message: dict[str, Any]) -> str:
    """WAHA's engines answer in their own ways: GOWS with an id, WEBJS with an object around it,
    NOWEB with WhatsApp's key."""
    match message:
        case {"id": {"_serialized": str(id)}} | {"id": str(id)} | {"key": {"id": str(id)}}:
            return id
    raise ValueError("WAHA's answer has no id")


def create() -> FastAPI:
    return fastapi_receiver.create(send=send)
