"""How answers look: tables in a terminal, tab-separated lines in a pipe, JSON on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from actor_queue.app.logs import printable


def show_json(answer: object) -> None:
    """The whole answer, indented. ASCII where the output cannot carry more."""
    ascii_only = not sys.stdout.encoding.lower().startswith("utf")
    print(json.dumps(answer, indent=2, ensure_ascii=ascii_only))


def show_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """One line per row, the values of `columns` in it."""
    cells = [[text(row.get(column)) for column in columns] for row in rows]
    titles = [column.replace("_", " ") for column in columns]
    if not sys.stdout.isatty():
        for line in [titles, *cells]:
            print("\t".join(line))
        return
    # rich takes longer to load than the whole command without it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for line in cells:
        table.add_row(*[Text(cell) for cell in line])
    Console().print(table)


def show_fields(answer: Mapping[str, Any], names: Sequence[str]) -> None:
    """`name: value`, one a line, without those that have no value."""
    for name in names:
        if answer.get(name) is not None:
            print(f"{name.replace('_', ' ')}: {text(answer[name])}")


def text(value: object) -> str:
    """One value on one line."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.1f}"
        case str():
            return printable(value)
        case _:
            return json.dumps(value, ensure_ascii=False)
