"""`python -m benchmarks [NAME …] [--quick] [--first]`: run them, then write the report."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from benchmarks import machine, processes, report
from benchmarks.figures import Benchmark, Figure, Result

NAMES = [
    "ingest",
    "contest",
    "profile",
    "edge",
    "doors",
    "defences",
    "order",
    "bulk",
    "lateness",
    "sweep",
    "memory",
    "restart",
    "million",
    "crash",
    "timers",
    "workers",
    "replicas",
    "pages",
    "routes",
    "waiting",
    "answers",
    "history",
]
QUICK_NAMES = ["contest", "bulk", "lateness", "memory", "timers", "restart"]
"""Of them a quick look takes about five minutes, once the contestants are installed."""
LEAVE_THE_CORE_IDLE = {"lateness"}


def main() -> None:
    arguments = _arguments()
    processes.settle_here()
    disturbed = []
    for name in arguments.names or (QUICK_NAMES if arguments.quick else NAMES):
        print(f"{name} …", flush=True)
        with _priority(name, arguments.first) as priority:
            if not _run(name, quick=arguments.quick, priority=priority):
                disturbed.append(name)
    print(report.write(NAMES))
    if disturbed:
        print(
            f"not in the report, because others used more than {report.OTHERS_CORES_MAX} cores:"
            f" {', '.join(disturbed)}; run them again when the machine has nothing else to do"
        )
        raise SystemExit(1)


@contextmanager
def _priority(name: str, first: bool) -> Iterator[str]:
    """What the processes run with, in the report's words."""
    if not first:
        yield "no priority"
        return
    real_time = name in LEAVE_THE_CORE_IDLE
    with processes.preferred(real_time=real_time):
        yield "with priority over them (" + ("SCHED_RR)" if real_time else "nice -20)")


def _run(name: str, *, quick: bool, priority: str) -> bool:
    """Whether the result went into the report."""
    benchmark: Benchmark = import_module(f"benchmarks.{name}").run
    meter = machine.Meter.start()
    result = benchmark(quick)
    about = {
        "machine": machine.description(),
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "others_cores": round(meter.others_cores(), 2),
        "priority": priority,
        "quick": quick,
    }
    _show(result, about["others_cores"])
    return report.store(name, result, about)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=", ".join(NAMES)
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer rounds, smaller numbers, and without names the most important ones",
    )
    parser.add_argument(
        "--first",
        action="store_true",
        help="let the benchmarks' processes go before the machine's other work (needs root)",
    )
    return parser.parse_args()


def _show(result: Result, others_cores: object) -> None:
    for figure in result.figures:
        values = ", ".join(f"{each:,.2f}" for each in figure.values)
        print(f"  {figure.name}: {figure.median:,.2f} {figure.unit} [{values}]{_verdict(figure)}")
    print(f"  (others used {others_cores} cores meanwhile)", flush=True)


def _verdict(figure: Figure) -> str:
    if figure.target is None:
        return ""
    wanted = f"{figure.target.sense} {figure.target.value:g}"
    return f"  {'met' if figure.met else 'MISSED'}: {wanted}"


if __name__ == "__main__":
    main()
