"""What people at a terminal read and are asked: lines, tables, JSON, questions.

Owns the layout. In a terminal a table is aligned, and what does not fit beside the rest stands on
a line of its own, so that an id or a user is never cut and can be copied; only sentences are
wrapped. In a pipe a table is tab-separated. Nothing that came from outside can steer the terminal.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, TextIO

from actor_queue.app.logs import printable

NAME = "actor-queue"
NO = 1
WRONG = 2

GAP = 2
INDENT = 4
ALIGNED_SHARE = 2
"""A cell wider than the terminal divided by this does not widen its column: it ends its line."""

SENTENCES = frozenset({"next", "reason", "answer", "message"})
"""Columns that are wrapped between words where they do not fit."""
SENTENCE_WIDTH_MIN = 20
DURATIONS = frozenset({"fires_in", "held_for", "retry_in", "attempt_for", "seen_ago", "remaining"})
"""Names of fields that are seconds."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_YES = {"y", "yes"}

Row = Mapping[str, Any]


def complain(sentence: str, status: int) -> int:
    """One line on standard error; returns `status`."""
    note(f"{NAME}: {sentence}")
    return status


def note(sentence: str) -> None:
    """What helps a person and would be in the way of a program. It ends nothing if it is lost."""
    say(f"{printable(sentence)}\n")


def say(words: str) -> None:
    """Exactly `words` on standard error. It ends nothing if they are lost."""
    try:
        print(words, end="", file=sys.stderr, flush=True)
    except OSError:
        give_up(sys.stderr)


def open_closed_streams() -> None:
    """A standard stream that was closed gets one that has nothing to read, or takes nothing.

    Writing to standard output then fails as to any that cannot be written: whoever wanted an
    answer is told. What is said on standard error is lost. No connection gets their numbers.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    descriptor = os.open(os.devnull, os.O_RDONLY)
    while descriptor <= 2:
        if descriptor == 2:
            give_up(descriptor)
        descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def show_address(url: str) -> None:
    """Where `dev` listens. It goes on if nobody reads that."""
    try:
        # In one piece: `print` may write the line's end by itself, behind a line of the log.
        sys.stdout.write(f"{NAME}: {url}\n")
        sys.stdout.flush()
    except OSError:
        give_up(sys.stdout)


def give_up(stream: TextIO | int) -> None:
    """Nothing that is written to `stream` from now on, or is buffered, goes anywhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream if isinstance(stream, int) else stream.fileno())
    os.close(null)


def confirmed(what: str, *, yes: bool) -> bool:
    """Whether to go on. Raises `Unasked` where nobody can be asked.

    `what` is a sentence that says what would happen, without a full stop.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise Unasked(f"{what}: give --yes to do it, because there is no terminal to ask")
    say(f"{printable(what)}; go on? [y/N] ")
    return sys.stdin.readline().strip().lower() in _YES


class Unasked(Exception):
    """A question that nobody can answer; the text is one sentence."""


# Answers


def show_json(answer: object) -> None:
    """The whole answer, indented."""
    print(json_text(answer, indent=2))


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON that is safe in a terminal: what is not printable stands there as an escape."""
    text = json.dumps(value, indent=indent, ensure_ascii=not _speaks_unicode())
    return "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in text)


def show_fields(answer: Row, names: Sequence[str], *, prefix: str = "") -> None:
    """`name: value`, one a line, without those that have no value."""
    for name in names:
        if answer.get(name) is not None:
            print(f"{prefix}{title(name)}: {value_of(name, answer[name])}")


def show_table(columns: Sequence[str], rows: Iterable[Row], *, heading: bool = True) -> None:
    """One row a line, or a few lines where the terminal is narrow."""
    cells = [[value_of(column, row.get(column)) for column in columns] for row in rows]
    titles = [title(column) for column in columns]
    if not sys.stdout.isatty():
        for row_cells in [titles, *cells] if heading else cells:
            print("\t".join(row_cells))
        return
    room = shutil.get_terminal_size().columns
    sentences, widths, groups = _layout(columns, cells, room)
    if heading:
        for line in _lines(titles, widths, groups, room, sentences):
            print(_bold(line))
    for row_cells in cells:
        for line in _lines(row_cells, widths, groups, room, sentences):
            print(line)


def lines_of_a_row(columns: Sequence[str], rows: Sequence[Row]) -> int:
    """How many lines `show_table` needs for one row where no sentence is wrapped; in a pipe one."""
    if not sys.stdout.isatty():
        return 1
    cells = [[value_of(column, row.get(column)) for column in columns] for row in rows]
    _, _, groups = _layout(columns, cells, shutil.get_terminal_size().columns)
    return len(groups)


def show_paragraphs(paragraphs: Sequence[tuple[str, str]]) -> None:
    """A head and a sentence each, with the sentences under each other; wrapped in a terminal."""
    width = max((len(head) for head, _ in paragraphs), default=0) + GAP
    wrapped = sys.stdout.isatty()
    room = shutil.get_terminal_size().columns - width
    for head, sentence in paragraphs:
        first, *others = _wrapped(printable(sentence), room) if wrapped else [printable(sentence)]
        print(f"{head:<{width}}{first}")
        for other in others:
            print(" " * width + other)


def with_values(columns: Sequence[str], optional: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """`columns` without those of `optional` that no row has a value for."""
    return [
        column
        for column in columns
        if column not in optional or any(row.get(column) is not None for row in rows)
    ]


# Values


def title(name: str) -> str:
    return name.replace("_", " ")


def value_of(name: str, value: object) -> str:
    """The value of the field `name`, on one line."""
    if name in DURATIONS and isinstance(value, int | float) and not isinstance(value, bool):
        return span(value)
    return text(value)


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
            return json_text(value)


def span(seconds: float) -> str:
    """A duration for people: `3.2 s`, `45 s`, `12 min`, `5 h`, `3 days`."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds / _HOUR_S:.0f} h"
    return f"{seconds / _DAY_S:.0f} days"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 message`, `3 messages`, `10,000 messages`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


# Layout


def _layout(
    columns: Sequence[str], cells: Sequence[Sequence[str]], room: int
) -> tuple[set[int], list[int], list[list[int]]]:
    """Of a table: which columns are sentences, how wide each is, and which share a line."""
    sentences = {number for number, column in enumerate(columns) if column in SENTENCES}
    titles = [title(column) for column in columns]
    widths = _widths([titles, *cells], room // ALIGNED_SHARE, sentences)
    return sentences, widths, list(_groups(widths, room, sentences))


def _widths(lines: Sequence[Sequence[str]], widest: int, sentences: Set[int]) -> list[int]:
    """Of each column: as its widest cell that is no wider than `widest`; of a sentence no more
    than the least that it is wrapped to."""
    columns = [[_cells(cell) for cell in column] for column in zip(*lines, strict=True)]
    return [
        min(max(column), SENTENCE_WIDTH_MIN)
        if number in sentences
        else max((width for width in column if width <= widest), default=widest)
        for number, column in enumerate(columns)
    ]


def _groups(widths: Sequence[int], room: int, sentences: Set[int]) -> Iterator[list[int]]:
    """Which columns share a line, so that as few lines as can be are wider than the terminal.

    A sentence that may have to be wrapped is the last in its line.
    """
    group: list[int] = []
    used = 0
    for column, width in enumerate(widths):
        if group and used + width > room:
            yield group
            group, used = [], INDENT
        group.append(column)
        used += width + GAP
        if column in sentences and width == SENTENCE_WIDTH_MIN:
            yield group
            group, used = [], INDENT
    if group:
        yield group


def _lines(
    cells: Sequence[str],
    widths: Sequence[int],
    groups: Sequence[Sequence[int]],
    room: int,
    sentences: Set[int],
) -> Iterator[str]:
    for number, group in enumerate(groups):
        start = INDENT if number else 0
        line, end = " " * start, start
        for column in group:
            cell = cells[column]
            if column in sentences and column == group[-1]:
                first, *others = _wrapped(cell, room - end)
                yield (line + first).rstrip()
                line = ""
                for other in others:
                    yield " " * end + other
                continue
            line += cell
            end += widths[column] + GAP
            if _cells(cell) > widths[column]:
                yield line
                line = " " * end
            else:
                line += " " * (widths[column] - _cells(cell) + GAP)
        if line.strip():
            yield line.rstrip()


def _wrapped(sentence: str, room: int) -> list[str]:
    """Between words only: a word that is too long goes on beyond the edge."""
    room = max(room, SENTENCE_WIDTH_MIN)
    if _cells(sentence) <= room:
        return [sentence]
    # textwrap takes longer to load than what it does here.
    from textwrap import wrap

    return wrap(sentence, room, break_long_words=False, break_on_hyphens=False) or [""]


def _cells(line: str) -> int:
    """Columns of the terminal: an ideogram takes two, a combining mark none."""
    if line.isascii():
        return len(line)
    # rich takes longer to load than the rest of the command.
    from rich.cells import cell_len

    return cell_len(line)


def _bold(line: str) -> str:
    plain = os.environ.get("NO_COLOR") or is_plain()
    return line if plain else f"\x1b[1m{line}\x1b[0m"


def is_plain() -> bool:
    """Whether the terminal takes nothing but lines."""
    return os.environ.get("TERM") in (None, "", "dumb")


def _speaks_unicode() -> bool:
    return bool(re.match("utf", sys.stdout.encoding or "", re.IGNORECASE))


def _escaped(char: str) -> str:
    return json.dumps(char, ensure_ascii=True)[1:-1] if ord(char) > 0x7E else f"\\u{ord(char):04x}"
