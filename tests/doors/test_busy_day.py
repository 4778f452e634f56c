"""A short day of some conversations; the whole one is `python -m tests.doors.busy_day`."""

from __future__ import annotations

import pytest

from tests.doors.busy_day import lived


def test_on_a_busy_day_what_arrives_is_what_people_wrote() -> None:
    day = lived(45, seed=3, day_s=400.0)
    written = [text for person in day.plan.people for text in person.wrote.values()]
    assert len(written) > 110
    assert day.batches < len(written), "bursts come as one"
    assert {"duplicate", "old", "own", "presence", "status"} <= set(day.answers)
    assert any(person.revoked for person in day.plan.people)


def test_the_judge_of_the_day_sees_a_message_that_is_missing() -> None:
    day = lived(3, seed=1, day_s=100.0)
    with pytest.raises(AssertionError):
        day.judge()  # everything was judged already, so nothing is there any more
