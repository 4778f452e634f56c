"""What every test folder shares: real servers, and how hard Hypothesis tries."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.servers import eye, namespace, redis_server, server, valkey_server

__all__ = ["eye", "namespace", "redis_server", "server", "valkey_server"]

_SLOW_STORES = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("quick", deadline=None, suppress_health_check=_SLOW_STORES)
settings.register_profile(
    "long",
    deadline=None,
    suppress_health_check=_SLOW_STORES,
    max_examples=5_000,
    stateful_step_count=100,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
