"""Opens a TCP connection to an address that was checked, and to no other.

The name is looked up once, each address of the answer is judged by `core.addresses`, and what is
connected to is one of those that passed. `trio.open_tcp_stream` looks a name up itself, so a name
could be one address when it is judged and another when it is connected to.

A lookup is a call of the C library in a thread, which nothing can interrupt: when its attempt is
over, the thread goes on until the resolver gives up. So each origin has a few threads of its own,
and a name whose DNS is dead keeps no thread from anybody else.

The tries overlap as there (RFC 8305, "happy eyeballs"): the next begins when one has failed, or
after a quarter of a second.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import partial
from typing import Final, NamedTuple

import trio

from actor_queue.core.addresses import allowed
from actor_queue.core.settings import Networks

STAGGER_S: Final = 0.25
LOOKUPS_MAX: Final = 4
"""Lookups of one origin that are under way at once, those that nobody waits for any more among
them."""


class NotAllowed(OSError):
    """Every address of the name is one that no webhook may be sent to."""


class Target(NamedTuple):
    """One answer of a lookup, as a socket takes it."""

    family: int
    protocol: int
    address: tuple[str | int | bytes, ...]


async def connected(
    host: bytes, port: int, networks: Networks, lookups: trio.CapacityLimiter
) -> trio.SocketStream:
    """Raises OSError: `NotAllowed`, that of the lookup, or one whose cause has each try's."""
    targets = targets_of(await _looked_up(host, port, lookups))
    passed = [target for target in targets if may_connect(str(target.address[0]), networks)]
    if targets and not passed:
        raise NotAllowed("address not allowed")
    return trio.SocketStream(await _first(passed))


def may_connect(address: str, networks: Networks) -> bool:
    """Whether the address that a lookup has answered may be connected to."""
    try:
        return allowed(ipaddress.ip_address(address), networks)
    except ValueError:
        return False


async def _looked_up(host: bytes, port: int, lookups: trio.CapacityLimiter) -> list[Target]:
    """What `trio.socket.getaddrinfo` does, in a thread of these and not of those of all."""
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = look_up(flags=socket.AI_NUMERICHOST)
    except socket.gaierror as error:
        if error.errno != socket.EAI_NONAME:
            raise
        found = await trio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=lookups)
    return [Target(each[0], each[2], each[4]) for each in found]


def targets_of(found: list[Target]) -> list[Target]:
    """The best first, and one of the other family, if there is one, behind it."""
    found = list(dict.fromkeys(found))
    for index, target in enumerate(found):
        if target.family != found[0].family:
            return [found[0], target, *found[1:index], *found[index + 1 :]]
    return found


async def _first(targets: list[Target]) -> trio.socket.SocketType:
    """The socket that is connected first; the others are closed."""
    winners: list[trio.socket.SocketType] = []
    failures: list[OSError] = []

    async def attempt(target: Target, failed: trio.Event) -> None:
        sock = None
        try:
            sock = trio.socket.socket(target.family, socket.SOCK_STREAM, target.protocol)
            await sock.connect(target.address)
        except OSError as error:
            failures.append(error)
            failed.set()
        else:
            winners.append(sock)
            nursery.cancel_scope.cancel()
        finally:
            if sock is not None and sock not in winners[:1]:
                sock.close()

    try:
        async with trio.open_nursery() as nursery:
            for target in targets:
                failed = trio.Event()
                nursery.start_soon(attempt, target, failed)
                with trio.move_on_after(STAGGER_S):
                    await failed.wait()
    except BaseException:
        for sock in winners:
            sock.close()
        raise
    if not winners:
        raise OSError("no connection") from ExceptionGroup("each try", failures)
    return winners[0]
