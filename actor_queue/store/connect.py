"""Which runner a REDIS_URL asks for."""

from __future__ import annotations

from actor_queue.core.settings import Durability
from actor_queue.store.address import CLUSTER, SENTINEL, connector, nodes, scheme_of
from actor_queue.store.cluster import ClusterRunner
from actor_queue.store.pipe import Settle
from actor_queue.store.runner import Call
from actor_queue.store.sentinel import SentinelRunner
from actor_queue.store.server import ServerRunner

AnyRunner = ServerRunner | SentinelRunner | ClusterRunner


def runner_for(
    url: str, probe: Call, durability: Durability = "memory", *, settle: Settle | None = None
) -> AnyRunner:
    """Not connected yet: run its `serve`, then await `prepare`.

    `probe` is a cheap write that tells whether writes are possible again. `settle` is awaited
    before messages are sent (see `store.pipe`). Raises `StoreMisconfigured` for a url that cannot
    be used.
    """
    scheme = scheme_of(url)
    if scheme == CLUSTER:
        return ClusterRunner(nodes(url), probe, durability, settle=settle)
    if scheme == SENTINEL:
        return SentinelRunner(nodes(url), probe, durability, settle=settle)
    return ServerRunner(connector(url), probe, durability, settle=settle)
