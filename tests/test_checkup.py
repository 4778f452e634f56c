"""`GET /api/doctor` costs the service no more than one look at a time, of bounded length."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import trio
import trio.testing

from actor_queue.app import checkup
from actor_queue.app.checkup import Checkup
from actor_queue.app.finding import Finding
from actor_queue.core.settings import Settings
from actor_queue.http import models

Looks = list[threading.Event]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    """A look that finds one thing and then waits for a server until it is let go."""
    looks: Looks = []

    def examine(_: Settings, routes: object, found: list[Finding]) -> None:
        found.append(Finding("ok", "redis", f"look {len(looks) + 1}"))
        looks.append(threading.Event())
        looks[-1].wait(60)
        found.append(Finding("fail", "webhook", "too late"))

    monkeypatch.setattr(checkup, "_examine", examine)
    yield looks
    for look in looks:
        look.set()


def doctor(unready: Callable[[], str | None] = lambda: None) -> Checkup:
    return Checkup(Settings, unready)


def test_many_who_ask_together_or_soon_get_one_look(slow: Looks) -> None:
    answers: list[models.Checkup] = []

    async def main() -> None:
        asked = doctor()

        async def ask() -> None:
            answers.append(await asked())

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
            while not slow:
                await trio.sleep(0.01)
            await trio.testing.wait_all_tasks_blocked()
            slow[0].set()
        await ask()

    trio.run(main)
    assert len(answers) == 21
    assert len(slow) == 1
    assert all(answer is answers[0] for answer in answers)
    assert [each.check for each in answers[0].findings] == ["ready", "redis", "webhook"]
    assert not answers[0].healthy


def test_a_look_that_takes_too_long_is_answered_with_what_was_found_and_keeps_its_place(
    slow: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "PATIENCE_S", 0.2)
    monkeypatch.setattr(checkup, "KEPT_S", 0.0)

    async def main() -> None:
        asked = doctor()
        first = await asked()
        assert [each.check for each in first.findings] == ["ready", "redis", "doctor"]
        assert "within 0.2 s" in first.findings[-1].text
        # The thread of the first look waits still: there is no second one.
        again = await asked()
        assert [each.check for each in again.findings] == ["ready", "doctor"]
        assert len(slow) == 1
        assert len(first.findings) == 3

    trio.run(main)


def test_who_goes_away_leaves_a_look_that_others_can_have(slow: Looks) -> None:
    async def main() -> None:
        asked = doctor(lambda: "Redis is away")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(asked)
                while not slow:
                    await trio.sleep(0.01)
                scope.cancel()
        slow[0].set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asked)
            while len(slow) < 2:
                await trio.sleep(0.01)
            slow[1].set()
        found = (await asked()).findings
        assert (found[0].level, found[0].text) == ("fail", "messages are refused: Redis is away")

    trio.run(main)


def test_a_service_that_nobody_asks_starts_without_redis_py() -> None:
    code = "import sys, actor_queue.app.service; print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
