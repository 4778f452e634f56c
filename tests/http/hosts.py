"""The edge under two servers that are not ours: uvicorn on asyncio, and Hypercorn on Trio.

uvicorn reads as in `actor-queue edge`, plain requests at once and all others with h11.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
import uvicorn
from hypercorn.config import Config
from hypercorn.trio import serve

from actor_queue.app.edge_protocol import protocol_for
from actor_queue.core.settings import Settings
from actor_queue.http.edge import EdgeApplication
from tests.http.client import Address, ask, until
from tests.http.memory_engine import MemoryEngine

START_TIMEOUT_S = 60.0
HOSTS = ("uvicorn", "hypercorn")


@dataclass
class Hosted:
    """As `conftest.Served`, as far as tests of answers need it."""

    engine: MemoryEngine
    application: EdgeApplication
    address: Address
    kind: str = ""


@dataclass
class Alive:
    """Passes requests on to `app`, and answers the lifespan of an application that has none."""

    app: Any
    ended: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        for word in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{word}"
            await send({"type": f"lifespan.{word}.complete"})
        self.ended.set()


@contextmanager
def hosted(kind: str, app: Any, *, host: str = "127.0.0.1") -> Iterator[Address]:
    """Run an ASGI application; its lifespan is over at the end. Raises what the server raises."""
    with socket.create_server((host, 0)) as sock:
        address = sock.getsockname()
        failures: list[BaseException] = []
        stops: queue.Queue[Callable[[], None]] = queue.Queue()
        run = _uvicorn if kind == "uvicorn" else _hypercorn

        def thread() -> None:
            try:
                run(app, sock, stops)
            except BaseException as error:  # noqa: BLE001  # raised below, whatever it is
                failures.append(error)

        runner = threading.Thread(target=thread, daemon=True)
        runner.start()
        stop = stops.get(timeout=START_TIMEOUT_S)
        try:
            until(lambda: failures or _answers(address), START_TIMEOUT_S)
            yield address
        finally:
            stop()
            runner.join(START_TIMEOUT_S)
            assert not runner.is_alive(), "the server did not stop"
        if failures:
            raise failures[0]


@contextmanager
def edge_on(kind: str, settings: Settings | None = None, **fields: Any) -> Iterator[Hosted]:
    """The endpoints of an edge, in front of messages that are kept in memory."""
    engine = MemoryEngine(settings or Settings(**fields))
    application = EdgeApplication(engine)
    with hosted(kind, Alive(application)) as address:
        yield Hosted(engine, application, address, kind)


def _answers(address: Address) -> bool:
    try:
        return ask(address, "GET", "/healthz").status > 0
    except OSError:
        return False


def _uvicorn(app: Any, sock: socket.socket, stops: queue.Queue[Callable[[], None]]) -> None:
    within = app.app if isinstance(app, Alive) else app
    reads = protocol_for(lambda: within if isinstance(within, EdgeApplication) else None)
    config = uvicorn.Config(
        app, http=reads, lifespan="on", log_config=None, server_header=False, ws="none"
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    stops.put(stop)
    asyncio.run(server.serve(sockets=[sock]))


def _hypercorn(app: Any, sock: socket.socket, stops: queue.Queue[Callable[[], None]]) -> None:
    config = Config()
    config.bind = [f"fd://{os.dup(sock.fileno())}"]  # it closes what it is given
    config.errorlog = config.accesslog = None

    async def main() -> None:
        stopping = trio.Event()
        token = trio.lowlevel.current_trio_token()
        stops.put(lambda: token.run_sync_soon(stopping.set))
        await serve(app, config, shutdown_trigger=stopping.wait)

    trio.run(main)
