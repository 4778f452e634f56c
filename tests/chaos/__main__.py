"""`python -m tests.chaos --seconds 120 --seed 1`: faults over real processes, and the verdict."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.chaos import races, routes, upgrade
from tests.chaos.faults import KINDS, kinds_of
from tests.chaos.race_verdict import RaceVerdict, judge_races
from tests.chaos.run import PER_SECOND, Plan, run
from tests.chaos.verdict import CALM_S, Verdict


def main() -> int:
    given = _arguments()
    began = time.monotonic()
    if given.latest:
        found = _races(given)
    elif given.upgrade_from:
        found = _upgrade(given)
    else:
        found = _routes(given) if given.routes else _storm(given)
    took_s = time.monotonic() - began
    print(f"{'FAILED' if found else 'passed'} after {took_s:.0f} s")
    return 1 if found else 0


def _races(given: argparse.Namespace) -> list[str]:
    """The violations."""
    print(f"seed {given.seed}, {given.latest:,} races", flush=True)
    return _shown(judge_races(races.run(given.latest, given.seed)))


def _routes(given: argparse.Namespace) -> list[str]:
    turns = [True, False] * max(1, round(given.seconds / routes.TURNS_S))
    return _shown(routes.run(_plan(given), turns, _say))


def _upgrade(given: argparse.Namespace) -> list[str]:
    print(f"{given.upgrade_from} and this release, {given.payload}", flush=True)
    done = upgrade.run(given.upgrade_from, _plan(given), payload=given.payload, say=_say)
    return _shown(done)


def _plan(given: argparse.Namespace) -> Plan:
    return Plan(
        given.seconds,
        given.seed,
        given.replicas,
        routes.healthy_kinds(given.redis),
        store=given.redis,
        calm_s=given.slack,
    )


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def _storm(given: argparse.Namespace) -> list[str]:
    possible = kinds_of(given.redis, lossy=given.lossy)
    kinds = [kind for kind in possible if any(part in kind for part in given.nemesis or [""])]
    print(f"seed {given.seed}, {given.replicas} replicas, {given.seconds:g} s", flush=True)
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
        _say,
    )
    if given.history is not None:
        done.write(given.history)
    return _shown(done.verdict)


def _shown(verdict: Verdict | RaceVerdict | routes.RoutesVerdict) -> list[str]:
    print("\n".join(verdict.lines()))
    for violation in verdict.violations:
        print(violation)
    return verdict.violations


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
    parser.add_argument(
        "--routes",
        action="store_true",
        help="a healthy receiver alone, and beside one that is slow, one that is dead, and one that"
        " answers later",
    )
    parser.add_argument(
        "--upgrade-from",
        metavar="REVISION",
        help="replicas go over from that release to this one and back, again and again",
    )
    parser.add_argument(
        "--payload", choices=["classic", "detailed"], default="detailed", help="of both releases"
    )
    parser.add_argument(
        "--latest",
        type=int,
        metavar="RACES",
        help="no faults: so many times a receiver's `if latest` against a message",
    )
    parser.add_argument("--history", type=Path, help="where to write all that happened")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
