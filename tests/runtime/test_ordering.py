"""The promise: what is delivered is what was accepted, in order, never early, one batch at a time.

Hypothesis invents the story; the sender behaves as a careful one does and repeats, under the same
id, what it was not told to be kept.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actor_queue.core.outcome import Delivered, Failed, Outcome
from actor_queue.store.api import StoreUnavailable
from tests.runtime.harness import FAILED, GONE, Replica, Sent, Stage, now_ms, run, stage

USERS = ("ana", "bea")
SETTLED_S = 60
"""The longest hold, retries and leases are over by then."""

users = st.sampled_from(USERS)
tenths = st.integers(0, 30).map(lambda number: number / 10)
actions = st.one_of(
    st.tuples(st.just("post"), users, st.sampled_from([0.0, 0.2, 1.0, 3.0])),
    st.tuples(st.just("post"), users, st.sampled_from([0.0, 0.2, 1.0, 3.0])),
    st.tuples(st.just("wait"), tenths),
    st.tuples(st.just("fail"), users, st.sampled_from(["503", "410", "hang", "slow"])),
    st.tuples(st.just("hold"), users, st.integers(1, 40).map(lambda number: number / 10)),
    st.tuples(st.just("unhold"), users),
    st.tuples(st.just("flush"), users),
    st.tuples(st.just("typing"), users),
    st.tuples(st.just("away"), tenths),
    st.tuples(st.just("lose"), st.integers(0, 4), st.integers(1, 3)),
    st.tuples(st.just("crash")),
    st.tuples(st.just("stop")),
)


@dataclass
class Held:
    """The store said yes to a hold at `since`; `until` is when it ended or may have."""

    user: str
    since: float
    until: float


@dataclass
class Story:
    s: Stage
    replica: Replica
    told: dict[str, list[str]] = field(default_factory=lambda: {user: [] for user in USERS})
    quiet_ms: dict[str, int] = field(default_factory=dict)
    """By text: the ttl it came with."""
    holds: list[Held] = field(default_factory=list)
    bad: dict[str, list[str]] = field(default_factory=lambda: {user: [] for user in USERS})
    replicas: int = 1

    async def answer(self, sent: Sent) -> Outcome:
        mood = self.bad[sent.user].pop(0) if self.bad[sent.user] else "ok"
        if mood == "hang":
            await trio.sleep_forever()
        await trio.sleep(1.3 if mood == "slow" else 0)
        outcomes: dict[str, Failed] = {"503": FAILED, "410": GONE}
        return outcomes.get(mood, Delivered(200))

    async def play(self, action: tuple[Any, ...]) -> None:
        name, *rest = action
        await getattr(self, f"do_{name}")(*rest)

    async def do_post(self, user: str, ttl_s: float) -> None:
        text = f"{user}-{len(self.told[user])}"
        self.quiet_ms[text] = round(ttl_s * 1000)
        await self.replica.post_surely(user, text, ttl_s, text)
        self.told[user].append(text)

    async def do_wait(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def do_fail(self, user: str, mood: str) -> None:
        self.bad[user].append(mood)

    async def do_hold(self, user: str, seconds: float) -> None:
        self._hold_may_end(user)
        try:
            await self.replica.engine.hold(user, round(seconds * 1000))
        except StoreUnavailable:
            return
        now = trio.current_time()
        self.holds.append(Held(user, now, now + seconds))

    async def do_unhold(self, user: str) -> None:
        self._hold_may_end(user)
        await self._try(self.replica.engine.unhold(user))

    def _hold_may_end(self, user: str) -> None:
        for held in self.holds:
            if held.user == user:
                held.until = min(held.until, trio.current_time())

    async def do_flush(self, user: str) -> None:
        await self._try(self.replica.engine.flush(user))

    async def do_typing(self, user: str) -> None:
        await self._try(self.replica.engine.typing(user, None))

    async def _try(self, call: Any) -> None:
        with suppress(StoreUnavailable):
            await call

    async def do_away(self, seconds: float) -> None:
        self.s.down = True
        await trio.sleep(seconds)
        self.s.down = False

    async def do_lose(self, number: int, times: int) -> None:
        self.s.fail_call(number, "lost", times)

    async def do_crash(self) -> None:
        await self.replica.crash()
        await self._next()

    async def do_stop(self) -> None:
        await self.replica.stop()
        await self._next()

    async def _next(self) -> None:
        self.replicas += 1
        self.replica = await self.s.start(f"r{self.replicas}", shards=0)

    # Judging

    def judge(self) -> None:
        self.s.check(self.told)
        first = {sent.batch.id: sent for sent in reversed(self.s.seen)}
        for sent in first.values():
            self._not_early(sent)
            self._not_held(sent)

    def _not_early(self, sent: Sent) -> None:
        batch = sent.batch
        assert now_ms(sent.at) >= batch.closed_at_ms >= batch.due_at_ms
        if batch.reason == "quiet":
            assert batch.closed_at_ms >= batch.last_at_ms + self.quiet_ms[sent.texts[-1]]

    def _not_held(self, sent: Sent) -> None:
        for held in self.holds:
            if held.user == sent.user:
                closed = sent.batch.closed_at_ms
                assert not now_ms(held.since) < closed < now_ms(held.until), "sent during a hold"


@settings(derandomize=True, max_examples=60)
@given(st.lists(actions, min_size=3, max_size=14))
def test_what_is_delivered_is_what_was_accepted_in_order_never_early_one_batch_at_a_time(
    plan: list[tuple[Any, ...]],
) -> None:
    async def main() -> None:
        async with stage(
            lease_ttl_ms=2_000,
            webhook_timeout_ms=2_000,
            retry_schedule_ms=(400, 400, 800),
            max_messages=4,
        ) as s:
            story = Story(s, await s.start("r1"))
            s.answer = story.answer
            for action in plan:
                await story.play(action)
            for moods in story.bad.values():
                moods.clear()
            deadline = trio.current_time() + SETTLED_S
            while trio.current_time() < deadline and not await idle(story):
                await trio.sleep(1)
            story.judge()

    run(main)


async def idle(story: Story) -> bool:
    """Whether nothing waits any more."""
    try:
        views = [await story.replica.store.describe(user) for user in USERS]
    except StoreUnavailable:
        return False
    return all(view.due_in_ms is None for view in views)
