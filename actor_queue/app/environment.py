"""Where settings come from: flags, the environment, a `.env` file, in this order.

Owns the merging; what a value may be is decided in `core.settings`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Set
from pathlib import Path

from actor_queue.app.secret_files import with_secrets
from actor_queue.core import settings as core
from actor_queue.core.settings import Mistake, Serving, Settings, SettingsError, injected, parse
from actor_queue.core.variables import BY_NAME

DOTENV_BYTES_MAX = 1_048_576
INJECTED_SHOWN_MAX = 10

WHERE = "AQ_URL"
"""In the environment of whoever asks a service: where that is. It is no setting, and stops no
service that is started from the same shell."""

_SILENCED_BY = {"AQ_BIND": "PORT", "REDIS_URL": "REDIS_HOST"}
"""Two names that say the same. Within one source the key wins (`parse` sees to that); but a
nearer source's `REDIS_HOST` must beat a farther one's `REDIS_URL`."""


def load(
    environ: Mapping[str, str],
    dotenv_path: Path | str | None,
    flags: Mapping[str, str],
    *,
    serving: Serving | bool = False,
) -> Settings:
    """Settings from flags, then the environment, then the file; the first that has one wins.

    All three use the outside names. An empty value is the same as none, so it does not hide
    a farther source. A missing `.env` is no error. A secret may also be in a file that a source
    names (`app/secret_files.py`). With `serving`, see `core.settings.parse`.
    Raises `SettingsError` with everything that is wrong in all three.
    """
    environ = {name: text for name, text in environ.items() if name != WHERE}
    unreadable: list[Mistake] = []
    dotenv: Mapping[str, str] = {}
    try:
        dotenv = read_dotenv(dotenv_path)
    except SettingsError as error:
        unreadable.extend(error.mistakes)
    merged: dict[str, str] = {}
    for source in (flags, environ, dotenv):
        silenced = {name for name, nearer in _SILENCED_BY.items() if nearer in merged}
        _add(merged, with_secrets(source, merged.keys() | silenced, unreadable), silenced)
    try:
        # What is missing may stand in a file that cannot be read.
        settings = parse(merged, serving=False if unreadable else serving)
    except SettingsError as error:
        raise SettingsError(*unreadable, *error.mistakes) from None
    if unreadable:
        raise SettingsError(*unreadable)
    return settings


def from_process(dotenv_path: Path | str | None) -> Settings:
    """What `Settings.from_env` gives."""
    return load(os.environ, dotenv_path, {})


core.read_environment = from_process


def log_injected(environ: Mapping[str, str]) -> None:
    """One line in the log about the variables that a container platform has set and that look
    like ours; none if there are none."""
    names = sorted(name for name, value in environ.items() if injected(name, value))
    if names:
        from actor_queue.runtime.lines import tell

        shown = names[:INJECTED_SHOWN_MAX]
        tell("variables_ignored", names=",".join(shown), count=len(names))


def read_dotenv(path: Path | str | None) -> dict[str, str]:
    """The file's variables as they stand there: `$` is only a character.

    Raises `SettingsError` for a file that cannot be read or has a line that means nothing.
    """
    text = _text(Path(path)) if path is not None else ""
    if not text:
        return {}
    # A `.env` is rare in production; without one the library is not loaded.
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise SettingsError(
                f"{path} cannot be understood from line {binding.original.line} on:"
                " write NAME=value, with quotes around a value that has quotes or # in it"
            )
        if binding.key is not None:
            found[binding.key] = binding.value or ""
    return found


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(DOTENV_BYTES_MAX + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} cannot be read: it is not UTF-8 text") from None
    if len(content) > DOTENV_BYTES_MAX:
        raise SettingsError(f"{path} cannot be read: it has more than {DOTENV_BYTES_MAX} bytes")
    return text


def _add(merged: dict[str, str], farther: Mapping[str, str], silenced: Set[str]) -> None:
    for name, value in farther.items():
        if name not in BY_NAME:
            # `parse` refuses it where it looks like one of ours; an empty one too.
            merged.setdefault(name, value)
        elif value.strip() and name not in silenced:
            merged.setdefault(name, value)
