"""All that a service is told at its start: the settings, and the file that AQ_CONFIG names."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from actor_queue.app.environment import load, read_dotenv
from actor_queue.app.logs import shown_settings
from actor_queue.core.answers import answer_base
from actor_queue.core.config_file import FILE_BYTES_MAX, NOTHING, Config, read_config
from actor_queue.core.conversation import DEFAULT_ROUTE
from actor_queue.core.doors import Door
from actor_queue.core.routes import Route
from actor_queue.core.settings import Mistake, Serving, Settings, SettingsError
from actor_queue.core.url import shown_receiver
from actor_queue.runtime.lines import tell


class Setup(NamedTuple):
    """Settings, and what AQ_CONFIG adds to them."""

    settings: Settings
    config: Config = NOTHING


class ReadSetup(Protocol):
    """Reads all sources, as often as it is called. Raises `SettingsError`; see `load_setup`."""

    def __call__(self, running: Settings | None = None) -> Setup: ...


class ConfigError(SettingsError):
    """The file cannot be used; the `settings` can."""

    def __init__(self, settings: Settings, *mistakes: Mistake | str) -> None:
        super().__init__(*mistakes)
        self.settings = settings


def load_setup(
    environ: Mapping[str, str],
    dotenv_path: Path | str | None,
    flags: Mapping[str, str],
    *,
    serving: Serving | bool = False,
    running: Settings | None = None,
) -> Setup:
    """See `environment.load`, whose settings these are. The file is read with `running`, where a
    service has those already: other settings than its keys are not taken while it runs, so a
    route's defaults stay as they are.

    Raises `SettingsError`; where only the file is wrong, `ConfigError`.
    """
    settings = load(environ, dotenv_path, flags, serving=serving)
    try:
        setup = Setup(settings, _config(running or settings, environ, dotenv_path, serving))
        if serving is True:
            require_answer_base(Setup(running or settings, setup.config))
    except SettingsError as error:
        raise ConfigError(settings, *error.mistakes) from None
    return setup


def require_answer_base(setup: Setup) -> None:
    """Raises `SettingsError` where a receiver may answer later and nobody knows where."""
    settings, config = setup
    later = [route.name for route in config.all_routes(settings) if route.answer == "later"]
    if later and answer_base(settings) is None:
        raise SettingsError(
            Mistake(
                ("AQ_PUBLIC_URL", "AQ_ANSWER"),
                f"AQ_PUBLIC_URL is not set, and the receiver of the route {later[0]} may answer"
                " later: say how receivers reach this service, for example"
                " AQ_PUBLIC_URL=https://queue.example (only where AQ_BIND is this machine alone"
                " and names a port, its own address does)",
            )
        )


def _config(
    settings: Settings,
    environ: Mapping[str, str],
    dotenv_path: Path | str | None,
    serving: Serving | bool,
) -> Config:
    if settings.config is None:
        return NOTHING
    # A variable may stand in `.env`, too, and so come anew at SIGHUP.
    variables = {**read_dotenv(dotenv_path), **{k: v for k, v in environ.items() if v.strip()}}
    config = read_config(read_file(settings.config), variables, settings)
    if serving is True and not config.all_routes(settings):
        raise SettingsError(
            Mistake(
                ("WEBHOOK_URL", "AQ_CONFIG"),
                f"WEBHOOK_URL is not set and {settings.config} has no route: say where batches go,"
                " for example WEBHOOK_URL=https://bot.example/webhook",
            )
        )
    return config


def read_file(path: str) -> str:
    """The text of the file that AQ_CONFIG names. Raises `SettingsError`; a pipe is one, because
    its reader may wait for ever, and at SIGHUP nothing is in it any more."""
    trouble = "it is not UTF-8 text"
    try:
        with open(path, "rb", opener=_at_once) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(FILE_BYTES_MAX + 1) if regular else b""
        if regular and len(content) <= FILE_BYTES_MAX:
            return content.decode("utf-8-sig")
        trouble = (
            f"it has more than {FILE_BYTES_MAX} bytes" if regular else "it is not a regular file"
        )
    except UnicodeDecodeError:
        pass
    except OSError as error:
        trouble = error.strerror or type(error).__name__
    sentence = f"AQ_CONFIG is {path!r}, which cannot be read: {trouble}"
    raise SettingsError(Mistake(("AQ_CONFIG",), sentence))


def _at_once(path: str, flags: int) -> int:
    """Opening a pipe would else wait until somebody writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def tell_setup(settings: Settings, config: Config) -> None:
    """In the log: the settings, and where there is a file, its routes and where each one leads."""
    tell("configuration", **shown_settings(settings))
    if settings.config is not None:
        tell("routes_read", **shown_routes(settings, config))
    names = {route.name for route in config.all_routes(settings)} | {DEFAULT_ROUTE}
    for name in sorted({key.route for key in settings.api_keys if key.route} - names):
        tell(
            "settings_doubtful",
            reason=f"AQ_API_KEYS binds a key to {name}, and there is no such route",
        )


def shown_routes(settings: Settings, config: Config) -> dict[str, object]:
    """For the log: how many, and where each one leads."""
    routes = config.all_routes(settings)
    shown = [f"{route.name}={shown_receiver(route.url or '')}" for route in routes]
    doors = " ".join(f"{door.name}={door.kind}:{door.route}" for door in config.doors)
    return {"count": len(routes), "routes": " ".join(shown), "doors": doors or None}


def route_rows(settings: Settings, config: Config) -> list[dict[str, object]]:
    """What `check-config` shows of each route: no secret, of the receiver no path, and times in
    seconds."""
    return [
        {
            "route": route.name,
            "receiver": shown_receiver(route.url or ""),
            "signed": bool(route.secrets),
            "headers": [name for name, _ in route.headers],
            "ttl": route.default_ttl_ms / 1000,
            "max_wait": route.max_wait_ms / 1000,
            "max_messages": route.max_messages,
            "max_batch_bytes": route.max_batch_bytes,
            "payload": route.payload,
            "order": route.order,
            "timeout": route.timeout_ms / 1000,
            "retry_schedule": [each / 1000 for each in route.retry_schedule_ms],
            "max_deliveries": route.max_deliveries,
            "answer": route.answer,
            "answer_within": route.answer_within_ms / 1000,
        }
        for route in config.all_routes(settings)
    ]


def door_rows(config: Config) -> list[dict[str, object]]:
    """The same for the doors of the file."""
    return [
        {
            "door": door.name,
            "kind": door.kind,
            "route": door.route,
            "secret": bool(door.secrets),
            "groups": door.groups,
            "own_messages": door.own_messages,
            "hold": door.hold_ms / 1000,
            "max_age": door.max_age_s,
        }
        for door in config.doors
    ]


# From a parent to its workers


def written(config: Config) -> dict[str, Any]:
    """As JSON has it."""
    return asdict(config)


def read_written(said: dict[str, Any]) -> Config:
    """The other way."""
    routes = [{name: tuples(value) for name, value in each.items()} for each in said["routes"]]
    doors = [{name: tuples(value) for name, value in each.items()} for each in said["doors"]]
    return Config(tuple(Route(**each) for each in routes), tuple(Door(**each) for each in doors))


def tuples(value: Any) -> Any:
    """JSON has lists where settings and routes have tuples."""
    return tuple(tuples(each) for each in value) if isinstance(value, list) else value
