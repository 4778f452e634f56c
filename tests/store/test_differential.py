"""The scripts are what the oracle says, under everything the adversary does: on a real Valkey
and in process, step by step."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from actor_queue.core.settings import Settings
from tests.servers import Server
from tests.store.driver import Now, Subject, memory_subject, server_subject
from tests.store.machine import Machine

QUICK_EXAMPLES = 30
QUICK_STEPS = 40


def test_the_scripts_on_a_real_server_are_what_the_oracle_says(server: Server) -> None:
    class OnServer(Machine):
        def subject_for(self, settings: Settings, now: Now) -> Subject:
            return self.stack.enter_context(server_subject(server, settings, now))

    run_state_machine_as_test(OnServer, settings=effort())


def test_the_scripts_in_process_are_what_the_oracle_says() -> None:
    run_state_machine_as_test(InProcess, settings=effort())


class InProcess(Machine):
    ids_expire = True

    def subject_for(self, settings: Settings, now: Now) -> Subject:
        return self.stack.enter_context(memory_subject(settings, now))


def effort() -> settings:
    """The long profile as it is; the quick one within seconds."""
    if settings.default is settings.get_profile("long"):
        return settings()
    return settings(
        max_examples=QUICK_EXAMPLES, stateful_step_count=QUICK_STEPS, report_multiple_bugs=False
    )
