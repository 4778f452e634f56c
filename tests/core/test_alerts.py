"""Operators are told of a trouble once a minute at most, of all of it, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from actor_queue.core.alerts import (
    AGAIN_S,
    EVERY_S,
    FAILING_S,
    LETTERS_NAMED_MAX,
    ROUTES_NAMED_MAX,
    SILENT_S,
    AlertKind,
    Alerts,
)


def told(alerts: Alerts, now: float) -> list[AlertKind]:
    """What is told at this moment; all of it is."""
    kinds = alerts.ripe(now)
    for kind in kinds:
        alerts.take(kind, now)
    return kinds


def look(alerts: Alerts, now: float, waiting: int, oldest_due_s: float) -> None:
    alerts.look(now, waiting, oldest_due_s, None, {"default", "vendas"})


def letter(name: str) -> dict[str, object]:
    return {"id": name, "user": "u-1", "attempts": 6, "reason": "answered 503"}


def test_dead_letters_of_a_minute_are_told_together_and_none_is_lost_or_told_twice() -> None:
    alerts = Alerts()
    alerts.dead_letter(letter("b-0"))
    assert alerts.ripe(0.0) == ["dead_letter"]
    assert alerts.take("dead_letter", 0.0).data == {"count": 1, "letters": [letter("b-0")]}
    many = LETTERS_NAMED_MAX + 30
    for number in range(many):
        alerts.dead_letter(letter(f"b-{number}"))
        assert alerts.ripe(number * EVERY_S / many) == []
    alert = alerts.take("dead_letter", EVERY_S)
    assert alert.data["count"] == many
    assert alert.data["letters"] == [letter(f"b-{number}") for number in range(LETTERS_NAMED_MAX)]
    assert alerts.ripe(1e9) == []


def test_dead_letters_wait_while_another_replica_has_the_turn() -> None:
    alerts = Alerts()
    alerts.dead_letter(letter("b-0"))
    alerts.put_off("dead_letter", 0.0)
    assert alerts.ripe(0.0) == []
    assert alerts.ripe(EVERY_S) == ["dead_letter"]
    assert alerts.take("dead_letter", EVERY_S).data["count"] == 1


def test_a_receiver_that_fails_for_a_minute_is_told_of_and_so_is_its_return() -> None:
    alerts = Alerts()
    for second in range(0, int(FAILING_S), 5):
        alerts.failed(float(second), "default", "answered 503")
        assert told(alerts, float(second)) == []
    assert alerts.ripe(FAILING_S) == ["receiver_failing"]
    data = alerts.take("receiver_failing", FAILING_S).data
    facts = {"for_s": FAILING_S, "attempts_failed": 12, "reason": "answered 503"}
    assert data == {**facts, "routes": [{"route": "default", **facts}]}
    assert told(alerts, FAILING_S + EVERY_S) == []
    alerts.delivered(FAILING_S + 70, "default")
    assert alerts.ripe(FAILING_S + 70) == ["receiver_recovered"]
    data = alerts.take("receiver_recovered", FAILING_S + 70).data
    facts = {"after_s": FAILING_S + 70, "attempts_failed": 12}
    assert data == {**facts, "routes": [{"route": "default", **facts}]}
    assert told(alerts, 1e9) == []


def test_a_receiver_that_delivers_between_failures_is_no_news() -> None:
    alerts = Alerts()
    for second in range(300):
        alerts.failed(second, "default", "answered 503")
        if second % 50 == 49:
            alerts.delivered(second + 0.5, "default")
        assert told(alerts, float(second)) == []


def test_one_failure_alone_is_no_failing_receiver_however_long_ago() -> None:
    alerts = Alerts()
    alerts.failed(0.0, "default", "answered 503")
    assert told(alerts, 10 * FAILING_S) == []


def test_a_trouble_that_goes_on_is_told_again_after_a_while_and_the_next_one_sooner() -> None:
    alerts = Alerts()
    at = [float(second) for second in range(0, 2 * int(AGAIN_S), 10)]
    heard = []
    for now in at:
        alerts.failed(now, "default", "answered 503")
        heard += [now for _ in told(alerts, now)]
    assert heard == [FAILING_S, FAILING_S + AGAIN_S]
    now = at[-1]
    alerts.delivered(now, "default")
    assert told(alerts, now) == ["receiver_recovered"]
    for second in range(0, int(FAILING_S) + 1, 10):
        alerts.failed(now + second, "default", "answered 503")
    assert told(alerts, now + FAILING_S) == ["receiver_failing"]


def test_nothing_delivered_for_minutes_although_something_is_due_is_told() -> None:
    alerts = Alerts()
    for second in range(int(SILENT_S)):
        look(alerts, float(second), 3, float(second))
        assert told(alerts, float(second)) == []
    look(alerts, SILENT_S, 3, SILENT_S)
    data = alerts.take("nothing_delivered", SILENT_S).data
    assert data == {"for_s": SILENT_S, "users_waiting": 3, "oldest_due_s": SILENT_S, "redis": None}
    alerts.delivered(SILENT_S + 1, "default")
    look(alerts, SILENT_S + 2, 2, SILENT_S)
    assert told(alerts, SILENT_S + 2) == []


@pytest.mark.parametrize(
    "happens",
    [
        lambda alerts, now: look(alerts, now, 0, 0.0),
        lambda alerts, now: look(alerts, now, 5, 0.0),
        lambda alerts, now: alerts.delivered(now, "default"),
    ],
    ids=["nobody waits", "nobody is due", "something is delivered"],
)
def test_as_long_as_this_happens_now_and_then_nothing_is_told(
    happens: Callable[[Alerts, float], None],
) -> None:
    alerts = Alerts()
    for second in range(3 * int(SILENT_S)):
        look(alerts, float(second), 3, 100.0)
        if second % int(SILENT_S - 10) == 0:
            happens(alerts, float(second))
        assert told(alerts, float(second)) == []


def test_what_waits_for_the_retry_of_a_failing_receiver_is_due_too() -> None:
    alerts = Alerts()
    kinds: list[AlertKind] = []
    for second in range(int(SILENT_S) + 1):
        if second % 60 == 0:
            alerts.failed(float(second), "default", "answered 503")
        look(alerts, float(second), 1, 0.0)
        kinds += told(alerts, float(second))
    assert kinds == ["receiver_failing", "nothing_delivered"]


def test_a_trouble_of_which_another_replica_has_told_is_told() -> None:
    alerts = Alerts()
    alerts.failed(0.0, "default", "answered 503")
    alerts.failed(FAILING_S, "default", "answered 503")
    alerts.told_elsewhere("receiver_failing", "default", FAILING_S)
    assert told(alerts, FAILING_S + EVERY_S) == []
    alerts.delivered(FAILING_S + EVERY_S, "default")
    assert told(alerts, FAILING_S + EVERY_S) == ["receiver_recovered"]


def test_never_more_than_one_a_minute_of_a_kind_whatever_happens() -> None:
    alerts = Alerts()
    last: dict[AlertKind, float] = {}
    for second in range(3_000):
        now = float(second)
        if second % 97 < 70:
            alerts.failed(now, "default", "answered 503")
            alerts.dead_letter(letter(str(second)))
        else:
            alerts.delivered(now, "default")
        look(alerts, now, second % 5, float(second % 400))
        for kind in told(alerts, now):
            assert now - last.get(kind, -EVERY_S) >= EVERY_S, kind
            last[kind] = now
    assert set(last) >= {"dead_letter", "receiver_failing", "receiver_recovered"}


def test_what_one_route_delivers_does_not_hide_that_another_one_fails() -> None:
    alerts = Alerts()
    for second in range(0, int(FAILING_S) + 1, 10):
        alerts.failed(float(second), "vendas", "timed out")
        alerts.delivered(second + 0.5, "default")
    (route,) = alerts.routes("receiver_failing", FAILING_S)
    assert route == "vendas"
    data = alerts.take("receiver_failing", FAILING_S).data
    assert data["routes"] == [
        {"route": "vendas", "for_s": FAILING_S, "attempts_failed": 7, "reason": "timed out"}
    ]
    alerts.delivered(FAILING_S + 1, "default")
    assert told(alerts, FAILING_S + 2 * EVERY_S) == [], "another route is not back"
    alerts.delivered(FAILING_S + 2 * EVERY_S, "vendas")
    assert told(alerts, FAILING_S + 2 * EVERY_S) == ["receiver_recovered"]


def test_routes_that_fail_within_a_minute_are_told_of_together_and_each_once() -> None:
    alerts = Alerts()
    many = [f"r{n:02}" for n in range(ROUTES_NAMED_MAX + 5)]
    for second in (0.0, 30.0):
        for route in many:
            alerts.failed(second, route, "answered 503")
    heard = []
    for second in range(int(FAILING_S), int(FAILING_S + 3 * EVERY_S)):
        for kind in alerts.ripe(float(second)):
            told_of = alerts.take(kind, float(second)).data["routes"]
            assert isinstance(told_of, list)
            heard.append((second, [each["route"] for each in told_of]))
    assert heard == [
        (FAILING_S, many[:ROUTES_NAMED_MAX]),
        (FAILING_S + EVERY_S, many[ROUTES_NAMED_MAX:]),
    ]


def test_a_failing_route_waits_while_another_replica_has_the_turn_for_another_route() -> None:
    alerts = Alerts()
    alerts.failed(0.0, "vendas", "answered 503")
    alerts.failed(FAILING_S, "vendas", "answered 503")
    alerts.put_off("receiver_failing", FAILING_S)
    assert told(alerts, FAILING_S) == []
    assert told(alerts, FAILING_S + EVERY_S) == ["receiver_failing"]


def test_a_route_that_left_the_file_and_one_that_nobody_tried_again_are_told_of_no_more() -> None:
    alerts = Alerts()
    for second in (0.0, FAILING_S):
        for route in ("vendas", "gone"):
            alerts.failed(second, route, "answered 503")
    look(alerts, FAILING_S, 1, 0.0)
    assert alerts.routes("receiver_failing", FAILING_S) == ["vendas"]
    assert told(alerts, FAILING_S) == ["receiver_failing"]
    assert "receiver_failing" not in told(alerts, FAILING_S + 2 * AGAIN_S)
