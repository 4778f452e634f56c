"""How long a replica may believe that a shard is its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.lease import LeaseTimes, TrustWindow, next_renewal

ttls_ms = st.integers(1, 600_000)


def test_the_default_lease_is_renewed_thrice_and_trusted_for_nine_tenths() -> None:
    assert LeaseTimes.of(6_000) == LeaseTimes(ttl_s=6.0, margin_s=0.6, renew_every_s=2.0)


def test_a_short_lease_keeps_a_margin_that_the_scheduler_cannot_eat() -> None:
    assert LeaseTimes.of(1_000).margin_s == 0.25


@given(ttls_ms)
def test_one_lost_renewal_never_ends_the_trust(ttl_ms: int) -> None:
    times = LeaseTimes.of(ttl_ms)
    trusted_s = TrustWindow.opened(0.0, times).trusted_until
    assert times.margin_s > 0
    assert 2 * times.renew_every_s <= trusted_s + 1e-9
    assert trusted_s < times.ttl_s


def test_a_lease_that_does_not_last_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        LeaseTimes.of(0)


@given(ttls_ms, st.floats(0, 1e6), st.floats(0, 10), st.floats(0, 10), st.floats(0, 1_000))
def test_trust_ends_before_the_store_can_give_the_lease_away(
    ttl_ms: int, sent: float, way_there: float, way_back: float, looked: float
) -> None:
    times = LeaseTimes.of(ttl_ms)
    granted = sent + way_there
    now = granted + way_back + looked
    if TrustWindow.opened(sent, times).holds(now):
        assert now < granted + times.ttl_s


def test_nothing_is_trusted_at_the_very_end() -> None:
    window = TrustWindow.opened(10.0, LeaseTimes.of(6_000))
    assert window.holds(15.39)
    assert not window.holds(window.trusted_until)


def test_nothing_is_trusted_before_the_first_grant() -> None:
    assert not TrustWindow.closed().holds(0.0)


def test_a_renewal_extends_and_an_overtaken_answer_shortens_nothing() -> None:
    times = LeaseTimes.of(6_000)
    window = TrustWindow.closed().extended(10.0, times)
    later = window.extended(12.0, times)
    assert later == TrustWindow.opened(12.0, times)
    assert later.extended(11.0, times) == later


def test_renewals_are_counted_from_the_last_that_was_sent() -> None:
    assert next_renewal(10.0, LeaseTimes.of(6_000)) == 12.0
