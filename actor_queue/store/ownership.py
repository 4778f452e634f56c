"""The owner's verbs: claims, verdicts, leases. Each carries the lease and may be told `Fenced`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Sequence

import anyio

from actor_queue.core.batch import Attempt
from actor_queue.core.shard import shard_of
from actor_queue.store.api import (
    Claim,
    DueUser,
    Lease,
    LeaseHeld,
    LeaseInfo,
    News,
    Replica,
    SettleResult,
    StoreUnavailable,
)
from actor_queue.store.base import (
    ATTEMPT_MARGIN_MS,
    READING,
    UNREADABLE,
    Spoilt,
    StoreBase,
    expect,
    listed,
    number,
    octets,
    text,
)
from actor_queue.store.keys import UserKeys
from actor_queue.store.replies import (
    WANTED,
    acquired,
    claim_of,
    due_users,
    lease_info,
    news_of,
    pairs,
    settled,
)
from actor_queue.store.runner import Call
from actor_queue.store.scripts import script

Told = dict[str, str | int | None]
REPLICA_NAME = re.compile(rb"[!-~]{1,200}")
"""Whatever else stands among the members is nobody's heartbeat, and owns no shard."""

STRANGERS_MAX = 10_000
"""In one shard's timer index. Behind more than that nobody is found by a sweep."""

CLAIM_TURNS_MAX = 8
"""How often a claim starts over because the line changed under it."""


class Ownership(StoreBase):
    """Everything a replica does because it owns a shard."""

    _nonsense: str | None = None
    """Why what answers is not believed to be the store, until it makes sense again."""

    async def claim(self, lease: Lease, user: str, token: str, batch_id: str) -> Claim:
        """See `Store.claim`."""
        try:
            claim = await self._claim(lease, user, token, batch_id)
        except Spoilt:
            if await self._is_sound(lease.shard):
                self._spoilt.note(lease.shard, user, anyio.current_time())
                self._count_passed_over()
            raise
        if self._spoilt.of(lease.shard):
            self._spoilt.forget(lease.shard, user)
            self._count_passed_over()
        return claim

    async def _is_sound(self, shard: int) -> bool:
        """Whether the keys that all users of a shard share hold what they should."""
        keys = self._keys.shards[shard]
        look = Call(script("lease_v1"), (keys.lease, keys.due), (self._now,))
        return await self._run_each([look]) != [None]

    async def _claim(self, lease: Lease, user: str, token: str, batch_id: str) -> Claim:
        shard, mine = self._user_keys(user)
        for _ in range(CLAIM_TURNS_MAX):
            reply = listed(
                await self._call(
                    "claim_v2",
                    (
                        shard.lease,
                        shard.due,
                        mine.state,
                        mine.pending,
                        mine.line,
                        mine.flight,
                        mine.history,
                    ),
                    self._now,
                    lease.epoch,
                    lease.nonce,
                    mine.user,
                    token,
                    batch_id,
                    self._attempt_ms,
                    self._settings.payload,
                )
            )
            with READING:
                what, *more = reply
            if what == b"replay":
                with READING:
                    (named,) = map(text, more)
                reply = await self._claim_replay(lease, mine, token, named)
            with READING:
                if reply[0] != b"again":
                    return claim_of(user, reply, token)
        raise StoreUnavailable("the user's line keeps changing", executed=False)

    async def _claim_replay(
        self, lease: Lease, mine: UserKeys, token: str, batch_id: str
    ) -> list[object]:
        shard = self._keys.shards[mine.shard]
        letter, items = shard.letter(batch_id)
        return listed(
            await self._call(
                "claim_replay_v1",
                (
                    shard.lease,
                    shard.due,
                    mine.state,
                    mine.line,
                    mine.flight,
                    shard.dead,
                    letter,
                    items,
                ),
                self._now,
                lease.epoch,
                lease.nonce,
                mine.user,
                token,
                batch_id,
                self._attempt_ms,
            )
        )

    @property
    def _attempt_ms(self) -> int:
        return self._settings.webhook_timeout_ms + ATTEMPT_MARGIN_MS

    async def ack(self, attempt: Attempt, status: int, took_ms: int | None = None) -> SettleResult:
        """See `Store.ack`."""
        batch = attempt.batch
        shard, mine = self._user_keys(batch.user)
        entry = _history(attempt, "delivered", status, None, self._told(None, took_ms))
        return settled(
            await self._call(
                "ack_v2",
                (shard.lease, shard.due, mine.state, mine.flight, mine.history),
                self._now,
                mine.user,
                batch.id,
                entry,
                *self._caller(shard),
                attempt.token,
            )
        )

    async def retry(
        self,
        lease: Lease,
        attempt: Attempt,
        after_ms: int,
        status: int | None,
        reason: str,
        answer: str | None = None,
        took_ms: int | None = None,
    ) -> SettleResult:
        """See `Store.retry`."""
        batch = attempt.batch
        shard, mine = self._user_keys(batch.user)
        told = self._told(answer, took_ms)
        entry = _history(attempt, "retry", status, reason, told)
        return settled(
            await self._call(
                "retry_v2",
                (shard.lease, shard.due, mine.state, mine.history, mine.flight),
                self._now,
                lease.epoch,
                lease.nonce,
                mine.user,
                batch.id,
                attempt.token,
                after_ms,
                entry,
                *self._caller(shard),
                _history(attempt, "failed", status, reason, told),
            )
        )

    async def divide(
        self,
        lease: Lease,
        attempt: Attempt,
        status: int | None,
        reason: str,
        answer: str | None = None,
        took_ms: int | None = None,
    ) -> SettleResult:
        """See `Store.divide`."""
        batch = attempt.batch
        shard, mine = self._user_keys(batch.user)
        told = self._told(answer, took_ms)
        entry = _history(attempt, "divided", status, reason, told)
        return settled(
            await self._call(
                "divide_v1",
                (
                    shard.lease,
                    shard.due,
                    mine.state,
                    mine.pending,
                    mine.line,
                    mine.flight,
                    mine.history,
                ),
                self._now,
                lease.epoch,
                lease.nonce,
                mine.user,
                batch.id,
                attempt.token,
                entry,
                *self._caller(shard),
                _history(attempt, "failed", status, reason, told),
            )
        )

    async def bury(
        self,
        lease: Lease,
        attempt: Attempt,
        status: int | None,
        reason: str,
        answer: str | None = None,
        took_ms: int | None = None,
    ) -> SettleResult:
        """See `Store.bury`."""
        batch = attempt.batch
        shard, mine = self._user_keys(batch.user)
        letter, items = shard.letter(batch.id)
        told = self._told(answer, took_ms)
        entry = _history(attempt, "dead", status, reason, told)
        return settled(
            await self._call(
                "bury_v2",
                (
                    shard.lease,
                    shard.due,
                    mine.state,
                    mine.flight,
                    mine.history,
                    shard.dead,
                    letter,
                    items,
                ),
                self._now,
                lease.epoch,
                lease.nonce,
                mine.user,
                batch.id,
                attempt.token,
                reason,
                entry,
                *self._caller(shard),
                _history(attempt, "failed", status, reason, told),
                json.dumps({"status": status, **told}),
            )
        )

    def _told(self, answer: str | None, took_ms: int | None) -> Told:
        """What is kept of an attempt, by the names that it is kept under."""
        told: Told = {"answer": answer, "by": self.replica or None, "ms": took_ms}
        return {name: value for name, value in told.items() if value is not None}

    async def due(self, shards: Sequence[int], within_ms: int, limit: int) -> list[list[DueUser]]:
        """See `Store.due`."""
        found = script("due_v1")
        # Whoever is no user of the shard takes nobody's place among those who are looked at.
        calls = [
            Call(
                found,
                (self._keys.shards[shard].due,),
                (self._now, within_ms, limit + self._aside_in(shard)),
            )
            for shard in shards
        ]
        asked = [limit + self._aside_in(shard) for shard in shards]
        replies = await self._run_each(calls)
        return [
            self._ours(shard, reply, most)[:limit]
            for shard, reply, most in zip(shards, replies, asked, strict=True)
        ]

    def _aside_in(self, shard: int) -> int:
        return self._strangers.get(shard, 0) + self._spoilt.of(shard)

    def _ours(self, shard: int, reply: object, most: int) -> list[DueUser]:
        """Without strangers and spoilt users, who are counted: the next look goes on behind them.

        `most` is how many entries were asked for.
        """
        users, strangers = due_users(reply)
        all_found = len(users) + strangers < most
        ours = [user for user in users if shard_of(user.user, self._settings.shards) == shard]
        strangers += len(users) - len(ours)
        if strangers or shard in self._strangers:
            self._strangers[shard] = min(strangers, STRANGERS_MAX)
            self._count_passed_over()
        if not self._spoilt.of(shard):
            return ours
        names = [each.user for each in ours]
        hidden = self._spoilt.hidden(shard, names, anyio.current_time(), all_found=all_found)
        self._count_passed_over()
        return [each for each in ours if each.user not in hidden]

    def _count_passed_over(self) -> None:
        self.set_aside.now = sum(self._strangers.values()) + len(self._spoilt)
        self.set_aside.most = max(self.set_aside.most, self.set_aside.now)

    def _forget(self, shard: int) -> None:
        """Another replica looks through the shard from now on."""
        self._strangers.pop(shard, None)
        self._spoilt.forget_shard(shard)
        self._count_passed_over()

    # Leases

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

    async def listen(self, hear: Callable[[News], None]) -> None:
        """See `Store.listen`."""
        channels = (self._keys.channel + self.replica.encode(), self._keys.everyone)
        await self._runner.listen(channels, lambda message: hear(news_of(message)))

    async def want_events(self) -> None:
        """See `Store.want_events`."""
        await self._publish(self._keys.everyone, WANTED + self.replica.encode())

    async def publish_events(self, text: bytes) -> None:
        """See `Store.publish_events`."""
        await self._publish(self._keys.events, text)

    async def listen_to_events(self, hear: Callable[[bytes | None], None]) -> None:
        """See `Store.listen_to_events`."""
        await self._runner.listen((self._keys.events,), hear)

    async def _publish(self, channel: bytes, text: bytes) -> None:
        await self._call("publish_v1", (self._keys.members,), channel, text)

    async def leases(self) -> list[LeaseInfo]:
        """See `Store.leases`."""
        look = script("lease_v1")
        calls = [Call(look, (keys.lease, keys.due), (self._now,)) for keys in self._keys.shards]
        infos = []
        for shard, reply in enumerate(await self._run_each(calls)):
            with READING:
                infos.append(lease_info(shard, reply))
        return infos

    async def heartbeat(self, replica: str, ttl_ms: int) -> list[Replica]:
        """See `Store.heartbeat`."""
        reply = await self._call("heartbeat_v1", (self._keys.members,), self._now, replica, ttl_ms)
        # Asked by every replica all the time, and its answer is made by nobody but the server: one
        # that cannot be read says that what answers is no Redis of ours.
        self._nonsense = UNREADABLE
        with READING:
            members = [
                Replica(text(name), number(ms))
                for name, ms in pairs(reply)
                if REPLICA_NAME.fullmatch(octets(name))
            ]
        self._nonsense = None
        return members

    async def leave(self, replica: str) -> None:
        """See `Store.leave`."""
        await self._call("leave_v1", (self._keys.members,), replica)

    async def tell_free(self, replica: str) -> None:
        """See `Store.tell_free`."""
        await self._call("tell_free_v1", (self._keys.members,), replica, self._keys.channel)


def _history(
    attempt: Attempt, outcome: str, status: int | None, reason: str | None, told: Told
) -> str:
    """One line of history; the script puts the time in front.

    What the first release does not know of stands behind the reason, after a line break: it reads
    exactly these seven values, and shows all of that as the reason.
    """
    batch = attempt.batch
    why = f"{reason or ''}\n{json.dumps(told)}" if told else reason
    facts = [batch.id, attempt.number, outcome, len(batch.stored), status, why]
    return json.dumps(facts)[1:-1]
