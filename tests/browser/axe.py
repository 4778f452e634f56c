"""axe-core on a page: what stands between it and somebody who does not see, or has no mouse."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

GRAVE = frozenset({"serious", "critical"})

# These are of lesser weight to axe, and were on our pages once. They stay away.
WATCHED = frozenset({"label-content-name-mismatch", "page-has-heading-one", "region"})
RUN = """async watched => (await axe.run(document, {
  rules: Object.fromEntries(watched.map(id => [id, {enabled: true}])),
})).violations.map(({id, impact, nodes}) => ({
  id, impact, where: nodes.map(node => node.html.slice(0, 160)),
}))"""


def violations(page: Page) -> list[dict[str, Any]]:
    """What is grave on the page as it stands, and what we watch for; empty if nothing is."""
    page.evaluate(_source())
    found: list[dict[str, Any]] = page.evaluate(RUN, sorted(WATCHED))
    return [each for each in found if each["impact"] in GRAVE or each["id"] in WATCHED]


@cache
def _source() -> str:
    """The script, without importing the package, which would bring another way to drive pages."""
    spec = find_spec("axe_playwright_python")
    assert spec is not None, "axe-playwright-python is not installed: make install"
    assert spec.origin is not None
    return (Path(spec.origin).parent / "axe.min.js").read_text()
