"""The command of a former release: `python -m benchmarks.former COMMAND …`.

The directory that `FORMER` names holds the package as it was; see `benchmarks.memory`.
"""

from __future__ import annotations

import os
import runpy
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.environ["FORMER"])
    runpy.run_module("actor_queue", run_name="__main__", alter_sys=True)
