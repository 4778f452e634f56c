"""The scripts about answers are what the oracle says, amid everything else the adversary does."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from actor_queue.core.settings import Settings
from tests.store.answering_machine import AnsweringMachine
from tests.store.driver import Now, Subject, memory_subject

QUICK_EXAMPLES = 12
QUICK_STEPS = 8


class InProcess(AnsweringMachine):
    ids_expire = True

    def subject_for(self, settings: Settings, now: Now) -> Subject:
        return self.stack.enter_context(memory_subject(settings, now))


def test_the_scripts_about_answers_are_what_the_oracle_says() -> None:
    if settings.default is settings.get_profile("long"):
        run_state_machine_as_test(InProcess, settings=settings())
        return
    effort = settings(
        max_examples=QUICK_EXAMPLES, stateful_step_count=QUICK_STEPS, report_multiple_bugs=False
    )
    run_state_machine_as_test(InProcess, settings=effort)
