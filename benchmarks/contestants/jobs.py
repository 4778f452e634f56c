"""The same door in front of two Python job queues: `python jobs.py arq|docket api|worker`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import redis.asyncio

URL = os.environ["REDIS_URL"]
WEBHOOK_URL = os.environ.get("WEBHOOK_URL", "")
ACCEPTED = {"type": "http.response.start", "status": 202}


class Arq:
    """Each message starts a job of its own; the one that finds nothing newer sends the batch."""

    async def open(self) -> None:
        from arq import create_pool
        from arq.connections import RedisSettings

        self._pool = await create_pool(RedisSettings(unix_socket_path=URL.removeprefix("unix://")))

    async def take(self, user: str, body: bytes, ttl: float) -> None:
        at = f"{time.time() + ttl:.3f}"
        await self._pool.rpush(f"m:{user}", body)
        await self._pool.set(f"t:{user}", at)
        await self._pool.enqueue_job("send_if_last", user, at, _defer_by=timedelta(seconds=ttl))

    def work(self) -> None:
        from arq.connections import RedisSettings
        from arq.worker import run_worker

        async def send_if_last(ctx: dict[str, Any], user: str, at: str) -> None:
            last = await ctx["redis"].get(f"t:{user}")
            if last is not None and last.decode() == at:
                await send(ctx["redis"], user)

        settings = RedisSettings(unix_socket_path=URL.removeprefix("unix://"))
        options = {"functions": [send_if_last], "redis_settings": settings}
        run_worker(type("Settings", (), options), poll_delay=0.1, max_jobs=100)


class Docket:
    """A task for each user, which a newer message moves."""

    async def open(self) -> None:
        from docket import Docket as Queue

        self._queue = await Queue(name="contest", url=URL).__aenter__()
        self._redis = redis.asyncio.from_url(URL)

    async def take(self, user: str, body: bytes, ttl: float) -> None:
        await self._redis.rpush(f"m:{user}", body)
        when = datetime.now(UTC) + timedelta(seconds=ttl)
        await self._queue.replace(send_batch, when=when, key=user)(user)

    def work(self) -> None:
        from docket import Docket as Queue
        from docket import Worker

        async def main() -> None:
            async with Queue(name="contest", url=URL) as queue:
                queue.register(send_batch)
                async with Worker(queue, concurrency=100) as worker:
                    await worker.run_forever()

        asyncio.run(main())


async def send_batch(user: str) -> None:
    await send(redis.asyncio.from_url(URL), user)


async def send(store: Any, user: str) -> None:
    bodies = [json.loads(each) for each in await store.lrange(f"m:{user}", 0, -1)]
    body = {"user": user, "messages": [each["message"] for each in bodies]}
    async with httpx.AsyncClient() as client:
        await client.post(WEBHOOK_URL, json=body)
    await store.ltrim(f"m:{user}", len(bodies), -1)


def application(queue: Arq | Docket) -> Any:
    async def app(scope: Any, receive: Any, do_send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await queue.open()
            await do_send({"type": "lifespan.startup.complete"})
            await receive()
            await do_send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        message = json.loads(body)
        await queue.take(message["user"], body, message.get("ttl", 15))
        answer = json.dumps({"success": True, "user": message["user"]}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await do_send({**ACCEPTED, "headers": headers})
        await do_send({"type": "http.response.body", "body": answer})

    return app


if __name__ == "__main__":
    chosen: Arq | Docket = Arq() if sys.argv[1] == "arq" else Docket()
    if sys.argv[2] == "worker":
        chosen.work()
    else:
        import uvicorn

        app = application(chosen)
        uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning", access_log=False)
