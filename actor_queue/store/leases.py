"""Leases: the right to claim in a shard, asked for, renewed and given back."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import cast

from actor_queue.store.api import Lease, LeaseHeld, LeaseInfo, Taken
from actor_queue.store.due import DueUsers
from actor_queue.store.scripts import script
from actor_queue.transport.reading import READING, expect, listed, number, shown
from actor_queue.transport.runner import Call


class Leases(DueUsers):
    """All of several shards at once, in one round trip to each server."""

    def by_server(self, shards: Sequence[int]) -> list[list[int]]:
        """See `Store.by_server`."""
        groups: dict[Hashable, list[int]] = {}
        for shard in shards:
            server = self._runner.server_of(self._keys.shards[shard].lease)
            groups.setdefault(server, []).append(shard)
        return list(groups.values())

    async def acquire(
        self, shards: Sequence[int], replica: str, nonce: str, ttl_ms: int
    ) -> list[Lease | LeaseHeld]:
        """See `Store.acquire`."""
        got = await self._ask_for(shards, replica, nonce, ttl_ms)
        spoilt = [shard for shard in shards if shard not in got]
        if spoilt:
            move = script("lease_aside_v1")
            keys = [self._keys.shards[shard] for shard in spoilt]
            moved = await self._run_each(
                [Call(move, (each.lease, each.aside), ()) for each in keys]
            )
            self.set_aside.leases += sum(reply == 1 for reply in moved)
            got |= await self._ask_for(spoilt, replica, nonce, ttl_ms)
        # What cannot be asked for is as if somebody held it, so it is asked for again later.
        return [got.get(shard, LeaseHeld(shard, "", ttl_ms)) for shard in shards]

    async def _ask_for(
        self, shards: Sequence[int], replica: str, nonce: str, ttl_ms: int
    ) -> dict[int, Lease | LeaseHeld]:
        """By shard; without those at whose lease's key stands another kind of value."""
        before, wanted = script("lease_before_v1"), script("acquire_v2")
        keys = [(self._keys.shards[shard].lease,) for shard in shards]
        looks = [Call(before, key, (self._now,)) for key in keys]
        calls = [Call(wanted, key, (self._now, replica, nonce, ttl_ms)) for key in keys]
        replies = await self._run_each([*looks, *calls])
        got: dict[int, Lease | LeaseHeld] = {}
        for shard, was, reply in zip(
            shards, replies[: len(keys)], replies[len(keys) :], strict=True
        ):
            if was is not None and reply is not None:
                with READING:
                    got[shard] = acquired(shard, nonce, was, reply, ttl_ms)
        return got

    async def renew(self, leases: Sequence[Lease], ttl_ms: int) -> list[bool]:
        """See `Store.renew`."""
        extend = script("renew_v1")
        calls = [
            Call(
                extend,
                (self._keys.shards[held.shard].lease,),
                (self._now, held.epoch, held.nonce, ttl_ms),
            )
            for held in leases
        ]
        replies = await self._run_each(calls)
        expect(all(reply in (0, 1, None) for reply in replies))
        for held, reply in zip(leases, replies, strict=True):
            if reply != 1:
                self._forget(held.shard)
        return [reply == 1 for reply in replies]

    async def release(self, leases: Sequence[Lease]) -> None:
        """See `Store.release`."""
        give = script("release_v1")
        calls = [
            Call(give, (self._keys.shards[held.shard].lease,), (held.epoch, held.nonce))
            for held in leases
        ]
        for held in leases:
            self._forget(held.shard)
        await self._run_each(calls)

    async def leases(self) -> list[LeaseInfo]:
        """See `Store.leases`."""
        look = script("lease_v1")
        calls = [Call(look, (keys.lease, keys.due), (self._now,)) for keys in self._keys.shards]
        infos = []
        for shard, reply in enumerate(await self._run_each(calls)):
            with READING:
                infos.append(lease_info(shard, reply))
        return infos


def acquired(shard: int, nonce: str, was: object, reply: object, ttl_ms: int) -> Lease | LeaseHeld:
    what, *said = listed(reply)
    if what == b"ok":
        return Lease(shard, number(said[0]), nonce, _taken(was))
    expect(what == b"held")
    left = number(said[1])
    # A lease never has less than nothing left: what is written there is no time.
    return LeaseHeld(shard, shown(said[0]), left if left >= 0 else ttl_ms)


def _taken(was: object) -> Taken:
    owner, why = (shown(each) for each in listed(was))
    # Held until the acquire, or held by us and asked for again: it ended meanwhile, or it is ours.
    reason = "lease_ended" if why == "held" else why
    return cast("Taken", (reason, owner or None))


def lease_info(shard: int, reply: object) -> LeaseInfo:
    if reply is None:
        return LeaseInfo(shard, None, 0, None, 0, 0)
    owner, epoch, since, left, waiting = listed(reply)
    return LeaseInfo(
        shard,
        shown(owner) or None,
        number(epoch),
        number(since) or None,
        number(left),
        number(waiting),
    )
