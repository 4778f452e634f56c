"""The release before this one, as far as Redis can tell: what it calls and what it can read.

It knows neither routes nor answers nor any payload mode but the first two. Its scripts are those
that it called, which are kept because its replicas run beside ours. Its Python is not kept: what is
here translates each of today's calls into the former one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from actor_queue.core.batch import Attempt
from actor_queue.store.api import Claim, Lease
from actor_queue.store.membership import FIRST_MODES
from actor_queue.store.redis import RedisStore
from actor_queue.store.routes_api import RouteStates
from actor_queue.store.scripts import script
from actor_queue.transport.reading import Unreadable
from actor_queue.transport.runner import Call

OF_THE_FORMER = {
    "claim_v4": ("claim_v2", 7, 8),
    "claim_replay_v2": ("claim_replay_v1", 8, 7),
    "retry_v3": ("retry_v2", 5, 12),
    "describe_v3": ("describe_v2", 4, 2),
    "heartbeat_v2": ("heartbeat_v1", 1, 3),
    "leave_v2": ("leave_v1", 1, 1),
}
"""By today's script, the one that it called instead, and how many of the keys and arguments."""
SINCE = ("answer", "done", "extend", "route", "due_beside")
"""Beginnings of scripts that it never called."""


def former(call: Call) -> Call:
    """What it would call."""
    name, args = call.script.name, call.args
    assert not name.startswith(SINCE), name
    if name not in OF_THE_FORMER:
        return call
    instead, keys, most = OF_THE_FORMER[name]
    if name == "claim_v4":
        assert args[7] in FIRST_MODES
    return Call(script(instead), call.keys[:keys], args[:most], call.arrived_ns)


class FormerStore(RedisStore):
    """Its store."""

    unreadable = 0
    """How many batches it claimed and could not read."""

    async def _run(self, calls: Sequence[Call]) -> list[object]:
        replies = await super()._run([former(call) for call in calls])
        return [_as_today(call, reply) for call, reply in zip(calls, replies, strict=True)]

    async def _run_each(self, calls: Sequence[Call]) -> list[object]:
        return await super()._run_each([former(call) for call in calls])

    async def claim(
        self, lease: Lease, user: str, token: str, batch_id: str, *, spare_ms: int = 0
    ) -> Claim:
        claim = await super().claim(lease, user, token, batch_id, spare_ms=spare_ms)
        if isinstance(claim, Attempt) and claim.batch.mode not in FIRST_MODES:
            self.unreadable += 1
            raise Unreadable
        return claim

    async def routes(self) -> RouteStates:
        """It knows of none, so all is well with the only one there is."""
        return replace(RouteStates(0), routes={})


def _as_today(call: Call, reply: object) -> object:
    # Nobody has told it anything about modes.
    return [reply, []] if call.script.name == "heartbeat_v2" else reply
