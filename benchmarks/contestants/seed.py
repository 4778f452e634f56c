"""Two processes around Redis: an API that keeps messages under a key with a time to live, and a
monitor that polls for users whose key has expired."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import redis
import redis.asyncio
from fastapi import FastAPI, status
from pydantic import BaseModel, ConfigDict

POLL_S = 0.1
URL = os.environ["REDIS_URL"]


class Message(BaseModel):
    """What the first receivers send: two fields that are needed, and any others."""

    model_config = ConfigDict(extra="allow")
    user: str
    message: str
    ttl: int = 15


app = FastAPI()
client = redis.asyncio.from_url(URL)


@app.post("/api/message", status_code=status.HTTP_202_ACCEPTED)
async def message(body: Message) -> dict[str, Any]:
    async with client.pipeline(transaction=True) as pipe:
        pipe.rpush(f"messages:{body.user}", body.message)
        pipe.set(f"data:{body.user}", body.model_dump_json())
        pipe.set(f"timer:{body.user}", "1", px=body.ttl * 1000)
        pipe.sadd("active", body.user)
        pending, *_ = await pipe.execute()
    return {"success": True, "user": body.user, "pending": pending, "fires_in": body.ttl}


def monitor() -> None:
    """Until it is killed."""
    store = redis.from_url(URL, decode_responses=True)
    webhook = httpx.Client()
    while True:
        users = list(store.smembers("active"))
        timers = store.mget([f"timer:{user}" for user in users]) if users else []
        for user, timer in zip(users, timers, strict=True):
            if timer is None:
                _send(store, webhook, user)
        time.sleep(POLL_S)


def _send(store: Any, webhook: httpx.Client, user: str) -> None:
    messages = store.lrange(f"messages:{user}", 0, -1)
    data = json.loads(store.get(f"data:{user}") or "{}")
    data.pop("message", None)
    data.pop("ttl", None)
    moment = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    body = data | {"user_id": user, "messages": messages, "processed_at": moment}
    webhook.post(os.environ["WEBHOOK_URL"], json=body)
    store.delete(f"messages:{user}", f"data:{user}")
    store.srem("active", user)


if __name__ == "__main__":
    if sys.argv[1] == "monitor":
        monitor()
    else:
        import uvicorn

        uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning", access_log=False)
