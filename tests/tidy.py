"""Taste that can be checked: sizes, names, headers, and nothing of one machine in the files.

`python tests/tidy.py` prints what is wrong and exits 1. The exceptions may only shrink.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
EXCEPTIONS: dict[str, int] = {}
"""`path` or `path:function` → its size now. A size below it must be written down here."""
VAGUE = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"}
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|root|farm)/|bash_jobs")
LUA_HEADER = ("-- KEYS", "-- ARGV", "-- Returns")


def main() -> int:
    """Exit status."""
    complaints = list(all_complaints())
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


def all_complaints() -> Iterator[str]:
    for path in _files():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py":
            yield from _python(path, name)
        if path.suffix == ".lua":
            yield from _lua(path, name)
        if _is_text(path) and name != "tests/tidy.py":
            yield from _machine_paths(path, name)
    yield from _unused_scripts()


def _files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        names = listed.stdout.splitlines()
    else:
        names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()]
        names = [name for name in names if not name.startswith((".venv/", ".git/"))]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def _python(path: Path, name: str) -> Iterator[str]:
    source = path.read_text("utf-8")
    if path.stem in VAGUE:
        yield f"{name}: a module's name says what is in it"
    yield from _too_big(name, len(source.splitlines()), MODULE_LINES_MAX)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _too_big(f"{name}:{node.name}", _code_lines(node), FUNCTION_LINES_MAX)


def _too_big(name: str, size: int, size_max: int) -> Iterator[str]:
    allowed = EXCEPTIONS.get(name, size_max)
    if size > allowed:
        yield f"{name}: {size} lines, {allowed} are allowed"
    elif name in EXCEPTIONS and size < allowed:
        yield f"{name}: shrank to {size}, write that down in EXCEPTIONS"


def _code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement to the last, without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    if not body:
        return 0
    assert function.end_lineno is not None
    return function.end_lineno - body[0].lineno + 1


def _lua(path: Path, name: str) -> Iterator[str]:
    if path.name.startswith("prelude"):
        return
    lines = path.read_text("utf-8").splitlines()
    if not lines[0].startswith("#!lua"):
        yield f"{name}: the first line is the shebang with the script's flags"
    for part in LUA_HEADER:
        if not any(line.startswith(part) for line in lines):
            yield f"{name}: the header lacks {part!r}"


def _machine_paths(path: Path, name: str) -> Iterator[str]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if MACHINE_PATHS.search(line):
            yield f"{name}:{number}: a path of one machine"


def _is_text(path: Path) -> bool:
    return b"\0" not in path.read_bytes()[:8192]


def _unused_scripts() -> Iterator[str]:
    """Scripts that nobody calls. One with a newer version is for replicas of an older release."""
    folder = ROOT / "actor_queue" / "store"
    sources = "".join(path.read_text("utf-8") for path in folder.glob("*.py"))
    for path in sorted((folder / "lua").glob("*.lua")):
        name, _, version = path.stem.rpartition("_v")
        superseded = path.with_stem(f"{name}_v{int(version) + 1}").exists()
        if name != "prelude" and not superseded and f'"{path.stem}"' not in sources:
            yield f"{path.relative_to(ROOT).as_posix()}: nobody calls it"


if __name__ == "__main__":
    sys.exit(main())
