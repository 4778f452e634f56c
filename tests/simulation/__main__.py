"""`python -m tests.simulation`: many seeds, or `mutants`: which mistakes are noticed how soon."""

from __future__ import annotations

import argparse
import gc
import itertools
import logging
import math
import statistics
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool
from pathlib import Path

from tests.simulation.mutants import MUTANTS, Catch, Mutant, hunt
from tests.simulation.plan import draw
from tests.simulation.world import Verdict, simulate

AGAIN_EVERY = 50
"""One seed in so many is run twice, and has to be the same both times."""
SHOWN_MAX = 3
PART = 10
"""Seeds for each process at a time."""
TOLD_EVERY = 500
"""Seeds between two lines about how it goes."""
RUNS = 3
"""Per mutant, each from another seed on."""
HUNT_SEEDS_MAX = 200
HUNT_START = 100_000
TABLE = Path(__file__).parents[2] / "docs" / "simulation.md"
MARKS = ("<!-- mutants: begin -->", "<!-- mutants: end -->")


def main() -> int:
    """Exit status 1 if a seed failed or a mutant was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("seeds", "mutants"), default="seeds")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no seed after that")
    parser.add_argument("--trace", action="store_true", help="print everything that happened")
    parser.add_argument("--runs", type=int, default=RUNS, help="per mutant")
    asked = parser.parse_args()
    # What the replicas of a thousand worlds log is no news to anybody.
    logging.disable(logging.CRITICAL)
    if asked.what == "mutants":
        return table(asked.runs, asked.jobs)
    if asked.trace:
        _print_trace(simulate(asked.start))
    return many(asked.start, asked.seeds, asked.jobs, asked.seconds)


# Seeds


def many(start: int, count: int, jobs: int, seconds: float = math.inf) -> int:
    """Run `count` seeds, or as many as begin within `seconds`, and say of each that failed how to
    run it again. One that fails ends nothing."""
    began = time.monotonic()
    done, failed = 0, []
    ahead = itertools.takewhile(
        lambda _: time.monotonic() - began < seconds, range(start, start + count)
    )
    with Pool(jobs, gc.freeze) as pool:
        # In parts, because a pool takes all its work at once.
        while part := list(itertools.islice(ahead, PART * jobs)):
            for seed, told in pool.imap_unordered(_report, part):
                done += 1
                if told:
                    failed.append(seed)
                    print(told, flush=True)
            if done % TOLD_EVERY < PART * jobs:
                print(f"{done} seeds, {len(failed)} failed", file=sys.stderr, flush=True)
    pace = done / (time.monotonic() - began)
    print(f"{done} seeds from {start} on, {len(failed)} failed, {pace:.1f}/s ({jobs} processes)")
    if failed:
        print("failed:", *sorted(failed))
    return 1 if failed else 0


def _report(seed: int) -> tuple[int, str]:
    return seed, report(seed)


def report(seed: int) -> str:
    """What is wrong with a seed and how to see it again; empty when all is well."""
    try:
        verdict = simulate(seed)
        lines = [f"    {each.rule}: {each.what}" for each in verdict.violations[:SHOWN_MAX]]
        if seed % AGAIN_EVERY == 0 and simulate(seed).digest != verdict.digest:
            lines.append("    replay: a second run of the same seed was another one")
    except Exception as error:  # noqa: BLE001  # whatever it is, the other seeds are run
        lines = [f"    {type(error).__name__}: {error}"]
    if not lines:
        return ""
    faults = ", ".join(sorted(draw(seed).rates)) or "none"
    again = f"python -m tests.simulation --start {seed} --seeds 1 --trace"
    return "\n".join([f"seed {seed} failed; faults: {faults}; again: {again}", *lines])


def _print_trace(verdict: Verdict) -> None:
    print(verdict.plan)
    for record in verdict.history.records:
        print(record)
    print(verdict.history.ending)


# Mutants


def table(runs: int, jobs: int) -> int:
    """Hunt every mutant `runs` times and write the table into the page about the simulation."""
    tasks = [(number, run) for number in range(len(MUTANTS)) for run in range(runs)]
    catches: dict[int, list[Catch | None]] = {number: [] for number in range(len(MUTANTS))}
    with ProcessPoolExecutor(jobs) as pool:
        for (number, _), catch in zip(tasks, pool.map(_hunt, tasks), strict=True):
            catches[number].append(catch)
            if len(catches[number]) == runs:
                print(row(MUTANTS[number], catches[number]), flush=True)
    rows = [row(mutant, catches[number]) for number, mutant in enumerate(MUTANTS)]
    head = ["| mistake | noticed by | median seeds | most seeds |", "|---|---|--:|--:|"]
    text = TABLE.read_text("utf-8")
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    inside = "\n".join([MARKS[0], *head, *rows, MARKS[1]])
    TABLE.write_text(before + inside + after, "utf-8")
    return 1 if any(None in found for found in catches.values()) else 0


def _hunt(task: tuple[int, int]) -> Catch | None:
    number, run = task
    return hunt(MUTANTS[number], HUNT_START * (run + 1), HUNT_SEEDS_MAX)


def row(mutant: Mutant, catches: list[Catch | None]) -> str:
    """One line of the table."""
    found = [catch for catch in catches if catch is not None]
    rules = Counter(rule for catch in found for rule in catch.rules)
    named = ", ".join(rule for rule, _ in rules.most_common(3))
    seeds = [catch.seeds for catch in found]
    name = mutant.name + (f" (with {', '.join(mutant.faults)})" if mutant.faults else "")
    if not found:
        return f"| {name} | **not noticed** in {len(catches)} times {HUNT_SEEDS_MAX} | | |"
    if len(found) < len(catches):
        named += f"; not noticed {len(catches) - len(found)} of {len(catches)} times"
        seeds += [HUNT_SEEDS_MAX] * (len(catches) - len(found))
    return f"| {name} | {named} | {statistics.median(seeds):g} | {max(seeds)} |"


if __name__ == "__main__":
    sys.exit(main())
