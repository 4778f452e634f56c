"""What the service is compared with: `python -m benchmarks.stacks NAME`, on the port in `PORT`.

`bare` is an ASGI application that reads the body and answers a 202 of the service's size, on
Hypercorn's stock Trio worker. `bare-ours` is the same application on the service's own listener,
`bare-uvicorn` on uvicorn, set as `actor-queue edge` sets it.
`quart` is the obvious stack: Quart-Trio and a coredis call for each message, without timers,
validation or webhooks.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve

BODY = json.dumps(
    {
        "success": True,
        "user": "joao-000000000",
        "message_id": "m-00000000000000000000",
        "pending": 3,
        "fires_in": 60.0,
        "duplicate": False,
    }
).encode()
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Read, answer, nothing else."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY, "more_body": False})


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


def quart_app() -> Any:
    """A message in one script call: list, due time, facts, as the service's core of it."""
    import coredis
    from quart import request
    from quart_trio import QuartTrio

    script = """
      local time = redis.call('TIME')
      local due = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
      local pending = redis.call('RPUSH', KEYS[1], ARGV[3])
      redis.call('HSET', KEYS[2], 'due', due)
      redis.call('ZADD', KEYS[3], due, ARGV[1])
      return pending
    """
    app = QuartTrio(__name__)
    client = coredis.Redis.from_url(os.environ["REDIS_URL"])
    append = client.register_script(script)

    @app.while_serving
    async def connected() -> Any:
        async with client:
            yield

    @app.post("/api/message")
    async def message() -> Any:
        body = await request.get_json()
        user, ttl = body["user"], body.get("ttl", 15)
        keys = [f"p:{user}", f"u:{user}", "due"]
        pending = await append(keys=keys, args=[user, int(ttl * 1000), json.dumps(body)])
        return {"success": True, "user": user, "pending": pending, "fires_in": ttl}, 202

    return app


async def main(name: str) -> None:
    address = f"127.0.0.1:{os.environ['PORT']}"
    if name == "bare-ours":
        from actor_queue.http.server import serve

        await serve(bare, bind=address, shutdown=trio.Event())
        return
    config = Config()
    config.bind = [address]
    config.accesslog = config.errorlog = None
    config.keep_alive_max_requests = 1 << 31
    app = bare if name == "bare" else quart_app()
    await hypercorn_serve(app, config, shutdown_trigger=trio.sleep_forever)


def on_uvicorn() -> None:
    import uvicorn

    port = int(os.environ["PORT"])
    options: dict[str, Any] = {"http": "h11", "loop": "uvloop", "ws": "none", "log_config": None}
    uvicorn.run(bare, port=port, access_log=False, server_header=False, **options)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    if sys.argv[1] == "bare-uvicorn":
        on_uvicorn()
    else:
        trio.run(main, sys.argv[1])
