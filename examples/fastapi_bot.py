"""A chatbot behind FastAPI: however many messages a user writes at once, there is one answer.

    pip install /path/to/clone/of/actor-queue fastapi uvicorn
    REDIS_URL=redis://localhost uvicorn fastapi_bot:app

    curl http://127.0.0.1:8000/webhook -H 'content-type: application/json' \
         -d '{"user": "joao.silva", "text": "Oi", "id": "1"}'
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from actor_queue import Batch, QueueFull, Refused, Settings, StoreUnavailable
from actor_queue.aio import ActorQueue


async def answer(batch: Batch) -> None:
    """Here a bot thinks and sends. An exception: the same batch comes again, with the same id."""
    print(f"to {batch.user}, about {len(batch.messages)} messages: {batch.messages}", flush=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with ActorQueue(Settings.from_env(), deliver=answer) as queue:
        app.state.queue = queue
        yield


app = FastAPI(lifespan=lifespan)


class Incoming(BaseModel):
    user: str
    text: str
    id: str | None = None
    """The platform's own id of the message: a webhook that comes twice is kept once."""


@app.post("/webhook", status_code=202)
async def webhook(message: Incoming, request: Request) -> dict[str, object]:
    queue: ActorQueue = request.app.state.queue
    try:
        accepted = await queue.push(message.user, message.text, message_id=message.id)
    except Refused as refused:
        raise HTTPException(refused.status, refused.detail) from None
    except QueueFull as full:
        raise HTTPException(429, str(full)) from None
    except StoreUnavailable as error:
        # The platform sends it again, and with its id that is safe.
        raise HTTPException(503, error.detail, headers={"retry-after": "1"}) from None
    return {"pending": accepted.pending, "duplicate": accepted.duplicate}
