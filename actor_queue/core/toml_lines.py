"""On which line of a TOML text each key and each table stands: `tomllib` does not say.

The text has been read by `tomllib` already, so nothing is checked here a second time. What this
scanner does not follow gets no line, and whoever looks it up takes that of the table around it.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from contextlib import suppress
from typing import Final

Path = tuple[str, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY: Final = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*""")
_TEXT: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'",
    re.DOTALL,
)
_PLAIN: Final = re.compile(r"[^,\]}#\n]*")


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1 on, of each key and table by its whole path, at its first place. Every table
    that a dotted name goes through is there, too."""
    scanner = _Scanner(text)
    with suppress(_Lost, RecursionError):  # what was found until there still holds
        scanner.scan()
    return scanner.lines


class _Lost(Exception):
    """Here stands what the scanner does not know."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]

    def scan(self) -> None:
        table: Path = ()
        while self._skip_blanks():
            if self._takes("["):
                self._takes("[")
                table = self._name(())
                self._needs("]")
                self._takes("]")
            else:
                self._pair(table)

    def _pair(self, table: Path) -> None:
        name = self._name(table)
        self._needs("=")
        self._skip_blanks()
        self._value(name)

    def _name(self, table: Path) -> Path:
        """A dotted name inside `table`, which is written down; a table's own has none around it."""
        name = table
        while True:
            self._skip_blanks()
            line = bisect_right(self._breaks, self._at - 1) + 1
            word = self._match(_KEY)[1]
            name = (*name, word if word[0] not in "\"'" else tomllib.loads(f"k = {word}")["k"])
            self.lines.setdefault(name, line)
            if not self._takes("."):
                return name

    def _value(self, name: Path) -> None:
        if self._takes("["):
            while self._skip_blanks() and not self._takes("]"):
                self._value(name)
                self._skip_blanks()
                self._takes(",")
        elif self._takes("{"):
            while self._skip_blanks() and not self._takes("}"):
                self._pair(name)
                self._skip_blanks()
                self._takes(",")
        elif self._text[self._at : self._at + 1] in ('"', "'"):
            self._match(_TEXT)
        else:
            self._match(_PLAIN)

    def _skip_blanks(self) -> bool:
        """Over spaces, line breaks and comments. Whether anything follows."""
        self._match(_BLANK)
        return self._at < len(self._text)

    def _takes(self, sign: str) -> bool:
        found = self._text.startswith(sign, self._at)
        self._at += found
        return found

    def _needs(self, sign: str) -> None:
        if not self._takes(sign):
            raise _Lost

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise _Lost
        self._at = match.end()
        return match
