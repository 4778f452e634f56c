"""Which runner a REDIS_URL asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from actor_queue.core.headroom import Headroom
from actor_queue.core.settings import Durability, RedisVariable
from actor_queue.transport.address import CLUSTER, SENTINEL, connector, nodes, scheme_of
from actor_queue.transport.aim import Aim
from actor_queue.transport.cluster import ClusterRunner
from actor_queue.transport.errors import StoreMisconfigured, StoreUnavailable
from actor_queue.transport.needs import Needs
from actor_queue.transport.pipe import Settle
from actor_queue.transport.sentinel import SentinelRunner
from actor_queue.transport.server import ServerRunner

AnyRunner = ServerRunner | SentinelRunner | ClusterRunner


def runner_for(
    url: str,
    needs: Needs,
    durability: Durability = "memory",
    *,
    settle: Settle | None = None,
    reserve_bytes: int | None = 0,
    set_by: RedisVariable = "REDIS_URL",
) -> AnyRunner:
    """Not connected yet: run its `serve`, then await `prepare`.

    `settle` is awaited before messages are sent (see `transport.pipe`). `reserve_bytes` is
    AQ_REDIS_RESERVE; with 0 nobody looks how full the servers are. `set_by` is the variable that
    sentences name.
    Raises `StoreMisconfigured` for a url that cannot be used.
    """
    scheme = scheme_of(url)
    headroom = partial(Headroom, reserve_bytes) if reserve_bytes != 0 else None
    if scheme == CLUSTER:
        return ClusterRunner(nodes(url), needs, durability, settle=settle, headroom=headroom)
    if scheme == SENTINEL:
        return SentinelRunner(nodes(url), needs, durability, settle=settle, headroom=headroom)
    return ServerRunner(
        connector(url), needs, durability, settle=settle, headroom=headroom, set_by=set_by
    )


async def prepared(prepare: Callable[[], Awaitable[None]], aim: Aim | None) -> None:
    """A runner's `prepare`; where it fails because `aim` is wrong, the error says in which way.

    Raises `StoreMisconfigured`, and `StoreUnavailable` for what may pass.
    """
    try:
        await prepare()
    except (StoreUnavailable, StoreMisconfigured) as error:
        failure = error.__cause__ if isinstance(error, StoreMisconfigured) else error
        if aim is not None and isinstance(failure, StoreUnavailable):
            explained = await aim.explained(failure)
            if explained is not None:
                raise explained from error
        raise
