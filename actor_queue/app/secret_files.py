"""Secrets that are in files: `--redis-password-file`, and REDIS_PASSWORD_FILE for containers.

A flag's value is in the process list, and a variable's in `/proc`; of a file only its path is.
Every setting that is a secret has such a name beside its own, and no other setting has one. No
sentence here quotes what is in a file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from actor_queue.core.settings import Mistake
from actor_queue.core.variables import VARIABLES, Variable

FILE_BYTES_MAX: Final = 1_048_576
SECRETS: Final[tuple[Variable, ...]] = tuple(each for each in VARIABLES if each.secret)


def name_of_file(variable: Variable) -> str:
    """`AQ_API_KEYS_FILE`, which as a flag is `--api-keys-file`."""
    return f"{variable.name}_FILE"


def flag_of_file(variable: Variable) -> str:
    return f"{variable.flag}-file"


def with_secrets(
    source: Mapping[str, str], unneeded: Collection[str], mistakes: list[Mistake]
) -> dict[str, str]:
    """`source` with each secret that it names a file for, and without the files' names.

    No file is read for a name in `unneeded`: those are the settings that a nearer source has. What
    is wrong goes into `mistakes`.
    """
    found = dict(source)
    for variable, path in _named(found):
        if found.get(variable.name, "").strip():
            mistakes.append(
                Mistake(
                    (variable.name,),
                    f"{variable.name} and {name_of_file(variable)} are both set: set one of them",
                )
            )
        elif variable.name not in unneeded:
            secret = _secret(variable, path)
            if isinstance(secret, Mistake):
                mistakes.append(secret)
            else:
                found[variable.name] = secret
    return found


def _named(found: dict[str, str]) -> Iterator[tuple[Variable, str]]:
    """Each secret with the path of its file, where there is one; takes the paths out of `found`."""
    for variable in SECRETS:
        path = found.pop(name_of_file(variable), "").strip()
        if path:
            yield variable, path


def _secret(variable: Variable, path: str) -> str | Mistake:
    """What is in the file, but for the line break at its end, which editors put there."""
    try:
        with open(path, "rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        secret = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        trouble = "it is not UTF-8 text"
    except ValueError:
        trouble = "that is no path"
    except OSError as error:
        trouble = error.strerror or type(error).__name__
    else:
        if len(content) <= FILE_BYTES_MAX and secret.strip():
            return secret
        trouble = f"it has more than {FILE_BYTES_MAX} bytes" if secret.strip() else "it is empty"
    name = name_of_file(variable)
    return Mistake((variable.name,), f"{name} is {path!r}, which cannot be read: {trouble}")
