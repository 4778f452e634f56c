"""`python -m tests.simulation`: many seeds, or `mutants`: which mistakes are noticed how soon."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.simulation.mutants import MUTANTS, Catch, Mutant, hunt
from tests.simulation.plan import draw
from tests.simulation.world import Verdict, simulate

AGAIN_EVERY = 50
"""One seed in so many is run twice, and has to be the same both times."""
SHOWN_MAX = 3
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
    parser.add_argument("--trace", action="store_true", help="print everything that happened")
    parser.add_argument("--runs", type=int, default=RUNS, help="per mutant")
    asked = parser.parse_args()
    if asked.what == "mutants":
        return table(asked.runs, asked.jobs)
    return many(asked.start, asked.seeds, asked.jobs, trace=asked.trace)


# Seeds


def many(start: int, count: int, jobs: int, *, trace: bool) -> int:
    """Run `count` seeds and say which failed, and how to run those again."""
    began = time.monotonic()
    failed = 0
    if trace:
        _print_trace(simulate(start))
    with ProcessPoolExecutor(jobs) as pool:
        for told in pool.map(report, range(start, start + count), chunksize=5):
            if told:
                failed += 1
                print(told, flush=True)
    took_s = time.monotonic() - began
    print(f"{count} seeds, {failed} failed, {count / took_s:.1f} seeds/s ({jobs} processes)")
    return 1 if failed else 0


def report(seed: int) -> str:
    """What is wrong with a seed and how to see it again; empty when all is well."""
    try:
        verdict = simulate(seed)
        lines = [f"    {each.rule}: {each.what}" for each in verdict.violations[:SHOWN_MAX]]
        if seed % AGAIN_EVERY == 0 and simulate(seed).digest != verdict.digest:
            lines.append("    replay: a second run of the same seed was another one")
    except RuntimeError as error:
        lines = [f"    stalled: {error}"]
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
