"""The receiver for Evolution API v2 (WhatsApp): `fastapi_receiver.py`, which sends by Evolution.

    WEBHOOK_SECRET=whsec_… MODEL_URL=https://… \\
    EVOLUTION_URL=https://evolution.example EVOLUTION_KEY=… \\
        uvicorn --factory evolution_receiver:create --port 9000
"""

from __future__ import annotations

import os
from urllib.parse import quote

import httpx
from fastapi import FastAPI

import fastapi_receiver
from fastapi_receiver import Batch


async def send(client: httpx.AsyncClient, batch: Batch, text: str) -> list[str]:
    # `{instance}:{address of the chat}`, and in a group perhaps `:{who wrote}` behind it.
    instance, chat = batch["user"].split(":")[:2]
    answer = await client.post(
        f"{os.environ['EVOLUTION_URL']}/message/sendText/{quote(instance, safe='')}",
        headers={"apikey": os.environ["EVOLUTION_KEY"]},
        json={"number": chat, "text": text},
    )
    return [answer.raise_for_status().json()["key"]["id"]]


def create() -> FastAPI:
    return fastapi_receiver.create(send=send)
