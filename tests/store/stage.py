"""Where a scenario of the conformance suite plays: a store, a clock, and shorthand for a burst."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import trio

from actor_queue.core.batch import Attempt, batch_id
from actor_queue.core.message import Accepted, Message
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.api import Claim, Lease, Store
from tests.servers import fresh_namespace
from tests.store.driver import Dump, Now

Open = Callable[[Settings, Now], AbstractAsyncContextManager["Stage"]]
ATTEMPT_MS = 3_000
"""How long an attempt may take under the suite's settings."""


@dataclass
class Stage:
    """`dump` reads everything in the namespace, by a road of its own."""

    store: Store
    settings: Settings
    now: Now
    dump: Callable[[], Dump]
    serial: int = 0

    async def send(self, text: str, *, user: str = "ana", ttl_ms: int = 1_000, **more: Any) -> Any:
        """Append one message; its body is `{"message": text}`."""
        (answer,) = await self.store.append([self.message(text, user=user, ttl_ms=ttl_ms, **more)])
        return answer

    def message(
        self, text: str, *, user: str = "ana", ttl_ms: int = 1_000, message_id: str | None = None
    ) -> Message:
        self.serial += 1
        body = json.dumps({"message": text}).encode()
        return Message(user, body, ttl_ms, message_id or f"m{self.serial}", message_id is not None)

    async def accepted(self, text: str, **more: Any) -> Accepted:
        answer = await self.send(text, **more)
        assert isinstance(answer, Accepted)
        return answer

    async def own(self, replica: str = "r1", *, user: str = "ana", ttl_ms: int = 60_000) -> Lease:
        """The lease of the user's shard, with a nonce named after the replica."""
        shard = shard_of(user, self.settings.shards)
        (lease,) = await self.store.acquire([shard], replica, f"nonce of {replica}", ttl_ms)
        assert isinstance(lease, Lease), lease
        return lease

    async def claim(self, lease: Lease, *, user: str = "ana", token: str | None = None) -> Claim:
        self.serial += 1
        name = batch_id(lease.shard, f"{self.serial:020x}")
        return await self.store.claim(lease, user, token or f"t{self.serial}", name)

    async def attempt(self, lease: Lease, *, user: str = "ana") -> Attempt:
        """A claim that must be granted."""
        claim = await self.claim(lease, user=user)
        assert isinstance(claim, Attempt), claim
        return claim

    async def overtaken(self) -> tuple[Lease, Attempt, Attempt]:
        """An heir's lease, and two attempts at one batch: of who lost the lease, and the heir's.

        The first attempt has had its time and may have succeeded, the second has been under way
        for 0.1 s. A newer message, "b", is due.
        """
        old = await self.own("r1", ttl_ms=100)
        await self.send("a", ttl_ms=0)
        first = await self.attempt(old)
        await self.send("b", ttl_ms=0)
        self.now.ms += ATTEMPT_MS
        heir = await self.own("r2")
        second = await self.attempt(heir)
        self.now.ms += 100
        return heir, first, second

    async def changes_nothing(self, verb: str, *args: Any, **named: Any) -> Any:
        """The answer of a call that must leave every key as it was."""
        before = self.dump()
        answer = await getattr(self.store, verb)(*args, **named)
        assert self.dump() == before, f"{verb} changed something"
        return answer

    async def bury_one(self, lease: Lease, *, user: str = "ana") -> str:
        """The id of a new dead letter."""
        await self.send("bad", user=user, ttl_ms=0)
        attempt = await self.attempt(lease, user=user)
        await self.store.bury(lease, attempt, 410, "answered 410")
        return attempt.batch.id


def texts(found: Attempt | tuple[bytes, ...]) -> list[str]:
    """The messages of an attempt, or of stored items."""
    items = found.batch.stored if isinstance(found, Attempt) else found
    return [json.loads(item)[3]["message"] for item in items]


def scenario(**overrides: Any) -> Callable[[Callable[..., Awaitable[None]]], Any]:
    """Make `async def test_x(self, s: Stage)` a test; its class has the fixture `opens`."""

    def as_test(body: Callable[..., Awaitable[None]]) -> Any:
        def test(self: object, opens: Open) -> None:
            trio.run(play, self, opens)

        async def play(self: object, opens: Open) -> None:
            settings = Settings(
                **{
                    "namespace": fresh_namespace(),
                    "shards": 2,
                    "webhook_timeout_ms": ATTEMPT_MS - 1_000,
                    **overrides,
                }
            )
            with trio.fail_after(30):
                async with opens(settings, Now()) as stage:
                    await body(self, stage)

        test.__name__, test.__doc__ = body.__name__, inspect.getdoc(body)
        return test

    return as_test
