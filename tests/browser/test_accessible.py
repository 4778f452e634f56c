"""No page keeps anybody out: axe-core finds nothing grave, in light and dark, wide and narrow, in
English and in Portuguese, whose words are longer; and no page is wider than its screen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.axe import violations
from tests.browser.conftest import Dev, fresh_page, running_dev
from tests.browser.test_operate import mode
from tests.browser.test_playground import overflow, post

pytestmark = [pytest.mark.browser, pytest.mark.process]

PAGES = {
    "": "#timer",
    "docs": ".operation",
    "operate": ".rows .row",
    "operate#/user?user=ana": ".picture .attempt",
    "operate#/attempts": "#view .panel",
    "operate#/dead": "#view .panel:visible",
    "operate#/cluster": ".shard-map",
    "operate#/doctor": "#view .panel",
    "operate#/user?user=": "#view .fault",
}
"""Each page, and what shows that it is there."""


@pytest.fixture(scope="module")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Somebody is tried again, somebody waits."""
    directory = tmp_path_factory.mktemp("trouble")
    with running_dev(directory, "--retry-schedule", "3000", "--max-body", "400000") as dev:
        mode(dev, "fail")
        post(dev, {"user": "ana", "message": "Oi", "ttl": 0})
        post(dev, {"user": "bia", "message": "x" * 200_000, "ttl": 900})
        yield dev


@pytest.mark.parametrize(
    ("scheme", "width", "locale"), [("light", 1400, "en-US"), ("dark", 360, "pt-BR")]
)
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_grave_on(
    trouble: Dev, browser: Browser, path: str, scheme: str, width: int, locale: str
) -> None:
    screen = {"width": width, "height": 800}
    look = {"viewport": screen, "color_scheme": scheme, "locale": locale}
    # Without motion: what axe sees of a colour does not hang on when it looks.
    with fresh_page(browser, **look, reduced_motion="reduce") as page:
        page.goto(trouble.url + path)
        expect(page.locator(PAGES[path]).first).to_be_visible()
        assert overflow(page) == 0
        if path == "docs":  # its operations are alike, and all of them take axe half a minute
            page.locator("#search").fill("typing window")
            expect(page.locator(".operation:visible")).to_have_count(2)
        assert violations(page) == []


@pytest.mark.parametrize("press", ["?", "Drop: bia"])
def test_axe_finds_nothing_grave_in_a_dialog(trouble: Dev, browser: Browser, press: str) -> None:
    with fresh_page(browser, reduced_motion="reduce") as page:
        page.goto(f"{trouble.url}operate")
        page.get_by_role("button", name=press).first.click()
        expect(page.locator("dialog[open]")).to_be_visible()
        assert violations(page) == []
