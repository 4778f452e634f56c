"""Notes the Lua scripts that are not noted yet as released: a test forbids changing one that is.

Run before a release. A script that was changed after its release is an error: it gets a new version
instead, because replicas of both releases run on one Redis while one replaces the other.
"""

from __future__ import annotations

import json
import re
import sys
from hashlib import sha256
from pathlib import Path

LUA = Path(__file__).parent.parent / "actor_queue" / "store" / "lua"
NOTED = LUA / "released.json"
LINES = (r"^-- with (prelude_v\d+|nothing)$", r"^-- travels with (messages|claims|rest)$")
"""What the header of a script has, see `actor_queue/store/scripts.py`."""


def digests() -> dict[str, str]:
    """Of the scripts and preludes that are there, by name."""
    files = sorted(LUA.glob("*.lua"))
    return {file.stem: sha256(file.read_bytes()).hexdigest() for file in files}


def unnamed() -> list[str]:
    """Scripts that are not released yet and lack the line that names their prelude, or the one that
    names the connection on which they travel."""
    noted = json.loads(NOTED.read_text()) if NOTED.exists() else {}
    return [
        file.stem
        for file in sorted(LUA.glob("*.lua"))
        if file.stem not in noted and not file.stem.startswith("prelude") and _lacks(file)
    ]


def _lacks(file: Path) -> bool:
    text = file.read_text("utf-8")
    return any(re.search(line, text, re.MULTILINE) is None for line in LINES)


def main() -> int:
    noted = json.loads(NOTED.read_text()) if NOTED.exists() else {}
    found = digests()
    wrong = [name for name, digest in noted.items() if found.get(name) != digest]
    if wrong:
        print(f"changed or gone after their release: {', '.join(wrong)}", file=sys.stderr)
        return 1
    if lacking := unnamed():
        print(f"name no prelude or no connection: {', '.join(lacking)}", file=sys.stderr)
        return 1
    NOTED.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{len(found) - len(noted)} scripts more are released, {len(found)} in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
