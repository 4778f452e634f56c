"""`python -m tests.abuse --seconds 60 --connections 5000`: slow peers, and who is served."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from tests.abuse.peers import KINDS, MIXED
from tests.abuse.run import Seen, run

MIB: Final = 1024 * 1024
HEAD: Final = (
    "| peers | from | served | p99 kept, without | with | p99 new, without | with |"
    " health, worst | memory before | most | |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)


def main() -> int:
    given = _arguments()
    lines = list(HEAD)
    print("\n".join(HEAD), flush=True)
    missed = False
    for kind in given.kinds or [*KINDS, MIXED]:
        for many in (False, True):
            seen = run(kind, size=given.connections, seconds=given.seconds, many=many)
            missed = missed or bool(seen.misses)
            lines.append(row(seen))
            print(lines[-1], flush=True)
    if given.table is not None:
        given.table.write_text("\n".join(lines) + "\n")
    return int(missed)


def row(seen: Seen) -> str:
    def p99(lane: str) -> str:
        before, after = seen.without[lane].p99_s(), seen.beside[lane].p99_s()
        return f"{before * 1000:.1f} ms | {after * 1000:.1f} ms"

    return (
        f"| {seen.kind} | {'many' if seen.many else 'one'} | {seen.served:.2%} | {p99('kept')}"
        f" | {p99('new')} | {seen.health_worst_s * 1000:.0f} ms | {seen.rss_before / MIB:.0f} MiB"
        f" | {seen.rss_most / MIB:.0f} MiB | {', '.join(seen.misses) or 'held'} |"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.abuse", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each kind")
    parser.add_argument("--connections", type=int, default=5_000, help="of slow peers")
    parser.add_argument("--kinds", nargs="*", choices=[*KINDS, MIXED], help="only these")
    parser.add_argument("--table", type=Path, help="write the table here as well")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
