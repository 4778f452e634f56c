"""`actor-queue edge`: an edge under uvicorn, on uvloop where there is one.

Plain requests are answered at once (`app/edge_protocol.py`), and uvicorn reads all others with h11:
httptools would read a head of any length. uvicorn's own handling of signals is not used, because a
process that it has drained ends as if the signal had killed it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from actor_queue.app import logs
from actor_queue.app.config import ReadSetup, Setup, tell_setup
from actor_queue.app.edge import Edge
from actor_queue.app.environment import log_injected
from actor_queue.app.listening import CannotListen, doubts_here, listen
from actor_queue.core.config_file import NOTHING, Config
from actor_queue.core.settings import Settings
from actor_queue.http.protocol import HEAD_BYTES_MAX
from actor_queue.runtime.lines import tell

if TYPE_CHECKING:
    import uvicorn

NOT_INSTALLED: Final = (
    "an edge runs on uvicorn, which is not installed: install actor-queue with the extra `edge`, as"
    " in pip install '.[edge]', or run actor_queue.edge:app on another ASGI server"
)
KEEP_ALIVE_S: Final = 75
REQUESTS_GRACE_S: Final = 10
"""For requests under way when the edge stops."""
LAST_WORDS_S: Final = 0.2
BACKLOG: Final = 2_048
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
ALONE: Final = (
    "{name} is set, and an edge does not look at it: {reason}; start as many edges as you need"
)


def run_edge(
    settings: Settings, config: Config = NOTHING, *, read_again: ReadSetup | None = None
) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status. At SIGHUP `read_again` has the keys."""
    logs.set_up(settings.log, settings.log_level)
    log_injected(os.environ)
    if find_spec("uvicorn") is None:
        logs.complain(NOT_INSTALLED)
        return 2
    tell_setup(settings, config)
    try:
        sockets = listen(settings)
    except CannotListen as error:
        logs.complain(str(error))
        return 2
    for sock in sockets.probes:
        sock.close()
    return _Run(Setup(settings, config), read_again).until_stopped(sockets.door)


def doubts_of_edge(settings: Settings) -> list[str]:
    """What is set and means nothing here, besides what every service doubts."""
    found = doubts_here(settings)
    if settings.workers > 1:
        found.append(ALONE.format(name="AQ_WORKERS", reason="it is one process"))
    if settings.probe_bind is not None:
        found.append(ALONE.format(name="AQ_PROBE_BIND", reason="its one listener has the probes"))
    return found


class _Run:
    """One edge under one server."""

    def __init__(self, setup: Setup, read_again: ReadSetup | None) -> None:
        self._settings = setup.settings
        self._edge = Edge(lambda: setup, read_again=read_again, stop=self._stop)
        self._server: uvicorn.Server | None = None

    def until_stopped(self, sockets: list[Any]) -> int:
        # uvicorn's lines say what ours say, and one for each request that is no HTTP.
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        for address in sockets:
            tell("listening", **_where(self._settings, address.getsockname()))
        for doubt in doubts_of_edge(self._settings):
            tell("settings_doubtful", reason=doubt)
        self._server = server = _server_class()(self._config(), self._signalled)
        with suppress(SystemExit):  # its way to say that the application did not start
            server.run(sockets=sockets)
        for sentence in self._edge.failures:
            logs.complain(sentence)
        if self._edge.failures:
            return 2
        if self._edge.crashed or not server.started:
            return 1
        tell("stopped")
        return 0

    def _config(self) -> uvicorn.Config:
        import uvicorn

        from actor_queue.app.edge_protocol import protocol_for

        return uvicorn.Config(
            self._edge,
            loop="uvloop" if find_spec("uvloop") else "asyncio",
            http=protocol_for(lambda: self._edge.application),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            limit_concurrency=self._settings.max_connections,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=REQUESTS_GRACE_S,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        )

    def _signalled(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._server is not None and self._server.should_exit:
            tell("stopped_at_once", signal=name)
            logs.flush(LAST_WORDS_S)
            os._exit(128 + number)
        tell("stopping", signal=name)
        self._stop()

    def _stop(self) -> None:
        self._edge.refuse_new()
        if self._server is not None:
            self._server.should_exit = True


def _server_class() -> Callable[[uvicorn.Config, Callable[[int], None]], uvicorn.Server]:
    """Made when it is needed: uvicorn may not be there."""
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves signals to `signalled`."""

        def __init__(self, config: uvicorn.Config, signalled: Callable[[int], None]) -> None:
            super().__init__(config)
            self._signalled = signalled

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            loop = asyncio.get_running_loop()
            for number in SIGNALS:
                loop.add_signal_handler(number, self._signalled, number)
            try:
                yield
            finally:
                for number in SIGNALS:
                    loop.remove_signal_handler(number)

    return Server


def _where(settings: Settings, address: Any) -> dict[str, object]:
    host, port = (address[0], address[1]) if isinstance(address, tuple) else (address, 0)
    shown = f"[{host}]" if ":" in host else host
    assert settings.redis_url is not None
    return {
        "url": f"http://{shown}:{port}{settings.root_path}/",
        "redis": logs.redact_url(settings.redis_url),
    }
