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
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import Pool
from pathlib import Path

from tests.simulation.mutant import Catch, Mutant, hunt
from tests.simulation.mutants import MUTANTS
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
HEAD = ("| mistake | noticed by | median seeds | most seeds |", "|---|---|--:|--:|")
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
    parser.add_argument(
        "--no-options", action="store_true", help="no limits drawn small, as in the oldest seeds"
    )
    parser.add_argument("--runs", type=int, default=RUNS, help="per mutant")
    parser.add_argument(
        "--missing", action="store_true", help="only mutants that have no line in the table yet"
    )
    asked = parser.parse_args()
    # What the replicas of a thousand worlds log is no news to anybody.
    logging.disable(logging.CRITICAL)
    if asked.what == "mutants":
        return table(asked.runs, asked.jobs, missing=asked.missing)
    options = () if asked.no_options else None
    if asked.trace:
        _print_trace(simulate(asked.start, options=options))
    return many(asked.start, asked.seeds, asked.jobs, asked.seconds, options)


# Seeds


def many(
    start: int,
    count: int,
    jobs: int,
    seconds: float = math.inf,
    options: Collection[str] | None = None,
) -> int:
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
            for seed, told in pool.imap_unordered(partial(_report, options), part):
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


def _report(options: Collection[str] | None, seed: int) -> tuple[int, str]:
    return seed, report(seed, options)


def report(seed: int, options: Collection[str] | None = None) -> str:
    """What is wrong with a seed and how to see it again; empty when all is well. `options` as for
    `simulate`."""
    try:
        verdict = simulate(seed, options=options)
        lines = [f"    {each.rule}: {each.what}" for each in verdict.violations[:SHOWN_MAX]]
        again = seed % AGAIN_EVERY == 0 and simulate(seed, options=options)
        if again and again.digest != verdict.digest:
            lines.append("    replay: a second run of the same seed was another one")
    except Exception as error:  # noqa: BLE001  # whatever it is, the other seeds are run
        lines = [f"    {type(error).__name__}: {error}"]
    if not lines:
        return ""
    plan = draw(seed, options=options)
    faults = ", ".join(sorted(plan.rates)) or "none"
    limits = ", ".join(sorted(plan.options)) or "none"
    command = f"python -m tests.simulation --start {seed} --seeds 1 --trace"
    if options == ():
        command += " --no-options"
    head = f"seed {seed} failed; faults: {faults}; options: {limits}; again: {command}"
    # A conversation's key holds half of a surrogate pair.
    return "\n".join([head, *lines]).encode(errors="backslashreplace").decode()


def _print_trace(verdict: Verdict) -> None:
    print(verdict.plan)
    for record in verdict.history.records:
        print(record)
    print(verdict.history.ending)


# Mutants


def table(runs: int, jobs: int, *, missing: bool = False) -> int:
    """Hunt every mutant `runs` times and write the table into the page about the simulation. With
    `missing` only those that have no line there; the others keep theirs."""
    before, lines, after = page()
    known = lines if missing else {}
    wanted = [n for n, mutant in enumerate(MUTANTS) if title(mutant) not in known]
    tasks = [(number, run) for number in wanted for run in range(runs)]
    catches: dict[int, list[Catch | None]] = {number: [] for number in wanted}
    with ProcessPoolExecutor(jobs) as pool:
        for (number, _), catch in zip(tasks, pool.map(_hunt, tasks), strict=True):
            catches[number].append(catch)
            if len(catches[number]) == runs:
                print(row(MUTANTS[number], catches[number]), flush=True)
    rows = [
        row(mutant, catches[number]) if number in catches else known[title(mutant)]
        for number, mutant in enumerate(MUTANTS)
    ]
    TABLE.write_text(before + "\n".join([*HEAD, *rows]) + "\n" + after, "utf-8")
    return 1 if any(None in found for found in catches.values()) else 0


def page() -> tuple[str, dict[str, str], str]:
    """The page about the simulation: what stands before its table, the lines of that by mistake,
    what stands behind it."""
    before, mark, rest = TABLE.read_text("utf-8").partition(f"{MARKS[0]}\n")
    inside, end, after = rest.partition(MARKS[1])
    lines = [line for line in inside.splitlines() if line not in HEAD]
    return (
        before + mark,
        {line.split(" | ")[0].removeprefix("| "): line for line in lines},
        end + after,
    )


def _hunt(task: tuple[int, int]) -> Catch | None:
    number, run = task
    return hunt(MUTANTS[number], HUNT_START * (run + 1), HUNT_SEEDS_MAX)


def title(mutant: Mutant) -> str:
    """How the table calls it."""
    needs = [*(mutant.options or ()), *(mutant.faults or ())]
    return mutant.name + (f" (with {', '.join(needs)})" if needs else "")


def row(mutant: Mutant, catches: list[Catch | None]) -> str:
    """One line of the table."""
    found = [catch for catch in catches if catch is not None]
    rules = Counter(rule for catch in found for rule in catch.rules)
    named = ", ".join(rule for rule, _ in rules.most_common(3))
    seeds = [catch.seeds for catch in found]
    name = title(mutant)
    if not found:
        return f"| {name} | **not noticed** in {len(catches)} times {HUNT_SEEDS_MAX} | | |"
    if len(found) < len(catches):
        named += f"; not noticed {len(catches) - len(found)} of {len(catches)} times"
        seeds += [HUNT_SEEDS_MAX] * (len(catches) - len(found))
    return f"| {name} | {named} | {statistics.median(seeds):g} | {max(seeds)} |"


if __name__ == "__main__":
    sys.exit(main())
