"""`actor_queue.edge:app`: POST /api/message on any ASGI server, on asyncio or on Trio.

    REDIS_URL=redis://localhost uvicorn actor_queue.edge:app
    REDIS_URL=redis://localhost hypercorn --worker-class trio actor_queue.edge:app

It reads the settings of `actor-queue serve` when the server starts it (ASGI lifespan). It owns no
shards and sets no timers: replicas started with `actor-queue serve` do.
"""

from __future__ import annotations

from typing import Final

from actor_queue.app.edge import Edge

__all__ = ["app"]

app: Final = Edge()
