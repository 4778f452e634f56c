"""Who holds which shard, in the oracle."""

from __future__ import annotations

from collections.abc import Sequence

from actor_queue.core.settings import Settings
from actor_queue.store.api import Lease, LeaseHeld, LeaseInfo
from tests.model.state import Grant


class Grants:
    """The verbs about leases."""

    settings: Settings

    def __init__(self) -> None:
        self.grants: dict[int, Grant] = {}

    def due_index(self, shard: int) -> dict[str, int]:
        raise NotImplementedError

    def _holds(self, lease: Lease, now_ms: int) -> bool:
        grant = self.grants.get(lease.shard)
        if grant is None or now_ms >= grant.expires_at_ms:
            return False
        return (grant.epoch, grant.nonce) == (lease.epoch, lease.nonce)

    def acquire(
        self, now_ms: int, shards: Sequence[int], replica: str, nonce: str, ttl_ms: int
    ) -> list[Lease | LeaseHeld]:
        return [self._acquire(now_ms, shard, replica, nonce, ttl_ms) for shard in shards]

    def _acquire(
        self, now_ms: int, shard: int, replica: str, nonce: str, ttl_ms: int
    ) -> Lease | LeaseHeld:
        grant = self.grants.get(shard)
        if grant and grant.nonce == nonce:
            grant.expires_at_ms = now_ms + ttl_ms
            return Lease(shard, grant.epoch, nonce)
        if grant and now_ms < grant.expires_at_ms:
            return LeaseHeld(shard, grant.owner, grant.expires_at_ms - now_ms)
        epoch = max((grant.epoch if grant else 0) + 1, now_ms)
        given_back = grant.given_back if grant else None
        self.grants[shard] = Grant(epoch, nonce, replica, now_ms, now_ms + ttl_ms, given_back)
        return Lease(shard, epoch, nonce)

    def renew(self, now_ms: int, leases: Sequence[Lease], ttl_ms: int) -> list[bool]:
        return [self._renew(now_ms, lease, ttl_ms) for lease in leases]

    def _renew(self, now_ms: int, lease: Lease, ttl_ms: int) -> bool:
        grant = self.grants.get(lease.shard)
        if grant is None or (grant.epoch, grant.nonce) != (lease.epoch, lease.nonce):
            return False
        grant.expires_at_ms = now_ms + ttl_ms
        return True

    def release(self, now_ms: int, leases: Sequence[Lease]) -> None:
        for lease in leases:
            grant = self.grants.get(lease.shard)
            if grant and (grant.epoch, grant.nonce) == (lease.epoch, lease.nonce):
                # Given back: a renewal on its way must not bring it to life again.
                grant.expires_at_ms, grant.nonce = 0, ""
                grant.given_back = lease

    def leases(self, now_ms: int) -> list[LeaseInfo]:
        return [self._lease_info(now_ms, shard) for shard in range(self.settings.shards)]

    def _lease_info(self, now_ms: int, shard: int) -> LeaseInfo:
        waiting = len(self.due_index(shard))
        grant = self.grants.get(shard)
        if grant is None:
            return LeaseInfo(shard, None, 0, None, 0, waiting)
        left = max(0, grant.expires_at_ms - now_ms)
        owner = grant.owner if left else None
        return LeaseInfo(shard, owner, grant.epoch, grant.since_ms, left, waiting)
