"""What the inbox of `dev` has received, kept in files so that a restart shows it again.

One file a webhook, written beside and renamed into place, so that a process that is killed at any
moment leaves whole files only. The files are the truth: workers of one `dev` share them, and each
reads the others' when it is asked. Bounded in number and in bytes; the oldest go first.

They hold people's messages, like the embedded server's files next to them: readable by their
owner alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from actor_queue.runtime.lines import tell

SUFFIX = ".json"
ASIDE = ".unreadable"
"""The ending of a file that was set aside because it is none of ours, or damaged."""
ASIDE_MAX = 10
WRITING = ".writing"
WRITING_MAX_S = 60.0
"""A file that has been written for this long belongs to a process that is gone."""
MODE = "mode"
MODE_BYTES_MAX = 16


class InboxFiles:
    """The files of one directory, which is made when there is something to keep.

    Methods that write raise OSError. Each call is short: there are few files, and they are small.
    """

    def __init__(self, directory: Path, files_max: int, bytes_max: int) -> None:
        self._directory = directory
        self._files_max = files_max
        self._bytes_max = bytes_max
        self._texts: dict[str, bytes] = {}
        """By file name what has been read or written."""
        self._last_ns = 0
        self._remove_old(WRITING, keep=0, older_than_s=WRITING_MAX_S)

    def newest_first(self) -> list[bytes]:
        """The texts of all files."""
        return [self._texts[name] for name in reversed(self._refresh())]

    def add(self, text: bytes) -> None:
        """Keep `text`, which is a JSON object, and give up the oldest for it."""
        # Names are in the order of arrival, also within one tick of the clock.
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        name = f"{self._last_ns:020d}-{os.getpid()}{SUFFIX}"
        self._write(name, text)
        self._texts[name] = text
        names = self._refresh()
        total = sum(len(self._texts[name]) for name in names)
        while len(names) > self._files_max or total > self._bytes_max:
            total -= len(self._texts[names[0]])
            self._remove(names.pop(0))

    def clear(self) -> int:
        """Remove all; how many there were."""
        names = self._refresh()
        for name in names:
            self._remove(name)
        return len(names)

    @property
    def mode(self) -> str:
        """What `set_mode` was told last; empty if nothing was."""
        try:
            with (self._directory / MODE).open("rb") as file:
                return file.read(MODE_BYTES_MAX).decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def set_mode(self, mode: str) -> None:
        """Remember it."""
        self._write(MODE, mode.encode("ascii"))

    def _refresh(self) -> list[str]:
        """The names of the files that are there now, oldest first, all of them read."""
        there = sorted(self._names(SUFFIX))[-2 * self._files_max :]
        for name in self._texts.keys() - set(there):
            del self._texts[name]
        for name in there:
            if name not in self._texts and (text := self._read(name)) is not None:
                self._texts[name] = text
        return [name for name in there if name in self._texts]

    def _read(self, name: str) -> bytes | None:
        path = self._directory / name
        try:
            with path.open("rb") as file:
                text = file.read(self._bytes_max + 1)
        except OSError:
            return None
        if len(text) <= self._bytes_max and is_object(text):
            return text
        tell("inbox_file_unreadable", file=path.name, directory=str(self._directory))
        with contextlib.suppress(OSError):
            path.rename(path.with_suffix(ASIDE))
        self._remove_old(ASIDE, keep=ASIDE_MAX)
        return None

    def _write(self, name: str, text: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = self._directory / f"{name}.{os.getpid()}{WRITING}"
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
            written.rename(self._directory / name)
        except OSError:
            written.unlink(missing_ok=True)
            raise

    def _remove(self, name: str) -> None:
        self._texts.pop(name, None)
        (self._directory / name).unlink(missing_ok=True)

    def _remove_old(self, ending: str, *, keep: int, older_than_s: float = 0.0) -> None:
        names = sorted(self._names(ending))
        for name in names[: len(names) - keep] if len(names) > keep else []:
            with contextlib.suppress(OSError):
                path = self._directory / name
                if time.time() - path.stat().st_mtime >= older_than_s:
                    path.unlink()

    def _names(self, ending: str) -> Iterator[str]:
        with contextlib.suppress(OSError), os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.endswith(ending):
                    yield entry.name


def is_object(text: bytes) -> bool:
    """Whether it is a JSON object with the fields of a webhook in a listing."""
    try:
        value = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.keys() >= {"id", "received_at", "headers", "body"}
