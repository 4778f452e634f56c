"""The drawing in the documentation is the machine in the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_committed_diagram_is_what_the_code_does() -> None:
    spec = importlib.util.spec_from_file_location("diagram", DOCS / "make_state_diagram.py")
    assert spec is not None
    assert spec.loader is not None
    diagram = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(diagram)
    assert (DOCS / "state_machine.md").read_text("utf-8") == diagram.page()
