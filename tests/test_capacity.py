"""The tables of `docs/capacity.md` say what was measured, and the model what it is made of."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from benchmarks.capacity import FITTED, KEPT, PAGE, WINDOW_S, Costs, Load, fitted, needs, written


def test_the_page_has_the_tables_of_what_was_measured() -> None:
    page = PAGE.read_text()
    assert written(page, json.loads(KEPT.read_text())) == page


GATHER_S = 0.004
MADE_OF = Costs(100, 300, 200, 1_000, 50, 250, 100, 500, 600, 900, 700, 110, GATHER_S)


def load(rate: float, burst: int) -> Load:
    """A run at which everything costs what `MADE_OF` says."""
    messages, webhooks = round(rate * WINDOW_S), round(rate * WINDOW_S / burst)
    service, redis = Load(rate, messages, webhooks, 10, 0, 0, 700).predicted(MADE_OF)
    return Load(rate, messages, webhooks, 10, service, redis, 700)


def test_the_fit_finds_the_costs_that_the_runs_were_made_of() -> None:
    runs = [load(rate, burst) for rate, burst in FITTED]
    costs = fitted(runs, (1_000, 500), (600, 900, 110))
    assert asdict(costs) == pytest.approx(asdict(MADE_OF), rel=0.02)
    another = load(2_000, 3)
    assert another.predicted(costs) == pytest.approx(another.predicted(MADE_OF), rel=0.01)


def test_needs_grow_with_the_users_and_leave_room() -> None:
    one, ten = needs(1_000_000, MADE_OF), needs(10_000_000, MADE_OF)
    assert ten.service_cores == pytest.approx(10 * one.service_cores, rel=0.01)
    assert ten.service_cores < 0.6 * ten.workers < ten.service_cores + 0.6
    assert ten.redis_cores < 0.5 * ten.primaries < ten.redis_cores + 0.5
    assert needs(10_000, MADE_OF).workers == 1
