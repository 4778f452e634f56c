"""The owner's verbs: claims, verdicts, leases. Each carries the lease and may be told `Fenced`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Sequence
from typing import cast, get_args

from actor_queue.core.batch import Attempt, Batch, PayloadMode, Reason
from actor_queue.store.api import (
    Claim,
    DueElsewhere,
    DueUser,
    Fenced,
    Freed,
    Gone,
    Lease,
    LeaseHeld,
    LeaseInfo,
    Malformed,
    Missed,
    News,
    NotDue,
    Nothing,
    Replica,
    Settled,
    SettleResult,
    StoreUnavailable,
    Taken,
    Wanted,
)
from actor_queue.store.base import ATTEMPT_MARGIN_MS, StoreBase, listed, number, text
from actor_queue.store.keys import UserKeys
from actor_queue.store.runner import Call
from actor_queue.store.scripts import script

Told = dict[str, str | int | None]
WANTED = b"wanted:"
"""With the replica that has listeners after it."""
NUDGE = re.compile(rb"(\d{1,9}):(\d{1,15}):(.{1,2048})", re.DOTALL)

CLAIM_TURNS_MAX = 8
"""How often a claim starts over because the line changed under it."""


class Ownership(StoreBase):
    """Everything a replica does because it owns a shard."""

    async def claim(self, lease: Lease, user: str, token: str, batch_id: str) -> Claim:
        """See `Store.claim`."""
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
            if reply[0] == b"replay":
                reply = await self._claim_replay(lease, mine, token, text(reply[1]))
            if reply[0] != b"again":
                return _claim(user, reply, token)
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
        return _settled(
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
        return _settled(
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
        return _settled(
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
        return _settled(
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
        calls = [
            Call(found, (self._keys.shards[shard].due,), (self._now, within_ms, limit))
            for shard in shards
        ]
        return [
            [DueUser(text(name), number(ms)) for name, ms in _pairs(reply)]
            for reply in await self._run(calls)
        ]

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
        before, wanted = script("lease_before_v1"), script("acquire_v1")
        keys = [(self._keys.shards[shard].lease,) for shard in shards]
        looks = [Call(before, key, (self._now,)) for key in keys]
        calls = [Call(wanted, key, (self._now, replica, nonce, ttl_ms)) for key in keys]
        replies = await self._run([*looks, *calls])
        got: list[Lease | LeaseHeld] = []
        for shard, was, reply in zip(
            shards, replies[: len(keys)], replies[len(keys) :], strict=True
        ):
            said = listed(reply)
            if said[0] == b"ok":
                got.append(Lease(shard, number(said[1]), nonce, _taken(was)))
            else:
                got.append(LeaseHeld(shard, text(said[1]), number(said[2])))
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
        return [reply == 1 for reply in await self._run(calls)]

    async def release(self, leases: Sequence[Lease]) -> None:
        """See `Store.release`."""
        give = script("release_v1")
        calls = [
            Call(give, (self._keys.shards[held.shard].lease,), (held.epoch, held.nonce))
            for held in leases
        ]
        await self._run(calls)

    async def listen(self, hear: Callable[[News], None]) -> None:
        """See `Store.listen`."""
        channels = (self._keys.channel + self.replica.encode(), self._keys.everyone)
        await self._runner.listen(channels, lambda message: hear(_news(message)))

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
        for shard, reply in enumerate(await self._run(calls)):
            owner, epoch, since, left, waiting = listed(reply)
            infos.append(
                LeaseInfo(
                    shard,
                    text(owner) or None,
                    number(epoch),
                    number(since) or None,
                    number(left),
                    number(waiting),
                )
            )
        return infos

    async def heartbeat(self, replica: str, ttl_ms: int) -> list[Replica]:
        """See `Store.heartbeat`."""
        reply = await self._call("heartbeat_v1", (self._keys.members,), self._now, replica, ttl_ms)
        return [Replica(text(name), number(ms)) for name, ms in _pairs(reply)]

    async def leave(self, replica: str) -> None:
        """See `Store.leave`."""
        await self._call("leave_v1", (self._keys.members,), replica)

    async def tell_free(self, replica: str) -> None:
        """See `Store.tell_free`."""
        await self._call("tell_free_v1", (self._keys.members,), replica, self._keys.channel)


def _taken(was: object) -> Taken:
    owner, why = (text(each) for each in listed(was))
    # Held until the acquire, or held by us and asked for again: it ended meanwhile, or it is ours.
    reason = "lease_ended" if why == "held" else why
    return cast("Taken", (reason, owner or None))


def _claim(user: str, reply: list[object], token: str) -> Claim:
    match reply[0]:
        case b"attempt":
            return attempt_of(user, reply, token)
        case b"wait":
            return NotDue(number(reply[1]))
        case b"none":
            return Nothing()
    assert reply[0] == b"fenced", reply[0]
    return Fenced()


def attempt_of(user: str, reply: list[object], token: str) -> Attempt:
    """An attempt, from the reply that the scripts' headers describe."""
    _, count, left, name, seq, reason, mode, first, last, due, closed, items = reply
    batch = batch_of(text(name), user, (seq, reason, mode, first, last, due, closed), items)
    return Attempt(batch, number(count), number(left), token)


def batch_of(name: str, user: str, facts: Sequence[object], items: object) -> Batch:
    """A batch, from its stored facts in the order seq, reason, mode, first, last, due, closed."""
    seq, reason, mode, first, last, due, closed = facts
    why, how = text(reason), text(mode)
    assert why in get_args(Reason), why
    assert how in get_args(PayloadMode), how
    return Batch(
        name,
        user,
        number(seq),
        cast("Reason", why),
        cast("PayloadMode", how),
        number(first),
        number(last),
        number(due),
        number(closed),
        tuple(cast("list[bytes]", items)),
    )


def _news(message: bytes | None) -> News:
    """`shard:ms:user` or `free`, as the scripts publish them; None: something was missed.

    Raises nothing: whoever may write to Redis may publish anything.
    """
    if message is None:
        return Missed()
    if message == b"free":
        return Freed()
    if message.startswith(WANTED):
        return Wanted()
    found = NUDGE.fullmatch(message)
    if found is None:
        return Malformed()
    try:
        return DueElsewhere(int(found[1]), found[3].decode(), int(found[2]))
    except UnicodeDecodeError:
        return Malformed()


def _settled(reply: object) -> SettleResult:
    said = listed(reply)
    match said[0]:
        case b"ok" | b"known":
            left = number(said[1])
            return Settled(None if left < 0 else left, known=said[0] == b"known")
        case b"gone":
            return Gone()
    assert said[0] == b"fenced", said[0]
    return Fenced()


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


def _pairs(reply: object) -> list[tuple[object, object]]:
    flat = listed(reply)
    return list(zip(flat[::2], flat[1::2], strict=True))
