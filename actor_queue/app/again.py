"""SIGHUP: AQ_API_KEYS and the file of AQ_CONFIG are read again, as they are now.

A process cannot be given another environment, so a key that came in a variable or a flag stays, and
of the other settings none is taken. What is wrong is logged and changes nothing: a wrong file no
route and no key that is right. Nor does the loss of all keys: without keys everybody may do
everything, and a file that is being written must not bring that about.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import anyio

from actor_queue.app.config import ConfigError, ReadSetup, Setup, shown_routes
from actor_queue.core.api_keys import ApiKey
from actor_queue.core.config_file import Config
from actor_queue.core.settings import Settings, SettingsError
from actor_queue.runtime.lines import tell

TERMINAL = "/dev/tty"


class Use(NamedTuple):
    """Who takes what was read. Each is called only with something that can be used."""

    keys: Callable[[tuple[ApiKey, ...]], Awaitable[None]]
    config: Callable[[Config], Awaitable[None]]


async def read_on_signal(
    read: ReadSetup | None,
    before: Setup,
    use: Use,
    terminal_gone: Callable[[], None],
) -> None:
    """At each SIGHUP hand what has changed to `use`, until cancelled. Without `read` the signal
    means nothing.

    A terminal that is closed sends SIGHUP too. Whoever started the service in one, without nohup,
    means it to end then: `terminal_gone` is called.
    """
    in_terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and has_terminal()
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            if in_terminal and not has_terminal():
                terminal_gone()
            elif read is not None:
                before = await _read(partial(read, running=before.settings), before, use)


async def _read(read: Callable[[], Setup], before: Setup, use: Use) -> Setup:
    """What holds from now on."""
    settings, config = before
    try:
        found: Settings | None
        found, read_config = await anyio.to_thread.run_sync(read)
    except ConfigError as error:
        found, read_config = error.settings, None
        tell("routes_unchanged", reason=" ".join(error.sentences))
    except SettingsError as error:
        found, read_config = None, None
        tell("keys_unchanged", reason=" ".join(error.sentences))
    if found is not None and _can_be_used(settings.api_keys, found.api_keys):
        await use.keys(found.api_keys)
        settings = replace(settings, api_keys=found.api_keys)
    if read_config is not None and settings.config is not None:
        _tell_routes(settings, config, read_config)
        await use.config(read_config)
        config = read_config
    return Setup(settings, config)


def _can_be_used(before: tuple[ApiKey, ...], found: tuple[ApiKey, ...]) -> bool:
    """Whether these are the keys of now; the log says so, or why the ones before go on."""
    if before and not found:
        tell("keys_unchanged", reason="AQ_API_KEYS is not set any more: start the service anew")
        return False
    added, removed = set(found) - set(before), set(before) - set(found)
    tell("keys_read_again", added=len(added), removed=len(removed))
    return True


def _tell_routes(settings: Settings, before: Config, now: Config) -> None:
    tell("routes_read", **shown_routes(settings, now))
    here = {route.name for route in now.routes}
    gone = [route.name for route in before.routes if route.name not in here]
    if gone:
        tell("routes_missing", count=len(gone), routes=" ".join(gone))


def has_terminal() -> bool:
    """Whether this process has a terminal that can still be opened."""
    try:
        os.close(os.open(TERMINAL, os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
