"""One user's machine under everything the adversary does."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.core.actor_machine import ActorMachine

QUICK_EXAMPLES = 250
QUICK_STEPS = 40


def test_nothing_is_lost_repeated_forgotten_or_asked_in_vain() -> None:
    run_state_machine_as_test(ActorMachine, settings=effort())


def effort() -> settings:
    """The long profile as it is; the quick one within seconds."""
    if settings.default is settings.get_profile("long"):
        return settings()
    return settings(
        max_examples=QUICK_EXAMPLES, stateful_step_count=QUICK_STEPS, report_multiple_bugs=False
    )
