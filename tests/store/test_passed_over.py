"""Who is passed over, and for how long: a pure function of what was found and of the time."""

from __future__ import annotations

from actor_queue.store.passed_over import MOST_PAUSE_S, TRIED_MAX, USERS_MAX, PassedOver


def hidden(passed: PassedOver, *users: str, now: float, all_found: bool = False) -> set[str]:
    return passed.hidden(7, users, now, all_found=all_found)


def test_each_failure_doubles_the_time_until_the_next_try_up_to_a_minute() -> None:
    passed, now, pauses = PassedOver(), 0.0, []
    for _ in range(9):
        passed.note(7, "ana", now)
        pause = 1.0
        while hidden(passed, "ana", now=now + pause):
            pause += 1.0
        pauses.append(pause)
        now += pause
    assert pauses == [1, 2, 4, 8, 16, 32, MOST_PAUSE_S, MOST_PAUSE_S, MOST_PAUSE_S]


def test_whoever_is_tried_is_not_tried_again_before_the_answer_is_there() -> None:
    passed = PassedOver()
    passed.note(7, "ana", 0.0)
    assert hidden(passed, "ana", now=1.0) == set()
    assert hidden(passed, "ana", now=1.0) == {"ana"}


def test_a_look_tries_a_few_and_hides_nobody_else() -> None:
    passed = PassedOver()
    users = [f"u{i}" for i in range(100)]
    for user in users:
        passed.note(7, user, 0.0)
    kept = hidden(passed, *users, "bia", now=500.0)
    assert len(kept) == 100 - TRIED_MAX
    assert "bia" not in kept
    assert passed.hidden(8, users, 0.0, all_found=True) == set()


def test_whoever_is_claimed_or_due_no_more_is_forgotten() -> None:
    passed = PassedOver()
    for user in ("ana", "bia", "cy"):
        passed.note(7, user, 0.0)
    passed.forget(7, "ana")
    passed.forget(7, "nobody")
    assert (len(passed), passed.of(7)) == (2, 2)
    hidden(passed, "bia", now=0.0)  # the look may have been cut short
    assert len(passed) == 2
    hidden(passed, "bia", now=0.0, all_found=True)
    assert (len(passed), hidden(passed, "bia", "cy", now=0.0)) == (1, {"bia"})
    passed.forget_shard(7)
    assert (len(passed), passed.of(7)) == (0, 0)


def test_there_is_a_limit_over_all_shards() -> None:
    passed = PassedOver()
    for i in range(USERS_MAX + 5):
        passed.note(i % 3, f"u{i}", 0.0)
    assert len(passed) == USERS_MAX
    passed.forget(0, "u0")
    passed.note(1, "one more", 0.0)
    assert len(passed) == USERS_MAX
