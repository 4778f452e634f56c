"""The composition root: `dev` and `serve` put together, started and stopped in order.

Everything runs under one nursery: if any part dies, the process does, instead of answering
with nothing behind it.
"""

from __future__ import annotations

import math
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import trio

from actor_queue.app import logs
from actor_queue.app.again import Use, read_on_signal
from actor_queue.app.alert import alert_operators
from actor_queue.app.alive import host_in_url
from actor_queue.app.census import Colleague
from actor_queue.app.checkup import Checkup
from actor_queue.app.collector import keep_pauses_short
from actor_queue.app.config import ReadSetup, Setup, tell_setup
from actor_queue.app.embedded import EmbeddedServer, EmbeddedServerError, embedded_server
from actor_queue.app.environment import log_injected
from actor_queue.app.inbox import Inbox
from actor_queue.app.listening import CannotListen, Sockets, doubts_here, link, listen
from actor_queue.app.queue import ActorQueue
from actor_queue.app.sign_outs import SharedSignOuts
from actor_queue.app.terminal import show_address
from actor_queue.app.tracing import receiver_of
from actor_queue.app.trial import Trial
from actor_queue.core.api_keys import ApiKey
from actor_queue.core.config_file import NOTHING, Config
from actor_queue.core.routes import RouteTable
from actor_queue.core.settings import Settings
from actor_queue.core.url import shown_receiver
from actor_queue.http.arrivals import Arrivals
from actor_queue.http.asgi import Application
from actor_queue.http.numbers import Report
from actor_queue.http.probes import LIMITS, Probes
from actor_queue.http.server import Limits, serve
from actor_queue.http.traffic import Traffic
from actor_queue.runtime.engine import Engine
from actor_queue.runtime.journal import Journal
from actor_queue.runtime.lines import tell
from actor_queue.runtime.pulse import keep_measuring
from actor_queue.store.api import StoreInfo, StoreMisconfigured

REQUESTS_GRACE_S = 10.0
"""For requests under way when the service stops."""


LAST_WORDS_S = 0.2
"""For the log, when the process ends at once."""


def run_service(
    settings: Settings,
    config: Config = NOTHING,
    *,
    dev: bool,
    inherited: Sockets | None = None,
    stop_when_closed: int | None = None,
    report_to: socket.socket | None = None,
    read_again: ReadSetup | None = None,
) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status. At SIGHUP `read_again` has the keys.

    As a worker it takes over listening sockets, and also stops when the pipe whose descriptor
    is `stop_when_closed` ends; its parent has said where it listens. Over `report_to` it tells the
    parent its numbers, and hears those of all workers.
    """
    logs.set_up(settings.log, settings.log_level)
    if inherited is None:
        log_injected(os.environ)
    status = 0
    try:
        trio.run(_main, settings, config, dev, inherited, stop_when_closed, report_to, read_again)
    except* (StoreMisconfigured, EmbeddedServerError, CannotListen) as group:
        for error in _leaves(group):
            logs.complain(str(error))
        status = 2
    except* Exception as group:  # noqa: BLE001  # Python would print what it says
        for error in _leaves(group):
            tell("crashed", **logs.exception_fields((type(error), error, error.__traceback__)))
        status = 1
    if status == 0:
        tell("stopped")
    return status


async def _main(
    settings: Settings,
    config: Config,
    dev: bool,
    inherited: Sockets | None,
    stop_when_closed: int | None,
    report_to: socket.socket | None,
    read_again: ReadSetup | None,
) -> None:
    async with AsyncExitStack() as stack:
        server = None
        if dev and settings.redis_url is None:
            server = await stack.enter_async_context(embedded_server(settings.data_dir))
            settings = replace(settings, redis_url=server.url)
        sockets = _opened(settings, config) if inherited is None else inherited
        for sock in (*sockets.door, *sockets.probes):
            stack.callback(sock.close)
        if dev and settings.webhook_url is None and not config.has_default:
            settings = replace(settings, webhook_url=_inbox_url(sockets.door[0].getsockname()))
        routes = RouteTable(config.all_routes(settings))
        webhook = await stack.enter_async_context(receiver_of(routes))
        traffic = Traffic()
        arrivals = Arrivals(traffic)
        queue = ActorQueue(
            settings,
            deliver=webhook,
            start_timeout_s=math.inf,
            settle=arrivals.settle,
            routes=routes,
        )
        logs.name_replica(queue.engine.replica_id)
        application = _application(queue, traffic, config, dev=dev)
        colleague = _colleague(report_to, queue, application)
        stopping = trio.Event()

        def stop() -> None:
            if stopping.is_set():
                return  # by a signal and by the parent, as under systemd
            if not queue.engine.accepting:
                # Still waiting for Redis: there is nothing to finish.
                nursery.cancel_scope.cancel()
            queue.engine.refuse_new()
            stopping.set()

        async with trio.open_nursery() as nursery:
            if server is not None:
                nursery.start_soon(_watch, server)
            nursery.start_soon(_stop_on_signal, stop)
            before = Setup(settings, config)
            nursery.start_soon(_read_on_signal, read_again, before, queue, application, stop)
            nursery.start_soon(_hear_parent, colleague, stop)
            if stop_when_closed is not None:
                nursery.start_soon(_stop_at_end, stop_when_closed, stop)
            served = trio.Event()
            limits = Limits.of(settings)
            shared = inherited is not None
            addresses = await nursery.start(
                partial(_serve, application, sockets.door, arrivals, limits, shared=shared),
                stopping,
                served,
            )
            if sockets.probes:
                await nursery.start(_serve_probes, application, sockets.probes, settings)
            if inherited is None:
                _announce(settings, addresses, sockets.log_fields(), dev=dev)
            async with queue:
                if not dev:
                    _warn_of_persistence(queue.store_info)
                tell("ready", pid=os.getpid())
                if dev:
                    # Somebody is about to open the page; in production nobody may ever.
                    nursery.start_soon(application.prepare)
                nursery.start_soon(_accompany, queue.engine, application)
                await stopping.wait()
                await queue.engine.hand_over()
                await served.wait()
            if colleague is not None:
                await colleague.say_last()
            nursery.cancel_scope.cancel()


def _opened(settings: Settings, config: Config) -> Sockets:
    tell_setup(settings, config)
    return listen(settings)


def _application(queue: ActorQueue, traffic: Traffic, config: Config, *, dev: bool) -> Application:
    """With the doors of the file, a doctor, which knows the keys as they are now, and in `dev` with
    an inbox."""
    engine = queue.engine
    _watch_traffic(engine.journal, traffic)
    mounts = {"/dev/": Inbox(engine.settings.data_dir)} if dev else {}
    application = Application(engine, traffic=traffic, mounts=mounts)
    application.doors.table.replace(config.all_doors(engine.settings))

    def settings_now() -> Settings:
        return replace(engine.settings, api_keys=application.keys.all)

    application.examine = Checkup(settings_now, engine.unready, lambda: tuple(engine.routes))
    application.send_test = Trial(settings_now, engine.routes)
    return application


async def _accompany(engine: Engine, application: Application) -> None:
    """What a service does beside its work, until cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_pauses_short, engine)
        nursery.start_soon(alert_operators, engine)
        nursery.start_soon(SharedSignOuts(engine.store, application.keys).run)
        nursery.start_soon(keep_measuring, engine.store, engine.counters)


def _colleague(
    sock: socket.socket | None, queue: ActorQueue, application: Application
) -> Colleague | None:
    """This worker's end of the line to the parent; `/metrics` asks over it."""
    if sock is None:
        return None

    def report() -> Report:
        from actor_queue.http.metrics import families

        return families(queue.engine, application.traffic)

    use_config = partial(_use_config, queue, application)
    colleague = Colleague(sock, report, application.keys, use_config)
    application.census = colleague.census
    return colleague


async def _serve_probes(
    application: Application,
    sockets: list[socket.socket],
    settings: Settings,
    *,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    """Until cancelled, so that a stop can be watched to its end."""
    await serve(
        Probes(application, settings.root_path),
        sockets=sockets,
        shutdown=trio.Event(),
        limits=LIMITS,
        task_status=task_status,
    )


async def _serve(
    application: Application,
    sockets: list[socket.socket],
    arrivals: Arrivals,
    limits: Limits,
    stopping: trio.Event,
    served: trio.Event,
    *,
    shared: bool,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    await serve(
        application,
        sockets=sockets,
        shutdown=stopping,
        limits=limits,
        grace_s=REQUESTS_GRACE_S,
        traffic=application.traffic,
        arrivals=arrivals,
        plain=application.plain,
        shared=shared,
        task_status=task_status,
    )
    served.set()


async def _stop_on_signal(stop: Callable[[], None]) -> None:
    told = False
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            name = signal.Signals(number).name
            if told:
                tell("stopped_at_once", signal=name)
                logs.flush(LAST_WORDS_S)
                os._exit(128 + number)
            told = True
            tell("stopping", signal=name)
            stop()


async def _read_on_signal(
    read: ReadSetup | None,
    before: Setup,
    queue: ActorQueue,
    application: Application,
    stop: Callable[[], None],
) -> None:
    async def use_keys(found: tuple[ApiKey, ...]) -> None:
        application.keys.replace(found)

    async def use_config(found: Config) -> None:
        _use_config(queue, application, found)

    def terminal_gone() -> None:
        tell("stopping", signal="SIGHUP, and the terminal is gone")
        stop()

    await read_on_signal(read, before, Use(use_keys, use_config), terminal_gone)


def _use_config(queue: ActorQueue, application: Application, config: Config) -> None:
    queue.engine.routes.replace(config.all_routes(queue.settings))
    application.doors.table.replace(config.all_doors(queue.settings))


async def _hear_parent(colleague: Colleague | None, stop: Callable[[], None]) -> None:
    """A worker that its parent cannot reach would not hear of a key that is taken away."""
    if colleague is not None:
        await colleague.run()
        stop()


async def _stop_at_end(descriptor: int, stop: Callable[[], None]) -> None:
    """The parent lets go of the pipe when we should finish, and when it is dead."""
    async with trio.lowlevel.FdStream(descriptor) as lifeline:
        async for _ in lifeline:
            pass
        tell("stopping", signal="none, but the parent let go")
        stop()
        await trio.sleep_forever()


async def _watch(server: EmbeddedServer) -> None:
    """The embedded server is half of the service: without it there is nothing to serve."""
    await server.watch()


def _announce(
    settings: Settings, addresses: list[str], probes: Mapping[str, str], *, dev: bool
) -> None:
    assert settings.redis_url is not None
    url = settings.webhook_url
    for address in addresses:
        tell(
            "listening",
            url=f"http://{address}{settings.root_path}/",
            redis=logs.redact_url(settings.redis_url),
            webhook=None if url is None else shown_receiver(url),
            **probes,
        )
    for doubt in doubts_here(settings):
        tell("settings_doubtful", reason=doubt)
    if dev:
        show_address(link(addresses[0], settings.root_path))


def _warn_of_persistence(info: StoreInfo | None) -> None:
    if info is not None and not info.aof_enabled:
        tell(
            "redis_not_persistent",
            reason="Redis reports no append-only file, so its restart may lose messages: set it"
            " with `CONFIG SET appendonly yes` and in the server's configuration",
        )


def _watch_traffic(journal: Journal, traffic: Traffic) -> None:
    """What the listener counts is told once a minute, as long as it grows."""

    def last() -> dict[str, object]:
        return {"reason": traffic.accept_error}

    journal.watch("accept_errors", lambda: traffic.accept_errors, last)
    journal.watch("connections_evicted", lambda: traffic.connections_evicted)
    journal.watch("connections_waited", lambda: traffic.connections_waited)
    journal.watch("streams_put_out", lambda: traffic.streams_put_out)
    journal.watch("requests_put_off", lambda: traffic.requests_put_off)
    journal.watch("sign_ins_refused", lambda: traffic.sign_ins_refused)
    journal.watch("requests_refused", lambda: traffic.requests_refused)


def _inbox_url(address: tuple[str, int]) -> str:
    return f"http://{host_in_url(address[0])}:{address[1]}/dev/inbox"


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]
