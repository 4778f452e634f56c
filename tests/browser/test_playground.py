"""The playground page, driven by a real browser against a real `actor-queue dev`."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Dev, fresh_page, running_dev

pytestmark = [pytest.mark.browser, pytest.mark.process]

THREE = ["Oi", "tudo bem?", "queria saber do meu pedido <b>4482</b>"]
ARRIVES_MS = 15_000

# Of a wait of 2.5 s, as the dial shows it: no reading is both.
FULL = re.compile(r"^2\.[1-5]$")
RUN_DOWN = re.compile(r"^[01]\.\d$")


def test_three_messages_reset_the_wait_and_arrive_as_one_webhook_in_order(
    dev: Dev, page: Page, tmp_path: Path
) -> None:
    open_playground(dev, page, ttl="2.5")
    seconds = page.locator("#seconds")
    for text in THREE:
        if text != THREE[0]:
            expect(seconds).to_have_text(RUN_DOWN)
        write(page, text)
        expect(seconds).to_have_text(FULL)
    expect(page.locator("#timer-title")).to_have_text("3 messages waiting")
    expect(page.locator("#timer-text")).to_contain_text("began again twice")

    card = page.locator(".webhook")
    expect(card.locator(".texts li")).to_have_count(3, timeout=ARRIVES_MS)
    expect(card).to_have_count(1)
    expect(card.locator(".texts li > span:last-child")).to_have_text(THREE)
    expect(page.locator("#announce")).to_contain_text("3 messages")
    expect(page.locator("#log .bubble[data-state=delivered]")).to_have_count(3)
    expect(page.locator("#timer")).to_have_attribute("data-state", "idle")
    page.screenshot(path=tmp_path / "delivered.png", full_page=True)

    [webhook] = inbox(dev)["webhooks"]
    assert webhook["body"]["messages"] == THREE
    assert card.get_attribute("data-id") == webhook["headers"]["webhook-id"]


def test_a_failing_receiver_gets_the_same_webhook_again_until_it_takes_it(
    dev: Dev, page: Page, tmp_path: Path
) -> None:
    open_playground(dev, page, ttl="0.3")
    page.locator("#mode").get_by_label("fails").check(force=True)
    write(page, THREE[0])
    pending = page.locator(".webhook.pending")
    expect(pending).to_contain_text("500")
    failed_id = pending.get_attribute("data-id")
    page.screenshot(path=tmp_path / "failing.png", full_page=True)

    page.locator("#mode").get_by_label("answers").check(force=True)
    expect(pending).to_have_count(0, timeout=ARRIVES_MS)
    expect(page.locator(".webhook")).to_have_attribute("data-id", str(failed_id))
    expect(page.locator(".webhook .chips")).to_contain_text("attempt")


def test_a_held_user_is_sent_nothing_until_released(dev: Dev, page: Page) -> None:
    open_playground(dev, page, ttl="0.2")
    page.locator("#hold").click()
    expect(page.locator("#timer")).to_have_attribute("data-state", "held")
    write(page, THREE[0])
    expect(page.locator("#timer-title")).to_have_text("1 message held back")
    assert inbox(dev)["webhooks"] == []
    page.locator("#hold").click()
    expect(page.locator(".webhook .texts li")).to_have_count(1)


def test_flush_does_not_wait(dev: Dev, page: Page) -> None:
    open_playground(dev, page, ttl="600")
    write(page, THREE[0])
    page.locator("#flush").click()
    expect(page.locator(".webhook .chips")).to_contain_text("flush")


def test_what_was_written_before_and_during_a_kill_arrives_after_the_restart(
    dev: Dev, page: Page, tmp_path: Path
) -> None:
    open_playground(dev, page, ttl="3")
    write(page, THREE[0])
    expect(page.locator("#log .bubble[data-state=waiting]")).to_have_count(1)
    dev.kill()
    expect(page.locator("#link")).to_have_attribute("data-state", "away")
    write(page, THREE[1])
    expect(page.locator("#log .bubble[data-state=unsent]")).to_have_count(1)
    page.screenshot(path=tmp_path / "away.png")

    dev.start()
    expect(page.locator("#link")).to_have_attribute("data-state", "up")
    texts = page.locator(".webhook .texts li > span:last-child")
    expect(texts).to_have_count(2, timeout=ARRIVES_MS)
    assert sorted(texts.all_text_contents()) == sorted(THREE[:2])


def test_a_message_of_another_sender_shows_its_text_when_its_webhook_arrives(
    shared_dev: Dev, page: Page
) -> None:
    open_playground(shared_dev, page, ttl="0")
    page.locator("#user").fill("somebody.else")
    page.locator("#user").press("Tab")
    post(shared_dev, {"user": "somebody.else", "message": "de outro lugar", "ttl": 1})
    words = page.locator("#log .bubble .words")
    expect(words).to_have_text("A message from another sender")
    expect(words).to_have_text("de outro lugar")


def test_a_server_with_keys_asks_for_one_and_keeps_it_for_this_tab(
    browser: Browser, tmp_path: Path
) -> None:
    with running_dev(tmp_path, "--api-keys", "admin:k-right") as dev, fresh_page(browser) as page:
        page.goto(dev.url)
        for typed in ("k-wrong", "k-right"):
            page.locator("#key").fill(typed)
            page.locator("#key").press("Enter")
        expect(page.locator("#link")).to_have_attribute("data-state", "up")
        page.locator("#ttl").fill("0")
        write(page, THREE[0])
        expect(page.locator(".webhook .texts li")).to_have_count(1)
        page.reload()
        expect(page.locator("#link")).to_have_attribute("data-state", "up")
        expect(page.locator("#key-dialog")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen(
    shared_dev: Dev, browser: Browser, tmp_path: Path, scheme: str, width: int
) -> None:
    screen = {"width": width, "height": 844}
    with fresh_page(browser, viewport=screen, color_scheme=scheme) as page:
        open_playground(shared_dev, page, ttl="0")
        write(page, "palavra" * 60)
        expect(page.locator("#log .bubble[data-state=delivered]")).to_have_count(1)
        page.locator(".webhook summary").first.click()
        assert overflow(page) == 0
        page.screenshot(path=tmp_path / "playground.png", full_page=True)
        page.goto(f"{shared_dev.url}docs")
        expect(page.locator(".operation").first).to_be_visible()
        assert overflow(page) == 0
        page.screenshot(path=tmp_path / "docs.png", full_page=True)


# The page as a person uses it


def open_playground(dev: Dev, page: Page, *, ttl: str) -> None:
    page.goto(dev.url)
    expect(page.locator("#link")).to_have_attribute("data-state", "up")
    page.locator("#ttl").fill(ttl)


def write(page: Page, text: str) -> None:
    page.locator("#text").fill(text)
    page.locator("#text").press("Enter")
    expect(page.locator("#log .bubble .words").last).to_have_text(text)


def overflow(page: Page) -> int:
    """Pixels that the page is wider than what can be seen of it."""
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(page.evaluate(width))


def post(dev: Dev, message: dict[str, Any]) -> None:
    headers = {"content-type": "application/json"}
    body = json.dumps(message).encode()
    request = urllib.request.Request(f"{dev.url}api/message", body, headers)
    with urllib.request.urlopen(request, timeout=5) as response:
        assert response.status == 202


def inbox(dev: Dev) -> Any:
    with urllib.request.urlopen(f"{dev.url}dev/inbox", timeout=5) as response:
        return json.load(response)
