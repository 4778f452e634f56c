"""Verbs for many on the operator's view: counted first, asked about, then done with those alone."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ANSWER_S, Dev
from tests.browser.test_operate import mode, open_view
from tests.browser.test_playground import post
from tests.browser.test_states import post_many

pytestmark = [pytest.mark.browser, pytest.mark.process]


def test_all_that_match_the_filter_are_counted_confirmed_and_held_and_nobody_else(
    dev: Dev, page: Page
) -> None:
    names = [f"a{n}" for n in range(130)] + [f"b{n}" for n in range(40)]
    post_many(dev, ({"user": name, "message": "Oi", "ttl": 900} for name in names))
    open_view(dev, page, "waiting?q=user%3Aa")
    page.get_by_role("button", name="All that match …").click()
    page.get_by_role("button", name="Hold: All that match the filter").click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("h2")).to_have_text("Put 130 users on hold?")
    dialog.get_by_role("button", name="Hold").click()
    expect(dialog).to_be_visible()  # the number was not typed
    dialog.locator("input").fill("130")
    dialog.get_by_role("button", name="Hold").click()
    expect(page.locator("#said")).to_have_text("Done for 130 users.")
    held = Counter(line["user"][0] for line in listed(dev, "users?state=held&limit=1000"))
    assert held == {"a": 130}


def test_those_that_were_chosen_are_dropped_and_nobody_else(shared_dev: Dev, page: Page) -> None:
    for name in ("c1", "c2", "c3"):
        post(shared_dev, {"user": name, "message": "Oi", "ttl": 900})
    open_view(shared_dev, page, "waiting?q=user%3Ac")
    for name in ("c1", "c3"):
        page.get_by_label(f"Choose {name}").check()
    page.get_by_role("button", name="Drop: 2 chosen").click()
    page.locator("dialog[open]").get_by_role("button", name="Drop").click()
    expect(page.locator("#said")).to_have_text("Done for 2 users.")
    left = {line["user"] for line in listed(shared_dev, "users?user=c")}
    assert left == {"c2"}


def test_dead_letters_of_the_filter_alone_are_replayed_and_dropped(
    hasty_dev: Dev, page: Page
) -> None:
    mode(hasty_dev, "fail")
    for name in ("x1", "y1", "z1"):
        post(hasty_dev, {"user": name, "message": "Oi", "ttl": 0})
    open_view(hasty_dev, page, "dead")
    expect(page.locator(".groups .tile-number")).to_have_text("3")
    mode(hasty_dev, "ok")
    use_filter(page, "user:x")
    page.get_by_role("button", name="Replay all that match").click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("h2")).to_have_text("Replay 1 dead letter?")
    dialog.get_by_role("button", name="Replay").click()
    expect(page.locator("#view .hollow:visible")).to_have_text("No dead letter matches the filter.")
    use_filter(page, "user:y")
    page.get_by_role("button", name="Drop all that match").click()
    dialog.get_by_role("button", name="Drop").click()
    expect(page.locator("#said")).to_have_text("1 dead letter dropped.")
    assert [letter["user"] for letter in listed(hasty_dev, "dead")] == ["z1"]


def use_filter(page: Page, text: str) -> None:
    page.locator("#filter").fill(text)
    page.locator("#filter").press("Enter")


def listed(dev: Dev, path: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{dev.url}api/{path}", timeout=ANSWER_S) as response:
        answer = json.load(response)
    found: list[dict[str, Any]] = answer.get("users", answer.get("dead"))
    return found
