"""Claims: taking a user's next attempt, if it is due."""

from __future__ import annotations

import re
from typing import get_args

import anyio

from actor_queue.core.batch import StoredMode
from actor_queue.core.conversation import route_of
from actor_queue.core.payload import stored_mode
from actor_queue.store.api import Claim, Fenced, Lease, NotDue, Nothing, Settled, StoreUnavailable
from actor_queue.store.base import ATTEMPT_MARGIN_MS, Spoilt
from actor_queue.store.batches import attempt_of
from actor_queue.store.due import DueUsers
from actor_queue.store.history_lines import history_line
from actor_queue.store.keys import UserKeys
from actor_queue.store.scripts import script
from actor_queue.store.verdicts import settled
from actor_queue.transport.reading import READING, expect, listed, number, text
from actor_queue.transport.runner import Call

CLAIM_TURNS_MAX = 8
"""How often a claim starts over because the line changed under it."""

NEWER_MODE = re.compile(r"[a-z][a-z0-9_+]{0,40}")
"""What a payload mode of a release to come may be called."""
LEFT_MS = 5_000
"""How long a batch in such a mode is left to a replica that can render it, before the next look."""
LEFT = "kept as only a newer release can send it"


class Claims(DueUsers):
    """Each carries the lease and may be told `Fenced`."""

    async def claim(
        self, lease: Lease, user: str, token: str, batch_id: str, *, spare_ms: int = 0
    ) -> Claim:
        """See `Store.claim`."""
        try:
            claim = await self._claim(lease, user, token, batch_id, spare_ms)
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

    async def _claim(
        self, lease: Lease, user: str, token: str, batch_id: str, spare_ms: int
    ) -> Claim:
        shard, mine = self._user_keys(user)
        route = self._route(route_of(user))
        attempt_ms = route.timeout_ms + spare_ms + ATTEMPT_MARGIN_MS
        for _ in range(CLAIM_TURNS_MAX):
            reply = listed(
                await self._call(
                    "claim_v4",
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
                    attempt_ms,
                    stored_mode(route.payload, route.order, self._modes),
                    len(route.retry_schedule_ms) + 1,
                )
            )
            with READING:
                what, *more = reply
            if what == b"replay":
                with READING:
                    (named,) = map(text, more)
                reply = await self._claim_replay(lease, mine, token, named, attempt_ms)
            with READING:
                if reply[0] in (b"attempt", b"unanswered") and _is_newer(text(reply[6])):
                    return await self._leave_to_newer(lease, user, token, reply)
                if reply[0] != b"again":
                    return claim_of(user, reply, token)
        raise StoreUnavailable("the user's line keeps changing", executed=False)

    async def _leave_to_newer(
        self, lease: Lease, user: str, token: str, reply: list[object]
    ) -> Claim:
        """No attempt was made, so none is spent: a release that was rolled back from would else
        bury what it cannot even read."""
        shard, mine = self._user_keys(user)
        batch_id, attempts, messages = text(reply[3]), number(reply[1]), len(listed(reply[11]))
        left = await self._call(
            "retry_v3",
            (shard.lease, shard.due, mine.state, mine.history, mine.flight),
            self._now,
            lease.epoch,
            lease.nonce,
            mine.user,
            batch_id,
            token,
            LEFT_MS,
            history_line((batch_id, attempts, "retry", messages, None), LEFT, {}),
            *self._caller(shard),
            history_line((batch_id, attempts, "failed", messages, None), LEFT, {}),
            0,
        )
        match settled(left):
            case Settled(int(next_in_ms)):
                return NotDue(next_in_ms)
            case Fenced():
                return Fenced()
        return Nothing()

    async def _claim_replay(
        self, lease: Lease, mine: UserKeys, token: str, batch_id: str, attempt_ms: int
    ) -> list[object]:
        shard = self._keys.shards[mine.shard]
        letter, items = shard.letter(batch_id)
        return listed(
            await self._call(
                "claim_replay_v2",
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
                attempt_ms,
            )
        )


def _is_newer(mode: str) -> bool:
    return mode not in get_args(StoredMode) and NEWER_MODE.fullmatch(mode) is not None


def claim_of(user: str, reply: list[object], token: str) -> Claim:
    match reply[0]:
        case b"attempt" | b"unanswered":
            return attempt_of(user, reply, token)
        case b"wait":
            return NotDue(number(reply[1]))
        case b"none":
            return Nothing()
    expect(reply[0] == b"fenced")
    return Fenced()
