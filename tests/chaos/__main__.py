"""`python -m tests.chaos --seconds 120 --seed 1`: faults over real processes, and the verdict."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.chaos.faults import KINDS, kinds_of
from tests.chaos.run import PER_SECOND, Plan, run
from tests.chaos.verdict import CALM_S


def main() -> int:
    given = _arguments()
    possible = kinds_of(given.redis, lossy=given.lossy)
    kinds = [kind for kind in possible if any(part in kind for part in given.nemesis or [""])]
    print(f"seed {given.seed}, {given.replicas} replicas, {given.seconds:g} s", flush=True)
    began = time.monotonic()
    done = run(
        Plan(
            given.seconds,
            given.seed,
            given.replicas,
            kinds,
            given.per_second,
            given.redis,
            given.slack,
        ),
        lambda line: print(f"  {line}", flush=True),
    )
    verdict = done.verdict
    if given.history is not None:
        done.write(given.history)
    print("\n".join(verdict.lines()))
    for violation in verdict.violations:
        print(violation)
    took_s = time.monotonic() - began
    print(f"{'FAILED' if verdict.violations else 'passed'} after {took_s:.0f} s")
    return 1 if verdict.violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="of faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument(
        "--redis", choices=["single", "cluster", "sentinel"], default="single", help="behind them"
    )
    parser.add_argument("--per-second", type=float, default=PER_SECOND, help="messages")
    parser.add_argument(
        "--nemesis",
        nargs="*",
        metavar="PART",
        help=f"only the kinds with PART in their name, of: {', '.join(KINDS)}",
    )
    parser.add_argument(
        "--lossy",
        action="store_true",
        help="also faults by which Redis forgets: what is lost by them is counted",
    )
    parser.add_argument(
        "--slack", type=float, default=CALM_S, help="seconds late without a fault: a busy machine"
    )
    parser.add_argument("--history", type=Path, help="where to write all that happened")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
