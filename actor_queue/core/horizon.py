"""How far ahead timers are set: less far, the more of them there are.

A timer is a task in memory; whoever has none is found by the sweep before their time. So the number
of timers can be bounded and nobody is late for it, as long as those who are due soonest get theirs.
The first three quarters of the places go to whoever comes; the last quarter is shared out by due
time, and each halving of the horizon takes an equal part of it. The horizon is a function of the
number of timers alone, so it grows again as timers end, and nothing has to be remembered.
"""

from __future__ import annotations

import math

HORIZON_S = 120.0
"""Nobody who is due later than this gets a timer."""
NEAR_S = 0.25
"""The shortest horizon, in seconds. Sweeps follow each other sooner than this, if they have to."""
HALVINGS = math.log2(HORIZON_S / NEAR_S)
UNSHARED = 0.75
"""The part of the places in which everybody within `HORIZON_S` gets one."""


def horizon_s(timers: int, timers_max: int) -> float:
    """In how many seconds at most somebody must be due to get a timer beside `timers` others."""
    unshared = UNSHARED * timers_max
    if timers <= unshared:
        return HORIZON_S
    if timers >= timers_max:
        return NEAR_S
    halvings: float = HALVINGS * (timers - unshared) / (timers_max - unshared)
    return HORIZON_S / math.exp2(halvings)
