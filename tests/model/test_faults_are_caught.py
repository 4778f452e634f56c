"""The test of the tests: the state machine goes red for every planted fault, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from actor_queue.core.settings import Settings
from actor_queue.store.api import StoreUnavailable
from tests.model.faults import FAULTS, Fault
from tests.model.stories import LIMITS, STORIES
from tests.store.driver import Now, Subject, memory_subject
from tests.store.machine import Machine

EXAMPLES_MAX = 1_500
STEPS = 10


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault) -> None:
    fault.check_applies()

    class Faulty(Machine):
        ids_expire = True

        def subject_for(self, settings: Settings, now: Now) -> Subject:
            return self.stack.enter_context(memory_subject(settings, now, fault.source))

    def run() -> None:
        if fault.name in STORIES:
            tell(Faulty(), fault.name)
        else:
            run_state_machine_as_test(Faulty, settings=once_is_enough())

    # What a fault breaks is a check of ours, or an assertion in the script itself.
    with pytest.raises((AssertionError, StoreUnavailable)):
        run()


@pytest.mark.parametrize("name", STORIES)
def test_of_what_catches_a_fault_nothing_is_wrong_without_it(name: str) -> None:
    class Right(Machine):
        ids_expire = True

        def subject_for(self, settings: Settings, now: Now) -> Subject:
            return self.stack.enter_context(memory_subject(settings, now))

    tell(Right(), name)


def tell(machine: Machine, name: str) -> None:
    limits, words = STORIES[name]
    with machine.stack:
        machine.start(limits={**LIMITS, **limits}, events=words, rounds=[])
        machine.drain()


def test_every_story_is_of_a_fault() -> None:
    assert STORIES.keys() <= {fault.name for fault in FAULTS}


def test_every_fault_has_its_own_name() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 10


def once_is_enough() -> settings:
    """The same examples on every run; no time spent on making the failing one small."""
    return settings(
        max_examples=EXAMPLES_MAX,
        stateful_step_count=STEPS,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
