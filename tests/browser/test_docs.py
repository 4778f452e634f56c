"""The API's page: its text comes first, it can be searched, and its requests can be tried."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Dev, fresh_page, running_dev

pytestmark = [pytest.mark.browser, pytest.mark.process]


def test_the_text_is_reached_before_the_list_of_operations(shared_dev: Dev, page: Page) -> None:
    open_docs(shared_dev, page)
    for _ in range(4):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_a_search_leaves_the_operations_that_have_all_its_words(
    shared_dev: Dev, page: Page
) -> None:
    open_docs(shared_dev, page)
    every = page.locator(".operation:visible").count()
    page.keyboard.press("/")
    page.keyboard.type("typing window")
    expect(page.locator("#found")).to_contain_text("found")
    assert 0 < page.locator(".operation:visible").count() < every
    expect(page.locator("#contents a:visible", has_text="typing")).to_have_count(1)
    page.locator("#search").fill("")
    expect(page.locator(".operation:visible")).to_have_count(every)


def test_a_request_is_tried_and_its_answer_shown(shared_dev: Dev, page: Page) -> None:
    open_docs(shared_dev, page)
    one = page.locator("#post-api-message")
    one.get_by_text("Try it").click()
    one.locator("textarea").fill('{"user": "tried", "message": "Oi", "ttl": 900}')
    one.get_by_role("button", name="POST it").click()
    expect(one.locator(".trial-answer .chip")).to_have_text("202")
    expect(one.locator(".trial-answer pre").last).to_contain_text('"user": "tried"')
    one.locator("textarea").fill("nonsense")
    one.get_by_role("button", name="POST it").click()
    expect(one.locator(".trial-answer .chip")).to_have_text("400")


def test_a_user_in_the_path_is_encoded(shared_dev: Dev, page: Page) -> None:
    open_docs(shared_dev, page)
    one = page.locator("#get-api-users-user")
    one.get_by_text("Try it").click()
    one.locator('input[name="user"]').fill("a/b ç")
    one.get_by_role("button", name="GET it").click()
    expect(one.locator(".trial-answer pre").last).to_contain_text('"user": "a/b ç"')


def test_a_trial_on_a_server_with_keys_asks_for_one_and_goes_on(
    browser: Browser, tmp_path: Path
) -> None:
    with running_dev(tmp_path, "--api-keys", "read:k-look") as dev, fresh_page(browser) as page:
        open_docs(dev, page)
        one = page.locator("#get-api-users")
        one.get_by_text("Try it").click()
        one.get_by_role("button", name="GET it").click()
        page.locator("#key").fill("k-look")
        page.locator("#key").press("Enter")
        expect(one.locator(".trial-answer .chip")).to_have_text("200")


def open_docs(dev: Dev, page: Page) -> None:
    page.goto(f"{dev.url}docs")
    expect(page.locator(".operation").first).to_be_visible()
